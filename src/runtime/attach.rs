//! The half of a mount plan that the leader carries out, as root of its own namespaces.
//!
//! Every target is resolved in the new root (`Root`), so that a link in the tree leads nowhere else; the mount points
//! that everything hangs on may not be links at all, which `guest` has checked.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::settings::PivotRoot;
use crate::sys::files::make_directory_at;
use crate::sys::in_root::{Root, absent_is_none};
use crate::sys::mount::{
    FsContext, MountAttributes, Propagation, attach_mount, clone_mount, set_mount_attributes, set_propagation,
};
use crate::sys::{FdPath, SysError, SysResult, sys};

use super::mounts::INACCESSIBLE;
use super::plan::{BindSource, MountOperation, NodeKind, Replace};
use super::prepare::Prepared;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {path:?} in the guest")]
pub struct AttachError {
    path: PathBuf,
    #[source]
    source: SysError,
}

/// What came of the plan besides mounts.
#[derive(Debug, Default)]
pub struct Attached {
    /// The socket that the guest's init notifies.
    pub notify: Option<OwnedFd>,
}

/// Makes in `draft`, a writable mount of a root that will be read-only, what `operations` mount on and cannot do without.
///
/// # Errors
/// The first failure.
pub fn make_ready(
    draft: &Root,
    operations: &[MountOperation],
    prepared: &[Prepared],
) -> Result<(), AttachError> {
    for ((operation, prepared), in_root) in operations.iter().zip(prepared).zip(in_root(operations)) {
        if in_root && matches!(operation, MountOperation::File { replace: Replace::Nothing, .. }) {
            let _ = one(draft, operation, Prepared::Nothing, &mut Attached::default());
        }
        if !in_root || can_be_missed(operation) {
            continue;
        }
        let target = target_of(operation);
        let made = match prepared {
            Prepared::Mount { is_directory: false, .. } => draft.ensure_file(target).map(drop),
            _ if mounts(operation) => directory(draft, target, 0o755).map(drop),
            _ => one(draft, operation, Prepared::Nothing, &mut Attached::default()),
        };
        made.map_err(|source| AttachError { path: target.to_owned(), source })?;
    }
    Ok(())
}

/// Carries out `operations` in `root`, with what was `prepared` for each. A `sealed` root is read-only, and was made ready
/// before.
///
/// # Errors
/// The first failure.
pub fn attach(
    root: &Root,
    operations: &[MountOperation],
    prepared: Vec<Prepared>,
    sealed: bool,
) -> Result<Attached, AttachError> {
    let mut attached = Attached::default();
    for ((operation, prepared), in_root) in operations.iter().zip(prepared).zip(in_root(operations)) {
        if sealed && in_root && !mounts(operation) {
            continue;
        }
        one(root, operation, prepared, &mut attached)
            .map_err(|source| AttachError { path: target_of(operation).to_owned(), source })?;
    }
    Ok(attached)
}

/// Whether `operation` puts a mount at its target.
fn mounts(operation: &MountOperation) -> bool {
    matches!(
        operation,
        MountOperation::Mount { .. }
            | MountOperation::Devices { .. }
            | MountOperation::Sysfs { .. }
            | MountOperation::Bind { .. }
            | MountOperation::Overlay { .. }
            | MountOperation::Seal { .. }
    )
}

/// Whether a root that is read-only is left without what `operation` makes.
fn can_be_missed(operation: &MountOperation) -> bool {
    match operation {
        MountOperation::Bind { if_target_exists, .. } => *if_target_exists,
        MountOperation::Symlink { replace, .. } => *replace,
        MountOperation::File { replace, .. } => *replace != Replace::Required,
        MountOperation::Remove { .. } | MountOperation::Seal { .. } => true,
        _ => false,
    }
}

/// For each operation, whether its target is in the root itself and not in what an earlier one mounted there.
fn in_root(operations: &[MountOperation]) -> impl Iterator<Item = bool> {
    let mut covered: Vec<&Path> = Vec::new();
    operations.iter().map(move |operation| {
        let target = target_of(operation);
        let in_root = !covered.iter().any(|mount| target.starts_with(mount));
        if in_root && mounts(operation) {
            covered.push(target);
        }
        in_root
    })
}

fn target_of(operation: &MountOperation) -> &Path {
    match operation {
        MountOperation::Directory { path, .. }
        | MountOperation::Symlink { path, .. }
        | MountOperation::File { path, .. }
        | MountOperation::Node { path, .. }
        | MountOperation::NotifySocket { path }
        | MountOperation::Remove { path } => path,
        MountOperation::Mount { target, .. }
        | MountOperation::Devices { target, .. }
        | MountOperation::Sysfs { target, .. }
        | MountOperation::Bind { target, .. }
        | MountOperation::Overlay { target, .. }
        | MountOperation::Seal { target, .. } => target,
    }
}

