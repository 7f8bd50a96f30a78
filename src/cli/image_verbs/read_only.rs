//! `spinney read-only`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Mark an image read-only, or writable again
#[derive(Debug, clap::Args)]
pub struct ReadOnlyArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn read_only(arguments: &ReadOnlyArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
