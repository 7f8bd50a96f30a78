//! Ports and offers of a machine in its supervisor: held before it is made, served once it has a network, changed while it runs.

use std::os::fd::BorrowedFd;

use rustix::fs::{CWD, Mode, OFlags};

use crate::network::ports::holder::Holder;
use crate::network::ports::{Ports, PortsError};
use crate::network::rules::{self, MachineRules};
use crate::runtime::plan::MachinePlan;
use crate::settings::network::{Offer, PortMapping};
use crate::sys::files::open_at;
use crate::sys::in_words;

use super::boot::Boot;
use super::claimed::Claimed;
use super::error::Error;
use super::machine::Machine;
use super::machine_event::MachineEvent;
use super::network::Network;
use super::{Event, Report};

/// What is to be changed about the ports of a machine.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) ports: Vec<PortMapping>,
    pub(super) offers: Vec<Offer>,
}

/// Names the machine whose supervisor has the port, where that is who has it.
fn name_machine(error: PortsError) -> PortsError {
    match error {
        PortsError::InUse { protocol, number, guest, holder: Holder::Program(program, pid) } => {
            let names = super::registry::names().unwrap_or_default();
            let machine = names.into_iter().find(|name| super::registry::supervisor_of(name) == Some(pid));
            let holder = match machine {
                Some(name) => Holder::Machine(name.to_string()),
                None => Holder::Program(program, pid),
            };
            PortsError::InUse { protocol, number, guest, holder }
        }
        error => error,
    }
}

/// Holds the ports and offers of a machine's plan.
fn hold(machine: &MachinePlan) -> Result<Ports, PortsError> {
    let (name, plan) = (machine.name.as_str(), &machine.network);
    // These are the rules that are made before the first boot; without them there is none.
    let by_rules = MachineRules::of(name, plan, None).is_some_and(|rules| rules.takes_ports());
    Ports::hold(name, plan, machine.ids.map(|ids| ids.base), by_rules)
}

impl Network {
    /// Takes the ports that the machine is to have: who has one of them is known before anything is made.
    pub(super) fn hold_ports(machine: &MachinePlan) -> Result<Option<Ports>, Error> {
        let plan = &machine.network;
        let none = plan.ports.is_empty() && plan.offers.is_empty();
        Ok((!none).then(|| hold(machine).map_err(name_machine)).transpose()?)
    }

    /// The machine has a network namespace, the first one or another one after a reboot: its ports are served.
    pub(super) fn serve_ports(&mut self, namespace: BorrowedFd<'_>) {
        if let Some(ports) = &mut self.ports {
            ports.entered(namespace);
        }
    }

    /// Tells readers what leads to the machine, and what is offered in it.
    pub(super) fn write_ports(&mut self, claimed: &Claimed) -> Result<(), Error> {
        let Some(ports) = &self.ports else { return Ok(()) };
        (self.state.ports, self.state.offers) = (ports.mappings(), ports.offers());
        self.write(claimed.directory())
    }
}

