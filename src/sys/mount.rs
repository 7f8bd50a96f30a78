//! The new mount API (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)): mounts as fds.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
    move_mount, open_tree, unmount,
};

use super::{FdPath, Flags, SysError, SysResult, sys};

/// Flags of one mount (mount_setattr(2)).
pub use rustix::mount::MountAttrFlags as MountAttributes;

/// How mounts below a mount reach its peers (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// To and from peers.
    Shared,
    /// From the master only.
    Slave,
    /// Not at all.
    Private,
}

/// A file system being configured (fsopen(2)).
#[derive(Debug)]
pub struct FsContext {
    kind: &'static str,
    fd: OwnedFd,
}

impl FsContext {
    /// Starts a new superblock of file system `kind`.
    ///
    /// # Errors
    /// ENODEV where the kernel has no such file system, EPERM without CAP_SYS_ADMIN in the mount namespace's owner.
    pub fn new(kind: &'static str) -> SysResult<Self> {
        let fd = sys("fsopen", fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC), || format!("{kind:?}"))?;
        Ok(Self { kind, fd })
    }

    /// Sets `key=value`.
    pub fn set(self, key: &str, value: &str) -> SysResult<Self> {
        let result = fsconfig_set_string(&self.fd, key, value);
        self.check(result, || format!("FSCONFIG_SET_STRING, {key:?}, {value:?}"))
    }

    /// Sets the flag `key`.
    pub fn flag(self, key: &str) -> SysResult<Self> {
        let result = fsconfig_set_flag(&self.fd, key);
        self.check(result, || format!("FSCONFIG_SET_FLAG, {key:?}"))
    }

    /// Makes the superblock and a detached mount of it.
    ///
    /// # Errors
    /// The kernel's own words on the context (its message log) are part of the error.
    pub fn mount(self, attributes: MountAttributes) -> SysResult<OwnedFd> {
        let result = fsconfig_create(&self.fd);
        let context = self.check(result, || "FSCONFIG_CMD_CREATE".to_owned())?;
        let mounted = fsmount(&context.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        sys("fsmount", mounted, || format!("{:?}, {attributes:?}", context.kind))
    }

    fn check(self, result: Result<(), Errno>, arguments: impl FnOnce() -> String) -> SysResult<Self> {
        match result {
            Ok(()) => Ok(self),
            Err(errno) => {
                let mut text = format!("{:?}, {}", self.kind, arguments());
                for line in self.kernel_log() {
                    text.push_str("; kernel: ");
                    text.push_str(&line);
                }
                Err(SysError::new("fsconfig", text, errno))
            }
        }
    }

    /// The messages that the kernel left on the context (Documentation/filesystems/mount_api.rst, fscontext log).
    fn kernel_log(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0_u8; 1024];
        while let Ok(length) = rustix::io::read(&self.fd, &mut buffer) {
            if length == 0 {
                break;
            }
            lines.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
        }
        lines
    }
}

/// Mounts a new file system of `kind` at `target` with `options` (mount(2)): for what fsconfig(2) cannot say, whose values
/// have 255 bytes.
///
/// # Errors
/// The kernel's reason is in its log alone.
pub fn mount_with_options(kind: &str, target: &str, options: &str) -> SysResult<()> {
    let describe = || format!("{kind:?}, {target:?}, {kind:?}, 0, {options:?}");
    let data =
        std::ffi::CString::new(options).map_err(|_| SysError::new("mount", describe(), Errno::INVAL))?;
    let flags = rustix::mount::MountFlags::empty();
    sys("mount", rustix::mount::mount(kind, target, kind, flags, data.as_c_str()), describe)
}

/// Makes the superblock of the mount `mount` writable again (fspick(2)); the flags of the mount itself stay.
pub fn make_superblock_writable(mount: impl AsFd) -> SysResult<()> {
    let describe = || FdPath::of(&mount).to_string();
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = sys("fspick", fspick(&mount, "", flags), describe)?;
    sys("fsconfig", fsconfig_set_flag(&context, "rw"), || {
        format!("{}, FSCONFIG_SET_FLAG, \"rw\"", describe())
    })?;
    sys("fsconfig", fsconfig_reconfigure(&context), || format!("{}, FSCONFIG_CMD_RECONFIGURE", describe()))
}

