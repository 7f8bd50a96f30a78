//! What the end of a leader means: a reboot, an exit status, or an error.

use crate::guest::ExitMeaning;
use crate::sys::process::Ended;

use super::boot::Boot;
use super::console::Console;
use super::diagnosis::diagnose;
use super::error::Error;
use super::machine::Machine;
use super::machine_event::EndReason;
use super::state::Phase;
use super::stop::Goal;
use super::{End, Ending, Outcome};

/// How many lines of the console an error shows.
const CONSOLE_LINES: usize = 12;

/// What a boot came to.
pub(super) enum Verdict {
    Reboot,
    End(Result<Outcome, Error>),
}

impl Boot<'_> {
    /// What the end of the leader means.
    pub(super) fn judge(&self, machine: &Machine, ended: Ended) -> Verdict {
        let parts = &machine.parts;
        let outcome = |status: i32, end: End| {
            let exit_status = u8::try_from(status & 0xff).unwrap_or(u8::MAX);
            Verdict::End(Ok(Outcome { exit_status, end }))
        };
        let ending = self.request.ending;
        let reboot = || match ending {
            Ending::Plain { reboot_ends: true } => outcome(0, End::Rebooting),
            Ending::Plain { reboot_ends: false } | Ending::Judged => Verdict::Reboot,
        };
        if self.late {
            return Verdict::End(Err(self.not_ready(machine)));
        }
        let stopped_by_signal = self.told_by.filter(|_| parts.init.is_none());
        match ended {
            // The kernel's answer to reboot(2) in a pid namespace: SIGHUP to restart, SIGINT to power off
            // (pid_namespaces(7)).
            Ended::Signaled(libc::SIGHUP) if !self.is_to_end() => reboot(),
            Ended::Signaled(libc::SIGHUP | libc::SIGINT) => {
                outcome(stopped_by_signal.map_or(0, |signal| 128 + signal), End::PoweredOff)
            }
            Ended::Exited(0) if self.meant_reboot(machine) => reboot(),
            _ if self.phase == Phase::Booting && self.stop.is_none() && ending == Ending::Judged => {
                Verdict::End(Err(self.died_early(machine, ended)))
            }
            Ended::Exited(status) => outcome(status, End::Exited(status)),
            Ended::Signaled(signal) => outcome(128 + signal, End::Signalled(signal)),
        }
    }

    /// Why the machine is gone, if this was its last boot.
    pub(super) fn end_reason(&self, machine: &Machine, ended: Ended) -> EndReason {
        let booting = self.phase == Phase::Booting && machine.parts.init.is_some();
        match ended {
            _ if self.late => EndReason::NotReady,
            _ if self.killed => EndReason::Killed,
            Ended::Signaled(libc::SIGHUP | libc::SIGINT) => EndReason::PoweredOff,
            Ended::Exited(_) if self.stop.is_some() => EndReason::PoweredOff,
            _ if booting && self.stop.is_none() => EndReason::DiedEarly,
            Ended::Exited(_) => EndReason::Exited,
            Ended::Signaled(_) => EndReason::Signalled,
        }
    }

    /// Whether the machine was told to end: then it does, also if a reboot of its own came first.
    fn is_to_end(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.goal == Goal::PowerOff)
    }

    /// An init that will not call reboot(2) in a container exits, and leaves word why.
    fn meant_reboot(&self, machine: &Machine) -> bool {
        let meaning = machine.parts.contract.exit;
        match &self.stop {
            Some(stop) => stop.goal == Goal::Reboot && meaning == ExitMeaning::Runlevel,
            None => self
                .running
                .root
                .as_ref()
                .is_some_and(|root| crate::guest::stop::exit_was_reboot(meaning, root)),
        }
    }

    fn last_lines(machine: &Machine) -> Vec<String> {
        let log = machine.parts.console.as_ref().and_then(Console::log);
        log.and_then(|log| log.last_lines(CONSOLE_LINES).ok()).unwrap_or_default()
    }

    fn died_early(&self, machine: &Machine, ended: Ended) -> Error {
        let parts = &machine.parts;
        Error::DiedEarly {
            name: parts.plan.name.to_string(),
            init: parts.init.clone().unwrap_or_default(),
            how: match ended {
                Ended::Exited(status) => format!("exited with status {status}"),
                Ended::Signaled(signal) => format!("was killed by signal {signal}"),
            },
            diagnosis: Box::new(diagnose(&Self::traces(machine))),
            console: Self::last_lines(machine),
        }
    }

    fn not_ready(&self, machine: &Machine) -> Error {
        Error::NotReady {
            name: machine.parts.plan.name.to_string(),
            waited: self.request.settings.timeout_ready.unwrap_or_default(),
            status: self.status.clone(),
            diagnosis: Box::new(self.evidence.as_ref().map(diagnose).unwrap_or_default()),
            console: Self::last_lines(machine),
        }
    }
}
