//! `spinney show-image`

use serde_json::Value;

use super::fail;
use super::states::StoreArguments;
use super::stores::each;
use crate::cli::output::{Output, words};
use crate::cli::properties::{Properties as Shown, PropertyOptions, yes_no};
use crate::image::origin::{self, Origin};
use crate::image::properties::Properties;
use crate::image::{Error, Image, Store, users};
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

    #[command(flatten)]
    options: PropertyOptions,

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

fn properties(store: &Store, image: &Image) -> Result<Shown, Error> {
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
    let all = "spinney show-image --all NAME shows all of an image's";
    if let Err(status) = arguments.options.refuse_unknown(NAMES.into_iter(), all, output) {
        return status;
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
    let mut shown = Vec::new();
    let status = each(&store, &names, output, |image| {
        shown.push(properties(&store, image)?);
        Ok(())
    });
    arguments.options.print(shown, status, output)
}
