//! `spinney attach`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Connect to the console of a running machine
#[derive(Debug, clap::Args)]
pub struct AttachArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn attach(arguments: &AttachArguments) -> u8 {
    Output::new(false).error(&Message::new(format!("not built: {:?}", arguments.names)), None);
    EXIT_FAILURE
}
