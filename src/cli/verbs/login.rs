//! `spinney login`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Get a login prompt of a running machine
#[derive(Debug, clap::Args)]
pub struct LoginArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn login(arguments: &LoginArguments) -> u8 {
    Output::new(false).error(&Message::new(format!("not built: {:?}", arguments.names)), None);
    EXIT_FAILURE
}
