//! A command that runs, and its times: when it is told to end, killed, given up, minded.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::members::{kill_session, signal_session};
use super::minder::Minder;
use crate::machine::Error;
use crate::runtime::channel::Listener;

/// A command that takes longer than this has somebody to mind it; most are over by then.
const SHORT: Duration = Duration::from_millis(20);

/// How long a command may go on after its terminal is gone.
const HANG_UP: Duration = Duration::from_secs(2);

/// How long what is no command yet may take to end of a signal: it looks at files of the guest's, where it may be held up
/// for ever.
const GIVE_UP: Duration = Duration::from_millis(500);

/// A command that runs.
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// Until it has execed or failed.
    pub(super) channel: Option<Listener>,
    pub(super) trouble: Option<Error>,
    /// When it is told to end.
    term_at: Option<Instant>,
    /// When it is killed.
    kill_at: Option<Instant>,
    /// When it is killed if it is no command by then.
    give_up_at: Option<Instant>,
    pub(super) timed_out: bool,
    /// The signal that told us to end.
    pub(super) told_by: Option<i32>,
    minder: Option<Minder>,
    mind_at: Option<Instant>,
}

impl Running {
    /// One that was started at `started`, of `timeout`.
    pub(super) fn new(
        pid: Pid,
        pidfd: OwnedFd,
        channel: Listener,
        started: Instant,
        timeout: Option<Duration>,
    ) -> Self {
        Self {
            pid,
            pidfd,
            channel: Some(channel),
            trouble: None,
            term_at: timeout.and_then(|timeout| started.checked_add(timeout)),
            kill_at: None,
            give_up_at: None,
            timed_out: false,
            told_by: None,
            minder: None,
            mind_at: Some(started + SHORT),
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.term_at, self.kill_at, self.give_up_at, self.mind_at].into_iter().flatten().min()
    }

    /// Does what is due by now; `kill_after` is how long it has to end once its time is over.
    pub(super) fn keep_time(&mut self, kill_after: Duration) {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if due(self.mind_at) {
            self.mind_at = None;
            // Without it the command still dies with us, unless it is somebody else by then.
            self.minder = Minder::start(self.pid).ok();
        }
        if due(self.term_at) {
            self.term_at = None;
            self.timed_out = true;
            self.kill_at = now.checked_add(kill_after);
            signal_session(self.pid, libc::SIGTERM);
            // A stopped one hears it only then.
            signal_session(self.pid, libc::SIGCONT);
        }
        if due(self.give_up_at) {
            self.give_up_at = None;
            if self.channel.is_some() {
                kill_session(self.pid);
            }
        }
        if due(self.kill_at) {
            self.kill_at = None;
            kill_session(self.pid);
        }
    }

    /// A signal told us to end.
    pub(super) fn told_to_end(&mut self, signal: i32) {
        self.told_by = Some(signal);
        // Until it execs it has our signal mask.
        self.give_up_at = self.channel.as_ref().map(|_| Instant::now() + GIVE_UP);
    }

    /// Tells the command that its line is dead, and sees to it that it ends.
    pub(super) fn line_is_dead(&mut self) {
        signal_session(self.pid, libc::SIGHUP);
        signal_session(self.pid, libc::SIGCONT);
        self.kill_at = Some(Instant::now() + HANG_UP);
    }

    /// Nobody minds it any more, before it is waited for.
    pub(super) fn is_over(&mut self) {
        drop(self.minder.take());
    }
}
