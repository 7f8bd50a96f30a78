//! A signal to every process of a cgroup and of those below it (cgroups(7)).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys::SysResult;
use crate::sys::files::{entries, open_directory_at, read_at, write_at};
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// A list of pids larger than this belongs to more processes than a machine has.
const LIST_BYTES: usize = 1 << 20;

/// How deep a guest's cgroups are followed; systemd's are some six levels.
const DEPTH: usize = 32;

/// How often the lists are read again for processes that were forked meanwhile.
const PASSES: usize = 8;

/// Sends `signal` to all of them, each once; says to how many. SIGKILL goes to all at one moment (cgroup.kill, Linux 5.14).
///
/// # Errors
/// EPERM when we may not; what could be signalled has been.
pub fn signal_all(cgroup: &OwnedFd, signal: i32) -> SysResult<usize> {
    if signal == libc::SIGKILL {
        let count = members(cgroup)?.len();
        match write_at(cgroup, "cgroup.kill", b"1") {
            Err(error) if error.errno() == Errno::NOENT => {}
            written => return written.map(|()| count),
        }
    }
    let mut signalled = BTreeMap::new();
    let mut first_fault = None;
    for _ in 0..PASSES {
        let mut fresh = BTreeMap::new();
        for pid in members(cgroup)? {
            if !signalled.contains_key(&pid)
                && let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid).ok())
            {
                fresh.insert(pid, pidfd);
            }
        }
        if fresh.is_empty() {
            break;
        }
        // Read again once the pidfds are had: a pid that is a member now was one when its pidfd was opened, or that process
        // is gone and gets nothing.
        let still = members(cgroup)?;
        for (pid, pidfd) in fresh.into_iter().filter(|(pid, _)| still.contains(pid)) {
            match pidfd_send_signal(&pidfd, signal) {
                Err(error) if error.errno() != Errno::SRCH => drop(first_fault.get_or_insert(error)),
                _ => {}
            }
            // Kept, so that the number is nobody else's until we are done.
            signalled.insert(pid, pidfd);
        }
    }
    first_fault.map_or(Ok(signalled.len()), Err)
}

/// All pids in `cgroup` and below.
fn members(cgroup: &OwnedFd) -> SysResult<Vec<i32>> {
    let mut pids = Vec::new();
    gather(cgroup, DEPTH, &mut pids)?;
    Ok(pids)
}

fn gather(cgroup: &OwnedFd, depth: usize, pids: &mut Vec<i32>) -> SysResult<()> {
    match read_at(cgroup, "cgroup.procs", LIST_BYTES) {
        Ok(list) => pids.extend(
            String::from_utf8_lossy(&list)
                .lines()
                .filter_map(|line| line.parse::<i32>().ok())
                // 0 is a process of another pid namespace than ours.
                .filter(|pid| *pid > 0),
        ),
        // Removed meanwhile, or a threaded cgroup, whose processes are in the list of its root.
        Err(error) if matches!(error.errno(), Errno::NODEV | Errno::NOENT | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    if depth == 0 {
        return Ok(());
    }
    let children = match entries(cgroup) {
        Err(error) if matches!(error.errno(), Errno::NODEV | Errno::NOENT) => return Ok(()),
        children => children?,
    };
    for (name, _) in children.into_iter().filter(|(_, kind)| *kind == FileType::Directory) {
        match open_directory_at(cgroup, &name) {
            Ok(child) => gather(&child, depth - 1, pids)?,
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
