//! What the guest says of itself, or shows: notifications, and traces of being up.

use std::time::{Duration, Instant};

use crate::guest::{Processes, ReadySignal, Verdict};

use super::boot::{Boot, now_in_microseconds};
use super::fault;
use super::machine::Machine;
use super::machine_event::{MachineEvent, StopKind};
use super::manager_notifier::ManagerNotifier;
use super::notify::{GuestEvent, Shutdown};
use super::state::Phase;
use super::stop::Goal;
use super::{Event, Report};

impl Boot<'_> {
    /// Takes what the guest has sent: all of it is used, for the machine's own course or for those who listen.
    pub(super) fn notified(
        &mut self,
        events: Vec<GuestEvent>,
        machine: &mut Machine,
        report: &mut Report<'_>,
    ) {
        // Of many statuses the last one counts: a guest that sends without end must not have us wait for our manager.
        let mut status = None;
        for event in events {
            match event {
                GuestEvent::Status(text) => status = Some(text),
                event => {
                    if let Some(news) = self.heard(event, machine, report) {
                        machine.control.publish(news);
                    }
                }
            }
        }
        if let Some(status) = status.filter(|status| self.status.as_ref() != Some(status)) {
            self.tell(machine, report, |manager| manager.status(&status));
            machine.control.publish(MachineEvent::Status { text: status.clone() });
            self.status = Some(status);
        }
    }

    /// Acts on one thing that was said, or notes it; gives what others should hear of it.
    fn heard(
        &mut self,
        event: GuestEvent,
        machine: &mut Machine,
        report: &mut Report<'_>,
    ) -> Option<MachineEvent> {
        let said = &mut self.said;
        match event {
            GuestEvent::Ready => {
                // Also said after each reload of its configuration.
                if machine.parts.contract.ready == ReadySignal::Notify {
                    self.ready(machine, report);
                }
            }
            GuestEvent::Stopping => return self.goes_down(StopKind::Unknown, machine, report),
            GuestEvent::Shutdown(how) => return self.goes_down(how.into(), machine, report),
            GuestEvent::ExtendTimeout(microseconds) => self.extend(Duration::from_micros(microseconds)),
            GuestEvent::UnitActive(unit) => {
                return said.unit_is_active(&unit).then_some(MachineEvent::UnitActive { unit });
            }
            GuestEvent::UnitInactive(unit) => {
                return said.unit_is_inactive(&unit).then_some(MachineEvent::UnitInactive { unit });
            }
            GuestEvent::Hostname(hostname) => {
                let news = said.hostname.as_ref() != Some(&hostname);
                said.hostname = Some(hostname.clone());
                return news.then_some(MachineEvent::Hostname { hostname });
            }
            GuestEvent::Errno(errno) => {
                said.errno = Some(errno);
                return Some(MachineEvent::Failed { errno: Some(errno), bus_error: None });
            }
            GuestEvent::BusError(name) => {
                said.bus_error = Some(name.clone());
                return Some(MachineEvent::Failed { errno: None, bus_error: Some(name) });
            }
            GuestEvent::Reloading => return Some(MachineEvent::Reloading),
            GuestEvent::WatchdogTrigger => return Some(MachineEvent::Watchdog),
            GuestEvent::Watchdog => said.watchdog_at = Some(now_in_microseconds()),
            GuestEvent::WatchdogInterval(interval) => said.watchdog_interval = Some(interval),
            GuestEvent::MachineId(id) => {
                said.machine_id = Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            GuestEvent::SignalsLevel(level) => said.signals_level = Some(level),
            GuestEvent::MainPid(pid) => said.main_pid = Some(pid),
            GuestEvent::ExitStatus(status) => said.exit_status = Some(status),
            GuestEvent::RebootParameter(parameter) => said.reboot_parameter = Some(parameter),
            // Told as the status that it comes with; fds are not kept for guests, and the listener has closed them.
            GuestEvent::Status(_)
            | GuestEvent::MonotonicTime(_)
            | GuestEvent::StoreFds
            | GuestEvent::RemoveFds
            | GuestEvent::FdName(_) => {}
        }
        None
    }

    /// It says that it goes down.
    fn goes_down(
        &mut self,
        how: StopKind,
        machine: &mut Machine,
        report: &mut Report<'_>,
    ) -> Option<MachineEvent> {
        if self.phase == Phase::Ready {
            self.phase = Phase::Stopping;
            self.write_state(machine, report);
        }
        let asked = self.stop.as_ref().map(|stop| stop.goal);
        let told = self.said.shutdown.or(match asked {
            Some(Goal::Reboot) => Some(StopKind::Reboot),
            Some(Goal::PowerOff) => Some(StopKind::PowerOff),
            None => None,
        });
        // First it says that it stops, then how, and we may have known before it did.
        let news = told.is_none() || (how != StopKind::Unknown && told != Some(how));
        if news {
            self.said.shutdown = Some(how);
        }
        news.then_some(MachineEvent::Stopping { how, asked: asked.is_some() })
    }

    /// It needs more time (EXTEND_TIMEOUT_USEC=): which it gets, but never more than as much again as the user gave it.
    fn extend(&mut self, more: Duration) {
        let now = Instant::now();
        let wanted = now.checked_add(more).unwrap_or(now);
        let settings = &self.request.settings;
        if let (Some(by), Some(timeout)) = (&mut self.ready_by, settings.timeout_ready) {
            *by = wanted.min(self.running.since + timeout * 2).max(*by);
        }
        if let Some(stop) = &mut self.stop {
            stop.extend(wanted.min(stop.since + settings.timeout_stop * 2));
        }
    }

    fn ready(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        if self.phase != Phase::Booting {
            return;
        }
        self.phase = Phase::Ready;
        self.ready_at = Some(now_in_microseconds());
        self.write_state(machine, report);
        self.tell_ready(machine, report);
    }

    pub(super) fn tell_ready(&self, machine: &mut Machine, report: &mut Report<'_>) {
        let assumed = machine.parts.contract.ready == ReadySignal::AtStart;
        machine.control.publish(MachineEvent::Ready { assumed });
        let parts = &machine.parts;
        if parts.init.is_some() {
            report(&Event::Ready { name: parts.plan.name.as_str(), after: self.since.elapsed(), assumed });
        }
        if self.request.settings.notify_ready {
            self.tell(machine, report, ManagerNotifier::ready);
        }
        fault::point("ready");
    }

    pub(super) fn look_for_evidence(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let ReadySignal::Evidence(evidence) = machine.parts.contract.ready else { return };
        if self.phase != Phase::Booting {
            return;
        }
        let pid = self.running.pid.as_raw_nonzero().get().unsigned_abs();
        let (Some(root), Ok(processes)) = (&self.running.root, Processes::of(pid)) else { return };
        match evidence.check(root, &processes) {
            Verdict::Ready => self.ready(machine, report),
            Verdict::NotYet(why) => self.status = Some(why.to_owned()),
        }
    }
}

impl From<Shutdown> for StopKind {
    fn from(how: Shutdown) -> Self {
        match how {
            Shutdown::Halt => Self::Halt,
            Shutdown::PowerOff => Self::PowerOff,
            // A guest has no kernel of its own: its init asks for a plain reboot.
            Shutdown::Reboot | Shutdown::Kexec => Self::Reboot,
            Shutdown::SoftReboot => Self::SoftReboot,
            Shutdown::Exit => Self::Exit,
        }
    }
}
