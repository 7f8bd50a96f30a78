//! `spinney enable`: has machines started with the host.

use super::{fail, named};
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::autostart;

use crate::machine::{Error, find_image};

const EXAMPLES: &str = "\
Examples:
  spinney enable web db            both come with spinney start --all-enabled";

/// Have machines started by start --all-enabled
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct EnableArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn enable(arguments: &EnableArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("enable", "sudo spinney enable NAME", output) {
        return EXIT_FAILURE;
    }
    let mut status = 0;
    for name in &arguments.names {
        match enable_one(name) {
            Ok(true) => output.status(&format!("{name} is enabled: spinney start --all-enabled starts it")),
            Ok(false) => output.status(&format!("{name} was enabled already")),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    if status == 0 && autostart::is_systemd_host() {
        output.status(
            "systemd runs this host: it starts machines when a unit runs spinney start --all-enabled",
        );
    }
    status
}

fn enable_one(name: &str) -> Result<bool, Error> {
    let name = named(name)?;
    find_image::find(&name)?;
    // What is wrong with its settings is better heard now than at the next boot.
    autostart::needs(&name)?;
    autostart::enable(&name)
}
