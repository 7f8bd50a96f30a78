//! `spinney net doctor`

use crate::cli::output::Output;
use crate::cli::verbs::doctor::{Found, Telling, report};
use crate::cli::verbs::{fail, named};
use crate::machine::doctor::network_checks;
use crate::machine::doctor::network_facts::NetworkFacts;
use crate::machine::{Error, MachineHandle};

const EXAMPLES: &str = "\
Examples:
  spinney net doctor          why the machine that runs does not reach the internet
  spinney net doctor web -q   only what is not as it should be";

/// Find out why machines do not reach the internet
///
/// Looks at the link, the host's routes and forwarding, our rules and those of other firewalls, name servers, and the size of
/// packets. Exit status: 1 if there is a problem, 0 if there are warnings at most.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArguments {
    /// Machines to look at; by default all that run
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    telling: Telling,
}

/// Runs the verb, gives the exit status.
pub(super) fn doctor(arguments: &DoctorArguments) -> u8 {
    let output = Output::new(false);
    let mut status = 0;
    let mut found: Vec<Found> = Vec::new();
    let machines: Vec<Result<MachineHandle, Error>> = match arguments.names.as_slice() {
        [] => match MachineHandle::all() {
            Ok(machines) => machines.into_iter().map(Ok).collect(),
            Err(error) => return fail(&error, output),
        },
        names => names.iter().map(|name| named(name).and_then(|name| MachineHandle::find(&name))).collect(),
    };
    for machine in machines {
        match machine {
            Ok(machine) => {
                let findings = network_checks::judge(&NetworkFacts::of(&machine));
                found.push((Some(machine.name().to_string()), findings));
            }
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    if found.is_empty() && status == 0 && !arguments.telling.json && !arguments.telling.quiet {
        output.text("No machines.\n");
    }
    report(&found, &arguments.telling, status, output)
}
