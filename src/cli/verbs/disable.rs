//! `spinney disable`: has machines not started with the host any more.

use super::{fail, named};
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::autostart;

const EXAMPLES: &str = "\
Examples:
  spinney disable web              it comes no more; if it runs, it goes on";

/// Have machines started by start --all-enabled no more
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DisableArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status. A machine that runs goes on.
pub fn disable(arguments: &DisableArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("disable", "sudo spinney disable NAME", output) {
        return EXIT_FAILURE;
    }
    let mut status = 0;
    for name in &arguments.names {
        match named(name).and_then(|name| autostart::disable(&name)) {
            Ok(true) => output.status(&format!("{name} is disabled")),
            Ok(false) => output.status(&format!("{name} was not enabled")),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    status
}
