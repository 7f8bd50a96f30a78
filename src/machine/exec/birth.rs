//! From the start of a command to its process: it is not there at once, and may never be.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::entry::Entered;
use super::signals::{Signals, ends};
use crate::machine::Error;
use crate::runtime::channel::Heard;
use crate::sys::SysError;
use crate::sys::process::{pidfd_open, pidfd_send_signal, wait_for_end};
use crate::sys::timeout::timeout;

/// What came of a start.
pub(super) enum Born {
    /// The command's process.
    Command(Pid),
    /// A signal came first.
    Interrupted(i32),
    /// Its time was over first.
    TooLate,
}

/// Waits for the command to be cloned, until `deadline`: in a cgroup that the guest freezes that is never.
///
/// # Errors
/// When there was no command.
pub(super) fn birth(signals: &Signals, entered: &Entered, deadline: Option<Instant>) -> Result<Born, Error> {
    let failed = || Error::system("start the command");
    let give_up = || {
        if let Ok(pidfd) = pidfd_open(entered.joining) {
            let _ = pidfd_send_signal(pidfd, libc::SIGKILL);
        }
        wait_for_end(entered.joining).map_err(failed())
    };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let mut polled = [
            PollFd::from_borrowed_fd(entered.birth.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut polled, left.map(timeout).as_ref()) {
            Ok(0) if left == Some(Duration::ZERO) => {
                give_up()?;
                return Ok(Born::TooLate);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed()(SysError::new("poll", "2 fds", errno))),
        }
        if !polled[0].revents().is_empty() {
            let heard = entered.birth.hear();
            wait_for_end(entered.joining).map_err(failed())?;
            return match heard.map_err(failed())? {
                Heard::Leader(pid) => Pid::from_raw(pid)
                    .map(Born::Command)
                    .ok_or_else(|| Error::Inside { text: "the command has no pid".to_owned() }),
                Heard::Failed(_, text, _) => Err(Error::Inside { text }),
                Heard::Message(..) | Heard::End => {
                    Err(Error::Inside { text: "its process ended without a word".to_owned() })
                }
            };
        }
        while let Some(signal) = signals.read().map_err(failed())? {
            if ends(signal) {
                give_up()?;
                return Ok(Born::Interrupted(signal));
            }
        }
    }
}
