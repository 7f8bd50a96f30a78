//! What the guest says of itself, or shows: notifications, and traces of being up.

use crate::guest::{Processes, ReadySignal, Verdict};

use super::boot::{Boot, now_in_microseconds};
use super::fault;
use super::manager_notifier::ManagerNotifier;
use super::notify::GuestEvent;
use super::start::Machine;
use super::state::Phase;
use super::{Event, Report};

impl Boot<'_> {
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
                GuestEvent::Ready if machine.parts.contract.ready == ReadySignal::Notify => {
                    self.ready(machine, report);
                }
                GuestEvent::Status(text) => status = Some(text),
                GuestEvent::Stopping | GuestEvent::Shutdown(_) if self.phase == Phase::Ready => {
                    self.phase = Phase::Stopping;
                    self.write_state(machine, report);
                }
                _ => {}
            }
        }
        if let Some(status) = status.filter(|status| self.status.as_ref() != Some(status)) {
            self.tell(machine, report, |manager| manager.status(&status));
            self.status = Some(status);
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

    pub(super) fn tell_ready(&self, machine: &Machine, report: &mut Report<'_>) {
        let parts = &machine.parts;
        if parts.init.is_some() {
            report(&Event::Ready {
                name: parts.plan.name.as_str(),
                after: self.since.elapsed(),
                assumed: parts.contract.ready == ReadySignal::AtStart,
            });
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
