//! `spinney commit`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Make an image of a machine's state
#[derive(Debug, clap::Args)]
pub struct CommitArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn commit(arguments: &CommitArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
