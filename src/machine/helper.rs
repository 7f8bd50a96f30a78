//! A child of ours that works in a machine, and what it tells.
//!
//! It is a forked copy: it goes where the parent must not go, says how that went as lines of JSON, and ends. It hears that
//! it is to stop by the end of its channel, and ignores the signals of a terminal meanwhile, so that it can clean up.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::archive::Watch;
use crate::supervisor::printable;
use crate::sys::files::write_all;
use crate::sys::fork::fork;
use crate::sys::in_words;
use crate::sys::pipe::wait_for_any;
use crate::sys::process::{pidfd_open, pidfd_send_signal, wait_for_end};
use crate::sys::{SysResult, sys};

/// More than this is no report of ours.
const REPORT_LIMIT: usize = 1 << 20;

/// How long a child that was told to stop may take to clean up, and one that was killed to be gone. What hangs in a file
/// system of the guest's may do neither.
const GRACE: Duration = Duration::from_secs(2);

/// Why something failed, in words that cross processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One line, its causes joined by colons.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    /// What `error` says.
    pub fn of(error: &dyn std::error::Error, hint: Option<impl Into<String>>) -> Self {
        Self { message: in_words(error), hint: hint.map(Into::into) }
    }

    /// A failure without a cause.
    pub fn new(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { message: message.into(), hint: hint.map(str::to_owned) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error, error.hint())
    }
}

#[derive(Serialize, Deserialize)]
enum Word<T> {
    Moved(u64),
    Done(T),
    Failed(Failure),
}

/// The child's way to its parent.
#[derive(Debug)]
pub(super) struct Teller(OwnedFd);

impl Teller {
    /// Tells that so many bytes have moved. A parent that is gone does not mind.
    pub(super) fn moved(&self, count: u64) {
        self.tell(&Word::<()>::Moved(count));
    }

    /// Readable when the child is to stop.
    pub(super) fn cancel(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn tell<T: Serialize>(&self, word: &Word<T>) {
        if let Ok(mut line) = serde_json::to_vec(word) {
            line.push(b'\n');
            let _ = write_all(&self.0, &line);
        }
    }
}

/// The parent's side.
#[derive(Debug)]
pub(super) struct Helper {
    pid: Pid,
    pidfd: OwnedFd,
    channel: OwnedFd,
    heard: Vec<u8>,
    ended: bool,
}

/// An end of a pipe for the child, and the other for us.
pub(super) type Ends = (OwnedFd, OwnedFd);

impl Helper {
    /// Does `work` in a child, which gets its end of `ends`; gives back the other.
    ///
    /// # Errors
    /// When there can be no child.
    pub(super) fn start<T: Serialize>(
        ends: Option<Ends>,
        work: impl FnOnce(Option<OwnedFd>, &Teller) -> Result<T, Failure>,
    ) -> SysResult<(Self, Option<OwnedFd>)> {
        let pair =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (channel, theirs) = sys("socketpair", pair, || "AF_UNIX, SOCK_STREAM".to_owned())?;
        let (their_end, mut our_end) = ends.unzip();
        // In the child they are closed: an end that it had itself would never come to its end.
        let mut channel = Some(channel);
        let child = || {
            drop((channel.take(), our_end.take()));
            let teller = Teller(theirs);
            match work(their_end, &teller) {
                Ok(done) => teller.tell(&Word::Done(done)),
                Err(failure) => teller.tell(&Word::<()>::Failed(failure)),
            }
            0
        };
        let pid = fork(child)?;
        let pidfd = pidfd_open(pid)?;
        let channel = sys("fork", channel.ok_or(rustix::io::Errno::BADF), || "our side".to_owned())?;
        Ok((Self { pid, pidfd, channel, heard: Vec::new(), ended: false }, our_end))
    }

    /// Waits for its report; `moved` hears of bytes meanwhile.
    ///
    /// # Errors
    /// [`Error::Helper`] with what it says, or how it ended; that of `watch` when it ends the waiting.
    pub(super) fn report<T: DeserializeOwned>(
        &mut self,
        watch: Watch<'_>,
        moved: &mut dyn FnMut(u64),
    ) -> Result<T, Error> {
        let ended =
            || Error::Helper(Failure::new("what we sent into the machine ended without a word", None));
        loop {
            let Some(line) = self.line(watch)? else { return Err(ended()) };
            match serde_json::from_slice(&line) {
                Ok(Word::Moved(count)) => moved(count),
                Ok(Word::Done(done)) => {
                    self.end();
                    return Ok(done);
                }
                Ok(Word::Failed(failure)) => {
                    self.end();
                    let clean = |text: String| printable::line(text.as_bytes());
                    let (message, hint) = (clean(failure.message), failure.hint.map(clean));
                    return Err(Error::Helper(Failure { message, hint }));
                }
                Err(_) => return Err(ended()),
            }
        }
    }

    /// Tells it to stop and gives it time to clean up; then its report, if it has one.
    pub(super) fn stop<T: DeserializeOwned>(&mut self) -> Option<T> {
        let _ = rustix::net::shutdown(&self.channel, Shutdown::Write);
        let watch = Watch { cancel: None, patience: Some(GRACE) };
        self.report(watch, &mut |_| {}).ok()
    }

    /// A line that it said; `None` at the end.
    fn line(&mut self, watch: Watch<'_>) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let rest = self.heard.split_off(end + 1);
                self.heard.pop();
                return Ok(Some(std::mem::replace(&mut self.heard, rest)));
            }
            watch.wait(&self.channel, PollFlags::IN).map_err(Error::from)?;
            let mut some = [0; 4096];
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.channel, &mut some));
            match read {
                Ok(count) if count > 0 && self.heard.len() < REPORT_LIMIT => {
                    self.heard.extend_from_slice(some.get(..count).unwrap_or_default());
                }
                _ => return Ok(None),
            }
        }
    }

    /// Reaps it: it has nothing more to do.
    fn end(&mut self) {
        self.ended = wait_for_end(self.pid).is_ok();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // A child that hangs where not even this reaches it is its new parent's to reap, one day.
        let _ = pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        if wait_for_any([(self.pidfd.as_fd(), PollFlags::IN)], Some(GRACE)).is_ok_and(|ended| ended == [true])
        {
            self.end();
        }
    }
}
