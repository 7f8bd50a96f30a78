//! Pipes that carry much: their size, moving data without copying it to us (splice(2)), waiting for several fds (poll(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::{FdPath, SysError, SysResult, sys};

/// Makes a pipe, close-on-exec: the end to read and the end to write. It holds `size` bytes if we may have so many
/// (pipe(7), /proc/sys/fs/pipe-max-size).
pub fn pipe(size: usize) -> SysResult<(OwnedFd, OwnedFd)> {
    let (read, write) = sys("pipe2", rustix::pipe::pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())?;
    // A smaller one is slower and does the same.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, size);
    Ok((read, write))
}

/// Has reads and writes of `fd` fail with EAGAIN where they would wait.
pub fn do_not_block(fd: impl AsFd) -> SysResult<()> {
    let flags =
        rustix::fs::fcntl_getfl(&fd).and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    sys("fcntl", flags, || format!("{}, F_SETFL, O_NONBLOCK", FdPath::of(&fd)))
}

/// Moves at most `length` bytes from `from` to `to`, one of which is a pipe, each at its own offset or at the one given.
/// Does not wait for a pipe if `wait` is false.
///
/// # Errors
/// The bare errno, since EAGAIN and EINVAL (these two cannot be spliced) are for the caller to act on.
pub fn splice(
    from: (impl AsFd, Option<&mut u64>),
    to: (impl AsFd, Option<&mut u64>),
    length: usize,
    wait: bool,
) -> Result<usize, Errno> {
    let flags = if wait { SpliceFlags::MOVE } else { SpliceFlags::MOVE | SpliceFlags::NONBLOCK };
    rustix::pipe::splice(from.0, from.1, to.0, to.1, length, flags)
}

/// Waits until one of `fds` has one of its events, or has been hung up, or until `timeout` has passed. Says which are so.
pub fn wait_for_any<const N: usize>(
    fds: [(BorrowedFd<'_>, PollFlags); N],
    timeout: Option<Duration>,
) -> SysResult<[bool; N]> {
    let mut polled = fds.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events));
    let timeout = timeout.map(super::timeout::timeout);
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => Ok(polled.map(|fd| !fd.revents().is_empty())),
        Err(Errno::INTR) => Ok([false; N]),
        Err(errno) => Err(SysError::new("poll", format!("{N} fds"), errno)),
    }
}
