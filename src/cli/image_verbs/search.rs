//! `spinney search`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Look for images in the catalogue
#[derive(Debug, clap::Args)]
pub struct SearchArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn search(arguments: &SearchArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
