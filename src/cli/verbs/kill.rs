//! `spinney kill`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Send a signal to processes of machines
#[derive(Debug, clap::Args)]
pub struct KillArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn kill(arguments: &KillArguments) -> u8 {
    Output::new(false).error(&Message::new(format!("not built: {:?}", arguments.names)), None);
    EXIT_FAILURE
}
