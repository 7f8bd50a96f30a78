//! Pausing and resuming a machine, and telling of it.

use serde_json::Map;

use super::boot::Boot;
use super::control::methods::failed;
use super::control::{Answer, ConnectionId};
use super::machine::Machine;
use super::machine_event::MachineEvent;
use super::{Event, Report};
use crate::varlink::Fault;

impl Boot<'_> {
    /// Whether the machine's processes are stopped.
    pub(super) fn is_paused(&self) -> bool {
        self.freezer.is_frozen()
    }

    /// Has the kernel stop the machine's processes, or let them run; `from` is answered when it has done so.
    pub(super) fn set_paused(
        &mut self,
        paused: bool,
        from: Option<ConnectionId>,
        machine: &mut Machine,
    ) -> Result<Answer, Fault> {
        if paused && self.stop.is_some() {
            return Err(failed("it is stopping", None));
        }
        let outdone = self.freezer.ask(machine.parts.cgroup.outer(), paused, from);
        let outdone =
            outdone.map_err(|error| failed(format!("its cgroup cannot be frozen: {error}"), None))?;
        machine.control.finish(&outdone, &Err(failed("somebody else asked for the opposite", None)));
        Ok(Answer::Later)
    }

    /// Lets a paused machine run: for one that is to stop, or it could not.
    pub(super) fn thaw(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        if self.freezer.is_to_be_frozen()
            && let Err(fault) = self.set_paused(false, None, machine)
        {
            let text = fault.parameters.get("message").and_then(|text| text.as_str()).unwrap_or_default();
            report(&Event::Warning(text));
        }
    }

    /// Tells of a change that has come about.
    pub(super) fn look_at_freezer(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let Some(changed) = self.freezer.look() else { return };
        if changed.news {
            self.write_state(machine, report);
            let event = if changed.frozen { MachineEvent::Paused } else { MachineEvent::Resumed };
            machine.control.publish(event);
        }
        machine.control.finish(&changed.waiting, &Ok(Map::new()));
    }
}
