//! Word of files that go from a directory or change in it (F_NOTIFY, fcntl(2)).
//!
//! Not inotify: a hundred supervisors would use up root's budget of instances (128, fs.inotify.max_user_instances), which
//! services of the host need. This takes one fd, and no budget.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::files::open_directory_at;
use super::{FdPath, SysResult, check, sys};

/// The signal that tells of it: blocked, and taken by signalfd.
pub const SIGNAL: i32 = libc::SIGIO;

/// DN_DELETE and DN_MULTISHOT (linux/fcntl.h): tell of each file that goes, and not of the first alone.
const EVENTS: libc::c_ulong = 0x0000_0008 | 0x8000_0000;

/// The same with DN_MODIFY, DN_CREATE and DN_RENAME: whatever may change what a name stands for.
const CHANGES: libc::c_ulong = EVENTS | 0x0000_0002 | 0x0000_0004 | 0x0000_0010;

/// While it lives, the kernel sends us [`SIGNAL`] whenever a file goes from a directory, by unlink(2), by rmdir(2) or to
/// another directory by rename(2).
#[derive(Debug)]
pub struct DirectoryWatch {
    /// Its own: the watch goes with the first fd of the open file description that this process closes, duplicates
    /// included (dnotify_flush() in fs/notify/dnotify/dnotify.c).
    _directory: OwnedFd,
}

impl DirectoryWatch {
    /// Watches what `directory` refers to.
    ///
    /// # Errors
    /// EINVAL where the kernel was built without (CONFIG_DNOTIFY).
    pub fn begin(directory: &impl AsFd) -> SysResult<Self> {
        Self::of(directory, EVENTS)
    }

    /// Watches what `directory` refers to for new contents of its files too, those that are written and those that are put in place.
    ///
    /// # Errors
    /// As [`DirectoryWatch::begin`].
    pub fn begin_for_changes(directory: &impl AsFd) -> SysResult<Self> {
        Self::of(directory, CHANGES)
    }

    fn of(directory: &impl AsFd, events: libc::c_ulong) -> SysResult<Self> {
        let own = open_directory_at(directory, ".")?;
        tell_of(&own, events)?;
        Ok(Self { _directory: own })
    }
}

fn tell_of(directory: &impl AsFd, events: libc::c_ulong) -> SysResult<()> {
    // SAFETY: the fd is borrowed for the length of the call; the arguments are integers.
    let result = unsafe { libc::fcntl(directory.as_fd().as_raw_fd(), libc::F_NOTIFY, events) };
    sys("fcntl", check(result.into()).map(drop), || {
        format!("{}, F_NOTIFY, {events:#x}", FdPath::of(directory))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::fork::fork_from_test;
    use crate::sys::process::{Ended, wait_for_end};
    use crate::sys::signal::{SignalSet, wait_for};

    /// In a child: the signal goes to the process, and other tests' threads are of it.
    #[test]
    fn deletions_are_told() {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::write(directory.path().join("file"), "").expect("write");
        let handle = std::fs::File::open(directory.path()).expect("open");
        let file = directory.path().join("file");
        let child = fork_from_test(|| {
            let set = SignalSet::of(&[SIGNAL]);
            let waited = |patience: u64| wait_for(&set, Some(Duration::from_millis(patience)));
            let watch = set.block().and_then(|_| DirectoryWatch::begin(&handle));
            let before = watch.as_ref().map_err(|_| ()).and_then(|_| waited(1).map_err(|_| ()));
            let removed = rustix::fs::unlink(&file);
            let after = waited(10_000);
            i32::from(!(matches!(before, Ok(None)) && removed.is_ok() && matches!(after, Ok(Some(SIGNAL)))))
        });
        assert_eq!(wait_for_end(child.expect("fork")).expect("wait"), Ended::Exited(0));
    }
}
