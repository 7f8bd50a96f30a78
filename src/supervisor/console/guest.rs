//! The guest's end of the console: the master of its pty, and the slave that is held so that it never hangs up.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex};

use crate::sys::tty::Winsize;
use crate::sys::{FdPath, SysResult, sys, tty};

/// How long a master that reports a hang-up is left alone. It cannot happen while we hold the slave; should it, it costs
/// one wake-up a second and not a processor.
const HANG_UP_PAUSE: Duration = Duration::from_secs(1);

/// The guest's end.
#[derive(Debug)]
pub(super) struct Guest {
    master: OwnedFd,
    /// Only held, see the head of the console's module.
    _slave: OwnedFd,
    hung_up_until: Option<Instant>,
}

impl Guest {
    /// Of `master`, unlocked, of a pty in the guest's devpts.
    ///
    /// # Errors
    /// When its slave cannot be opened.
    pub(super) fn new(master: OwnedFd) -> SysResult<Self> {
        let slave = tty::open_slave(&master)?;
        let flags =
            sys("fcntl", rustix::fs::fcntl_getfl(&master), || format!("{}, F_GETFL", FdPath::of(&master)));
        let flags = flags? | OFlags::NONBLOCK;
        sys("fcntl", rustix::fs::fcntl_setfl(&master, flags), || {
            format!("{}, F_SETFL, |O_NONBLOCK", FdPath::of(&master))
        })?;
        Ok(Self { master, _slave: slave, hung_up_until: None })
    }

    /// Until when it is left alone.
    pub(super) fn hung_up_until(&self) -> Option<Instant> {
        self.hung_up_until
    }

    /// Ends the pause after a hang-up, if it is over by `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.hung_up_until.is_some_and(|until| now >= until) {
            self.hung_up_until = None;
        }
    }

    /// Ends it, whatever the time.
    pub(super) fn listen(&mut self) {
        self.hung_up_until = None;
    }

    fn hung_up(&mut self, now: Instant) {
        self.hung_up_until = Some(now + HANG_UP_PAUSE);
    }

    /// What to poll for, where we would read or have something to write.
    pub(super) fn interest(&self, reads: bool, writes: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, reads);
        flags.set(PollFlags::OUT, writes);
        (self.hung_up_until.is_none() && !flags.is_empty()).then_some((self.master.as_fd(), flags))
    }

    /// Reads what it has written, without waiting; gives how much.
    pub(super) fn read(&mut self, space: &mut [u8], now: Instant) -> usize {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.master, &mut *space)) {
            Ok(length) if length > 0 => length,
            Err(Errno::AGAIN) => 0,
            // EIO, the end: the slave is closed, which our own holding of it forbids.
            Ok(_) | Err(_) => {
                self.hung_up(now);
                0
            }
        }
    }

    /// Types `bytes`, as many as it takes without waiting; gives how many.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.master, bytes)) {
            Ok(length) => length,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                self.hung_up(now);
                0
            }
        }
    }

    /// Gives it a size.
    ///
    /// # Errors
    /// When it takes none.
    pub(super) fn set_size(&self, size: Winsize) -> SysResult<()> {
        tty::set_window_size(&self.master, size)
    }

    /// What says "end of input" to the guest, if its terminal reads lines (VEOF, termios(3)): so that
    /// `echo reboot | spinney run --console=interactive TREE -- sh` ends. Asked of the master, the settings are the slave's.
    pub(super) fn end_of_file(&self) -> Option<u8> {
        let attributes = tty::attributes(&self.master).ok()?;
        let reads_lines = attributes.local_modes.contains(LocalModes::ICANON);
        reads_lines.then(|| attributes.special_codes[SpecialCodeIndex::VEOF])
    }
}
