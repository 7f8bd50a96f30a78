//! Files of ours that are open, as paths: `/proc/self/fd`, held open from before we went elsewhere.
//!
//! A process that joins a machine finds the guest's /proc at /proc, which knows it not and may be anything at all. What it
//! has open it reaches by this.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::files::{open_at, open_directory};
use super::{FdPath, SysError, SysResult, sys};

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

    /// chmod(2) of the very file that `place` (`O_PATH`) stands for: no link, which has no mode of its own.
    pub fn change_mode(&self, place: impl AsFd, mode: u32) -> SysResult<()> {
        let number = place.as_fd().as_raw_fd().to_string();
        let changed =
            rustix::fs::chmodat(&self.0, &number, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty());
        sys("fchmodat", changed, || format!("{}, {mode:o}", FdPath::of(&place)))
    }

    /// The extended attribute `name` of the very file that `place` (`O_PATH`) stands for, if it has it.
    pub fn attribute(&self, place: impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
        let mut value = Vec::with_capacity(super::attributes::LIMIT);
        match rustix::fs::getxattr(path_of(&place), name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(SysError::new("getxattr", FdPath::of(&place).to_string(), errno)),
        }
    }

    /// Sets the extended attribute `name` of the very file that `place` (`O_PATH`) stands for.
    pub fn set_attribute(&self, place: impl AsFd, name: &[u8], value: &[u8]) -> SysResult<()> {
        let set = rustix::fs::setxattr(path_of(&place), name, value, rustix::fs::XattrFlags::empty());
        sys("setxattr", set, || FdPath::of(&place).to_string())
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

/// Calls on attributes take no directory (before Linux 6.13): only where /proc is ours.
fn path_of(place: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", place.as_fd().as_raw_fd())
}
