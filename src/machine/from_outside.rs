//! What of a machine is had without entering it: by the root of its leader, `/proc/PID/root` (proc_pid_root(5)).
//!
//! A file there is the guest's, and is opened only after it was seen to be what it should be. Works for machines of others too:
//! all it takes is a process.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::exec::PTMX;
use super::handle::Leader;
use crate::guest::os_release::OsRelease;
use crate::guest::tree;
use crate::sys::in_root::{Metadata, Root, reopen};
use crate::sys::process::ends_within;
use crate::sys::{SysError, SysResult, sys, tty};

/// The root directory of `leader`.
///
/// # Errors
/// ESRCH when it has ended; EACCES for who may not.
pub fn root(leader: &Leader) -> SysResult<Root> {
    let root = Root::open(format!("/proc/{}/root", leader.pid.as_raw_nonzero()))?;
    // Until now the pid was its own, and so is what was opened by it.
    if ends_within(&leader.pidfd, Duration::ZERO)? {
        return Err(SysError::new("open", "the root of a process that has ended", Errno::SRCH));
    }
    Ok(root)
}

/// The same as a directory that can be read.
///
/// # Errors
/// As [`root`].
pub fn root_directory(leader: &Leader) -> SysResult<OwnedFd> {
    root(leader)?.open_file("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// What it says it is; `None` where it says nothing.
///
/// # Errors
/// As [`root`].
pub fn os_release(leader: &Leader) -> SysResult<Option<OsRelease>> {
    Ok(tree::os_release(&root(leader)?).unwrap_or_default())
}

/// A new pty of the machine's: the master, and the path of its slave there, which belongs to `owner`.
///
/// # Errors
/// As [`root`]; ENODEV where the machine has no devpts.
pub fn new_terminal(leader: &Leader, owner: u32) -> SysResult<(OwnedFd, String)> {
    let place = root(leader)?.open_path("dev/pts/ptmx")?;
    let stat = *Metadata::of(&place)?.stat();
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != PTMX {
        return Err(SysError::new("openat2", "/dev/pts/ptmx, which is no ptmx", Errno::NODEV));
    }
    let master = reopen(&place, OFlags::RDWR | OFlags::NOCTTY)?;
    tty::unlock_slave(&master)?;
    let slave = tty::open_slave(&master)?;
    let uid = rustix::fs::Uid::from_raw(owner);
    sys("fchown", rustix::fs::fchown(&slave, Some(uid), None), || format!("a pty, {owner}"))?;
    let path = slave_path(&master)?;
    Ok((master, path))
}

/// The path of a master's slave, in the machine that it is of.
///
/// # Errors
/// When it is no master.
pub fn slave_path(master: &OwnedFd) -> SysResult<String> {
    tty::slave_number(master).map(|number| format!("/dev/pts/{number}"))
}
