//! `spinney export`.

use super::fail;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

/// Write an image as an archive or a disk image
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// What it is done to
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn export(arguments: &ExportArguments) -> u8 {
    fail(&Message::new(format!("not built: {:?}", arguments.names)), None, Output::new(arguments.quiet))
}
