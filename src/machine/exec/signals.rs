//! Our own signals while a command runs: they are heard by an fd, and ours again when it is over.

use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::SysResult;
use crate::sys::signal::{SignalFd, SignalSet};

/// What we hear of.
const HEARD: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];

/// What would stop us when the terminal is somebody else's.
const BLOCKED: [i32; 2] = [libc::SIGTTIN, libc::SIGTTOU];

/// The signals that would end us.
pub(super) fn ends(signal: i32) -> bool {
    matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT)
}

/// The signal mask as it was, ours alone. It is had back when it is over, however that is: a caller who tries again must be
/// ended by a signal that comes meanwhile.
#[derive(Debug)]
struct Mask(SignalSet);

impl Drop for Mask {
    fn drop(&mut self) {
        let _ = self.0.set_mask();
    }
}

/// Signals that are heard. Dropped, they are as they were before.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    _before: Mask,
}

impl Signals {
    /// Hears them from now on.
    ///
    /// # Errors
    /// When there can be no fd for that.
    pub(super) fn take() -> SysResult<Self> {
        let before = Mask(SignalSet::of(&[&HEARD[..], &BLOCKED[..]].concat()).block()?);
        Ok(Self { fd: SignalFd::open(&SignalSet::of(&HEARD))?, _before: before })
    }

    /// The next that has come.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&self) -> SysResult<Option<i32>> {
        Ok(self.fd.read()?.map(|signal| signal.signal))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
