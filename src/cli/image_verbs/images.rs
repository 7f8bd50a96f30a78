//! `spinney images`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// List the images that there are
#[derive(Debug, clap::Args)]
pub struct ImagesArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn images(arguments: &ImagesArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
