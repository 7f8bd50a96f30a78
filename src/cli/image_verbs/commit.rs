//! `spinney commit`: an image of a machine's state.

use super::states::{StoreArguments, found, named, pause_words, refuse};
use crate::cli::output::Output;
use crate::cli::require_root;
use crate::image::commit::commit as commit_image;
use crate::image::layers::LayerError;
use crate::machine::paused::pause_writer;

const EXAMPLES: &str = "\
The new image is a directory with all that the machine sees of its root, of one piece: it needs none of the layers. With --layered \
it shares them, takes no time and no room, and is what spinney clone makes.

Examples:
  spinney commit web web-2026.11
  spinney commit --layered --read-only web golden

A machine that runs is paused meanwhile: the image is what a power cut would leave.";

/// Make an image of a machine's state
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CommitArguments {
    /// The machine's image
    #[arg(value_name = "NAME")]
    name: String,

    /// What the new image is called
    #[arg(value_name = "NEWIMAGE")]
    new: String,

    /// Share the layers instead of copying what is in them
    #[arg(long)]
    layered: bool,

    /// Mark the new image read-only
    #[arg(long)]
    read_only: bool,

    #[command(flatten)]
    store: StoreArguments,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn commit(arguments: &CommitArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let line = format!("sudo spinney commit {} {}", arguments.name, arguments.new);
    if !require_root("commit", &line, output) {
        return crate::cli::EXIT_FAILURE;
    }
    let store = match arguments.store.store(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let committed = || -> Result<_, LayerError> {
        let new = named(&arguments.new)?;
        let image = found(&store, &arguments.name)?;
        commit_image(&store, &image, &new, arguments.layered, arguments.read_only, &pause_writer)
    };
    match committed() {
        Ok(committed) => {
            let pause = pause_words(committed.paused);
            output.status(&format!("{} committed to {}{pause}", arguments.name, committed.image.name));
            0
        }
        Err(error) => refuse(&error, output),
    }
}
