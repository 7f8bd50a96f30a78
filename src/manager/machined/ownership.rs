//! Whose a process is, for programs that register it as a machine: of those that are not root, only their own is taken.
//!
//! What runs in a user namespace has ids of a range that is nobody's; it is its maker's (ioctl_nsfs(2), NS_GET_OWNER_UID).

use rustix::fs::{CWD, Mode, OFlags};

use crate::sys::files::{open_at, read_at};
use crate::sys::process::user_namespace_owner;

/// Whether process `pid` is one of user `uid`: by all of its ids, or by the user namespace that it is in.
pub fn is_owned_by(pid: i32, uid: u32) -> bool {
    let status = read_at(CWD, format!("/proc/{pid}/status"), 1 << 16).unwrap_or_default();
    has_ids(&String::from_utf8_lossy(&status), uid) || made_its_namespace(pid, uid)
}

/// The line `Uid:` of proc_pid_status(5): real, effective, saved, of the file system.
fn has_ids(status: &str, uid: u32) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let ids: Vec<Option<u32>> = ids.split_ascii_whitespace().map(|id| id.parse().ok()).collect();
    ids.len() == 4 && ids.iter().all(|id| *id == Some(uid))
}

fn made_its_namespace(pid: i32, uid: u32) -> bool {
    let namespace = |process: &str| {
        open_at(CWD, format!("/proc/{process}/ns/user").as_str(), OFlags::RDONLY, Mode::empty()).ok()
    };
    let inode = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino).ok();
    let (Some(its), Some(ours)) = (namespace(&pid.to_string()), namespace("self")) else { return false };
    inode(&its) != inode(&ours) && user_namespace_owner(&its).is_ok_and(|owner| owner == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let table = [
            ("Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\n", true),
            // Set-user-ID programs are root's.
            ("Uid:\t7\t0\t0\t0\n", false),
            ("Uid:\t7\t7\t0\t7\n", false),
            ("Uid:\t77\t77\t77\t77\n", false),
            ("Uid:\t7\t7\t7\n", false),
            ("Uid:\n", false),
            ("", false),
        ];
        for (status, owned) in table {
            assert_eq!(has_ids(status, 7), owned, "{status:?}");
        }
    }

    #[test]
    fn of_ourselves() {
        let (pid, uid) = (std::process::id().cast_signed(), rustix::process::geteuid().as_raw());
        assert!(is_owned_by(pid, uid) && !is_owned_by(pid, uid + 1) && !is_owned_by(-1, uid));
    }
}
