//! `spinney unbind`

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Unmount what bind mounted
#[derive(Debug, clap::Args)]
pub struct UnbindArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn unbind(arguments: &UnbindArguments) -> u8 {
    Output::new(false).error(&Message::new(format!("not built: {:?}", arguments.names)), None);
    EXIT_FAILURE
}
