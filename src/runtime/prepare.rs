//! The half of a mount plan that only host root can carry out: device nodes, and mounts of host paths.
//!
//! It makes detached mounts and leaves them to the leader (`attach`), which alone knows the root they go to.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::settings::BindIds;
use crate::sys::files::{change_owner, change_owner_at, make_directory_at};
use crate::sys::in_root::Root;
use crate::sys::mount::{
    FsContext, MountAttributes, Propagation, clone_mount, map_mount_ids, set_mount_attributes,
    set_propagation,
};
use crate::sys::{FdPath, SysError, SysResult, sys};

use super::plan::{BindSource, DeviceNode, IdMap, MountOperation};
use super::root::{BINDS, temporary_directory, tree_layer};
use super::user_namespace::{Creator, IdMapping, create};

/// What the leader attaches for one operation.
#[derive(Debug)]
pub enum Prepared {
    /// The leader does it alone.
    Nothing,
    /// A detached mount, and whether it is of a directory.
    Mount {
        /// The mount.
        mount: OwnedFd,
        /// Its root is a directory.
        is_directory: bool,
    },
    /// Such a mount, where the leader finds it: see [`super::staging`].
    Staged {
        /// Its root is a directory.
        is_directory: bool,
    },
    /// A tmpfs with device nodes; those that could not be made come as mounts of the host's.
    Devices {
        /// The tmpfs.
        mount: OwnedFd,
        /// Names below it and what goes there.
        binds: Vec<(String, OwnedFd)>,
    },
}

/// An operation that failed, and what it was for.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {target:?} in the guest{}", from(.source_path.as_deref()))]
pub struct PrepareError {
    target: PathBuf,
    source_path: Option<PathBuf>,
    #[source]
    source: SysError,
}

fn from(path: Option<&Path>) -> String {
    path.map(|path| format!(" from {path:?}")).unwrap_or_default()
}

/// What preparation needs.
#[derive(Debug, Clone, Copy)]
pub struct PrepareContext<'a> {
    /// The tree, for binds from it.
    pub tree: &'a Root,
    /// The machine's ids and their user namespace.
    pub ids: Option<(IdMap, &'a OwnedFd)>,
    /// A directory for temporary ones; there if the plan has any.
    pub scratch: Option<&'a OwnedFd>,
    /// Where the root's mounts are.
    pub mounts: &'a OwnedFd,
}

impl PrepareContext<'_> {
    fn root_id(&self) -> u32 {
        self.ids.map_or(0, |(map, _)| map.base)
    }

    /// The flag for a mount of what is in the tree, as for its root: see [`super::root`].
    pub(super) fn no_devices(&self, in_tree: bool) -> MountAttributes {
        match in_tree && self.ids.is_some() {
            true => MountAttributes::MOUNT_ATTR_NODEV,
            false => MountAttributes::empty(),
        }
    }
}

/// Prepares all `operations`, in order: one result each.
///
/// # Errors
/// The first failure, with the target it was for.
pub fn prepare(
    operations: &[MountOperation],
    context: &PrepareContext<'_>,
) -> Result<Vec<Prepared>, PrepareError> {
    operations
        .iter()
        .enumerate()
        .map(|(index, operation)| match operation {
            MountOperation::Devices { target, nodes } => devices(nodes, context)
                .map_err(|source| PrepareError { target: target.clone(), source_path: None, source }),
            MountOperation::Bind { source, target, recursive, attributes, clear, ids, .. } => {
                let failed = |source_error| PrepareError {
                    target: target.clone(),
                    source_path: match source {
                        BindSource::Host(path) | BindSource::Tree(path) => Some(path.clone()),
                        _ => None,
                    },
                    source: source_error,
                };
                let mount = match source {
                    BindSource::Host(path) => clone_mount(CWD, path, *recursive),
                    BindSource::Tree(path) => {
                        let at = tree_layer(context.mounts).and_then(|tree| tree.open_path(path));
                        at.and_then(|at| clone_mount(at, Path::new(""), *recursive))
                    }
                    BindSource::Image(number) => {
                        clone_mount(context.mounts, &Path::new(BINDS).join(number.to_string()), *recursive)
                    }
                    BindSource::Temporary => temporary(index, context),
                    BindSource::Guest(_) | BindSource::Inaccessible => return Ok(Prepared::Nothing),
                };
                mount
                    .and_then(|mount| {
                        set_propagation(&mount, Propagation::Private, *recursive)?;
                        // What lies in the tree has no more devices than the root itself, and its ids are mapped already.
                        let in_tree = matches!(source, BindSource::Tree(_) | BindSource::Image(_));
                        let attributes = *attributes | context.no_devices(in_tree);
                        if !(attributes.is_empty() && clear.is_empty()) {
                            set_mount_attributes(&mount, attributes, *clear, *recursive)?;
                        }
                        let ids = if in_tree { BindIds::NoIdmap } else { *ids };
                        map_ids(&mount, *recursive, ids, target, context)?;
                        let is_directory = is_directory(&mount)?;
                        Ok(Prepared::Mount { mount, is_directory })
                    })
                    .map_err(failed)
            }
            MountOperation::Overlay { lower, upper, target } => {
                super::user_overlay::mount(index, lower, upper.as_ref(), context)
                    .map(|mount| Prepared::Mount { mount, is_directory: true })
                    .map_err(|source| PrepareError { target: target.clone(), source_path: None, source })
            }
            _ => Ok(Prepared::Nothing),
        })
        .collect()
}