impl Boot<'_> {
    /// The leader runs: sockets that are offered in its file system are made there.
    pub(super) fn offer_sockets(&self, machine: &mut Machine, report: &mut Report<'_>) {
        let base = machine.parts.plan.ids.map_or(0, |ids| ids.base);
        let root = self.running.root.as_ref().and_then(|root| root.try_clone().ok());
        let network = &mut machine.parts.network;
        if let (Some(ports), Some(root)) = (&mut network.ports, root) {
            ports.rooted(root, base);
        }
        let warnings = network.ports.as_mut().map(Ports::warnings).unwrap_or_default();
        let written = network.write_ports(&machine.claimed);
        for warning in warnings.into_iter().chain(written.err().map(|error| in_words(&error))) {
            report(&Event::Warning(&warning));
        }
    }

    /// The ports of the machine, which may have had none so far.
    fn ports<'m>(&self, machine: &'m mut Machine) -> Result<&'m mut Ports, PortsError> {
        let parts = &mut machine.parts;
        let network = &mut parts.network;
        if network.ports.is_none() {
            let mut ports = hold(&parts.plan)?;
            let path = format!("/proc/{}/ns/net", self.running.pid.as_raw_nonzero());
            // Not reaped yet: the pid is its own.
            let namespace = open_at(CWD, &path, OFlags::RDONLY, Mode::empty());
            let namespace = namespace.map_err(|source| PortsError::System {
                action: "find the machine's network namespace",
                source,
            })?;
            ports.entered(std::os::fd::AsFd::as_fd(&namespace));
            if let Some(root) = self.running.root.as_ref().and_then(|root| root.try_clone().ok()) {
                ports.rooted(root, parts.plan.ids.map_or(0, |ids| ids.base));
            }
            network.ports = Some(ports);
        }
        network.ports.as_mut().ok_or(PortsError::HostNetwork)
    }

    /// Has ports lead to the machine and offers things in it: all that is asked for, or nothing.
    pub(super) fn publish(
        &mut self,
        change: Change,
        machine: &mut Machine,
        report: &mut Report<'_>,
    ) -> Result<(), PortsError> {
        let ports = self.ports(machine)?;
        let (before, offered_before) = (ports.mappings(), ports.offers());
        let done = change
            .ports
            .iter()
            .try_for_each(|mapping| ports.publish(*mapping))
            .and_then(|()| change.offers.iter().try_for_each(|offer| ports.offer(offer.clone())));
        if done.is_err() {
            for mapping in ports.mappings().iter().filter(|mapping| !before.contains(mapping)) {
                let _ = ports.unpublish(mapping);
            }
            for offer in ports.offers().iter().filter(|offer| !offered_before.contains(offer)) {
                let _ = ports.take_back(&offer.inside);
            }
        }
        self.ports_changed(machine, (&before, &offered_before), report);
        done.map_err(name_machine)
    }

    /// Has ports lead nowhere again, and takes back what was offered: all that is asked for, or nothing. Gives what it was.
    pub(super) fn unpublish(
        &mut self,
        change: &Change,
        machine: &mut Machine,
        report: &mut Report<'_>,
    ) -> Result<Change, PortsError> {
        let ports = self.ports(machine)?;
        let (before, offered_before) = (ports.mappings(), ports.offers());
        let found = Change {
            ports: change.ports.iter().map(|mapping| ports.find(mapping)).collect::<Result<_, _>>()?,
            offers: change.offers.iter().map(|offer| ports.find_offer(offer)).collect::<Result<_, _>>()?,
        };
        let done = found
            .ports
            .iter()
            .try_for_each(|mapping| ports.unpublish(mapping))
            .and_then(|()| found.offers.iter().try_for_each(|offer| ports.take_back(&offer.inside)));
        self.ports_changed(machine, (&before, &offered_before), report);
        done.map(|()| found)
    }

    /// Tells the rules, those who read and those who listen what has changed.
    fn ports_changed(
        &self,
        machine: &mut Machine,
        (before, offered_before): (&[PortMapping], &[Offer]),
        report: &mut Report<'_>,
    ) {
        let network = &mut machine.parts.network;
        let Some(ports) = &mut network.ports else { return };
        let (now, offered_now) = (ports.mappings(), ports.offers());
        let mut faults = ports.warnings();
        let name = machine.parts.plan.name.as_str();
        if before != now {
            match rules::change_ports(name, &now) {
                Ok(done) => faults.extend(done.warnings),
                Err(error) => faults.push(in_words(&error)),
            }
        }
        if let Err(error) = network.write_ports(&machine.claimed) {
            faults.push(in_words(&error));
        }
        let published = |mapping: &PortMapping| MachineEvent::Published { port: mapping.to_string() };
        let unpublished = |mapping: &PortMapping| MachineEvent::Unpublished { port: mapping.to_string() };
        let offered = |offer: &Offer| MachineEvent::Offered { offer: offer.to_string() };
        let taken_back = |offer: &Offer| MachineEvent::TakenBack { offer: offer.to_string() };
        let events = (before.iter().filter(|one| !now.contains(one)).map(unpublished))
            .chain(offered_before.iter().filter(|one| !offered_now.contains(one)).map(taken_back))
            .chain(now.iter().filter(|one| !before.contains(one)).map(published))
            .chain(offered_now.iter().filter(|one| !offered_before.contains(one)).map(offered));
        for event in events {
            machine.control.publish(event);
        }
        faults.iter().for_each(|fault| report(&Event::Warning(fault)));
    }
}
