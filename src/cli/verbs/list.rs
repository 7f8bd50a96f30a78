//! `spinney list`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// List the machines that run
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn list(arguments: &ListArguments) -> u8 {
    Output::new(false).error(&Message::new(format!("not built: {:?}", arguments.names)), None);
    EXIT_FAILURE
}
