//! A child of the supervisor that asks something of another process, which may not answer: the supervisor waits for nobody.
//!
//! It has nothing of the supervisor's but a pipe, on which it says what came of it: nothing for success, else a letter and a line.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::Pid;

use crate::network::link::holding::detach;
use crate::supervisor::printable;
use crate::sys::files::write_all;
use crate::sys::fork::fork;
use crate::sys::pipe::{do_not_block, pipe, wait_for_any};
use crate::sys::process::{die_with_parent, pidfd_open, pidfd_send_signal, wait_for_end};
use crate::sys::{SysResult, in_words};

/// The longest reason that is told: a pipe takes as much in one piece (PIPE_BUF, pipe(7)).
const LONGEST: usize = 4000;

/// What came of an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// There is nobody to ask.
    Absent(String),
    /// It is not done.
    Failed(String),
}

/// A child at work. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Errand {
    child: Pid,
    answer: std::fs::File,
    said: Vec<u8>,
    /// It was heard out, and is no child any more.
    reaped: bool,
}

impl Errand {
    /// Begins `work` in a child that ends with us.
    ///
    /// # Errors
    /// When there can be none.
    pub(super) fn begin(work: impl FnOnce() -> Answer) -> SysResult<Self> {
        let (answer, theirs) = pipe(LONGEST)?;
        do_not_block(&answer)?;
        let child = fork(move || {
            let begun = die_with_parent().and_then(|()| detach(&[theirs.as_fd()]));
            let (kind, why) = match begun.map(|()| work()) {
                Ok(Answer::Done) => return 0,
                Ok(Answer::Absent(why)) => ('?', why),
                Ok(Answer::Failed(why)) => ('!', why),
                Err(error) => ('!', in_words(&error)),
            };
            let text = format!("{kind}{why}");
            // Nobody may be left to hear it.
            let _ = write_all(&theirs, text.as_bytes().get(..LONGEST).unwrap_or(text.as_bytes()));
            1
        })?;
        Ok(Self { child, answer: answer.into(), said: Vec::new(), reaped: false })
    }

    /// Leaves `work` to a child for which nobody waits: it is to be short.
    ///
    /// # Errors
    /// When there can be none.
    pub(super) fn leave(work: impl FnOnce() -> Answer) -> SysResult<()> {
        fork(move || match detach(&[]) {
            Ok(()) => i32::from(work() != Answer::Done),
            Err(_) => 1,
        })
        .map(drop)
    }

    /// The answer, if it is there.
    pub(super) fn look(&mut self) -> Option<Answer> {
        let mut buffer = [0; LONGEST];
        loop {
            match self.answer.read(&mut buffer) {
                Ok(0) => break,
                // The child says no more than that; a foreign text is bounded all the same.
                Ok(length) => {
                    self.said.extend(buffer.iter().take(length.min(LONGEST.saturating_sub(self.said.len()))))
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Answer::Failed(error.to_string())),
            }
        }
        let ended = wait_for_end(self.child).ok();
        self.reaped = true;
        let (kind, why) = self.said.split_first().map_or((None, &[][..]), |(kind, why)| (Some(*kind), why));
        let why = printable::line(why);
        Some(match kind {
            None if ended.is_some_and(|ended| ended == crate::sys::process::Ended::Exited(0)) => Answer::Done,
            None => Answer::Failed("the process that asks for it has died".to_owned()),
            Some(b'?') => Answer::Absent(why),
            Some(_) => Answer::Failed(why),
        })
    }

    /// Waits for the answer, `patience` at most.
    pub(super) fn wait(mut self, patience: Duration) -> Answer {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(answer) = self.look() {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::Failed(format!("no answer within {} s", patience.as_secs()));
            }
            if let Err(error) = wait_for_any([(self.answer.as_fd(), PollFlags::IN)], Some(left)) {
                return Answer::Failed(in_words(&error));
            }
        }
    }
}

impl AsFd for Errand {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        if let Ok(pidfd) = pidfd_open(self.child) {
            let _ = pidfd_send_signal(&pidfd, libc::SIGKILL);
        }
        let _ = wait_for_end(self.child);
    }
}
