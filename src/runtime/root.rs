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
use crate::image::opened::Assembled;

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
    /// What it is made from.
    pub parts: &'a Assembled,
    /// An empty directory of the supervisor's mount namespace, where layers are attached while an overlay is made; there
    /// unless the image is a plain tree.
    pub place: Option<&'a OwnedFd>,
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
    /// Its id in the tree on disk.
    pub tree_base: u32,
    /// Maps ids on disk that are the guest's own.
    pub guest: &'a OwnedFd,
    /// Maps the ids of the tree: another than `guest` where somebody shifted it.
    pub tree: &'a OwnedFd,
}

/// Names in the machine's directory that mounts of the supervisor's own namespace sit on.
pub const MOUNT_POINTS: [&str; 5] = [ROOT, SEALED, "lower", "upper", super::staging::PLACE];

/// Where the binds of an image are, each by its number; only of one that has any.
pub const BINDS: &str = "parts";

/// The writable root's name there.
pub const ROOT: &str = "root";

/// The name of the same root, read-only, where the plan has it so: the leader could only make it read-only in a way
/// that the guest can undo.
pub const SEALED: &str = "sealed";

impl RootPlaces<'_> {
    /// The tree, or the uppermost layer.
    pub(super) fn tree(&self) -> SysResult<&Root> {
        let last = self.parts.lower.last();
        last.ok_or_else(|| SysError::new("open_tree", "an image without a root", Errno::NOENT))
    }

    /// Whether it is a single tree, which needs no overlay.
    fn is_one_tree(&self) -> bool {
        self.parts.upper.is_none() && self.parts.lower.len() == 1
    }

    /// What messages call it.
    pub(super) fn path(&self) -> PathBuf {
        self.parts.lower.last().map(|root| root.path().to_owned()).unwrap_or_default()
    }

    pub(super) fn failed(&self) -> impl FnOnce(SysError) -> RootError {
        let path = self.path();
        move |source| RootError::Mount { path, source }
    }
}

/// Mounts the root in the machine's directory.
///
/// # Errors
/// [`RootError::NotMappable`] where the tree's file system cannot be idmapped (mount_setattr(2) lists those that can).
pub fn mount(plan: &RootPlan, places: &RootPlaces<'_>) -> Result<(), RootError> {
    let failed = || places.failed();
    let mount = match plan.base {
        RootBase::Tree => tree(places.tree().map_err(failed())?, places.ids, true)?,
        RootBase::Overlay(upper) => {
            let mount = match places.is_one_tree() {
                true => {
                    let lower = tree(places.tree().map_err(failed())?, places.ids, false)?;
                    attach(places, "lower", &lower).map_err(failed())?;
                    make_upper(upper, places).and_then(|()| as_guest(places, || overlay(places)))
                }
                false => super::layers::overlay(upper, places),
            };
            let mount = mount.map_err(|error| match error {
                RootError::Mount { path, source }
                    if upper != UpperLayer::Memory
                        && matches!(source.errno(), Errno::INVAL | Errno::OPNOTSUPP) =>
                {
                    RootError::UpperLayer { path, source }
                }
                error => error,
            })?;
            let stat = rustix::fs::fstatvfs(&mount);
            if stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)) {
                return Err(RootError::ReadOnlyOverlay(places.path()));
            }
            mount
        }
        RootBase::Tmpfs => empty_root(places).map_err(failed())?,
    };
    no_devices(&mount, places).map_err(failed())?;
    attach(places, ROOT, &mount).map_err(failed())?;
    if plan.read_only {
        seal(places).map_err(failed())?;
    }
    super::layers::mount_binds(plan, places)
}

/// A device node of the tree would be the host's device: whoever made the tree would be let at its disks.
pub(super) fn no_devices(mount: &OwnedFd, places: &RootPlaces<'_>) -> SysResult<()> {
    match places.ids {
        Some(_) => {
            let no_devices = MountAttributes::MOUNT_ATTR_NODEV;
            set_mount_attributes(mount, no_devices, MountAttributes::empty(), true)
        }
        None => Ok(()),
    }
}

fn seal(places: &RootPlaces<'_>) -> SysResult<()> {
    let sealed = clone_mount(places.machine, Path::new(ROOT), true)?;
    set_mount_attributes(&sealed, MountAttributes::MOUNT_ATTR_RDONLY, MountAttributes::empty(), true)?;
    attach(places, SEALED, &sealed)
}

