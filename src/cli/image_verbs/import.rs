//! `spinney import`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Make an image of an archive, a disk image or a directory
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn import(arguments: &ImportArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
