//! `spinney show-image`

use serde_json::{Map, Value};

use super::fail;
use super::states::StoreArguments;
use super::stores::each;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Output, words};
use crate::cli::refusal::Message;
use crate::cli::verbs::show::{is_empty, text, yes_no};
use crate::image::origin::{self, Origin};
use crate::image::properties::Properties;
use crate::image::{Error, Image, Store, users};
use crate::settings::nearest;
use crate::supervisor::printable;

const EXAMPLES: &str = "\
Examples:
  spinney show-image web               all of its properties
  spinney show-image -P ReadOnly web   one of them, without its name
  spinney show-image --json            all images, for a program";

/// Print the properties of images, for programs
///
/// Properties that machinectl show-image has too are called as there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowImageArguments {
    /// Which; all, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Only these properties
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    property: Vec<String>,

    /// Only these properties, and of them the values
    #[arg(short = 'P', value_name = "NAME", value_delimiter = ',')]
    property_value: Vec<String>,

    /// Values without names
    #[arg(long)]
    value: bool,

    /// Also properties that are empty
    #[arg(short, long)]
    all: bool,

    /// JSON, an object an image
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// All properties, in the order in which they are shown.
const NAMES: [&str; 17] = [
    "Name",
    "Path",
    "Type",
    "ReadOnly",
    "CreationTimestamp",
    "ModificationTimestamp",
    "Usage",
    "UsageExclusive",
    "Limit",
    "LimitExclusive",
    "OriginAction",
    "OriginReference",
    "OriginSource",
    "OriginDigest",
    "OriginProof",
    "OriginTimestamp",
    "UsedBy",
];

fn properties(store: &Store, image: &Image) -> Result<Vec<(&'static str, Value)>, Error> {
    let properties = Properties::of(image)?;
    let line = |text: &str| Value::from(printable::line(text.as_bytes()));
    let zone = words::zone();
    let time = |time: Option<u64>| time.map_or(Value::Null, |time| words::timestamp(time, &zone).into());
    let known = origin::of(store, image);
    let of = |part: fn(&Origin) -> Option<&str>| known.as_ref().and_then(part).map_or(Value::Null, line);
    let value = |name: &str| {
        Ok::<Value, Error>(match name {
            "Name" => line(image.name.as_str()),
            "Path" => line(&image.path.to_string_lossy()),
            "Type" => image.kind.word().into(),
            "ReadOnly" => yes_no(properties.read_only),
            "CreationTimestamp" => time(properties.created),
            "ModificationTimestamp" => time(properties.modified),
            "Usage" | "UsageExclusive" => properties.usage.into(),
            "Limit" | "LimitExclusive" => properties.size.into(),
            "OriginAction" => of(|origin| Some(&origin.action)),
            "OriginReference" => of(|origin| origin.reference.as_deref()),
            "OriginSource" => of(|origin| origin.source.as_deref().or(origin.parent.as_deref())),
            "OriginDigest" => of(|origin| origin.digest.as_deref()),
            "OriginProof" => of(|origin| origin.proof.as_deref()),
            "OriginTimestamp" => time(known.as_ref().map(|origin| origin.when)),
            "UsedBy" => users::of(store, image)?.iter().map(|user| line(user)).collect(),
            _ => Value::Null,
        })
    };
    NAMES.iter().map(|name| Ok((*name, value(name)?))).collect()
}

/// Runs the verb, gives the exit status.
pub fn show_image(arguments: &ShowImageArguments) -> u8 {
    let output = Output::new(false);
    let wanted: Vec<&str> =
        arguments.property.iter().chain(&arguments.property_value).map(String::as_str).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !NAMES.contains(wanted)) {
        let hint = match nearest(unknown, NAMES) {
            Some(known) => format!("did you mean {known}?"),
            None => "spinney show-image --all NAME shows all of an image's".to_owned(),
        };
        return fail(&Message::new(format!("there is no property {unknown:?}")), Some(hint), output);
    }
    let store = match arguments.store.store_as_it_is(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let names = match arguments.names.as_slice() {
        [] => match store.all() {
            Ok(images) => images.iter().map(|image| image.name.to_string()).collect(),
            Err(error) => return fail(&error, error.hint(), output),
        },
        names => names.to_vec(),
    };
    let all = arguments.all || !wanted.is_empty();
    let mut shown = Vec::new();
    let status = each(&store, &names, output, |image| {
        let properties = properties(&store, image)?.into_iter().filter(|(name, value)| {
            (wanted.is_empty() || wanted.contains(name)) && (all || !is_empty(value))
        });
        shown.push(properties.collect::<Vec<_>>());
        Ok(())
    });
    if arguments.json {
        let objects = shown.into_iter().map(|properties| {
            properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
        });
        return match output.json(&objects.collect::<Vec<_>>()) {
            Ok(()) => status,
            Err(_) => EXIT_FAILURE,
        };
    }
    let bare = arguments.value || !arguments.property_value.is_empty();
    let blocks: Vec<String> = shown.iter().map(|properties| text(properties, bare)).collect();
    output.text(&blocks.join("\n"));
    status
}
