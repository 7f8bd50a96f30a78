//! `spinney image-status`

use std::time::Duration;

use serde::Serialize;

use super::images::printable_origin;
use super::states::StoreArguments;
use super::stores::each;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Colour, Output, words};
use crate::guest::os_release::OsRelease;
use crate::guest::tree;
use crate::image::opened::{self, OpenError};
use crate::image::origin::{self, Origin};
use crate::image::properties::{Properties, Usage, usage};
use crate::image::{Error, Image, Store, companions, users};
use crate::supervisor::printable;

/// How long the files of a tree are counted.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  spinney image-status web
  spinney image-status          all images
  spinney image-status --json web";

/// Show what an image is
///
/// Where it is and where it came from, what operating system and init are in it, what it takes on disk and who uses it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImageStatusArguments {
    /// Which; all, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// JSON, an object an image
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// What is told of an image. Texts are safe to print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    os: Option<String>,
    init: Option<String>,
    /// Why neither is known.
    problem: Option<String>,
    read_only: bool,
    usage: Option<Usage>,
    size: Option<u64>,
    created: Option<String>,
    modified: Option<String>,
    origin: Option<Origin>,
    settings: Vec<String>,
    used_by: Vec<String>,
    #[serde(skip)]
    times: (Option<u64>, Option<u64>),
}

impl Status {
    fn of(store: &Store, image: &Image) -> Result<Self, Error> {
        let line = |text: &str| printable::line(text.as_bytes());
        let properties = Properties::of(image)?;
        let (os, init, problem) = match contents(image) {
            Ok((os, init)) => (os, init, None),
            Err(error) => (None, None, Some(line(&crate::sys::in_words(&error)))),
        };
        let companions = companions::of(store, &image.name, &image.path);
        Ok(Self {
            name: line(image.name.as_str()),
            kind: image.kind.word(),
            path: line(&image.path.to_string_lossy()),
            os,
            init,
            problem,
            read_only: properties.read_only,
            usage: usage(image, PATIENCE),
            size: properties.size,
            created: properties.created.map(words::rfc3339),
            modified: properties.modified.map(words::rfc3339),
            origin: origin::of(store, image).map(|origin| printable_origin(&origin)),
            settings: companions.iter().map(|path| line(&path.to_string_lossy())).collect(),
            used_by: users::of(store, image)?.iter().map(|user| line(user)).collect(),
            times: (properties.created, properties.modified),
        })
    }

    fn text(&self, output: Output) -> String {
        let colour = if self.used_by.is_empty() { Colour::Grey } else { Colour::Green };
        let os = self.os.as_deref().map(|os| format!(" - {os}")).unwrap_or_default();
        let mut text = format!("{} {}{os}\n", output.in_colour(colour, "●"), self.name);
        let (zone, now) = (words::zone(), words::now());
        let time = |time: u64| format!("{}; {}", words::timestamp(time, &zone), words::ago(time, now));
        let usage = self.usage.map(|usage| {
            let files = if usage.files > 1 { format!(" in {} files", usage.files) } else { String::new() };
            let least = if usage.partial { "at least " } else { "" };
            format!("{least}{}{files}", words::size(usage.bytes))
        });
        let size = self.size.map(|size| format!(" of {}", words::size(size))).unwrap_or_default();
        let origin = |of: fn(&Origin) -> Option<String>| self.origin.as_ref().and_then(of);
        let fields = [
            ("Type", Some(self.kind.to_owned())),
            ("Path", Some(self.path.clone())),
            ("Init", self.init.clone()),
            ("Problem", self.problem.clone()),
            ("RO", Some(if self.read_only { "read-only" } else { "writable" }.to_owned())),
            ("Usage", usage.map(|usage| usage + &size)),
            ("Created", self.times.0.map(time)),
            ("Modified", self.times.1.map(time)),
            ("From", origin(|origin| Some(format!("{} ({})", origin.words()?, origin.action)))),
            ("Source", origin(|origin| origin.source.clone().filter(|_| origin.reference.is_some()))),
            ("Digest", origin(|origin| origin.digest.clone())),
            ("Proof", origin(|origin| origin.proof.clone())),
            ("Settings", Some(self.settings.join(", ")).filter(|settings| !settings.is_empty())),
            ("Used by", Some(self.used_by.join(", ")).filter(|users| !users.is_empty())),
        ];
        for (label, value) in fields {
            if let Some(value) = value {
                text.push_str(&format!("{label:>10}: {value}\n"));
            }
        }
        text
    }
}

/// The operating system of an image, and its init, as far as it can be opened.
fn contents(image: &Image) -> Result<(Option<String>, Option<String>), OpenError> {
    let root = opened::look(&image.path)?;
    let line = |text: &str| printable::line(text.as_bytes());
    let os = tree::os_release(&root).ok().flatten().as_ref().map(OsRelease::pretty_name).map(line);
    let init = crate::guest::detect(&root, None).ok().map(|init| line(&init.to_string()));
    Ok((os, init))
}

/// Runs the verb, gives the exit status.
pub fn image_status(arguments: &ImageStatusArguments) -> u8 {
    let output = Output::new(false);
    let store = match arguments.store.store_as_it_is(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let names = match arguments.names.as_slice() {
        [] => match store.all() {
            Ok(images) => images.iter().map(|image| image.name.to_string()).collect(),
            Err(error) => return super::fail(&error, error.hint(), output),
        },
        names => names.to_vec(),
    };
    let mut found = Vec::new();
    let status = each(&store, &names, output, |image| {
        found.push(Status::of(&store, image)?);
        Ok(())
    });
    if arguments.json {
        return match output.json(&found) {
            Ok(()) => status,
            Err(_) => EXIT_FAILURE,
        };
    }
    let blocks: Vec<String> = found.iter().map(|image| image.text(output)).collect();
    output.text(&blocks.join("\n"));
    status
}
