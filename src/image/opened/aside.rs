//! Mounting where nobody sees it: overlays want their layers attached somewhere (kernels before 6.13), and binds are put
//! into a root while that is attached.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

use crate::sys::files::open_at;
use crate::sys::mount::{
    FsContext, MountAttributes, Propagation, attach_mount, root_directory, set_propagation,
};
use crate::sys::process::{Namespaces, join_mount_namespace, unshare};
use crate::sys::{SysError, SysResult, sys};

/// Does `work` in a mount namespace of this thread's own, with an empty directory in it for mounts, and comes back. What
/// is to stay is a detached clone: all else is gone then.
pub(in crate::image) fn aside<T, E: From<SysError>>(
    work: impl FnOnce(&OwnedFd) -> Result<T, E>,
) -> Result<T, E> {
    let before = open_at(CWD, "/proc/thread-self/ns/mnt", OFlags::RDONLY, Mode::empty())?;
    // Joining a mount namespace leads to its root. A directory that cannot be opened cannot be come back to either.
    let directory = open_at(CWD, ".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok();
    unshare(Namespaces::NEWNS)?;
    let done = place().map_err(E::from).and_then(|place| work(&place));
    join_mount_namespace(&before)?;
    if let Some(directory) = directory {
        sys("fchdir", rustix::process::fchdir(&directory), || "the directory of before".to_owned())?;
    }
    done
}

/// An empty directory, mounted over the root, where no path of ours comes by.
fn place() -> SysResult<OwnedFd> {
    let root = root_directory()?;
    set_propagation(&root, Propagation::Slave, true)?;
    let place = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
    attach_mount(&place, &root)?;
    Ok(place)
}
