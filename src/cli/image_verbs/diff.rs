//! `spinney diff`: what a machine changed against its image.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::states::{StoreArguments, found, refuse};
use crate::cli::output::{Colour, Output};
use crate::cli::require_root;
use crate::image::diff::change::shown;
use crate::image::diff::packages::Packages;
use crate::image::diff::units::Units;
use crate::image::diff::{Change, Differences, Kind, differences};
use crate::image::diff::{accounts::AccountChange, sides::sides};
use crate::image::layers::LayerError;
use crate::supervisor::printable;

const EXAMPLES: &str = "\
Of a layered image (a clone, or one with snapshots): what was changed over its layers, that is since the last snapshot or since it \
was cloned. --against compares with a snapshot of it, or with another image.

Files: A added, C changed, D deleted with all below it; of changed ones, what changed: content, mode, owner, attributes. Times alone are no \
change, nor is a file that was written and is as before. Packages are told for dpkg, apk and pacman; units for systemd, OpenRC, runit \
and System V.

Works while the machine runs.

Examples:
  spinney diff web
  spinney diff web --against before-upgrade --packages
  spinney diff web --json | jq '.privileges'";

/// Show what a machine changed against its image
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArguments {
    /// The machine's image
    #[arg(value_name = "NAME")]
    name: String,

    /// Compare with this snapshot, or image
    #[arg(long, value_name = "SNAPSHOT|IMAGE")]
    against: Option<String>,

    /// Files only, or with the other options besides
    #[arg(long)]
    files: bool,

    /// Packages
    #[arg(long)]
    packages: bool,

    /// Users and groups
    #[arg(long)]
    users: bool,

    /// Units and services that are started at boot
    #[arg(long)]
    units: bool,

    /// Set-id bits and file capabilities gained
    #[arg(long)]
    privileges: bool,

    /// JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// Runs the verb, gives the exit status.
pub fn diff(arguments: &DiffArguments) -> u8 {
    let output = Output::new(false);
    if !require_root("diff", &format!("sudo spinney diff {}", arguments.name), output) {
        return crate::cli::EXIT_FAILURE;
    }
    let store = match arguments.store.store(output) {
        Ok(store) => store,
        Err(status) => return status,
    };
    let done = || -> Result<(), LayerError> {
        let image = found(&store, &arguments.name)?;
        let sides = sides(&store, &image, arguments.against.as_deref())?;
        let found =
            differences(&sides.old, &sides.new).map_err(LayerError::system("compare", &image.path))?;
        if arguments.json {
            let value = arguments.values(&found, &sides.against);
            return output.json(&value).map_err(|error| LayerError::Json(error.to_string()));
        }
        output.text(&arguments.words(&found, output));
        Ok(())
    };
    match done() {
        Ok(()) => 0,
        Err(error) => refuse(&error, output),
    }
}

impl DiffArguments {
    /// Whether the part whose option is `own` is wanted.
    fn wants(&self, own: bool) -> bool {
        own || ![self.files, self.packages, self.users, self.units, self.privileges].contains(&true)
    }

    fn values(&self, found: &Differences, against: &str) -> Value {
        let mut map = Map::new();
        map.insert("image".to_owned(), json!(self.name));
        map.insert("against".to_owned(), json!(against));
        let parts = [
            (self.packages, "packages", json!(found.packages)),
            (self.users, "accounts", json!(found.accounts)),
            (self.units, "units", json!(found.units)),
            (self.privileges, "privileges", json!(found.privileges)),
            (self.files, "files", json!(found.files)),
        ];
        for (own, name, value) in parts {
            if self.wants(own) {
                map.insert(name.to_owned(), value);
            }
        }
        Value::Object(map)
    }

    fn words(&self, found: &Differences, output: Output) -> String {
        let mut parts = Vec::new();
        if self.wants(self.packages) {
            parts.push(("Packages", packages(&found.packages)));
        }
        if self.wants(self.users) {
            parts.push(("Users", accounts(&found.accounts.users)));
            parts.push(("Groups", accounts(&found.accounts.groups)));
        }
        if self.wants(self.units) {
            parts.push(("Units", units(&found.units)));
        }
        if self.wants(self.privileges) {
            let line = |privilege: &crate::image::diff::privileges::Privilege| {
                (
                    Kind::Added,
                    format!(
                        "{}  {}",
                        printable::line(privilege.path.as_bytes()),
                        privilege.gained.join(", ")
                    ),
                )
            };
            parts.push(("Privileges", found.privileges.iter().map(line).collect()));
        }
        if self.wants(self.files) {
            parts.push(("Files", found.files.iter().map(file).collect()));
        }
        let parts: Vec<_> = parts.into_iter().filter(|(_, lines)| !lines.is_empty()).collect();
        // One part needs no heading.
        let headings = parts.len() > 1;
        let mut text = String::new();
        for (place, (heading, lines)) in parts.iter().enumerate() {
            if headings {
                let gap = if place > 0 { "\n" } else { "" };
                let _ = writeln!(text, "{gap}{heading}:");
            }
            for (kind, line) in lines {
                let letter = output.in_colour(colour(*kind), &kind.letter().to_string());
                let _ = writeln!(text, "{letter} {line}");
            }
        }
        if self.wants(self.packages) && found.packages.unread.is_some() {
            output.warning("packages of rpm are not read: their files are shown");
        }
        text
    }
}

fn colour(kind: Kind) -> Colour {
    match kind {
        Kind::Added => Colour::Green,
        Kind::Changed => Colour::Yellow,
        Kind::Deleted => Colour::Red,
    }
}

fn file(change: &Change) -> (Kind, String) {
    let details: Vec<String> = change.details.iter().map(|detail| detail.words()).collect();
    let gap = if details.is_empty() { "" } else { "  " };
    (change.kind, format!("/{}{gap}{}", shown(&change.path), details.join(", ")))
}

fn packages(found: &Packages) -> Vec<(Kind, String)> {
    let safe = |text: &str| printable::line(text.as_bytes());
    let one = |kind: Kind| {
        move |package: &crate::image::diff::packages::Package| {
            (kind, safe(&format!("{} {}", package.name, package.version)))
        }
    };
    let mut lines: Vec<_> = found.added.iter().map(one(Kind::Added)).collect();
    lines.extend(found.changed.iter().map(|upgrade| {
        (Kind::Changed, safe(&format!("{} {} -> {}", upgrade.name, upgrade.old, upgrade.new)))
    }));
    lines.extend(found.removed.iter().map(one(Kind::Deleted)));
    lines
}

fn accounts(found: &[AccountChange]) -> Vec<(Kind, String)> {
    let line = |account: &AccountChange| {
        let details = match account.details.is_empty() {
            true => String::new(),
            false => format!("  {}", account.details.join(", ")),
        };
        let text = printable::line(format!("{} ({})", account.name, account.id).as_bytes());
        (account.change, format!("{text}{details}"))
    };
    found.iter().map(line).collect()
}

fn units(found: &Units) -> Vec<(Kind, String)> {
    let safe = |text: String| printable::line(text.as_bytes());
    let enabled = found.enabled.iter().map(|unit| (Kind::Added, format!("{} by {}", unit.unit, unit.by)));
    let disabled = found.disabled.iter().map(|unit| (Kind::Deleted, format!("{} by {}", unit.unit, unit.by)));
    let masked = found.masked.iter().map(|unit| (Kind::Changed, format!("{unit} masked")));
    let unmasked = found.unmasked.iter().map(|unit| (Kind::Changed, format!("{unit} unmasked")));
    let all = enabled.chain(disabled).chain(masked).chain(unmasked);
    all.map(|(kind, text)| (kind, safe(text))).collect()
}
