//! Mounts of host root's that the guest must not loosen.
//!
//! A guest's root may change flags of every mount in its mount namespace, say make `--bind-ro=` writable, unless the
//! flags are locked. The kernel locks them when a mount namespace is copied for another user namespace
//! (mount_namespaces(7), "Restrictions on mount namespaces"), and not when a mount is moved there. So what host root has
//! made is attached in the supervisor's mount namespace, below the machine's directory, and the leader clones it from the
//! copy that its own namespace begins with.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::SysResult;
use crate::sys::files::{make_directory_at, open_at, open_directory};
use crate::sys::mount::{FsContext, MountAttributes, attach_mount, clone_mount, detach_mount};

use super::prepare::Prepared;

/// Where in the machine's directory they are, each by the number of its operation.
pub const PLACE: &str = "staged";

/// Attaches all that was prepared below `machine`, in place of what was staged for an earlier boot.
///
/// # Errors
/// When the kernel refuses.
pub fn stage(prepared: Vec<Prepared>, machine: &Path) -> SysResult<Vec<Prepared>> {
    if !prepared.iter().any(|one| matches!(one, Prepared::Mount { .. })) {
        return Ok(prepared);
    }
    let place = machine.join(PLACE);
    match detach_mount(&place) {
        // Nothing is mounted there: the first boot.
        Err(error) if error.errno() != Errno::INVAL => return Err(error),
        _ => {}
    }
    // Mount points of our own, that go with it.
    let directory = FsContext::new("tmpfs")?.set("mode", "0755")?.mount(MountAttributes::empty())?;
    attach_mount(&directory, open_directory(&place)?)?;
    prepared.into_iter().enumerate().map(|(index, prepared)| stage_one(&directory, index, prepared)).collect()
}

fn stage_one(directory: &OwnedFd, index: usize, prepared: Prepared) -> SysResult<Prepared> {
    let Prepared::Mount { mount, is_directory } = prepared else { return Ok(prepared) };
    let name = index.to_string();
    let point = if is_directory {
        make_directory_at(directory, &name, 0o755)?
    } else {
        open_at(directory, &name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::empty())?
    };
    attach_mount(mount, point)?;
    Ok(Prepared::Staged { is_directory })
}

/// For the leader: detached clones, with their flags locked, of what was staged below `machine`.
///
/// # Errors
/// When one is not there.
pub fn take(prepared: Vec<Prepared>, machine: &Path) -> SysResult<Vec<Prepared>> {
    let place: PathBuf = machine.join(PLACE);
    let take_one = |(index, prepared)| match prepared {
        Prepared::Staged { is_directory } => {
            let mount = clone_mount(CWD, &place.join(usize::to_string(&index)), true)?;
            Ok(Prepared::Mount { mount, is_directory })
        }
        other => Ok(other),
    };
    prepared.into_iter().enumerate().map(take_one).collect()
}
