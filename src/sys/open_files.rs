//! Files of ours that are open, as paths: `/proc/self/fd`, held open from before we went elsewhere.
//!
//! A process that joins a machine finds the guest's /proc at /proc, which knows it not and may be anything at all. What it
//! has open it reaches by this.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::files::{open_at, open_directory};
use super::{FdPath, SysResult, sys};

/// The directory of our open files, of the proc file system that was ours when it was opened.
#[derive(Debug)]
pub struct OpenFiles(OwnedFd);

impl OpenFiles {
    /// Opens that of this process: a child opens its own.
    pub fn of_this_process() -> SysResult<Self> {
        open_directory(Path::new("/proc/self/fd")).map(Self)
    }

    /// Opens for `flags` the very file that `place` (`O_PATH`) stands for; nothing is resolved again.
    pub fn reopen(&self, place: impl AsFd, flags: OFlags) -> SysResult<OwnedFd> {
        open_at(&self.0, place.as_fd().as_raw_fd().to_string(), flags, Mode::empty())
    }

    /// Unmounts, lazily, the mount whose root `place` (`O_PATH`) is. The working directory is another afterwards.
    pub fn detach_mount(&self, place: impl AsFd) -> SysResult<()> {
        sys("fchdir", rustix::process::fchdir(&self.0), || FdPath::of(&self.0).to_string())?;
        let number = place.as_fd().as_raw_fd().to_string();
        sys("umount2", rustix::mount::unmount(&number, UnmountFlags::DETACH), || {
            format!("{}, MNT_DETACH", FdPath::of(&place))
        })
    }
}
