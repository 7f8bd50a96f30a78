//! Paths of a stream, and the directories that they lead through: by fds, a component at a time.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};

use crate::sys::files::open_at;
use crate::sys::{FdPath, SysResult, sys};

/// The components of a path in a stream, without empty ones and `.`; `None` if it leads upwards. Leading slashes are
/// dropped, as tar(1) does.
pub(super) fn components(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return None,
            name => components.push(name.to_vec()),
        }
    }
    Some(components)
}

/// Enters the directory `name` of `parent`: itself, never through a link.
pub(super) fn open_directory(parent: impl AsFd, name: &[u8]) -> SysResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    open_at(parent, OsStr::from_bytes(name), flags, Mode::empty())
}

/// Makes the directory `name` of `parent`.
pub(super) fn make_directory(parent: impl AsFd, name: &[u8], mode: u32) -> SysResult<()> {
    let name = OsStr::from_bytes(name);
    sys("mkdirat", rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)), || {
        format!("{}, {name:?}, {mode:o}", FdPath::of(&parent))
    })
}
