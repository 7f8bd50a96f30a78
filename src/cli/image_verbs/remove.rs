//! `spinney remove`

use super::states::StoreArguments;
use super::stores::each;
use crate::cli::output::Output;
use crate::image::remove as image_remove;

const EXAMPLES: &str = "\
Examples:
  spinney remove web            the image web, its settings and its snapshots
  spinney remove --force base   one that is read-only";

/// Remove images
///
/// With an image go its settings (NAME.nspawn, /etc/spinney/machines/NAME.toml), its snapshots, and what is known of where it
/// came from. An image that a machine runs from, or that another one has as a layer, is not removed. Of a symlink the link
/// is removed, of an image with versions (NAME.v) the newest one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RemoveArguments {
    /// Which
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Also those that are read-only
    #[arg(short, long)]
    force: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// Runs the verb, gives the exit status.
pub fn remove(arguments: &RemoveArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let store = match arguments.store.store_to_change("remove", output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    each(&store, &arguments.names, output, |image| {
        image_remove::remove(&store, image, arguments.force)?;
        output.status(&match store.find(&image.name) {
            Ok(next) => {
                format!("removed {}; {} is {} now", image.path.display(), image.name, next.path.display())
            }
            Err(_) => format!("removed image {}", image.name),
        });
        Ok(())
    })
}