/// A detached copy of the mount at `path` below `directory` (an empty path is `directory` itself), with its submounts
/// if `recursive`.
pub fn clone_mount(directory: impl AsFd, path: &Path, recursive: bool) -> SysResult<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    sys("open_tree", open_tree(&directory, path, flags), || {
        format!("{}, {path:?}, {}", FdPath::of(&directory), Flags(flags))
    })
}

/// Attaches the detached mount `mount` on what `target` refers to.
pub fn attach_mount(mount: impl AsFd, target: impl AsFd) -> SysResult<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    sys("move_mount", move_mount(&mount, "", &target, "", flags), || {
        format!("{}, \"\", {}, \"\", {}", FdPath::of(&mount), FdPath::of(&target), Flags(flags))
    })
}

/// Changes flags of the mount `mount`, and of all below it if `recursive`.
pub fn set_mount_attributes(
    mount: impl AsFd,
    set: MountAttributes,
    clear: MountAttributes,
    recursive: bool,
) -> SysResult<()> {
    let attributes = libc::mount_attr {
        attr_set: u64::from(set.bits()),
        attr_clr: u64::from(clear.bits()),
        propagation: 0,
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), &attributes, recursive, || format!("set {set:?}, clear {clear:?}"))
}

/// Maps the ids of the detached mount `mount` by the user namespace `user_namespace`
/// (mount_setattr(2), MOUNT_ATTR_IDMAP, Linux 5.12).
///
/// # Errors
/// EINVAL where the file system cannot be mapped, or is attached or mapped already.
pub fn map_mount_ids(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> SysResult<()> {
    let namespace = user_namespace.as_fd().as_raw_fd();
    let attributes = libc::mount_attr {
        attr_set: u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()),
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(namespace.unsigned_abs()),
    };
    mount_setattr(mount.as_fd(), &attributes, recursive, || format!("MOUNT_ATTR_IDMAP by fd {namespace}"))
}

/// Sets how mounts at and (if `recursive`) below `mount` propagate.
pub fn set_propagation(mount: impl AsFd, propagation: Propagation, recursive: bool) -> SysResult<()> {
    let attributes = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: match propagation {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
        },
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), &attributes, recursive, || format!("{propagation:?}"))
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    recursive: bool,
    describe: impl FnOnce() -> String,
) -> SysResult<()> {
    let recursion = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::AT_EMPTY_PATH | recursion;
    // SAFETY: the path is a NUL-terminated literal; `attributes` is a live mount_attr whose size is passed along, and
    // the kernel only reads it; the fd is borrowed for the length of the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    sys("mount_setattr", super::check(result).map(drop), || {
        let below = if recursive { ", AT_RECURSIVE" } else { "" };
        format!("{}, {}{below}", FdPath(mount), describe())
    })
}

/// Makes the current directory, a mount point, the root of this mount namespace, and stacks the old root on it
/// (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_root_to_current_directory() -> SysResult<()> {
    sys("pivot_root", rustix::process::pivot_root(".", "."), || "\".\", \".\"".to_owned())
}

/// Detaches the mount on top of the current directory, lazily.
pub fn detach_current_directory() -> SysResult<()> {
    sys("umount2", unmount(".", UnmountFlags::DETACH), || "\".\", MNT_DETACH".to_owned())
}

/// Detaches the mount at `path`, lazily, without following a symlink at its end.
pub fn detach_mount(path: &Path) -> SysResult<()> {
    sys("umount2", unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW), || {
        format!("{path:?}, MNT_DETACH|UMOUNT_NOFOLLOW")
    })
}

/// An fd of the mount namespace's root mount as this process sees it.
pub fn root_directory() -> SysResult<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    sys("openat", rustix::fs::openat(CWD, "/", flags, Mode::empty()), || "AT_FDCWD, \"/\", O_PATH".to_owned())
}
