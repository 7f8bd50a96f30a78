//! `spinney clone`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Make a machine from an image, in no time
#[derive(Debug, clap::Args)]
pub struct CloneArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn clone(arguments: &CloneArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
