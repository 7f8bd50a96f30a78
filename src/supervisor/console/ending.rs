//! The end of a guest's console, and of ours: what is still to be said is passed on, for so long as there is somebody to take it.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::{Action, Console, ConsoleError};
use crate::sys::timeout::timeout;
use crate::sys::{FdPath, SysError};

/// At the end, at most so much is passed on: what the kernel's pty holds is below 100 KiB, and a slave that another
/// process of the host has open could go on for ever.
const DRAIN_BYTES: usize = 1 << 20;

impl Console {
    /// Passes on all that the guest has written and lets go of its console: for the time when it is dead. The log gets
    /// it all; the user's side is waited for at most for `patience`, and what it does not take by then it does not get.
    pub fn drain(&mut self, patience: Duration) -> Result<Vec<Action>, ConsoleError> {
        let (mut actions, end) = (Vec::new(), Instant::now() + patience);
        let mut passed = 0;
        if let Some(guest) = &mut self.guest {
            guest.listen();
        }
        loop {
            self.flush_user(end, &mut actions)?;
            if !self.to_user.has_room() {
                self.to_user.clear();
            }
            match self.read_guest(Instant::now(), &mut actions) {
                0 => break,
                length => passed += length,
            }
            if passed >= DRAIN_BYTES {
                break;
            }
        }
        self.flush_user(end, &mut actions)?;
        self.to_user.clear();
        self.guest = None;
        Ok(actions)
    }

    /// The end: drains, leaves the screen and the terminal in order.
    pub fn finish(mut self, patience: Duration) -> Result<Vec<Action>, ConsoleError> {
        let actions = self.drain(patience);
        if self.output_open && self.terminal.output_is_tty() && self.last_shown.is_some() {
            self.terminal.reset_screen();
            if self.last_shown != Some(b'\n') {
                // What is printed next, our own message or the shell's prompt, begins on a line of its own. If the
                // terminal takes nothing, it does not.
                let _ = self.terminal.output().write(b"\r\n");
            }
        }
        self.terminal.restore().map_err(ConsoleError::Terminal)?;
        actions
    }

    /// Writes all that is for the user, waiting until `end` where the terminal takes no more.
    fn flush_user(&mut self, end: Instant, actions: &mut Vec<Action>) -> Result<(), ConsoleError> {
        loop {
            self.write_user(actions);
            let left = end.saturating_duration_since(Instant::now());
            if self.to_user.is_empty() || left.is_zero() {
                return Ok(());
            }
            let output = self.terminal.output();
            match rustix::event::poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&timeout(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    let error = SysError::new("poll", FdPath::of(output).to_string(), errno);
                    return Err(ConsoleError::Poll(error));
                }
            }
        }
    }
}
