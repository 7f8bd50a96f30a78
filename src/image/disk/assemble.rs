//! Puts the file systems of a disk together: /usr, /home and others below their root, all of it detached.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::plan::Place;
use crate::image::opened::aside::aside;
use crate::sys::files::change_mode;
use crate::sys::in_root::{Root, reopen};
use crate::sys::mount::{attach_mount, clone_mount};
use crate::sys::{FdPath, SysError, SysResult, sys};

/// A root with all that is mounted in it.
#[derive(Debug)]
pub(super) struct Assembled {
    /// Its detached mount.
    pub(super) mount: OwnedFd,
    /// Where the others are.
    pub(super) below: Vec<PathBuf>,
}

/// Where file systems were mounted, and where they were not.
#[derive(Debug, Default)]
struct Attached {
    at: Vec<PathBuf>,
    left_out: Vec<&'static str>,
}

/// A file system that goes below the root.
#[derive(Debug)]
pub(super) struct Mounted {
    /// Where.
    pub(super) place: Place,
    /// Its detached mount.
    pub(super) mount: OwnedFd,
}

/// A place below a root where something cannot be mounted.
struct Failed {
    place: &'static str,
    source: SysError,
}

impl From<SysError> for Failed {
    fn from(source: SysError) -> Self {
        Self { place: "", source }
    }
}

/// Mounts `below` in `root`. Places that are missing are made if the root is `writable`; what has no place is left out,
/// with a note.
pub(super) fn assemble(
    root: OwnedFd,
    below: &[Mounted],
    path: &Path,
    writable: bool,
    notes: &mut Vec<String>,
) -> Result<Assembled, Error> {
    let assembled = match attach(&root, below, writable) {
        Ok(attached) => Ok((root, attached)),
        // Below what is detached mounts can be attached since Linux 6.15 only.
        Err(failed) if failed.source.errno() == Errno::INVAL => aside(|place| {
            attach_mount(&root, place)?;
            let attached = attach(&root, below, writable)?;
            Ok((clone_mount(&root, Path::new(""), true)?, attached))
        }),
        Err(failed) => Err(failed),
    };
    let (mount, Attached { at, left_out }) = assembled
        .map_err(|Failed { place, source }| Error::Assemble { path: path.to_owned(), place, source })?;
    notes.extend(left_out.into_iter().map(|place| {
        format!("nothing is mounted at /{place}: the root, which is read-only, has no such directory")
    }));
    Ok(Assembled { mount, below: at })
}

/// Attaches `below` to `root`.
fn attach(root: &OwnedFd, below: &[Mounted], writable: bool) -> Result<Attached, Failed> {
    let mut attached = Attached::default();
    if below.is_empty() {
        return Ok(attached);
    }
    let handle = sys("fcntl", rustix::io::fcntl_dupfd_cloexec(root, 0), || FdPath::of(root).to_string())?;
    let tree = Root::from_fd(handle, "/");
    for Mounted { place, mount } in below {
        let failed = |source| Failed { place: place.path(), source };
        let name = match place {
            Place::Esp => esp_place(&tree, attached.at.contains(&PathBuf::from("/boot"))).map_err(failed)?,
            place => place.path(),
        };
        let target = match tree.find(name).map_err(failed)? {
            Some(target) => target,
            None if writable => tree.mkdir_all(name, Mode::from_raw_mode(0o755)).map_err(failed)?,
            None => {
                if !place.is_optional() {
                    attached.left_out.push(name);
                }
                continue;
            }
        };
        attach_mount(mount, target.as_fd()).map_err(failed)?;
        attached.at.push(Path::new("/").join(name));
    }
    Ok(attached)
}

/// Makes in the empty root `mount` what a system of /usr alone expects (file-hierarchy(7)): links into /usr, and directories.
pub(super) fn furnish(mount: &OwnedFd) -> SysResult<()> {
    let handle = sys("fcntl", rustix::io::fcntl_dupfd_cloexec(mount, 0), || FdPath::of(mount).to_string())?;
    let tree = Root::from_fd(handle, "/");
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        let target = format!("usr/{name}");
        if tree.find(&target)?.is_some() {
            tree.symlink(&target, name)?;
        }
    }
    for (name, mode) in [("etc", 0o755), ("home", 0o755), ("root", 0o700), ("var", 0o755), ("tmp", 0o1777)] {
        if tree.find(name)?.is_none() {
            let made = tree.mkdir_all(name, Mode::from_raw_mode(0o755))?;
            change_mode(&reopen(&made, OFlags::RDONLY | OFlags::DIRECTORY)?, mode)?;
        }
    }
    Ok(())
}

/// Where the EFI system partition goes: /efi if it is there; if not, an empty /boot that nothing is mounted on.
fn esp_place(tree: &Root, at_boot: bool) -> SysResult<&'static str> {
    let at_efi = at_boot || tree.find("efi")?.is_some() || tree.find("boot")?.is_none();
    Ok(if !at_efi && tree.read_dir("boot")?.is_empty() { "boot" } else { "efi" })
}
