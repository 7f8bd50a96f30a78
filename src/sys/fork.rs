//! Copying our process, and ending it without ceremony (fork(2), _exit(2), close_range(2)).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::process_title::thread_count;
use super::{SysError, SysResult, sys};

/// Runs `child` in a forked copy of this process, which then exits with what it returned. In the parent: the child's pid.
///
/// Fails with EBUSY in a process of more than one thread: a lock held by another thread would stay locked for ever in
/// the child.
pub fn fork(child: impl FnOnce() -> i32) -> SysResult<Pid> {
    if thread_count()? != 1 {
        return Err(SysError::new("fork", "more than one thread", Errno::BUSY));
    }
    fork_unchecked(child)
}

fn fork_unchecked(child: impl FnOnce() -> i32) -> SysResult<Pid> {
    // SAFETY: this process has no other thread (checked by `fork`), so that no lock can be held in the child by a thread
    // that does not exist there. A panic of `child` cannot reach the parent's frames: it ends in `exit_now`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(libc::EXIT_FAILURE);
        exit_now(code);
    }
    match Pid::from_raw(pid) {
        Some(pid) if pid.as_raw_pid() > 0 => Ok(pid),
        _ => {
            let error = std::io::Error::last_os_error();
            let errno = Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
            Err(SysError::new("fork", String::new(), errno))
        }
    }
}

/// Forks from a test's thread. Only glibc's care for its own locks makes that tolerable: the child must touch no other.
#[cfg(test)]
pub(crate) fn fork_from_test(child: impl FnOnce() -> i32) -> SysResult<Pid> {
    fork_unchecked(child)
}

/// Unshares in a child of [`fork_from_test`].
#[cfg(test)]
pub(crate) fn unshare_in_test(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the caller has one thread and does not unshare its fd table.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends this process at once: no destructors, no exit handlers, nothing flushed (_exit(2)).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any number and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Makes `fd` number `number`, open in what is executed next. Only for a process that is about to execute: whatever else had
/// that number is closed.
pub fn pass_as(fd: OwnedFd, number: i32) -> SysResult<()> {
    let old = fd.as_raw_fd();
    if old == number {
        // It stays open; dup2 to itself would keep it close-on-exec.
        std::mem::forget(fd);
        return super::process::keep_on_exec(number.unsigned_abs());
    }
    // SAFETY: no memory is involved. That nobody uses what had the number is the caller's promise, as documented.
    let result = unsafe { libc::dup2(old, number) };
    sys("dup2", super::check(result.into()).map(drop), || format!("{old}, {number}"))
}

/// Takes the fd that was passed to this program as `number` ([`pass_as`]), close-on-exec from here on. Once, and before
/// anything else is opened.
pub fn take_inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: only flags are changed; EBADF when there is none.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    super::check(result.into()).ok()?;
    // SAFETY: it is open, as the call before says, and was passed to us: by the contract nobody else has taken it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every fd from `first` on (close_range(2), Linux 5.9). Only for a process that owns none of them any more in
/// any variable that it will use or drop: an image about to exit with [`exit_now`] or to exec.
pub fn close_from(first: u32) -> SysResult<()> {
    close_range(first, libc::c_uint::MAX)
}

/// As [`close_from`], but leaves `kept` open.
pub fn close_from_but(first: u32, kept: &[BorrowedFd<'_>]) -> SysResult<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut next = first;
    for kept in kept {
        if kept > next {
            close_range(next, kept - 1)?;
        }
        next = next.max(kept + 1);
    }
    close_range(next, libc::c_uint::MAX)
}

fn close_range(first: u32, last: u32) -> SysResult<()> {
    // SAFETY: no memory is involved. That nobody uses the fds afterwards is the callers' promise, as documented; a breach
    // of it is an EBADF.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    sys("close_range", super::check(result).map(drop), || format!("{first}, {last}, 0"))
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    #[test]
    fn a_child_exits_with_its_answer() {
        let pid = fork_from_test(|| 42).expect("fork");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
        assert_eq!(status.exit_status(), Some(42));
    }

    #[test]
    fn a_forked_child_is_single_threaded_and_may_fork() {
        let pid = fork_from_test(|| match fork(|| 7) {
            Ok(pid) => match waitpid(Some(pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => status.exit_status().unwrap_or(1),
                _ => 2,
            },
            Err(_) => 3,
        })
        .expect("fork");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
        assert_eq!(status.exit_status(), Some(7));
    }

    #[test]
    fn threads_forbid_forking() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().is_err());
        let error = fork(|| 0).expect_err("two threads");
        assert_eq!(error.errno(), Errno::BUSY);
        drop(stop);
        assert!(thread.join().expect("join"));
    }
}
