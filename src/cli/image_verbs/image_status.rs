//! `spinney image-status`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Show what an image is
#[derive(Debug, clap::Args)]
pub struct ImageStatusArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn image_status(arguments: &ImageStatusArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
