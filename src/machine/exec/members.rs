//! The processes of a command's session, and signals to all of them.
//!
//! A session outlives its processes' parents and groups: a shell's background jobs are in it, a daemon that called
//! setsid(2) has left it on purpose. Its number is that of the command, which is our child: as long as we have not reaped
//! it, no other process and no other session can have that number.

use rustix::fs::CWD;
use rustix::process::Pid;

use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::process::{pidfd_open, pidfd_send_signal, signal_group};

/// Between a look and the signal new members may have come: so often it is looked again.
const LOOKS: usize = 16;

/// Sends `signal` to the command's process group, or before it has one to itself.
pub(super) fn signal_command(command: Pid, signal: i32) {
    if signal_group(command, signal).is_err()
        && let Ok(pidfd) = pidfd_open(command)
    {
        // It has ended.
        let _ = pidfd_send_signal(pidfd, signal);
    }
}

/// Sends `signal` to every process of the session `leader`.
pub(super) fn signal_session(leader: Pid, signal: i32) {
    signal_command(leader, signal);
    for pid in members(leader) {
        signal_member(pid, leader, signal);
    }
}

/// Kills every process of the session, those that are made meanwhile too.
pub(super) fn kill_session(leader: Pid) {
    signal_command(leader, libc::SIGKILL);
    for _ in 0..LOOKS {
        let members = members(leader);
        if members.is_empty() {
            break;
        }
        for pid in members {
            signal_member(pid, leader, libc::SIGKILL);
        }
    }
}

fn signal_member(pid: Pid, leader: Pid, signal: i32) {
    if let Ok(pidfd) = pidfd_open(pid)
        && is_member(pid, leader)
    {
        // It has ended.
        let _ = pidfd_send_signal(pidfd, signal);
    }
}

/// Those that live.
fn members(leader: Pid) -> Vec<Pid> {
    let Ok(listed) = open_directory(std::path::Path::new("/proc")).and_then(entries) else {
        return Vec::new();
    };
    listed
        .iter()
        .filter_map(|(name, _)| name.to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| is_member(*pid, leader))
        .collect()
}

fn is_member(pid: Pid, leader: Pid) -> bool {
    let stat = read_at(CWD, format!("/proc/{}/stat", pid.as_raw_nonzero()), 4096);
    stat.is_ok_and(|stat| session(&String::from_utf8_lossy(&stat)) == Some(leader.as_raw_nonzero().get()))
}

/// The session of a process that lives (proc_pid_stat(5), fields 3 and 6).
fn session(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") { None } else { fields.nth(2)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions() {
        let table = [
            ("12 (sh) S 1 12 12 0 -1", Some(12)),
            ("13 (a) Z (b) R 1 12 7 34816 13", Some(7)),
            ("13 (sh) Z 1 12 12 0", None),
            ("13 (sh)", None),
            ("", None),
        ];
        for (stat, expected) in table {
            assert_eq!(session(stat), expected, "{stat:?}");
        }
    }
}
