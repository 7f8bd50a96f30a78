//! Asking a guest to stop, and asking harder until it does.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::guest::stop::{self, StopError};
use crate::guest::{Contract, StopMethod, StopStep};
use crate::sys::SysError;
use crate::sys::in_root::Root;
use crate::sys::process::pidfd_send_signal;

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

    /// Whether no step has been taken yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// Takes the step that is due, going on to the next where a step cannot be taken; says whether it was the kill.
    ///
    /// # Errors
    /// When not even the kill can be sent.
    pub(super) fn step(
        &mut self,
        leader: &OwnedFd,
        guest: Option<&Root>,
        now: Instant,
    ) -> Result<bool, StopError> {
        self.untouched = false;
        for step in self.steps.by_ref() {
            let kill = step.method == StopMethod::Kill;
            match carry_out(step.method, leader, guest) {
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

fn carry_out(method: StopMethod, leader: &OwnedFd, guest: Option<&Root>) -> Result<(), StopError> {
    let mut signal = |number| match pidfd_send_signal(leader, number) {
        // It is gone already: what was asked for.
        Err(error) if error.errno() == rustix::io::Errno::SRCH => Ok(()),
        other => other,
    };
    match (method, guest) {
        (StopMethod::Signal(number), _) => Ok(signal(number)?),
        (StopMethod::Kill, _) => Ok(signal(libc::SIGKILL)?),
        (method, Some(root)) => stop::carry_out(method, root, &mut signal),
        (_, None) => Err(SysError::new("openat", "the guest's root", rustix::io::Errno::NOENT).into()),
    }
}
