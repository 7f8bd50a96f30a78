//! `spinney clean`

use serde::Serialize;

use super::fail;
use super::states::StoreArguments;
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::image::clean::{CleanOptions, clean as clean_pool};
use crate::image::{Error, Store};
use crate::supervisor::printable;

const EXAMPLES: &str = "\
Examples:
  spinney clean                 what is hidden and nobody's: half images, downloads that systemd-importd keeps
  spinney clean --dry-run       what that would remove
  spinney clean --all           all images too, but for those that are read-only or in use
  spinney clean --all --force   read-only ones too";

/// Remove what is hidden beside images, and unused layers
///
/// That is what commands left that were killed, copies of downloads that systemd-importd keeps, and layers that no image and no
/// snapshot has. With --all it removes all images as well, as machinectl clean --all does.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CleanArguments {
    /// Also images that are not hidden, but for those in use and those that are read-only
    #[arg(short, long)]
    all: bool,

    /// With --all, also those that are read-only
    #[arg(short, long, requires = "all")]
    force: bool,

    /// Say what would be removed, remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// What was done, for programs.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Done {
    removed: Vec<String>,
    kept: Vec<Kept>,
    layers: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    name: String,
    why: String,
}

/// Runs the verb, gives the exit status.
pub fn clean(arguments: &CleanArguments) -> u8 {
    let output = Output::new(arguments.quiet || arguments.json);
    if !require_root("clean", "sudo spinney clean", output) {
        return EXIT_FAILURE;
    }
    // What is left behind is told with the rest, and stays with --dry-run.
    let store = match arguments.store.store_as_it_is(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let (done, status) = match cleaned(&store, arguments, output) {
        Ok(done) => done,
        Err(error) => return fail(&error, error.hint(), output),
    };
    if arguments.json && output.json(&done).is_err() {
        return EXIT_FAILURE;
    }
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    for name in &done.removed {
        output.status(&format!("{verb} {name}"));
    }
    for kept in &done.kept {
        output.status(&format!("kept {}: {}", kept.name, kept.why));
    }
    match done.layers {
        0 if done.removed.is_empty() => output.status("there is nothing to clean"),
        0 => {}
        1 => output.status("removed 1 layer that nothing had"),
        layers => output.status(&format!("removed {layers} layers that nothing had")),
    }
    status
}

fn cleaned(store: &Store, arguments: &CleanArguments, output: Output) -> Result<(Done, u8), Error> {
    let (all, force, dry_run) = (arguments.all, arguments.force, arguments.dry_run);
    let cleaned = clean_pool(store, CleanOptions { all, force, dry_run })?;
    let status = cleaned.faults.iter().fold(0, |_, error| fail(error, error.hint(), output));
    let line = |name: String| printable::line(name.as_bytes());
    let removed = cleaned.removed.into_iter().map(|(name, _)| line(name)).collect();
    let kept = cleaned.kept.into_iter().map(|(name, why)| Kept { name: line(name), why }).collect();
    Ok((Done { removed, kept, layers: cleaned.layers }, status))
}
