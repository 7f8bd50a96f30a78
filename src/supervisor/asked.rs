//! What the user and the host ask for, by signals and keys; and carrying a stop out, step by step.

use std::time::{Duration, Instant};

use crate::sys::directory_watch;

use super::boot::Boot;
use super::console::Action;
use super::error::Error;
use super::hotkeys::Hotkey;
use super::machine::Machine;
use super::machine_event::{MachineEvent, StopKind};
use super::manager_notifier::ManagerNotifier;
use super::state::Phase;
use super::stop::{Goal, Guest, Stop};
use super::{Event, Report};

/// The same signal twice within this is one request: timeout(1) sends to us and to our process group, and a terminal that
/// closes has its shell send SIGHUP once more. A later one, or another, is impatience, and kills.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What killing a guest and giving everything back may take at the very most.
const CLEANING_UP: Duration = Duration::from_secs(30);

impl Boot<'_> {
    pub(super) fn signalled(&mut self, signal: i32, machine: &mut Machine, report: &mut Report<'_>) {
        match signal {
            libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
                let repeated = self.told_by.replace(signal) == Some(signal);
                match &self.stop {
                    Some(stop) if stop.goal == Goal::PowerOff => {
                        if !repeated || stop.since.elapsed() >= ONE_REQUEST {
                            self.kill(machine, report);
                        }
                    }
                    _ => self.begin_stop(Goal::PowerOff, machine, report),
                }
            }
            libc::SIGWINCH | libc::SIGCONT => {
                if let Some(console) = &mut machine.parts.console {
                    let done = if signal == libc::SIGCONT {
                        console.resume().map_err(|error| error.to_string())
                    } else {
                        console.resize().map_err(|error| error.to_string())
                    };
                    if let Err(error) = done {
                        report(&Event::Warning(&error));
                    }
                }
            }
            directory_watch::SIGNAL => {
                let now = Instant::now();
                machine.keeper.noticed(now);
                if let Some(file) = &mut machine.parts.resolv_conf {
                    file.noticed(now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn console(&mut self, actions: Vec<Action>, machine: &mut Machine, report: &mut Report<'_>) {
        for action in actions {
            match action {
                Action::Hotkey(Hotkey::Kill) => self.kill(machine, report),
                Action::Hotkey(Hotkey::PowerOff) => self.begin_stop(Goal::PowerOff, machine, report),
                Action::Hotkey(Hotkey::Reboot) => self.begin_stop(Goal::Reboot, machine, report),
                Action::LogFailed(error) => {
                    report(&Event::Warning(&format!("the console log has stopped: {error}")));
                }
                Action::InputClosed | Action::OutputClosed(_) => {}
            }
        }
    }

    /// A power-off takes the place of a reboot that is under way, not the other way round.
    pub(super) fn begin_stop(&mut self, goal: Goal, machine: &mut Machine, report: &mut Report<'_>) {
        if self.stop.as_ref().is_some_and(|stop| stop.goal == goal || stop.goal == Goal::PowerOff) {
            return;
        }
        self.thaw(machine, report);
        let settings = &self.request.settings;
        let signal = settings.kill_signal.filter(|_| goal == Goal::PowerOff).map(|signal| signal.0);
        let contract = &machine.parts.contract;
        let stop = Stop::new(goal, contract, signal, settings.timeout_stop, Instant::now());
        self.stop = Some(stop);
        let name = machine.parts.plan.name.as_str();
        report(&Event::Stopping { name, reboot: goal == Goal::Reboot });
        let how = if goal == Goal::Reboot { StopKind::Reboot } else { StopKind::PowerOff };
        machine.control.publish(MachineEvent::Stopping { how, asked: true });
        if goal == Goal::PowerOff {
            // Not before a reboot: systemd, once told so, waits for our end, and kills us when that does not come.
            self.tell(machine, report, ManagerNotifier::stopping);
            self.take_time(self.request.settings.timeout_stop, machine, report);
        }
        if self.phase == Phase::Ready {
            self.phase = Phase::Stopping;
            self.write_state(machine, report);
        }
    }

    pub(super) fn kill(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let now = Instant::now();
        self.thaw(machine, report);
        match &mut self.stop {
            Some(stop) => stop.kill_now(now),
            None => {
                self.stop = Some(Stop::kill(now));
                machine.control.publish(MachineEvent::Stopping { how: StopKind::Kill, asked: true });
                report(&Event::Killing { name: machine.parts.plan.name.as_str() });
                self.tell(machine, report, ManagerNotifier::stopping);
            }
        }
    }

    /// Has our manager wait as long as we do, which may be twice as long as was `said` and then a while: a guest may ask for
    /// more time, and has to be killed and cleaned up after when that is over.
    pub(super) fn take_time(&self, said: Duration, machine: &Machine, report: &mut Report<'_>) {
        self.tell(machine, report, |manager| manager.extend_timeout(said * 2 + CLEANING_UP));
    }

    pub(super) fn deadlines(&mut self, machine: &mut Machine, report: &mut Report<'_>) -> Result<(), Error> {
        let now = Instant::now();
        if machine.parts.watchdog.as_ref().is_some_and(|watchdog| watchdog.is_due(now)) {
            self.tell(machine, report, ManagerNotifier::watchdog);
        }
        if self.late_at().is_some_and(|by| now >= by) {
            self.late = true;
            self.ready_by = None;
            self.evidence = Some(self.inquire(machine));
            self.kill(machine, report);
        }
        if let Some(stop) = &mut self.stop
            && stop.deadline.is_some_and(|deadline| now >= deadline)
        {
            let said = stop.is_untouched();
            let guest = Guest {
                leader: &self.running.pidfd,
                root: self.running.root.as_ref(),
                users: machine.parts.user_namespace.as_ref(),
            };
            let kill = stop.step(&guest, now).map_err(Error::Stop)?;
            self.killed |= kill;
            if !said {
                report(&Event::Escalating { name: machine.parts.plan.name.as_str(), kill });
            }
        }
        Ok(())
    }
}
