//! `spinney unbind`

use std::path::PathBuf;

use crate::cli::output::Output;
use crate::cli::verbs::{fail, named};
use crate::machine::MachineHandle;
use crate::machine::bind::{Unbound, unbind as unmount};

const EXAMPLES: &str = "\
Examples:
  spinney unbind web /srv   what spinney bind web ... /srv mounted";

/// Unmount what bind mounted
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct UnbindArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// Where it is mounted in the machine
    #[arg(value_name = "DST", required = true)]
    targets: Vec<PathBuf>,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status: that of the first fault, past which the rest is unmounted too.
pub fn unbind(arguments: &UnbindArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let machine = match named(&arguments.name).and_then(|name| MachineHandle::find(&name)) {
        Ok(machine) => machine,
        Err(error) => return fail(&error, output),
    };
    let mut status = 0;
    for target in &arguments.targets {
        match unmount(&machine, target) {
            Ok(Unbound::Unmounted) => {
                output.status(&format!("{} of {} is unmounted", target.display(), arguments.name));
            }
            Ok(Unbound::GoneBefore) => {
                output.status(&format!("{} had unmounted {} itself", arguments.name, target.display()));
            }
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    status
}
