//! A command's terminal in somebody else's hands: given away once the command runs, and looked after until it is hung up.
//!
//! When its master is closed the kernel sends SIGHUP to the session's leader alone, and su(1), which is that, does not hear it. So we
//! keep a slave open, which tells of the hang-up. vhangup(2), as login(1) calls it, looks the same, but there the slave can be had
//! again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::sys::in_root::reopen;
use crate::sys::{SysResult, tty};

/// Who gets the command's terminal instead of us, once the command has begun.
pub(super) struct HandOut<'a> {
    take: &'a mut dyn FnMut(OwnedFd),
    /// Until then.
    master: Option<OwnedFd>,
    /// From then on.
    line: Option<Line>,
}

/// The guest's side of a terminal.
#[derive(Debug)]
struct Line {
    /// Its file in the guest's devpts, of which nothing but EIO is had once the master is closed.
    node: OwnedFd,
    slave: OwnedFd,
}

impl<'a> HandOut<'a> {
    /// To `take`.
    pub(super) fn to(take: &'a mut dyn FnMut(OwnedFd)) -> Self {
        Self { take, master: None, line: None }
    }

    /// Keeps the master until the command runs.
    pub(super) fn keep(&mut self, master: OwnedFd) {
        self.master = Some(master);
    }

    /// Gives it away.
    pub(super) fn hand_out(&mut self) {
        if let Some(master) = self.master.take() {
            // Without it the session's leader hears of the end, and mostly that is enough.
            self.line = Line::of(&master).ok();
            (self.take)(master);
        }
    }

    /// What to wait for: hang-ups come without being asked for.
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(|line| line.slave.as_fd())
    }

    /// Whether the last who had the master has closed it. Said once.
    pub(super) fn is_hung_up(&mut self) -> bool {
        let hung_up = self.line.as_mut().is_some_and(Line::is_hung_up);
        if hung_up {
            self.line = None;
        }
        hung_up
    }
}

impl std::fmt::Debug for HandOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOut")
            .field("master", &self.master)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Line {
    fn of(master: &OwnedFd) -> SysResult<Self> {
        let slave = tty::open_slave(master)?;
        Ok(Self { node: reopen(&slave, OFlags::PATH)?, slave })
    }

    fn is_hung_up(&mut self) -> bool {
        let mut polled = [PollFd::new(&self.slave, PollFlags::empty())];
        if poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(1) {
            return false;
        }
        match reopen(&self.node, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK) {
            Ok(slave) => {
                self.slave = slave;
                false
            }
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tty::{hang_up, test_pty};

    #[test]
    fn only_a_closed_master_is_a_hang_up() {
        let (master, _) = test_pty();
        let mut given = None;
        let mut take = |master| given = Some(master);
        let mut hand_out = HandOut::to(&mut take);
        assert!(hand_out.interest().is_none() && !hand_out.is_hung_up());
        hand_out.keep(master);
        hand_out.hand_out();
        assert!(hand_out.interest().is_some() && !hand_out.is_hung_up());
        // Root's alone.
        if hang_up(&hand_out.line.as_ref().expect("a line").slave).is_ok() {
            assert!(!hand_out.is_hung_up() && !hand_out.is_hung_up());
        }
        let mut line = hand_out.line.take().expect("a line");
        drop(given);
        assert!(line.is_hung_up());
    }
}
