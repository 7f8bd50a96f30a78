//! The network of a machine in its supervisor: what is made before its first boot and again at each one, what is served while it
//! runs, and what goes with it.
//!
//! This is the one place where the parts of the network room are hooked in: [`rules`], [`services`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::PollFlags;

use crate::network::configuration;
use crate::network::dhcp::server::AddressServer;
use crate::network::host::HostNetwork;
use crate::network::lease::{self, HostView, Leases, Wanted};
use crate::network::link::holding::holdings;
use crate::network::link::{self, Made};
use crate::network::names::HostId;
use crate::network::plan::NetworkPlan;
use crate::network::planner;
use crate::network::ports::Ports;
use crate::network::records::Asked;
use crate::network::rules::{self, MachineRules, Watch};
use crate::network::service::{Links, Service};
use crate::network::state::NetworkState;
use crate::network::subnet::Subnet;
use crate::runtime::plan::{MachinePlan, ProcessKind};
use crate::runtime::user_namespace::Made as Namespaces;
use crate::settings::{MachineName, MachineSettings};
use crate::sys::network::NamespaceId;

use super::claimed::Claimed;
use super::error::Error;
use super::fault;
use super::registry::{MACHINES, MachineDirectory};
use super::resources::Resource;
use super::{Event, Report};

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
    /// The links of this boot.
    links: Made,
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

/// The plan of a machine's network, and what was looked at for it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: NetworkPlan,
    /// The host's network, where the plan depends on it.
    pub(super) host: Option<HostNetwork>,
}

/// Plans the network of machine `name`, before anything of it is made. Its addresses are its own from now on if it `starts`.
pub(super) fn plan(
    name: &MachineName,
    settings: &MachineSettings,
    host_id: &str,
    starts: bool,
) -> Result<Planned, Error> {
    let id = HostId::parse(host_id);
    let (leased, host) = match planner::lease_of(settings) {
        None => (None, None),
        Some((wanted, addresses)) => {
            let network = HostNetwork::look().map_err(Error::system("look at this host's network"))?;
            let host = view(&wanted, &network);
            let pool = configuration::pool()?;
            let directory = lease::directory();
            let leases = if starts { Leases::open(&directory)? } else { Leases::look(&directory) };
            let is_live = |name: &str| Path::new(MACHINES).join(name).exists();
            let (name, now) = (name.as_str(), lease::now());
            let asked = Asked { name, addresses, host: &host, id, pool: &pool, is_live: &is_live, now };
            (Some(leases.acquire(&wanted, &asked)?), Some(network))
        }
    };
    Ok(Planned { plan: planner::plan(settings, name, id, leased)?, host })
}

/// What leases are chosen by.
fn view(wanted: &Wanted, host: &HostNetwork) -> HostView {
    let name = |index: &u32| host.link(*index).and_then(|link| link.name.parse().ok());
    let routes = host.routes.iter().filter(|route| route.prefix != 0).map(|route| lease::Route {
        network: Subnet::of(route.destination, route.prefix),
        interface: route.interfaces.first().and_then(name),
    });
    let bridge = match wanted {
        Wanted::Zone(zone) => host.links.iter().find(|link| link.name == zone.bridge().as_str()),
        Wanted::Pair => None,
    };
    let on_bridge = host
        .addresses
        .iter()
        .filter(|address| bridge.is_some_and(|bridge| bridge.index == address.interface));
    HostView {
        routes: routes.collect(),
        bridge: on_bridge.map(|address| (address.address, address.prefix)).collect(),
        ipv6: Path::new("/proc/net/if_inet6").exists(),
    }
}

