//! `spinney publish` and `spinney unpublish`: ports and offers of a machine while it runs.

use serde_json::{Value, json};

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::{Control, Error, MachineHandle};
use crate::supervisor::control::INTERFACE;

const PUBLISH: &str = "\
They hold until the machine is off, over reboots too; spinney run and the machine's settings have --port= and --offer= for \
always.

Examples:
  spinney publish web 8080:80
  spinney publish web 127.0.0.1:8443:443 udp:5353:53
  spinney publish web --offer=5432          the host's database, at the same port of the machine's loopback
  spinney publish web --offer=/run/docker.sock

Exit status: 0, or 125 when one of them cannot be: then none is.";

const UNPUBLISH: &str = "\
Of a port the host's side counts, of an offer the machine's. Who is connected by way of the proxy (from ::1, and to what is \
offered) is not any more.

Examples:
  spinney unpublish web 8080
  spinney unpublish web --offer=5432
  spinney unpublish web --all";

/// Have ports of the host lead to a running machine
#[derive(Debug, clap::Args)]
#[command(after_help = PUBLISH)]
pub struct PublishArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// Ports, as --port= of spinney run has them
    #[arg(value_name = "[tcp|udp:]HOST[:MACHINE]")]
    ports: Vec<String>,

    /// Offer a port or socket of the host's inside of the machine
    #[arg(long, value_name = "[tcp|udp:]HOST[:MACHINE]")]
    offer: Vec<String>,

    /// Print all that there are then as JSON
    #[arg(long)]
    json: bool,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

/// Have ports of the host lead to a machine no more
#[derive(Debug, clap::Args)]
#[command(after_help = UNPUBLISH)]
pub struct UnpublishArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// The ports
    #[arg(value_name = "[tcp|udp:]HOST")]
    ports: Vec<String>,

    /// What is offered
    #[arg(long, value_name = "[tcp|udp:]HOST[:MACHINE]")]
    offer: Vec<String>,

    /// All ports and offers
    #[arg(long, conflicts_with_all = ["ports", "offer"])]
    all: bool,

    /// Print what was taken away as JSON
    #[arg(long)]
    json: bool,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `spinney publish`, gives the exit status.
pub fn publish(arguments: &PublishArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if arguments.ports.is_empty() && arguments.offer.is_empty() {
        return nothing(output, "spinney publish NAME 8080:80");
    }
    let wanted = json!({ "ports": arguments.ports, "offers": arguments.offer });
    match call(&arguments.name, "Publish", wanted) {
        Ok(all) => tell(&all, arguments.json, output, || {
            for port in &arguments.ports {
                output.status(&format!("port {port} of the host leads to {}", arguments.name));
            }
            for offer in &arguments.offer {
                output.status(&format!("{offer} of the host is offered in {}", arguments.name));
            }
        }),
        Err(error) => fail(&error, output),
    }
}

/// Runs `spinney unpublish`, gives the exit status.
pub fn unpublish(arguments: &UnpublishArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if arguments.ports.is_empty() && arguments.offer.is_empty() && !arguments.all {
        return nothing(output, "spinney unpublish NAME 8080, or --all");
    }
    let wanted = match arguments.all {
        true => call(&arguments.name, "ListPorts", json!({}))
            .map(|all| json!({ "ports": all["ports"], "offers": all["offers"] })),
        false => Ok(json!({ "ports": arguments.ports, "offers": arguments.offer })),
    };
    match wanted.and_then(|wanted| call(&arguments.name, "Unpublish", wanted)) {
        Ok(done) => tell(&done, arguments.json, output, || {
            for port in strings(&done["ports"]) {
                output
                    .status(&format!("port {port} of the host does not lead to {} any more", arguments.name));
            }
            for offer in strings(&done["offers"]) {
                output.status(&format!("{offer} of the host is not offered in {} any more", arguments.name));
            }
        }),
        Err(error) => fail(&error, output),
    }
}

fn nothing(output: Output, hint: &str) -> u8 {
    output.error(&Message::new("no port and no offer given"), Some(hint));
    EXIT_FAILURE
}

fn call(name: &str, method: &str, parameters: Value) -> Result<Value, Error> {
    let machine = MachineHandle::find(&named(name)?)?;
    Control::connect(&machine)?.call(&format!("{INTERFACE}.{method}"), parameters)
}

fn tell(results: &Value, json: bool, output: Output, words: impl FnOnce()) -> u8 {
    if !json {
        words();
        return 0;
    }
    match output.json(results) {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error, None);
            EXIT_FAILURE
        }
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
