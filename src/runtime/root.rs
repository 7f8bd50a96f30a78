//! The root file system: the tree itself, or an overlay over it, idmapped and never chowned.
//!
//! It is put together in the supervisor's own mount namespace, where the host sees nothing of it, and attached at
//! `root` of the machine's directory. Each start of the leader takes a clone of it, so that a reboot finds the same root
//! with the same upper layer. Overlay layers are attached too, before the overlay is made: kernels before 6.13 take
//! only mounts of the caller's namespace as layers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::sys::files::{change_mode, change_owner, make_directory_at, open_directory_at};
use crate::sys::in_root::Root;
use crate::sys::mount::{
    FsContext, MountAttributes, Propagation, attach_mount, clone_mount, make_superblock_writable,
    map_mount_ids, set_mount_attributes, set_propagation,
};
use crate::sys::process::with_filesystem_ids;
use crate::sys::{SysError, SysResult};

use super::plan::{RootBase, RootPlan, UpperLayer};

/// Layers and temporary directories of running machines: on disk, since they may be large.
pub const SCRATCH: &str = "/var/lib/spinney/scratch";

/// The root cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The file system of the tree has no idmapped mounts.
    #[error("the file system of {path:?} cannot map ids")]
    NotMappable {
        /// The tree.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: SysError,
    },
    /// What is mounted below the tree has no idmapped mounts, though the tree has.
    #[error("something that is mounted below {path:?} cannot map ids")]
    MountBelow {
        /// The tree.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: SysError,
    },
    /// An overlay that could not make its work directory is read-only, and the kernel says so only in its log.
    #[error("the overlay over {0:?} came up read-only")]
    ReadOnlyOverlay(PathBuf),
    /// The file system of the scratch directory cannot be the upper layer of an overlay, or cannot map ids.
    #[error("the file system of {SCRATCH} cannot hold a writable layer over {path:?}")]
    UpperLayer {
        /// The tree.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: SysError,
    },
    /// A call failed.
    #[error("cannot mount the root from {path:?}")]
    Mount {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: SysError,
    },
}

/// Where a root is put together.
#[derive(Debug, Clone, Copy)]
pub struct RootPlaces<'a> {
    /// The tree.
    pub tree: &'a Root,
    /// The machine's directory below /run; mount points are made in it.
    pub machine: &'a OwnedFd,
    /// Its path, which the overlay's options need.
    pub machine_path: &'a Path,
    /// A directory on disk for the upper layer; there if the plan has one.
    pub scratch: Option<&'a OwnedFd>,
    /// User namespaces to map by.
    pub ids: Option<RootIds<'a>>,
}

/// Id mappings of a root.
#[derive(Debug, Clone, Copy)]
pub struct RootIds<'a> {
    /// Host id of the guest's root.
    pub base: u32,
    /// Maps ids on disk that are the guest's own.
    pub guest: &'a OwnedFd,
    /// Maps the ids of the tree: another than `guest` where somebody shifted it.
    pub tree: &'a OwnedFd,
}

/// Names in the machine's directory that mounts of the supervisor's own namespace sit on.
pub const MOUNT_POINTS: [&str; 5] = [ROOT, SEALED, "lower", "upper", super::staging::PLACE];

/// The writable root's name there.
pub const ROOT: &str = "root";

/// The name of the same root, read-only, where the plan has it so: the leader could only make it read-only in a way
/// that the guest can undo.
pub const SEALED: &str = "sealed";

/// Mounts the root in the machine's directory.
///
/// # Errors
/// [`RootError::NotMappable`] where the tree's file system cannot be idmapped (mount_setattr(2) lists those that can).
pub fn mount(plan: &RootPlan, places: &RootPlaces<'_>) -> Result<(), RootError> {
    let failed = |source| RootError::Mount { path: places.tree.path().to_owned(), source };
    let mount = match plan.base {
        RootBase::Tree => tree(places, true)?,
        RootBase::Overlay(upper) => {
            attach(places, "lower", &tree(places, false)?).map_err(failed)?;
            let path = || places.tree.path().to_owned();
            let mount = match upper {
                UpperLayer::Disk => overlay_on_disk(places).map_err(|source| match source.errno() {
                    Errno::INVAL | Errno::OPNOTSUPP => RootError::UpperLayer { path: path(), source },
                    _ => failed(source),
                })?,
                UpperLayer::Memory => overlay_in_memory(places).map_err(failed)?,
            };
            let stat = rustix::fs::fstatvfs(&mount);
            if stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)) {
                return Err(RootError::ReadOnlyOverlay(places.tree.path().to_owned()));
            }
            mount
        }
        RootBase::Tmpfs => empty_root(places).map_err(failed)?,
    };
    if places.ids.is_some() {
        // A device node of the tree would be the host's device: whoever made the tree would be let at its disks.
        let no_devices = MountAttributes::MOUNT_ATTR_NODEV;
        set_mount_attributes(&mount, no_devices, MountAttributes::empty(), true).map_err(failed)?;
    }
    attach(places, ROOT, &mount).map_err(failed)?;
    if plan.read_only { seal(places).map_err(failed) } else { Ok(()) }
}

fn seal(places: &RootPlaces<'_>) -> SysResult<()> {
    let sealed = clone_mount(places.machine, Path::new(ROOT), true)?;
    set_mount_attributes(&sealed, MountAttributes::MOUNT_ATTR_RDONLY, MountAttributes::empty(), true)?;
    attach(places, SEALED, &sealed)
}

