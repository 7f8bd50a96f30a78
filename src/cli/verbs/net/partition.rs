//! `spinney net partition`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::verbs::{fail, named};
use crate::machine::MachineHandle;
use crate::network::rules;

const EXAMPLES: &str = "\
Examples:
  spinney net partition db1 db2          neither reaches the other any more
  spinney net partition db1 db2 --heal   they do again";

/// Keep two machines from each other, to test what they make of it
///
/// It lasts until it is healed or one of them ends; a reboot does not change it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PartitionArguments {
    /// One machine
    #[arg(value_name = "NAME")]
    one: String,

    /// The other one
    #[arg(value_name = "OTHER")]
    other: String,

    /// Let them reach each other again
    #[arg(long)]
    heal: bool,

    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub(super) fn partition(arguments: &PartitionArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    for name in [&arguments.one, &arguments.other] {
        if let Err(error) = named(name).and_then(|name| MachineHandle::find(&name)) {
            return fail(&error, output);
        }
    }
    match rules::partition(&arguments.one, &arguments.other, arguments.heal) {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            EXIT_FAILURE
        }
    }
}
