//! `spinney images`

use serde::Serialize;

use super::states::StoreArguments;
use super::{fail, stores};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output, words};
use crate::image::origin::{self, Origin};
use crate::image::properties::Properties;
use crate::image::remove::hidden_entries;
use crate::image::{Error, Image, Store};
use crate::supervisor::printable;
use crate::sys::in_words;

const EXAMPLES: &str = "\
Examples:
  spinney images                all images
  spinney images -o wide        also where they came from
  spinney images -a             also what is hidden: being made, left behind, kept by systemd-importd
  spinney images -q             their names, for a script
  spinney images --json         all that is known of them";

/// List the images that there are
///
/// They are what machinectl list-images lists. What a directory takes on disk is not counted here, since that takes time:
/// spinney image-status does.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImagesArguments {
    /// Only these
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Also hidden ones
    #[arg(short, long)]
    all: bool,

    /// Names only
    #[arg(short, long)]
    quiet: bool,

    /// JSON
    #[arg(long)]
    json: bool,

    /// table; wide, with where images came from; json
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "wide", "json"], default_value = "table", hide_default_value = true, hide_possible_values = true)]
    output: String,

    /// No heading and no sum
    #[arg(long)]
    no_legend: bool,

    /// Cut no column, however narrow the terminal is
    #[arg(short = 'l', long)]
    full: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// One image in the list. Texts are safe to print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    hidden: bool,
    in_use: Option<bool>,
    read_only: bool,
    /// Bytes on disk, where that is known without a walk.
    usage: Option<u64>,
    /// Bytes of a disk.
    size: Option<u64>,
    created: Option<String>,
    modified: Option<String>,
    origin: Option<Origin>,
    #[serde(skip)]
    times: (Option<u64>, Option<u64>),
}

impl Entry {
    fn of(store: &Store, image: &Image) -> Result<Self, Error> {
        let properties = Properties::of(image)?;
        Ok(Self {
            name: printable::line(image.name.as_str().as_bytes()),
            kind: image.kind.word(),
            path: printable::line(image.path.to_string_lossy().as_bytes()),
            hidden: false,
            in_use: None,
            read_only: properties.read_only,
            usage: properties.usage,
            size: properties.size,
            created: properties.created.map(words::rfc3339),
            modified: properties.modified.map(words::rfc3339),
            origin: origin::of(store, image).map(|origin| printable_origin(&origin)),
            times: (properties.created, properties.modified),
        })
    }

    fn row(self, now: u64, wide: bool) -> Vec<Cell> {
        let ago = |time: Option<u64>| time.map(|time| words::ago(time, now)).unwrap_or_default();
        let colour = if self.hidden { Some(Colour::Grey) } else { None };
        let mut row = vec![
            Cell::new(self.name, colour),
            self.kind.into(),
            if self.read_only { "ro" } else { "rw" }.into(),
            self.usage.map(words::size).unwrap_or_default().into(),
            ago(self.times.0).into(),
            ago(self.times.1).into(),
        ];
        if wide {
            let from = self.origin.as_ref().and_then(Origin::words).unwrap_or_default();
            row.extend([from.into(), self.path.into()]);
        }
        row
    }
}

/// The same with texts that are fit to be printed.
pub(super) fn printable_origin(origin: &Origin) -> Origin {
    let line = |text: &Option<String>| text.as_ref().map(|text| printable::line(text.as_bytes()));
    Origin {
        action: printable::line(origin.action.as_bytes()),
        reference: line(&origin.reference),
        source: line(&origin.source),
        digest: line(&origin.digest),
        proof: line(&origin.proof),
        parent: line(&origin.parent),
        ..origin.clone()
    }
}

/// Runs the verb, gives the exit status.
pub fn images(arguments: &ImagesArguments) -> u8 {
    let output = Output::new(false);
    let store = match arguments.store.store_as_it_is(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let (mut entries, mut status) = (Vec::new(), 0);
    let mut add = |image: &Image| match Entry::of(&store, image) {
        Ok(entry) => entries.push(entry),
        // One that is broken is no reason not to see the others.
        Err(error) => output.warning(&in_words(&error)),
    };
    if arguments.names.is_empty() {
        match store.all() {
            Ok(images) => images.iter().for_each(&mut add),
            Err(error) => return fail(&error, error.hint(), output),
        }
    }
    for name in &arguments.names {
        match stores::find(&store, name) {
            Ok(image) => add(&image),
            Err(error) => status = fail(&error, error.hint(), output),
        }
    }
    if arguments.all && arguments.names.is_empty() {
        match hidden(&store) {
            Ok(hidden) => entries.extend(hidden),
            Err(error) => return fail(&error, error.hint(), output),
        }
    }
    if arguments.json || arguments.output == "json" {
        return match output.json(&entries) {
            Ok(()) => status,
            Err(_) => EXIT_FAILURE,
        };
    }
    if arguments.quiet {
        let names: String = entries.iter().map(|entry| format!("{}\n", entry.name)).collect();
        output.text(&names);
        return status;
    }
    let wide = arguments.output == "wide";
    let headings = ["NAME", "TYPE", "RO", ">USAGE", "CREATED", "MODIFIED", "FROM", "PATH"];
    let count = entries.len();
    let mut table = Table::new(if wide { &headings } else { &headings[..6] });
    let now = words::now();
    for entry in entries {
        table.add(entry.row(now, wide));
    }
    if count > 0 {
        output.table(&table, !arguments.no_legend, arguments.full);
    }
    if !arguments.no_legend && arguments.names.is_empty() {
        output.text(&match count {
            0 => "No images.\n".to_owned(),
            1 => "\n1 image listed.\n".to_owned(),
            _ => format!("\n{count} images listed.\n"),
        });
    }
    status
}

/// What is hidden in the pool, and like an image.
fn hidden(store: &Store) -> Result<Vec<Entry>, Error> {
    let images = hidden_entries(store)?.into_iter().filter_map(|entry| Some((entry.kind?, entry)));
    let entry = |(kind, entry): (crate::image::ImageKind, crate::image::remove::HiddenEntry)| Entry {
        kind: kind.word(),
        path: printable::line(store.pool.join(&entry.name).to_string_lossy().as_bytes()),
        name: printable::line(entry.name.as_bytes()),
        hidden: true,
        in_use: Some(entry.in_use),
        read_only: false,
        usage: None,
        size: None,
        created: None,
        modified: None,
        origin: None,
        times: (None, None),
    };
    Ok(images.map(entry).collect())
}
