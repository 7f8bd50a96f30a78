//! Asking a guest to stop, and asking harder until it does.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::guest::stop::{self, StopError};
use crate::guest::{Contract, StopMethod, StopStep};
use crate::sys::SysError;
use crate::sys::fork::fork;
use crate::sys::in_root::Root;
use crate::sys::process::{Ended, join_user_namespace, pidfd_send_signal, set_ids, wait_for_end};

/// What a guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// To power off.
    PowerOff,
    /// To reboot.
    Reboot,
}

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stop {
    /// What for.
    pub(super) goal: Goal,
    /// When it began.
    pub(super) since: Instant,
    steps: std::vec::IntoIter<StopStep>,
    untouched: bool,
    /// When the next step is due; `None` after the last.
    pub(super) deadline: Option<Instant>,
}

impl Stop {
    /// Plans the steps of `goal`, which take about `timeout`. A signal given by the user comes before our own ways.
    pub(super) fn new(
        goal: Goal,
        contract: &Contract,
        signal: Option<i32>,
        timeout: Duration,
        now: Instant,
    ) -> Self {
        let mut steps = match goal {
            Goal::PowerOff => contract.power_off_steps(timeout),
            Goal::Reboot => contract.reboot_steps(timeout),
        };
        if let (Some(signal), Some(first)) = (signal, steps.first_mut()) {
            first.method = StopMethod::Signal(signal);
        }
        Self { goal, since: now, steps: steps.into_iter(), untouched: true, deadline: Some(now) }
    }

    /// A kill at once, of a guest that nobody has asked to stop.
    pub(super) fn kill(now: Instant) -> Self {
        let steps = vec![StopStep { method: StopMethod::Kill, wait: Duration::ZERO }].into_iter();
        Self { goal: Goal::PowerOff, since: now, steps, untouched: true, deadline: Some(now) }
    }

    /// The kill at once, whatever was planned.
    pub(super) fn kill_now(&mut self, now: Instant) {
        self.steps = vec![StopStep { method: StopMethod::Kill, wait: Duration::ZERO }].into_iter();
        self.deadline = Some(now);
    }

    /// Puts the next step off until `until`, if it was to come before.
    pub(super) fn extend(&mut self, until: Instant) {
        if !self.untouched {
            self.deadline = self.deadline.map(|deadline| deadline.max(until));
        }
    }

    /// Whether no step has been taken yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// Takes the step that is due, going on to the next where a step cannot be taken; says whether it was the kill.
    ///
    /// # Errors
    /// When not even the kill can be sent.
    pub(super) fn step(&mut self, guest: &Guest<'_>, now: Instant) -> Result<bool, StopError> {
        self.untouched = false;
        for step in self.steps.by_ref() {
            let kill = step.method == StopMethod::Kill;
            match carry_out(step.method, guest) {
                Ok(()) => {
                    self.deadline = (!kill).then(|| now + step.wait);
                    return Ok(kill);
                }
                Err(error) if kill => return Err(error),
                // Its own way is not there yet, or not any more (no FIFO, say): the next one.
                Err(_) => {}
            }
        }
        self.deadline = None;
        Ok(false)
    }
}

/// What a step is done to.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    /// PID 1.
    pub(super) leader: &'a OwnedFd,
    /// The guest's root directory, while it can be had.
    pub(super) root: Option<&'a Root>,
    /// Its user namespace, if it has one.
    pub(super) users: Option<&'a OwnedFd>,
}

fn carry_out(method: StopMethod, guest: &Guest<'_>) -> Result<(), StopError> {
    let mut signal = |number| match pidfd_send_signal(guest.leader, number) {
        // It is gone already: what was asked for.
        Err(error) if error.errno() == Errno::SRCH => Ok(()),
        other => other,
    };
    match (method, guest.root, guest.users) {
        (StopMethod::Signal(number), ..) => Ok(signal(number)?),
        (StopMethod::Kill, ..) => Ok(signal(libc::SIGKILL)?),
        (_, None, _) => Err(SysError::new("openat", "the guest's root", Errno::NOENT).into()),
        (method, Some(root), None) => stop::carry_out(method, root, &mut signal),
        (method, Some(root), Some(users)) => {
            as_guest_root(users, || stop::carry_out(method, root, &mut signal).is_ok())
        }
    }
}

/// Does `work` in a child that is root of the guest and nothing on the host: the guest chooses which files the work meets,
/// and one that is bound there from the host is not its to change.
fn as_guest_root(users: &OwnedFd, work: impl FnOnce() -> bool) -> Result<(), StopError> {
    let child = fork(|| {
        let joined = join_user_namespace(users).and_then(|()| set_ids(0, 0, &[]));
        i32::from(!(joined.is_ok() && work()))
    })?;
    match wait_for_end(child)? {
        Ended::Exited(0) => Ok(()),
        _ => Err(SysError::new("fork", "as the guest's root", Errno::PERM).into()),
    }
}
