//! `spinney rollback`: a machine goes back to a snapshot.

use super::states::{StoreArguments, found, refuse};
use crate::cli::output::Output;
use crate::cli::require_root;
use crate::image::layers::LayerError;
use crate::image::rollback::roll_back;

const EXAMPLES: &str = "\
What the machine was before is kept as an automatic snapshot, unless --discard says otherwise. Other snapshots stay. The machine \
must not run.

Examples:
  spinney rollback web                   to the last snapshot that somebody made
  spinney rollback web before-upgrade
  spinney rollback web --discard         as often as you like: nothing is left of the tries

Exit status: 0 when it is done, 125 otherwise; then the machine is what it was.";

/// Take a machine back to a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RollbackArguments {
    /// The machine's image
    #[arg(value_name = "NAME")]
    name: String,

    /// The snapshot; without one, the last that was not made by a rollback
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// Keep nothing of what it is now
    #[arg(long)]
    discard: bool,

    #[command(flatten)]
    store: StoreArguments,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn rollback(arguments: &RollbackArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("rollback", &format!("sudo spinney rollback {}", arguments.name), output) {
        return crate::cli::EXIT_FAILURE;
    }
    let store = match arguments.store.store(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let done = || -> Result<_, LayerError> {
        let image = found(&store, &arguments.name)?;
        roll_back(&store, &image, arguments.snapshot.as_deref(), arguments.discard)
    };
    match done() {
        Ok(done) => {
            let kept = done.kept.map(|record| format!("; what it was is kept as {}", record.name));
            let name = &arguments.name;
            output.status(&format!("{name} is back at {}{}", done.to.name, kept.unwrap_or_default()));
            0
        }
        Err(error) => refuse(&error, output),
    }
}