/// Mounts the tree, mapped as in the root, where [`tree_layer`] finds it. A root that is an overlay has it already.
///
/// # Errors
/// As [`mount`].
pub fn mount_tree_layer(plan: &RootPlan, places: &RootPlaces<'_>) -> Result<(), RootError> {
    if matches!(plan.base, RootBase::Overlay(_)) {
        return Ok(());
    }
    let failed = |source| RootError::Mount { path: places.tree.path().to_owned(), source };
    attach(places, "lower", &tree(places, true)?).map_err(failed)
}

/// The tree with the guest's ids, for binds and overlays of its directories.
///
/// # Errors
/// When it is not mounted.
pub fn tree_layer(machine: &OwnedFd) -> SysResult<Root> {
    Ok(Root::from_fd(open_directory_at(machine, "lower")?, "/"))
}

/// Makes a root that is all ours writable for the next boot. Without a user namespace a guest's own remount read-only at
/// its shutdown, as sysvinit does it, reaches the superblock that all boots share.
///
/// # Errors
/// When the kernel refuses.
pub fn make_writable_again(plan: &RootPlan, machine: &OwnedFd) -> SysResult<()> {
    if plan.base == RootBase::Tree {
        return Ok(());
    }
    let root = open_directory_at(machine, ROOT)?;
    let stat = rustix::fs::fstatvfs(&root);
    match stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)) {
        true => make_superblock_writable(root),
        false => Ok(()),
    }
}

/// A detached, idmapped mount of the tree.
fn tree(places: &RootPlaces<'_>, recursive: bool) -> Result<OwnedFd, RootError> {
    let path = || places.tree.path().to_owned();
    let failed = |source| RootError::Mount { path: path(), source };
    let mount = clone_mount(places.tree, Path::new(""), recursive).map_err(failed)?;
    set_propagation(&mount, Propagation::Private, recursive).map_err(failed)?;
    if let Some(ids) = places.ids {
        match map_mount_ids(&mount, ids.tree, recursive) {
            Err(source) if matches!(source.errno(), Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => {
                return Err(match recursive && tree(places, false).is_ok() {
                    true => RootError::MountBelow { path: path(), source },
                    false => RootError::NotMappable { path: path(), source },
                });
            }
            other => other.map_err(failed)?,
        }
    }
    Ok(mount)
}

fn attach(places: &RootPlaces<'_>, name: &str, mount: &OwnedFd) -> SysResult<()> {
    let point = make_directory_at(places.machine, name, 0o700)?;
    attach_mount(mount, point)
}

/// An overlay whose upper layer holds the guest's own ids on disk, through an idmapped mount.
///
/// Its directories are made before the mapping (host root is nobody in it, EOVERFLOW), and the overlay is made with the
/// file system ids of the range's base: as host root it could not make its work directory and would come up read-only.
fn overlay_on_disk(places: &RootPlaces<'_>) -> SysResult<OwnedFd> {
    let scratch =
        places.scratch.ok_or_else(|| SysError::new("openat", "the scratch directory", Errno::NOENT))?;
    let mode = rustix::fs::fstat(places.tree).map(|stat| stat.st_mode & 0o7777).unwrap_or(0o755);
    make_directory_at(scratch, "upper", mode)?;
    make_directory_at(scratch, "work", 0o700)?;
    let upper = clone_mount(scratch, Path::new(""), false)?;
    if let Some(ids) = places.ids {
        map_mount_ids(&upper, ids.guest, false)?;
    }
    attach(places, "upper", &upper)?;
    match places.ids {
        Some(ids) => with_filesystem_ids(ids.base, || overlay(places))?,
        None => overlay(places),
    }
}

/// An overlay whose upper layer is a tmpfs: nobody sees its ids after the machine is gone, so they are the host's ids of
/// the machine and need no idmapped tmpfs (Linux 6.3).
fn overlay_in_memory(places: &RootPlaces<'_>) -> SysResult<OwnedFd> {
    let memory = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
    let mode = rustix::fs::fstat(places.tree).map(|stat| stat.st_mode & 0o7777).unwrap_or(0o755);
    let upper = make_directory_at(&memory, "upper", mode)?;
    make_directory_at(&memory, "work", 0o700)?;
    if let Some(ids) = places.ids {
        change_owner(&upper, ids.base, ids.base)?;
    }
    attach(places, "upper", &memory)?;
    overlay(places)
}

/// The overlay of `lower` and `upper/upper`. Their paths are ours and hold no character that overlayfs would read as a
/// separator: machine names have neither `:` nor `,`.
fn overlay(places: &RootPlaces<'_>) -> SysResult<OwnedFd> {
    let path = |name: &str| places.machine_path.join(name).to_string_lossy().into_owned();
    FsContext::new("overlay")?
        .set("source", "spinney")?
        .set("lowerdir", &path("lower"))?
        .set("upperdir", &path("upper/upper"))?
        .set("workdir", &path("upper/work"))?
        // The layer goes with the machine: syncing it to disk is waste (overlayfs.rst, "Volatile mount", Linux 5.10).
        .flag("volatile")?
        .mount(MountAttributes::empty())
}

/// An empty root for `--volatile=yes`.
fn empty_root(places: &RootPlaces<'_>) -> SysResult<OwnedFd> {
    let mount = FsContext::new("tmpfs")?.set("mode", "0755")?.mount(MountAttributes::empty())?;
    if let Some(ids) = places.ids {
        change_owner(&mount, ids.base, ids.base)?;
    }
    Ok(mount)
}

/// Makes a directory of the host that the guest's root owns, for a temporary bind.
///
/// # Errors
/// When it cannot be made.
pub fn temporary_directory(parent: impl AsFd, name: &str, owner: u32) -> SysResult<OwnedFd> {
    let directory = make_directory_at(&parent, name, 0o755)?;
    change_mode(&directory, 0o755)?;
    change_owner(&directory, owner, owner)?;
    open_directory_at(parent, name)
}
