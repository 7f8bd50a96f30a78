//! `spinney inspect`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Check whether a tree can be booted here
#[derive(Debug, clap::Args)]
pub struct InspectArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn inspect(arguments: &InspectArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
