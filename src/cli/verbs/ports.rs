//! `spinney ports`

use serde::Serialize;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::output::table::Table;
use crate::machine::{Error, MachineHandle};
use crate::network::ports::error::{endpoint_side, host_side, range, word};
use crate::network::state::NetworkState;
use crate::settings::network::{Endpoint, Offer, PortMapping};

const RULES: &str = "\
A port of the host leads to a port of the machine; what is offered in the machine leads to the host.

Examples:
  spinney ports                     those of all machines
  spinney ports web --json
  spinney publish web 8080:80       one more, while it runs
  spinney unpublish web 8080";

/// Show which ports of the host lead to machines, and what is offered in them
///
/// Needs no root: what it shows is public.
#[derive(Debug, clap::Args)]
#[command(after_help = RULES)]
pub struct PortsArguments {
    /// The machines [default: all that run]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// JSON: an array, a machine with any ports or offers each
    #[arg(long)]
    json: bool,

    /// No heading and no sum
    #[arg(long)]
    no_legend: bool,
}

/// What is to be told of one machine.
#[derive(Debug, Serialize)]
struct Machine {
    name: String,
    ports: Vec<PortMapping>,
    offers: Vec<Offer>,
}

/// Runs the verb, gives the exit status.
pub fn ports(arguments: &PortsArguments) -> u8 {
    let output = Output::new(false);
    let machines = match machines(&arguments.names) {
        Ok(machines) => machines,
        Err(error) => return fail(&error, output),
    };
    let machines: Vec<Machine> = machines
        .iter()
        .map(|machine| {
            let NetworkState { ports, offers, .. } = machine.network_state();
            Machine { name: machine.name().to_string(), ports, offers }
        })
        .filter(|machine| !machine.ports.is_empty() || !machine.offers.is_empty())
        .collect();
    if arguments.json {
        return match output.json(&machines) {
            Ok(()) => 0,
            Err(error) => {
                output.error(&error, None);
                EXIT_FAILURE
            }
        };
    }
    if machines.is_empty() {
        if !arguments.no_legend {
            output.text("No ports.\n");
        }
        return 0;
    }
    let mut table = Table::new(&["NAME", "KIND", "PROTOCOL", "HOST", "MACHINE"]);
    for machine in &machines {
        for mapping in &machine.ports {
            let inside = range(mapping.guest, mapping.count);
            let row = [&machine.name, "port", word(mapping.protocol), &host_side(mapping), &inside];
            table.add(row.map(Into::into).to_vec());
        }
        for offer in &machine.offers {
            let (outside, inside) = (endpoint_side(&offer.outside), endpoint_side(&offer.inside));
            let row = [&machine.name, "offer", protocol(offer), &outside, &inside];
            table.add(row.map(Into::into).to_vec());
        }
    }
    output.table(&table, !arguments.no_legend, false);
    0
}

/// Those with these names, or all.
fn machines(names: &[String]) -> Result<Vec<MachineHandle>, Error> {
    match names {
        [] => MachineHandle::all(),
        names => names.iter().map(|name| MachineHandle::find(&named(name)?)).collect(),
    }
}

fn protocol(offer: &Offer) -> &'static str {
    match (&offer.outside, &offer.inside) {
        (Endpoint::Udp(..), _) => "udp",
        (Endpoint::Unix(_), Endpoint::Unix(_)) => "unix",
        _ => "tcp",
    }
}
