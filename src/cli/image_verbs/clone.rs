//! `spinney clone`: a new image of another's state, in no time.

use super::states::{StoreArguments, found, named, pause_words, refuse};
use crate::cli::output::Output;
use crate::cli::require_root;
use crate::image::clone::{CloneOptions, Cloned, clone as clone_image};
use crate::image::layers::LayerError;
use crate::machine::paused::pause_writer;

const EXAMPLES: &str = "\
A clone of a directory is layered: its lowest layer is that directory, which is not copied, and which must not change from then \
on: spinney neither starts it writably nor removes it while clones depend on it. Clones of layered images share their layers. On \
btrfs a subvolume's clone is a snapshot, and a disk image's shares its data where the file system can (xfs, btrfs). Whatever the size, \
a clone takes some milliseconds.

Examples:
  spinney clone debian-13 web       a machine to start: spinney start web
  spinney clone --copy web other    all of it, independent of web
  spinney clone --read-only web v1  one that is not to be changed

A machine that runs from IMAGE is paused while what it changed is copied: the clone is what a power cut would leave.";

/// Make a machine from an image, in no time
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CloneArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// What the clone is called
    #[arg(value_name = "NAME")]
    name: String,

    /// Copy all of it, so that neither needs the other
    #[arg(long)]
    copy: bool,

    /// Mark the clone read-only
    #[arg(long)]
    read_only: bool,

    #[command(flatten)]
    store: StoreArguments,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn clone(arguments: &CloneArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let line = format!("sudo spinney clone {} {}", arguments.image, arguments.name);
    if !require_root("clone", &line, output) {
        return crate::cli::EXIT_FAILURE;
    }
    match work(arguments, output) {
        Ok(()) => 0,
        Err(status) => status,
    }
}

fn work(arguments: &CloneArguments, output: Output) -> Result<(), u8> {
    let store = arguments.store.store(output)?;
    let cloned = || -> Result<Cloned, LayerError> {
        let name = named(&arguments.name)?;
        let image = found(&store, &arguments.image)?;
        let options = CloneOptions { copy: arguments.copy, read_only: arguments.read_only };
        clone_image(&store, &image, &name, options, &pause_writer)
    };
    let cloned = cloned().map_err(|error| refuse(&error, output))?;
    let how = if arguments.copy { "copied" } else { "cloned" };
    output.status(&format!(
        "{} {how} to {}{}",
        arguments.image,
        cloned.image.name,
        pause_words(cloned.paused)
    ));
    Ok(())
}
