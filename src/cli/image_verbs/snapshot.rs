//! `spinney snapshot`: the state of a machine, kept under a name.

use serde_json::json;

use super::states::{StoreArguments, found, named, pause_words, refuse};
use crate::cli::output::table::Table;
use crate::cli::output::{Output, words};
use crate::cli::require_root;
use crate::image::layers::{LayerError, Record, records};
use crate::image::snapshot::{Asked, delete, take};
use crate::image::{ImageName, Store};
use crate::machine::paused::pause_writer;
use crate::supervisor::printable;

const EXAMPLES: &str = "\
Nothing is copied: what was changed since the last snapshot becomes a layer of its own. A directory becomes a layered image with \
its first snapshot; its clones do not notice. While a machine runs from the image it is paused for a moment, and what it changed is \
copied (shared where the file system can): the snapshot is what a power cut would leave.

Examples:
  spinney snapshot web
  spinney snapshot web before-upgrade -m 'with nginx 1.26'
  spinney snapshot --list web
  spinney snapshot --delete web before-upgrade
  spinney rollback web before-upgrade";

/// Keep the state of a machine under a name
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArguments {
    /// The machine's image
    #[arg(value_name = "NAME")]
    name: String,

    /// What the snapshot is called; without a name, by the time
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// What it is made for
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Show the snapshots that there are
    #[arg(long, conflicts_with_all = ["message", "delete", "snapshot"])]
    list: bool,

    /// Remove a snapshot, and the layers that were its alone
    #[arg(long, requires = "snapshot", conflicts_with = "message")]
    delete: bool,

    /// JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArguments,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn snapshot(arguments: &SnapshotArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("snapshot", &format!("sudo spinney snapshot {}", arguments.name), output) {
        return crate::cli::EXIT_FAILURE;
    }
    let store = match arguments.store.store(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let done = match (arguments.list, arguments.delete, &arguments.snapshot) {
        (true, ..) => list(arguments, &store, output),
        (_, true, Some(name)) => remove(arguments, &store, name, output),
        _ => make(arguments, &store, output),
    };
    match done {
        Ok(()) => 0,
        Err(error) => refuse(&error, output),
    }
}

fn make(arguments: &SnapshotArguments, store: &Store, output: Output) -> Result<(), LayerError> {
    let name = arguments.snapshot.as_deref().map(named).transpose()?;
    let image = found(store, &arguments.name)?;
    let taken = take(store, &image, Asked { name, message: arguments.message.clone() }, &pause_writer)?;
    if taken.converted {
        output.status(&format!("{} is a layered image now: {}.mstack", arguments.name, image.name));
    }
    if arguments.json {
        let paused = taken.paused.map(|time| time.as_secs_f64());
        let text = json!({
            "image": arguments.name,
            "snapshot": taken.record.name,
            "created": words::rfc3339(taken.record.created),
            "converted": taken.converted,
            "paused-seconds": paused,
        });
        return print(&text, output);
    }
    let pause = pause_words(taken.paused);
    output.status(&format!("snapshot {} of {}{pause}", taken.record.name, arguments.name));
    Ok(())
}

fn remove(
    arguments: &SnapshotArguments,
    store: &Store,
    name: &str,
    output: Output,
) -> Result<(), LayerError> {
    delete(store, &named(&arguments.name)?, name)?;
    output.status(&format!("snapshot {name} of {} is removed", arguments.name));
    Ok(())
}

fn list(arguments: &SnapshotArguments, store: &Store, output: Output) -> Result<(), LayerError> {
    let image: ImageName = named(&arguments.name)?;
    let records = records::of(store, image.as_str())?;
    if records.is_empty() {
        // Who mistypes a name is told so.
        found(store, &arguments.name)?;
    }
    if arguments.json {
        let entry = |record: &Record| {
            json!({
                "name": record.name,
                "created": words::rfc3339(record.created),
                "message": record.message,
                "automatic": record.automatic,
                "layers": record.layers(store).iter().map(|layer| layer.path.clone()).collect::<Vec<_>>(),
            })
        };
        return print(&records.iter().map(entry).collect::<Vec<_>>(), output);
    }
    let mut table = Table::new(&["SNAPSHOT", "MADE", ">LAYERS", "MESSAGE"]);
    let zone = words::zone();
    for record in records {
        let message = match (&record.message, record.automatic) {
            (Some(message), _) => printable::line(message.as_bytes()),
            (None, true) => "(automatic)".to_owned(),
            (None, false) => String::new(),
        };
        let layers = record.layers(store).len().to_string();
        let name = printable::line(record.name.as_bytes());
        table.add(vec![
            name.into(),
            words::timestamp(record.created, &zone).into(),
            layers.into(),
            message.into(),
        ]);
    }
    if table.is_empty() {
        output.status(&format!("{} has no snapshots", arguments.name));
    } else {
        output.table(&table, true, false);
    }
    Ok(())
}

fn print(value: &impl serde::Serialize, output: Output) -> Result<(), LayerError> {
    output.json(value).map_err(|error| LayerError::Json(error.to_string()))
}
