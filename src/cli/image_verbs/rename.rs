//! `spinney rename`

use super::fail;
use super::states::StoreArguments;
use super::stores::find;
use crate::cli::output::Output;
use crate::image::{Error, rename as image_rename};

const EXAMPLES: &str = "\
Examples:
  spinney rename web web-old    with its settings and its snapshots";

/// Give an image another name
///
/// Its settings (NAME.nspawn, /etc/spinney/machines/NAME.toml), its snapshots and what is known of where it came from go with
/// it. An image that is in use keeps its name.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RenameArguments {
    /// Which
    #[arg(value_name = "NAME")]
    name: String,

    /// What it is to be called
    #[arg(value_name = "NEW-NAME")]
    new_name: String,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// Runs the verb, gives the exit status.
pub fn rename(arguments: &RenameArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let store = match arguments.store.store_to_change("rename", output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let renamed = arguments.new_name.parse().map_err(|source| Error::Name { source }).and_then(|new| {
        let image = find(&store, &arguments.name)?;
        image_rename::rename(&store, &image, &new)
    });
    match renamed {
        Ok(image) => {
            output.status(&format!("image {} is called {} now", arguments.name, image.name));
            0
        }
        Err(error) => fail(&error, error.hint(), output),
    }
}
