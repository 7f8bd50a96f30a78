//! The parts of a layered image: found, opened, shown as one tree, and found again in a machine's own mount namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::aside::aside;
use super::{Access, Assembled, AssembledBind, OpenError, kind_of, pick_version};
use crate::image::disk::{self, DiskOptions};
use crate::image::mstack::{self, Part, PartKind, Stack};
use crate::image::overlay::{Marks, Overlay};
use crate::image::versions;
use crate::sys::files::{entries, make_directory_at, open_at, open_directory};
use crate::sys::in_root::{Metadata, Root};
use crate::sys::mount::{MountAttributes, attach_mount, clone_mount, set_mount_attributes};
use crate::sys::{FdPath, SysError, SysResult};

/// The parts of a layered image.
#[derive(Debug)]
pub(super) struct Parts {
    path: PathBuf,
    layers: Vec<Held>,
    writable: Option<Held>,
    /// And whether it is read-only.
    root: Option<(Held, bool)>,
    binds: Vec<(Held, PathBuf, bool)>,
}

/// A part that can be found again.
#[derive(Debug)]
struct Held {
    /// Where it is in the image, of several versions the one that is meant.
    place: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A directory, by device and inode.
    Directory(u64, u64),
    /// The detached mount of a disk.
    Disk { mount: OwnedFd, read_only: bool },
}

/// Opens parts where they can be mounted.
struct Opener<'a> {
    path: &'a Path,
    access: Access,
    place: &'a OwnedFd,
    disks: usize,
}

impl Parts {
    /// Opens the image, with all of it as one tree to read.
    pub(super) fn open(path: &Path, access: Access) -> Result<(Root, Self), OpenError> {
        let image = open_directory(path).map_err(OpenError::system("open", path))?;
        let stack = read(path, &image)?;
        let opened = aside(|place| {
            let mut opener = Opener { path, access, place, disks: 0 };
            Ok::<_, Aside>(opener.open(&stack))
        });
        opened.map_err(|Aside(source)| OpenError::system("look into", path)(source))?
    }

    pub(super) fn is_writable(&self) -> bool {
        let writable = |held: &Held| !matches!(held.what, What::Disk { read_only: true, .. });
        match (&self.writable, &self.root) {
            (_, Some((root, read_only))) => !read_only && writable(root),
            (Some(part), None) => writable(part),
            (None, None) => false,
        }
    }

    pub(super) fn is_one_tree(&self) -> bool {
        matches!(&self.root, Some((_, false)))
    }

    pub(super) fn has_own_usr(&self) -> bool {
        self.root.is_some() && !self.layers.is_empty()
    }

    pub(super) fn layers(&self) -> Vec<PathBuf> {
        self.layers.iter().map(|held| self.path.join(&held.place)).collect()
    }

    pub(super) fn writable_layer(&self) -> Option<PathBuf> {
        self.writable.as_ref().map(|held| self.path.join(&held.place))
    }

    pub(super) fn binds(&self) -> Vec<(PathBuf, bool)> {
        self.binds.iter().map(|(_, target, read_only)| (target.clone(), *read_only)).collect()
    }

    /// See [`super::Opened::assemble`].
    pub(super) fn assemble(&self, path: &Path, place: &impl AsFd) -> Result<Assembled, OpenError> {
        let failed = || OpenError::system("mount", path);
        let image = open_directory(path).map_err(failed())?;
        let mut disks = 0;
        let mut again = |held: &Held| -> Result<Root, OpenError> {
            match &held.what {
                What::Directory(device, inode) => {
                    let root = directory(&image, path, &held.place).map_err(failed())?;
                    match identity(&root).map_err(failed())? == (*device, *inode) {
                        true => Ok(root),
                        false => Err(OpenError::Changed { path: path.to_owned() }),
                    }
                }
                What::Disk { mount, .. } => {
                    disks += 1;
                    let again = mount.try_clone().map_err(|_| SysError::new("dup", "", Errno::MFILE));
                    attach_disk(again.map_err(failed())?, place, disks, &path.join(&held.place))
                        .map_err(failed())
                }
            }
        };
        let layers = self.layers.iter().map(&mut again).collect::<Result<Vec<_>, _>>()?;
        let upper = self.writable.as_ref().map(&mut again).transpose()?;
        let root = self.root.as_ref().map(|(held, _)| again(held)).transpose()?;
        let binds = self.binds.iter().map(|(held, target, read_only)| {
            Ok(AssembledBind { source: again(held)?, target: target.clone(), read_only: *read_only })
        });
        let binds = binds.collect::<Result<Vec<_>, OpenError>>()?;
        Ok(match root {
            Some(root) => {
                let usr = (!layers.is_empty()).then_some((layers, upper));
                Assembled { lower: vec![root], upper: None, usr, binds }
            }
            None => Assembled { lower: layers, upper, usr: None, binds },
        })
    }
}

