//! `spinney net`: zones, and the networks of machines that run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::EXIT_FAILURE;
use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output};
use crate::cli::verbs::fail;
use crate::machine::{Error, MachineHandle};
use crate::network::lease::{self, Leases};
use crate::network::plan::{Addresses, LinkKind, Namespace};
use crate::network::records::Records;
use crate::network::state::NetworkState;
use crate::network::subnet::Subnet;
use crate::settings::network::{InterfaceName, Offer, PortMapping, ZoneName};

/// What is printed.
#[derive(Debug, clap::Args)]
pub(super) struct ZonesArguments {
    /// JSON
    #[arg(long)]
    json: bool,

    /// No headings
    #[arg(long)]
    no_legend: bool,
}

/// A zone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Zone {
    name: ZoneName,
    bridge: InterfaceName,
    domain: String,
    ipv4: Option<Subnet>,
    ipv6: Option<Subnet>,
    /// Those that run.
    machines: Vec<String>,
    /// How many machines have an address there, running or not.
    leases: usize,
}

/// A machine that runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Machine {
    name: String,
    /// `private`, `host`, or the path of a namespace.
    namespace: String,
    zone: Option<ZoneName>,
    ports: Vec<PortMapping>,
    offers: Vec<Offer>,
    links: Vec<Link>,
}

/// An interface of a machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Link {
    name: InterfaceName,
    kind: String,
    host: Option<InterfaceName>,
    mac: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
}

/// Runs the verb, gives the exit status.
pub(super) fn zones(arguments: &ZonesArguments) -> u8 {
    let output = Output::new(false);
    let (zones, machines) = match look() {
        Ok(found) => found,
        Err(error) => return fail(&error, output),
    };
    if arguments.json {
        let all = serde_json::json!({ "zones": zones, "machines": machines });
        return if output.json(&all).is_ok() { 0 } else { EXIT_FAILURE };
    }
    if zones.is_empty() && machines.is_empty() {
        output.text("No zones, and no machines.\n");
        return 0;
    }
    let mut table = Table::new(&["ZONE", "BRIDGE", "STATE", "IPV4", "IPV6", ">MACHINES", ">LEASES"]);
    for zone in &zones {
        let (state, colour) =
            if zone.machines.is_empty() { ("idle", Colour::Grey) } else { ("up", Colour::Green) };
        let subnet = |subnet: Option<Subnet>| subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        table.add(vec![
            zone.name.as_str().into(),
            zone.bridge.as_str().into(),
            Cell::new(state, Some(colour)),
            subnet(zone.ipv4).into(),
            subnet(zone.ipv6).into(),
            zone.machines.len().to_string().into(),
            zone.leases.to_string().into(),
        ]);
    }
    if !zones.is_empty() {
        output.table(&table, !arguments.no_legend, false);
    }
    if !zones.is_empty() && !machines.is_empty() {
        output.text("\n");
    }
    if !machines.is_empty() {
        output.table(&rows(&machines), !arguments.no_legend, false);
    }
    0
}

/// A row a link; a machine without one has a row that says so.
fn rows(machines: &[Machine]) -> Table {
    let mut table = Table::new(&["MACHINE", "LINK", "NETWORK", "IPV4", "IPV6", "MAC", "PORTS"]);
    for machine in machines {
        let ports: Vec<String> = machine.ports.iter().map(ToString::to_string).collect();
        let grey = |text: &str| Cell::new(text, Some(Colour::Grey));
        if machine.links.is_empty() {
            let network = match machine.namespace.as_str() {
                "private" => "loopback only",
                "host" => "the host's",
                path => path,
            };
            let empty = || Cell::from("");
            table.add(vec![
                machine.name.as_str().into(),
                empty(),
                grey(network),
                empty(),
                empty(),
                empty(),
                ports.join(" ").into(),
            ]);
        }
        for (place, link) in machine.links.iter().enumerate() {
            let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
            table.add(vec![
                machine.name.as_str().into(),
                link.name.as_str().into(),
                link.kind.as_str().into(),
                text(&link.ipv4),
                text(&link.ipv6),
                text(&link.mac),
                if place == 0 { ports.join(" ") } else { String::new() }.into(),
            ]);
        }
    }
    table
}

fn look() -> Result<(Vec<Zone>, Vec<Machine>), Error> {
    let machines: Vec<Machine> = MachineHandle::all()?
        .iter()
        .map(|machine| of(machine.name().to_string(), machine.network_state()))
        .collect();
    // Who may not read the leases sees the zones that are up.
    let records = Leases::look(&lease::directory()).records().unwrap_or_default();
    Ok((zones_of(&machines, &records), machines))
}

fn of(name: String, state: NetworkState) -> Machine {
    let zone = state.plan.zone().cloned();
    let namespace = match &state.plan.namespace {
        Namespace::Host => "host".to_owned(),
        Namespace::Private => "private".to_owned(),
        Namespace::Path(path) => path.display().to_string(),
    };
    let links = state.plan.links.into_iter().map(|link| {
        let kind = match &link.kind {
            LinkKind::Veth => "pair".to_owned(),
            LinkKind::Bridge(bridge) => format!("bridge {bridge}"),
            LinkKind::Zone(zone) => format!("zone {zone}"),
            LinkKind::Extra => "pair, no addresses".to_owned(),
            LinkKind::Macvlan(on) => format!("macvlan on {on}"),
            LinkKind::Ipvlan(on) => format!("ipvlan on {on}"),
            LinkKind::Lent => "lent".to_owned(),
        };
        let Addresses { v4, v6 } = link.addresses.unwrap_or(Addresses { v4: None, v6: None });
        Link {
            name: link.guest,
            kind,
            host: link.host,
            mac: link.mac.map(|mac| mac.to_string()),
            ipv4: v4.map(|family| format!("{}/{}", family.address, family.prefix)),
            ipv6: v6.map(|family| format!("{}/{}", family.address, family.prefix)),
        }
    });
    Machine { name, namespace, zone, ports: state.ports, offers: state.offers, links: links.collect() }
}

/// Zones with machines, and those that are remembered.
fn zones_of(machines: &[Machine], records: &Records) -> Vec<Zone> {
    let mut zones: BTreeMap<&ZoneName, Vec<String>> =
        records.zones.keys().map(|zone| (zone, Vec::new())).collect();
    for machine in machines {
        if let Some(zone) = &machine.zone {
            zones.entry(zone).or_default().push(machine.name.clone());
        }
    }
    let zone = |(name, machines): (&ZoneName, Vec<String>)| {
        let record = records.zones.get(name);
        Zone {
            name: name.clone(),
            bridge: name.bridge(),
            domain: name.domain(),
            ipv4: record.and_then(|record| record.ipv4),
            ipv6: record.and_then(|record| record.ipv6),
            leases: record.map_or(0, |record| record.leases.len()),
            machines,
        }
    };
    zones.into_iter().map(zone).collect()
}