fn one(
    root: &Root,
    operation: &MountOperation,
    prepared: Prepared,
    attached: &mut Attached,
) -> SysResult<()> {
    match (operation, prepared) {
        (MountOperation::Directory { path, mode }, _) => directory(root, path, *mode).map(drop),
        (MountOperation::Symlink { path, target, replace }, _) => symlink(root, path, target, *replace),
        (MountOperation::File { path, mode, contents, replace }, _) => {
            file(root, path, contents, Mode::from_raw_mode(*mode), *replace)
        }
        (MountOperation::Node { path, kind, mode }, _) => node(root, path, *kind, *mode),
        (MountOperation::NotifySocket { path }, _) => {
            attached.notify = Some(notify_socket(root, path)?);
            Ok(())
        }
        (MountOperation::Remove { path }, _) => absent_is_none(root.unlink(path)).map(drop),
        (MountOperation::Mount { kind, target, options, attributes }, _) => {
            let mount = match new_file_system(kind, options, *attributes) {
                // A host whose own is read-only (a container, a sandbox) lets no user namespace have more
                // (mnt_already_visible() in fs/namespace.c).
                Err(error) if error.errno() == Errno::PERM && *kind == "sysfs" => {
                    new_file_system(kind, options, *attributes | MountAttributes::MOUNT_ATTR_RDONLY)
                }
                other => other,
            };
            attach_mount(mount?, directory(root, target, 0o755)?)
        }
        (MountOperation::Devices { target, .. }, Prepared::Devices { mount, binds }) => {
            attach_mount(mount, directory(root, target, 0o755)?)?;
            for (name, device) in binds {
                attach_mount(device, root.ensure_file(target.join(name))?)?;
            }
            Ok(())
        }
        (MountOperation::Sysfs { target, parts }, _) => sysfs(root, target, parts),
        (MountOperation::Bind { target, if_target_exists, .. }, Prepared::Mount { mount, is_directory }) => {
            match place(root, target, is_directory, *if_target_exists)? {
                Some(at) => attach_mount(mount, at),
                None => Ok(()),
            }
        }
        (MountOperation::Bind { source, target, recursive, attributes, clear, if_target_exists, .. }, _) => {
            bind_in_guest(root, source, target, *recursive, (*attributes, *clear), *if_target_exists)
        }
        (MountOperation::Overlay { target, .. }, Prepared::Mount { mount, .. }) => {
            attach_mount(mount, directory(root, target, 0o755)?)
        }
        (MountOperation::Seal { target, attributes }, _) => {
            let at = root.open_path(target)?;
            set_mount_attributes(at, *attributes, MountAttributes::empty(), false)
        }
        // Preparation gives these two what they need; without it the plan was not prepared by us.
        (MountOperation::Devices { .. } | MountOperation::Overlay { .. }, _) => {
            Err(SysError::new("prepare", "an operation of the host", Errno::INVAL))
        }
    }
}

fn file(root: &Root, path: &Path, contents: &[u8], mode: Mode, replace: Replace) -> SysResult<()> {
    if replace == Replace::Nothing {
        let _ = root.create_file(path, mode);
        return Ok(());
    }
    if replace == Replace::RegularFile && root.symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Ok(());
    }
    match root.write(path, contents, mode) {
        // A convenience: a tree without /etc, or with a read-only one, boots all the same.
        Err(_) if replace != Replace::Required => Ok(()),
        written => written,
    }
}

fn symlink(root: &Root, path: &Path, target: &Path, replace: bool) -> SysResult<()> {
    match root.symlink(target, path) {
        Err(error) if error.errno() == Errno::EXIST && !replace => Ok(()),
        // A convenience, as in `file`. One that is right already is left alone.
        Err(_) if replace => {
            if !root.read_link(path).is_ok_and(|there| there == target) && root.unlink(path).is_ok() {
                let _ = root.symlink(target, path);
            }
            Ok(())
        }
        made => made,
    }
}

fn directory(root: &Root, path: &Path, mode: u32) -> SysResult<OwnedFd> {
    root.mkdir_all(path, Mode::from_raw_mode(mode))
}

/// Where a bind goes: made if missing, unless it is only wanted where it exists.
fn place(root: &Root, target: &Path, is_directory: bool, if_exists: bool) -> SysResult<Option<OwnedFd>> {
    if if_exists {
        return root.find(target);
    }
    let made = if is_directory { directory(root, target, 0o755)? } else { root.ensure_file(target)? };
    Ok(Some(made))
}

fn new_file_system(
    kind: &'static str,
    options: &[(String, Option<String>)],
    attributes: MountAttributes,
) -> SysResult<OwnedFd> {
    let mut context = FsContext::new(kind)?;
    for (key, value) in options {
        context = match value {
            Some(value) => context.set(key, value)?,
            None => context.flag(key)?,
        };
    }
    context.mount(attributes)
}

fn node(root: &Root, path: &Path, kind: NodeKind, mode: u32) -> SysResult<()> {
    let parent = directory(root, path.parent().unwrap_or(Path::new("/")), 0o755)?;
    let name = path.file_name().unwrap_or_default();
    let file_type = match kind {
        NodeKind::Regular => FileType::RegularFile,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharacterZero => FileType::CharacterDevice,
    };
    let made = rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(mode), 0);
    sys("mknodat", made, || format!("{}, {name:?}, {kind:?}", FdPath::of(&parent)))
}

