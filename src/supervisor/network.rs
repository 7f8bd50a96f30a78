//! The network of a machine in its supervisor: what is made before its first boot and again at each one, what is served while it
//! runs, and what goes with it.
//!
//! This is the one place where the parts of the network room are hooked in: [`rules`], [`services`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;

use crate::network::dhcp::server::AddressServer;
use crate::network::plan::{Namespace, NetworkPlan};
use crate::network::ports::Ports;
use crate::network::service::{Links, Service};
use crate::network::state::NetworkState;
use crate::runtime::plan::{MachinePlan, ProcessKind};
use crate::runtime::user_namespace::Made;
use crate::settings::network::NetworkNamespace;
use crate::settings::{MachineName, MachineSettings};

use super::claimed::Claimed;
use super::error::Error;

/// What a machine has of networks while it runs.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// What readers are told; the plan in it is that of the machine.
    pub(super) state: NetworkState,
    /// Ports of the host that lead to it, and what is offered in it.
    pub(super) ports: Option<Ports>,
    hostname: String,
    boots: bool,
    services: Vec<Box<dyn Service>>,
    begun: bool,
}

/// What a part of the network room has to work with.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "what each part needs")]
pub(super) struct Surroundings<'a> {
    /// The machine.
    pub(super) name: &'a MachineName,
    /// Its network.
    pub(super) state: &'a NetworkState,
    /// Its links as they were made for this boot.
    pub(super) links: Links<'a>,
    /// Its directory in /run.
    pub(super) directory: &'a OwnedFd,
    /// What it calls itself.
    pub(super) hostname: &'a str,
    /// An init runs in it.
    pub(super) boots: bool,
}

/// Plans the network of machine `name`, before anything of it is made.
pub(super) fn plan(_name: &MachineName, settings: &MachineSettings) -> NetworkPlan {
    let namespace = match settings.network_namespace() {
        NetworkNamespace::Host => Namespace::Host,
        NetworkNamespace::Path(path) => Namespace::Path(path),
        NetworkNamespace::Private => Namespace::Private,
    };
    let (ports, offers) = (settings.network.ports.clone(), settings.network.offers.clone());
    NetworkPlan { namespace, ports, offers, ..NetworkPlan::default() }
}

/// Makes the rules of the machine's packets, before its first boot; each thing is noted with [`Claimed::note`] before it is made,
/// and undone as a [`super::resources::Resource`].
fn rules(_claimed: &Claimed, _around: &Surroundings<'_>) -> Result<(), Error> {
    Ok(())
}

/// What is served to the machine from its first boot to its end.
fn services(_claimed: &Claimed, around: &Surroundings<'_>) -> Result<Vec<Box<dyn Service>>, Error> {
    let mut services: Vec<Box<dyn Service>> = Vec::new();
    // A command asks nobody, and closing such a socket takes the kernel longer than many a command.
    if around.boots
        && let Some(server) = AddressServer::of(&around.state.plan, around.hostname, &around.links)
    {
        services.push(Box::new(server));
    }
    Ok(services)
}

impl Network {
    /// Of a machine with this plan.
    pub(super) fn new(machine: &MachinePlan) -> Self {
        let plan = machine.network.clone();
        let (ports, offers) = (plan.ports.clone(), plan.offers.clone());
        Self {
            state: NetworkState { namespace: 0, plan, ports, offers },
            hostname: machine.hostname.clone(),
            boots: machine.process.kind == ProcessKind::Init,
            ..Self::default()
        }
    }

    /// The machine's namespaces are there, and the leader is about to start.
    pub(super) fn begin_boot(&mut self, claimed: &Claimed, made: &Made) -> Result<(), Error> {
        if let Some(namespace) = &made.network
            && !self.state.plan.links.is_empty()
        {
            let links = Links { namespace: namespace.as_fd(), host: &[] };
            self.serve_boot(claimed, links)?;
        }
        if let Some(namespace) = &made.network {
            self.serve_ports(namespace.as_fd());
        }
        Ok(())
    }

    /// The links are made: makes all else, or tells what is there of the new links.
    fn serve_boot(&mut self, claimed: &Claimed, links: Links<'_>) -> Result<(), Error> {
        if self.begun {
            self.services.iter_mut().for_each(|service| service.links_made(&links));
            return Ok(());
        }
        let directory = claimed.directory();
        let around = Surroundings {
            name: directory.name(),
            state: &self.state,
            links,
            directory: directory.fd(),
            hostname: &self.hostname,
            boots: self.boots,
        };
        rules(claimed, &around)?;
        self.services = services(claimed, &around)?;
        self.begun = true;
        Ok(())
    }

    /// What the services wait for.
    pub(super) fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let ports = self.ports.iter().flat_map(Service::interest);
        ports.chain(self.services.iter().flat_map(|service| service.interest()))
    }

    /// When a service wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ports = self.ports.as_ref().and_then(Service::deadline);
        ports.into_iter().chain(self.services.iter().filter_map(|service| service.deadline())).min()
    }

    /// Calls the services for which something is `ready`, in the order of [`Network::interest`], or whose time has come. Gives
    /// what they have to tell the user.
    pub(super) fn turn(&mut self, ready: &[PollFlags], now: Instant) -> Vec<String> {
        let mut ready = ready.iter();
        let mut warnings = Vec::new();
        let ports = self.ports.as_mut().map(|ports| ports as &mut dyn Service);
        let services = self.services.iter_mut().map(|service| &mut **service as &mut dyn Service);
        for service in ports.into_iter().chain(services) {
            let count = service.interest().len();
            let called = ready.by_ref().take(count).fold(false, |called, flags| called | !flags.is_empty());
            if called || service.deadline().is_some_and(|deadline| deadline <= now) {
                service.on_ready(now);
                warnings.extend(service.warnings());
            }
        }
        warnings
    }
}