/// Makes the rules of the machine's packets, before its first boot. [`Network::prepare`] has noted them.
fn rules(around: &Surroundings<'_>) -> Result<Option<Watch>, Error> {
    let (name, state) = (around.name.as_str(), around.state);
    let Some(machine) = MachineRules::of(name, &state.plan, state.dns_port) else { return Ok(None) };
    let report = rules::set_machine(&machine)?;
    fault::point("rules");
    Ok(Some(Watch::new(name, Instant::now(), report.warnings)))
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
    /// Of a machine with this plan: makes what comes once for all boots, each thing noted before.
    pub(super) fn prepare(
        claimed: &Claimed,
        machine_plan: &MachinePlan,
        host: Option<&HostNetwork>,
        report: &mut Report<'_>,
    ) -> Result<Self, Error> {
        let plan = &machine_plan.network;
        let (ports, offers) = (plan.ports.clone(), plan.offers.clone());
        let mut state = NetworkState { namespace: 0, plan: plan.clone(), dns_port: None, ports, offers };
        if !plan.links.is_empty() {
            let macs = link::check(plan)?;
            let namespace = NamespaceId::ours().map_err(Error::system("look at this host's network"))?;
            state.namespace = namespace.number;
            let machine = claimed.directory().name().as_str();
            // Before the links and the cgroup, and so undone after them: no process of the machine is ever without its rules.
            if MachineRules::of(machine, plan, None).is_some() {
                claimed.note(&Resource::Rules { machine: machine.to_owned(), namespace })?;
            }
            for holding in holdings(plan, machine, namespace, &macs) {
                claimed.note(&Resource::Network(holding))?;
            }
            fault::point("network-noted");
            let refused = link::prepare(plan, machine, namespace, host)?;
            if !refused.is_empty() {
                report(&Event::Warning(&format!(
                    "the machine may not reach beyond this host, which does not let us set {}",
                    refused.join(", ")
                )));
            }
            fault::point("network-prepared");
        }
        Ok(Self {
            state,
            hostname: machine_plan.hostname.clone(),
            boots: machine_plan.process.kind == ProcessKind::Init,
            ..Self::default()
        })
    }

    /// The machine's namespaces are there, and the leader is about to start.
    pub(super) fn begin_boot(&mut self, claimed: &Claimed, made: &Namespaces) -> Result<(), Error> {
        let Some(namespace) = &made.network else { return Ok(()) };
        if !self.state.plan.links.is_empty() {
            self.links = link::make(&self.state.plan, namespace.as_fd())?;
            fault::point("links");
            self.serve_boot(claimed, namespace.as_fd())?;
            fault::point("services");
        }
        self.serve_ports(namespace.as_fd());
        self.write(claimed.directory())
    }

    /// Writes down what readers are told, where there is something to tell.
    pub(super) fn write(&self, directory: &MachineDirectory) -> Result<(), Error> {
        match self.state.plan.links.is_empty() && self.ports.is_none() {
            true => Ok(()),
            false => directory
                .write_network(&self.state)
                .map_err(Error::system("write down the machine's network")),
        }
    }

    /// The leader has ended: takes back what of the host's is in the machine's namespace.
    pub(super) fn end_boot(&mut self) -> Result<(), Error> {
        Ok(self.links.lent.take_back()?)
    }

    /// The links are made: makes all else, or tells what is there of the new links.
    fn serve_boot(&mut self, claimed: &Claimed, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let links = Links { namespace, host: &self.links.host };
        if self.begun {
            self.services.iter_mut().for_each(|service| service.links_made(&links));
            return Ok(());
        }
        // First: rules lead to its port.
        let (names, dns_port) = super::names::serve(claimed, &self.state, self.boots)?;
        self.state.dns_port = dns_port;
        let directory = claimed.directory();
        let around = Surroundings {
            name: directory.name(),
            state: &self.state,
            links,
            directory: directory.fd(),
            hostname: &self.hostname,
            boots: self.boots,
        };
        let watch = rules(&around)?;
        self.services = services(claimed, &around)?;
        self.services.extend(watch.map(|watch| Box::new(watch) as Box<dyn Service>));
        self.services.extend(names);
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
            }
            // Of others too: one may have some from when it was made.
            warnings.extend(service.warnings());
        }
        warnings
    }
}