/// Mounts the tree, mapped as in the root, where [`tree_layer`] finds it: of a layered image what the guest sees of it. A root
/// that is an overlay over one tree has it already.
///
/// # Errors
/// As [`mount`].
pub fn mount_tree_layer(plan: &RootPlan, places: &RootPlaces<'_>) -> Result<(), RootError> {
    let failed = || places.failed();
    let mount = match (plan.base, places.is_one_tree()) {
        (RootBase::Overlay(_), true) => return Ok(()),
        (_, true) => tree(places.tree().map_err(failed())?, places.ids, true)?,
        (RootBase::Tmpfs, false) => super::layers::merged(places)?,
        (_, false) => clone_mount(places.machine, Path::new(ROOT), false).map_err(failed())?,
    };
    attach(places, "lower", &mount).map_err(failed())
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

/// A detached mount of `tree`, with the guest's ids.
pub(super) fn tree(tree: &Root, ids: Option<RootIds<'_>>, recursive: bool) -> Result<OwnedFd, RootError> {
    let path = || tree.path().to_owned();
    let failed = |source| RootError::Mount { path: path(), source };
    let mount = clone_mount(tree, Path::new(""), recursive).map_err(failed)?;
    set_propagation(&mount, Propagation::Private, recursive).map_err(failed)?;
    if let Some(mapping) = ids {
        match map_mount_ids(&mount, mapping.tree, recursive) {
            Err(source) if matches!(source.errno(), Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => {
                return Err(match recursive && self::tree(tree, ids, false).is_ok() {
                    true => RootError::MountBelow { path: path(), source },
                    false => RootError::NotMappable { path: path(), source },
                });
            }
            other => other.map_err(failed)?,
        }
    }
    Ok(mount)
}

pub(super) fn attach(places: &RootPlaces<'_>, name: &str, mount: &OwnedFd) -> SysResult<()> {
    let point = make_directory_at(places.machine, name, 0o700)?;
    attach_mount(mount, point)
}

/// Makes the directories of an upper layer that goes with the machine, `upper` and `work`, and attaches what holds them.
pub(super) fn make_upper(upper: UpperLayer, places: &RootPlaces<'_>) -> Result<(), RootError> {
    let made = match upper {
        UpperLayer::Disk => upper_on_disk(places),
        UpperLayer::Memory | UpperLayer::Image => upper_in_memory(places),
    };
    made.map_err(places.failed())
}

/// An upper layer that holds the guest's own ids on disk, through an idmapped mount. Its directories are made before the
/// mapping: host root is nobody in it (EOVERFLOW).
fn upper_on_disk(places: &RootPlaces<'_>) -> SysResult<()> {
    let scratch =
        places.scratch.ok_or_else(|| SysError::new("openat", "the scratch directory", Errno::NOENT))?;
    make_directory_at(scratch, "upper", root_mode(places))?;
    make_directory_at(scratch, "work", 0o700)?;
    let upper = clone_mount(scratch, Path::new(""), false)?;
    if let Some(ids) = places.ids {
        map_mount_ids(&upper, ids.guest, false)?;
    }
    attach(places, "upper", &upper)
}

/// An upper layer that is a tmpfs: nobody sees its ids after the machine is gone, so they are the host's ids of the machine
/// and need no idmapped tmpfs (Linux 6.3).
fn upper_in_memory(places: &RootPlaces<'_>) -> SysResult<()> {
    let memory = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
    let upper = make_directory_at(&memory, "upper", root_mode(places))?;
    let work = make_directory_at(&memory, "work", 0o700)?;
    if let Some(ids) = places.ids {
        change_owner(&upper, ids.base, ids.base)?;
        change_owner(&work, ids.base, ids.base)?;
    }
    attach(places, "upper", &memory)
}

/// The permissions of the tree's root, which an upper layer must have as well.
fn root_mode(places: &RootPlaces<'_>) -> u32 {
    let stat = places.tree().ok().and_then(|tree| rustix::fs::fstat(tree).ok());
    stat.map_or(0o755, |stat| stat.st_mode & 0o7777)
}

/// Makes an overlay with the file system ids of the range's base: as host root, whose id the layers do not map, overlayfs
/// could not make its work directory and would come up read-only.
pub(super) fn as_guest(
    places: &RootPlaces<'_>,
    make: impl FnOnce() -> SysResult<OwnedFd>,
) -> Result<OwnedFd, RootError> {
    let made = match places.ids {
        Some(ids) => with_filesystem_ids(ids.base, make).and_then(|made| made),
        None => make(),
    };
    made.map_err(places.failed())
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
