//! Waiting for fds of ours in tokio's loop.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::{FdPath, SysError, SysResult};

/// `fd` in the loop of the tokio runtime that we are in; it must not wait itself (O_NONBLOCK).
///
/// # Errors
/// EPERM for files of the file system, which are always ready (epoll_ctl(2)).
pub fn watched(fd: OwnedFd) -> SysResult<AsyncFd<OwnedFd>> {
    let path = FdPath::of(&fd).to_string();
    // SAFETY: an OwnedFd is open as long as it lives, and gives the same number each time it is asked.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(|error| {
        let errno = Errno::from_io_error(&error.into()).unwrap_or(Errno::IO);
        SysError::new("epoll_ctl", format!("EPOLL_CTL_ADD, {path}"), errno)
    })
}