/// Only root of the guest may write to it: PID 1 notifies, services notify PID 1.
fn notify_socket(root: &Root, path: &Path) -> SysResult<OwnedFd> {
    let parent = root.open_path(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let socket = crate::sys::socket::notify_socket()?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o577));
    let bound = crate::sys::socket::bind_at(&socket, &parent, &name);
    rustix::process::umask(before);
    bound?;
    Ok(socket)
}

fn bind_in_guest(
    root: &Root,
    source: &BindSource,
    target: &Path,
    recursive: bool,
    (set, clear): (MountAttributes, MountAttributes),
    if_target_exists: bool,
) -> SysResult<()> {
    let Some(at) = root.find(target)? else {
        return if if_target_exists {
            Ok(())
        } else {
            Err(SysError::new("openat2", format!("{target:?}"), Errno::NOENT))
        };
    };
    let source = match source {
        BindSource::Inaccessible => {
            let stat = sys("fstat", rustix::fs::fstat(&at), || FdPath::of(&at).to_string())?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            Some(root.open_path(Path::new(INACCESSIBLE).join(if is_directory { "dir" } else { "reg" }))?)
        }
        BindSource::Guest(path) if path == target => None,
        BindSource::Guest(path) => Some(root.open_path(path)?),
        BindSource::Host(_) | BindSource::Tree(_) | BindSource::Image(_) | BindSource::Temporary => {
            return Err(SysError::new("prepare", "a bind of the host", Errno::INVAL));
        }
    };
    // What is bound on itself is open already.
    let mount = clone_mount(source.as_ref().unwrap_or(&at), Path::new(""), recursive)?;
    if !(set.is_empty() && clear.is_empty()) {
        set_mount_attributes(&mount, set, clear, recursive)?;
    }
    attach_mount(mount, at)
}

/// sysfs as a container sees it: a whole one is mounted first (its parts can only be cloned from an attached mount),
/// then covered by a tmpfs with the parts.
fn sysfs(root: &Root, target: &Path, parts: &[&str]) -> SysResult<()> {
    let flags = MountAttributes::MOUNT_ATTR_NOSUID
        | MountAttributes::MOUNT_ATTR_NODEV
        | MountAttributes::MOUNT_ATTR_NOEXEC
        | MountAttributes::MOUNT_ATTR_RDONLY;
    let at = directory(root, target, 0o755)?;
    attach_mount(new_file_system("sysfs", &[], flags)?, at)?;
    let mut clones = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(source) = root.find(target.join(part))? {
            clones.push((*part, clone_mount(source, Path::new(""), false)?));
        }
    }
    let cover = FsContext::new("tmpfs")?
        .set("mode", "0555")?
        .set("size", "4m")?
        .set("nr_inodes", "1k")?
        .mount(flags - MountAttributes::MOUNT_ATTR_RDONLY)?;
    attach_mount(&cover, root.open_path(target)?)?;
    for (part, clone) in clones {
        attach_mount(clone, make_directory_at(&cover, part, 0o755)?)?;
    }
    let fs = make_directory_at(&cover, "fs", 0o755)?;
    make_directory_at(fs, "cgroup", 0o755)?;
    set_mount_attributes(&cover, MountAttributes::MOUNT_ATTR_RDONLY, MountAttributes::empty(), false)
}

/// `--pivot-root=`: makes a directory of `root` (attached) the root instead, and gives that. The one before it goes to
/// OLD of the new one, or away. Later mounts go to the new one, the API file systems among them (systemd-nspawn(1)).
///
/// # Errors
/// When the tree has no such directory.
pub fn pivot(root: Root, pivot: &PivotRoot) -> SysResult<Root> {
    let new = clone_mount(root.open_path(&pivot.new)?, Path::new(""), true)?;
    let old = clone_mount(&root, Path::new(""), true)?;
    attach_mount(&new, &root)?;
    let new = Root::from_fd(new, "/");
    if let Some(path) = &pivot.old {
        attach_mount(old, directory(&new, path, 0o755)?)?;
    }
    Ok(new)
}

/// Makes `root` (attached) the root of this mount namespace, and lets the old one go.
///
/// The new root propagates: services of the guest with mount namespaces of their own see later mounts
/// (systemd-nspawn does the same).
///
/// # Errors
/// When the kernel refuses.
pub fn enter_root(root: &Root) -> SysResult<()> {
    use crate::sys::mount::{detach_current_directory, pivot_root_to_current_directory};
    sys("fchdir", rustix::process::fchdir(root), || FdPath::of(root).to_string())?;
    pivot_root_to_current_directory()?;
    detach_current_directory()?;
    change_directory_to_root()?;
    set_propagation(crate::sys::mount::root_directory()?, Propagation::Shared, true)
}

fn change_directory_to_root() -> SysResult<()> {
    sys("chdir", rustix::process::chdir("/"), || "\"/\"".to_owned())
}
