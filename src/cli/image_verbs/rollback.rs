//! `spinney rollback`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Take a machine back to a snapshot
#[derive(Debug, clap::Args)]
pub struct RollbackArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn rollback(arguments: &RollbackArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
