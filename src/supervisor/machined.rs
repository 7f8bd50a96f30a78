//! What the supervisor tells systemd's tools of its machine, where no systemd-machined does: see [`super::machined_file`].

use crate::sys::inet::interface_index;

use super::boot::Boot;
use super::machine::Machine;
use super::machined_file::{MachinedFile, are_machineds};
use super::resources::Resource;
use super::{Event, Register, Report};

impl Boot<'_> {
    /// Writes the leader of this boot down for them. A command is over too soon, and has nothing in it that they could talk to.
    pub(super) fn tell_systemds_tools(&self, machine: &Machine, report: &mut Report<'_>) {
        if machine.parts.init.is_none() || self.request.register == Register::No || are_machineds() {
            return;
        }
        let links = machine.parts.plan.network.links.iter();
        let interfaces: Vec<i32> = links
            .filter_map(|link| interface_index(link.host.as_ref()?.as_str()).ok()?.try_into().ok())
            .collect();
        let file = MachinedFile::of(&self.state(machine), &interfaces);
        let resource = Resource::MachinedFile { name: file.name.clone(), supervisor: file.supervisor };
        // A boot after the first changes what is noted already.
        let problem = match machine.claimed.note_once(&resource).map(|()| file.write()) {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => "another machine of this name is there".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        report(&Event::Warning(&format!("systemctl -M does not find the machine: {problem}")));
    }
}
