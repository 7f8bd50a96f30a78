//! From the start of a command to its process: it is not there at once, and may never be.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::entry::Entered;
use super::running::GIVE_UP;
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

/// Waits for the command to be cloned, until `deadline`: in a cgroup that the guest freezes that is never. It may run, and say so,
/// before we know of it: what it is to hear of goes to `told`.
///
/// # Errors
/// When there was no command.
pub(super) fn birth(
    signals: &Signals,
    entered: &Entered,
    deadline: Option<Instant>,
    told: &mut Vec<i32>,
) -> Result<Born, Error> {
    let failed = || Error::system("start the command");
    let give_up = || {
        if let Ok(pidfd) = pidfd_open(entered.joining) {
            let _ = pidfd_send_signal(pidfd, libc::SIGKILL);
        }
        wait_for_end(entered.joining).map_err(failed())
    };
    // The first that ends it, and until when it is waited for all the same.
    let mut ending: Option<(i32, Instant)> = None;
    loop {
        let until = deadline.into_iter().chain(ending.map(|(_, at)| at)).min();
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let mut polled = [
            PollFd::from_borrowed_fd(entered.birth.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut polled, left.map(timeout).as_ref()) {
            Ok(0) if left == Some(Duration::ZERO) => {
                give_up()?;
                return Ok(ending.map_or(Born::TooLate, |(signal, _)| Born::Interrupted(signal)));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed()(SysError::new("poll", "2 fds", errno))),
        }
        if !polled[0].revents().is_empty() {
            let heard = entered.birth.hear();
            // It has said all that it had to say. In a cgroup that the guest freezes now it would not end by itself.
            give_up()?;
            let born = match heard.map_err(failed())? {
                Heard::Leader(pid) => Pid::from_raw(pid)
                    .map(Born::Command)
                    .ok_or_else(|| Error::Inside { text: "the command has no pid".to_owned() }),
                Heard::Failed(_, text, _) => Err(Error::Inside { text }),
                Heard::Message(..) | Heard::End => {
                    Err(Error::Inside { text: "its process ended without a word".to_owned() })
                }
            };
            return match (born, ending) {
                // Its user has had enough, whatever it was.
                (Err(_), Some((signal, _))) => Ok(Born::Interrupted(signal)),
                (born, _) => born,
            };
        }
        while let Some(signal) = signals.read().map_err(failed())? {
            if ends(signal) {
                ending.get_or_insert((signal, Instant::now() + GIVE_UP));
            }
            // Once each, as the kernel keeps them.
            if !told.contains(&signal) {
                told.push(signal);
            }
        }
    }
}