/// A failure beside the image: of what it takes to look at it.
struct Aside(SysError);

impl From<SysError> for Aside {
    fn from(source: SysError) -> Self {
        Self(source)
    }
}

/// What is in the image.
fn read(path: &Path, image: &OwnedFd) -> Result<Stack, OpenError> {
    let failed = || OpenError::system("look into", path);
    let mut found: Vec<(String, FileType)> = Vec::new();
    for (name, _) in entries(image).map_err(failed())? {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match rustix::fs::statat(image, &name, AtFlags::empty()) {
            Ok(stat) => found.push((name, FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(OpenError::Dangling { path: path.to_owned(), entry: name });
            }
            Err(errno) => {
                let call = format!("{}, {name:?}", FdPath::of(image));
                return Err(failed()(SysError::new("newfstatat", call, errno)));
            }
        }
    }
    mstack::parse(found.iter().map(|(name, file_type)| (name.as_str(), *file_type)))
        .map_err(|source| OpenError::Stack { path: path.to_owned(), source })
}

impl Opener<'_> {
    fn failed(&self) -> impl FnOnce(SysError) -> OpenError {
        OpenError::system("look into", self.path)
    }

    fn open(&mut self, stack: &Stack) -> Result<(Root, Parts), OpenError> {
        let image = open_directory(self.path).map_err(self.failed())?;
        let mut layers = Vec::new();
        for part in &stack.layers {
            layers.push(self.part(&image, part, true)?);
        }
        let writable = match &stack.writable {
            Some(part) => Some(self.part(&image, part, false)?),
            None => None,
        };
        let root = match &stack.root {
            Some((part, read_only)) => Some((self.part(&image, part, *read_only)?, *read_only)),
            None => None,
        };
        let mut binds = Vec::new();
        for bind in &stack.binds {
            binds.push((self.part(&image, &bind.part, bind.read_only)?, bind));
        }
        let mut lower: Vec<&Root> = layers.iter().map(|(root, _)| root).collect();
        let data = match &writable {
            Some((root, _)) => changes(root).map_err(self.failed())?,
            None => None,
        };
        lower.extend(&data);
        let root_of = root.as_ref().map(|((root, _), _)| root);
        let mounted: Vec<(&Root, &Path)> =
            binds.iter().map(|((root, _), bind)| (root, bind.target.as_path())).collect();
        let view = self.view(&lower, root_of, &mounted).map_err(self.failed())?;
        let parts = Parts {
            path: self.path.to_owned(),
            layers: layers.into_iter().map(|(_, held)| held).collect(),
            writable: writable.map(|(_, held)| held),
            root: root.map(|((_, held), read_only)| (held, read_only)),
            binds: binds
                .into_iter()
                .map(|((_, held), bind)| (held, bind.target.clone(), bind.read_only))
                .collect(),
        };
        Ok((Root::from_fd(view, self.path), parts))
    }

    /// A part as our present mount namespace has it, and so that it can be found again.
    fn part(&mut self, image: &OwnedFd, part: &Part, read_only: bool) -> Result<(Root, Held), OpenError> {
        let (place, is_disk) = match part.kind {
            PartKind::Directory => (PathBuf::from(&part.entry), false),
            PartKind::Disk => (PathBuf::from(&part.entry), true),
            PartKind::Versions => self.version(image, &part.entry)?,
        };
        if !is_disk {
            let root = directory(image, self.path, &place).map_err(self.failed())?;
            let (device, inode) = identity(&root).map_err(self.failed())?;
            return Ok((root, Held { place, what: What::Directory(device, inode) }));
        }
        let path = self.path.join(&place);
        let read_only = read_only || self.access == Access::ReadOnly;
        let mounted = disk::mount(&path, &DiskOptions { read_only, ..DiskOptions::default() })?;
        let read_only = mounted.is_read_only();
        self.disks += 1;
        let root = attach_disk(mounted.into_fd(), self.place, self.disks, &path).map_err(self.failed())?;
        let mount = clone_mount(&root, Path::new(""), true).map_err(self.failed())?;
        Ok((root, Held { place, what: What::Disk { mount, read_only } }))
    }

    /// The version that is meant, and whether it is a disk.
    fn version(&self, image: &OwnedFd, entry: &str) -> Result<(PathBuf, bool), OpenError> {
        let none = || OpenError::NoVersion { path: self.path.join(entry) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = open_at(image, entry, flags, Mode::empty()).map_err(self.failed())?;
        let divided = versions::divide(entry).ok_or_else(none)?;
        let picked = pick_version(&directory, divided).map_err(self.failed())?.ok_or_else(none)?;
        let place = Path::new(entry).join(picked);
        let (_, file_type) = kind_of(&self.path.join(&place))?;
        Ok((place, file_type != FileType::Directory))
    }

    /// All as one tree, read-only and detached.
    fn view(&self, lower: &[&Root], root: Option<&Root>, binds: &[(&Root, &Path)]) -> SysResult<OwnedFd> {
        let merged = match lower {
            [] => None,
            [only] => Some(clone_mount(only, Path::new(""), true)?),
            several => {
                let layers = several
                    .iter()
                    .map(|layer| open_at(layer, ".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()))
                    .collect::<SysResult<Vec<OwnedFd>>>()?;
                let overlay = Overlay { lower: &layers, upper: None, marks: Marks::User };
                Some(overlay.mount(self.place)?)
            }
        };
        let base = match (root, &merged) {
            (Some(root), _) => clone_mount(root, Path::new(""), true)?,
            (None, Some(_)) if binds.is_empty() => return merged.ok_or_else(no_root).and_then(read_only),
            (None, Some(merged)) => merged.try_clone().map_err(|_| no_root())?,
            (None, None) => return Err(no_root()),
        };
        let view = attach_at(base, self.place, "view", self.path)?;
        if let (Some(_), Some(merged)) = (root, merged) {
            let merged = attach_at(merged, self.place, "layers", self.path)?;
            if let (Some(usr), Some(point)) = (merged.find("usr")?, view.find("usr")?) {
                attach_mount(clone_mount(usr, Path::new(""), false)?, point)?;
            }
        }
        for (source, target) in binds {
            // One that is not there is made when a machine starts.
            if let Some(point) = view.find(target)? {
                attach_mount(clone_mount(source, Path::new(""), true)?, point)?;
            }
        }
        read_only(clone_mount(&view, Path::new(""), true)?)
    }
}

fn no_root() -> SysError {
    SysError::new("open_tree", "a layered image without a root", Errno::NOENT)
}

fn read_only(mount: OwnedFd) -> SysResult<OwnedFd> {
    set_mount_attributes(&mount, MountAttributes::MOUNT_ATTR_RDONLY, MountAttributes::empty(), true)?;
    Ok(mount)
}

/// What machines have changed on the writable layer `writable`, if any ran on it.
///
/// # Errors
/// When it is no directory.
pub fn changes(writable: &Root) -> SysResult<Option<Root>> {
    match writable.symlink_metadata(mstack::DATA) {
        Ok(metadata) if metadata.is_dir() => writable.subroot(mstack::DATA).map(Some),
        Ok(_) => Err(SysError::new("openat2", format!("{:?}/data", writable.path()), Errno::NOTDIR)),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory `place` of the image, symlinks followed.
fn directory(image: &OwnedFd, path: &Path, place: &Path) -> SysResult<Root> {
    let fd = open_at(image, place, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    Ok(Root::from_fd(fd, path.join(place)))
}

fn identity(root: &Root) -> SysResult<(u64, u64)> {
    let stat = *Metadata::of(root)?.stat();
    Ok((stat.st_dev, stat.st_ino))
}

/// Attaches the mount of a disk below `place`.
fn attach_disk(mount: OwnedFd, place: &impl AsFd, number: usize, path: &Path) -> SysResult<Root> {
    attach_at(mount, place, &format!("disk-{number}"), path)
}

fn attach_at(mount: OwnedFd, place: &impl AsFd, name: &str, path: &Path) -> SysResult<Root> {
    attach_mount(&mount, make_directory_at(place, name, 0o700)?)?;
    Ok(Root::from_fd(mount, path))
}
