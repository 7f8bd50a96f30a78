//! `spinney show-image`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Print the properties of images, for programs
#[derive(Debug, clap::Args)]
pub struct ShowImageArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn show_image(arguments: &ShowImageArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