fn is_directory(mount: &OwnedFd) -> SysResult<bool> {
    let stat = sys("fstat", rustix::fs::fstat(mount), || FdPath::of(mount).to_string())?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn temporary(index: usize, context: &PrepareContext<'_>) -> SysResult<OwnedFd> {
    let scratch =
        context.scratch.ok_or_else(|| SysError::new("openat", "the scratch directory", Errno::NOENT))?;
    let directory = temporary_directory(scratch, &format!("bind-{index}"), context.root_id())?;
    clone_mount(directory, Path::new(""), false)
}

/// Maps the ids of a bind (systemd-nspawn(1), `--bind=`).
fn map_ids(
    mount: &OwnedFd,
    recursive: bool,
    ids: BindIds,
    target: &Path,
    context: &PrepareContext<'_>,
) -> SysResult<()> {
    // One user is somebody: the source's owner, as root of the guest or as the owner of the target there.
    let guest_owner = match (ids, context.ids) {
        (BindIds::NoIdmap, _) | (BindIds::Idmap, None) => return Ok(()),
        (BindIds::Idmap, Some((_, namespace))) => return map_mount_ids(mount, namespace, recursive),
        (BindIds::RootIdmap, _) => (0, 0),
        (BindIds::OwnerIdmap, _) => {
            let stat = *context.tree.metadata(target)?.stat();
            let map = context.ids.map(|(map, _)| map);
            (guest_id(stat.st_uid, map, target)?, guest_id(stat.st_gid, map, target)?)
        }
    };
    let owner = sys("fstat", rustix::fs::fstat(mount), || FdPath::of(mount).to_string())?;
    let root = context.root_id();
    let one = |inside, guest: u32| IdMapping { inside, outside: root + guest, count: 1 };
    let namespace =
        create(Creator::Root, one(owner.st_uid, guest_owner.0), one(owner.st_gid, guest_owner.1))?;
    map_mount_ids(mount, namespace, recursive)
}

/// What the id `on_disk` of a file of the tree is in the guest. A tree may have any ids, also such as are not the guest's.
fn guest_id(on_disk: u32, map: Option<IdMap>, target: &Path) -> SysResult<u32> {
    let Some(map) = map else { return Ok(on_disk) };
    let foreign = || SysError::new("fstat", format!("{target:?}, owner {on_disk}"), Errno::OVERFLOW);
    on_disk.checked_sub(map.tree_base).filter(|id| *id < map.size).ok_or_else(foreign)
}

/// The /dev of the guest: a tmpfs of host root's, since a user namespace's own would not let device nodes be opened.
fn devices(nodes: &[DeviceNode], context: &PrepareContext<'_>) -> SysResult<Prepared> {
    let attributes = MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_NOEXEC;
    let mount = FsContext::new("tmpfs")?
        .set("mode", "0755")?
        .set("size", "4m")?
        .set("nr_inodes", "64k")?
        .mount(attributes)?;
    let root = context.root_id();
    change_owner(&mount, root, root)?;
    let mut binds = Vec::new();
    for node in nodes {
        for (end, _) in node.name.match_indices('/') {
            let directory = &node.name[..end];
            make_directory_at(&mount, directory, 0o755)?;
            change_owner_at(&mount, directory, root, root)?;
        }
        match make_device(&mount, node) {
            Ok(()) => change_owner_at(&mount, &node.name, root, root)?,
            // In a container of its own, host root may make no devices (CAP_MKNOD, device cgroup): use the ones there.
            Err(error) if error.errno() == Errno::PERM => {
                let own = || Path::new("/dev").join(&*node.name);
                let host = node.host.clone().unwrap_or_else(own);
                binds.push((node.name.to_string(), clone_mount(CWD, &host, false)?));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Prepared::Devices { mount, binds })
}

fn make_device(directory: &OwnedFd, node: &DeviceNode) -> SysResult<()> {
    let (major, minor) = node.numbers;
    let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let made = rustix::fs::mknodat(
        directory,
        &*node.name,
        kind,
        Mode::from_raw_mode(node.mode),
        rustix::fs::makedev(major, minor),
    );
    sys("mknodat", made, || format!("{}, {:?}, {kind:?}, {major}:{minor}", FdPath::of(directory), node.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_in_the_guest() {
        let plain = IdMap { base: 524_288, size: 65536, tree_base: 0 };
        let shifted = IdMap { tree_base: 131_072, ..plain };
        let last = u32::MAX - 1;
        for (on_disk, map, expected) in [
            (0, Some(plain), Some(0)),
            (65535, Some(plain), Some(65535)),
            (65536, Some(plain), None),
            (last, Some(plain), None),
            (131_072, Some(shifted), Some(0)),
            (0, Some(shifted), None),
            (last, None, Some(last)),
        ] {
            assert_eq!(guest_id(on_disk, map, Path::new("/x")).ok(), expected, "{on_disk} {map:?}");
        }
    }
}
