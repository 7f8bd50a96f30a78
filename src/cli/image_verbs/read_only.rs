//! `spinney read-only`

use super::fail;
use super::states::StoreArguments;
use super::stores::find;
use crate::cli::output::Output;
use crate::image::properties::set_read_only;

const EXAMPLES: &str = "\
Examples:
  spinney read-only web         it is not to be changed any more
  spinney read-only web no      it may be, again";

/// Mark an image read-only, or writable again
///
/// As machinectl read-only: a btrfs subvolume and a disk image cannot be written to then; of a directory only the topmost one
/// is held (chattr +i), since file systems have nothing better.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReadOnlyArguments {
    /// Which
    #[arg(value_name = "NAME")]
    name: String,

    /// Whether it is: yes or no
    #[arg(value_name = "BOOL", default_value = "yes", hide_default_value = true, value_parser = boolean, action = clap::ArgAction::Set)]
    read_only: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// A boolean as systemd reads them (systemd.syntax(7)).
fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err("is neither yes nor no".to_owned()),
    }
}

/// Runs the verb, gives the exit status.
pub fn read_only(arguments: &ReadOnlyArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let store = match arguments.store.store_to_change("read-only", output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let set = find(&store, &arguments.name)
        .and_then(|image| set_read_only(&image, arguments.read_only).map(|()| image));
    match set {
        Ok(image) => {
            let what = if arguments.read_only { "read-only" } else { "writable" };
            output.status(&format!("image {} is {what} now", image.name));
            0
        }
        Err(error) => fail(&error, error.hint(), output),
    }
}
