//! `spinney inspect`

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::fail;
use super::states::StoreArguments;
use super::stores::find;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Colour, Output};
use crate::guest::preflight::{self, Finding, Level, Preflight, Verdict};
use crate::image::opened::{Access, Opened};
use crate::image::{Error, ImageKind};
use crate::supervisor::printable;

/// The tree cannot be booted here.
const CANNOT_BOOT: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  spinney inspect web                    an image
  spinney inspect /srv/trixie            a tree, a disk image or a layered image anywhere
  spinney inspect --strict web && ...    go on only if there is nothing to warn of
  spinney inspect --json web             all that is found, for a program

The exit status is 0 if it can be booted here, 1 if it cannot, 125 if that could not be told.";

/// Check whether a tree can be booted here
///
/// Looks at its operating system, init, processor and C library, at what is baked in that each machine should have of its own,
/// and for what will not work. Nothing of it is run, nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArguments {
    /// Name of an image, or a path: with a slash in it, or of something in this directory
    #[arg(value_name = "NAME|PATH")]
    image: PathBuf,

    /// Exit status 1 also where there is something to warn of
    #[arg(long)]
    strict: bool,

    /// JSON
    #[arg(long)]
    json: bool,

    /// Print nothing: the exit status says it
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    store: StoreArguments,
}

/// What is told of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    found: Preflight,
}

/// Runs the verb, gives the exit status.
pub fn inspect(arguments: &InspectArguments) -> u8 {
    let output = Output::new(false);
    let path = match path_of(arguments, output) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let opened = match Opened::open(&path, Access::ReadOnly) {
        Ok(opened) => opened,
        Err(error) => return fail(&error, error.hint(), output),
    };
    let on_host = matches!(opened.kind(), ImageKind::Directory | ImageKind::Subvolume);
    let told = match preflight::inspect(opened.view(), on_host) {
        Ok(found) => Told {
            path: printable::line(opened.path().to_string_lossy().as_bytes()),
            kind: opened.kind().word(),
            found: printable(found),
        },
        Err(error) => return fail(&error, error.hint(), output),
    };
    if arguments.json {
        if output.json(&told).is_err() {
            return EXIT_FAILURE;
        }
    } else if !arguments.quiet {
        output.text(&text(&told, output));
    }
    match told.found.verdict {
        Verdict::CannotBoot => CANNOT_BOOT,
        Verdict::BootsWithWarnings if arguments.strict => CANNOT_BOOT,
        _ => 0,
    }
}

/// As `spinney run` has it: what has a slash is a path, and so is what is in this directory.
fn path_of(arguments: &InspectArguments, output: Output) -> Result<PathBuf, u8> {
    let given = &arguments.image;
    let is_path = given.as_os_str().as_encoded_bytes().contains(&b'/') || Path::new(given).exists();
    if is_path {
        return std::path::absolute(given).map_err(|error| fail(&error, None, output));
    }
    let store = arguments.store.store(output)?;
    let found = find(&store, &given.to_string_lossy());
    found.map(|image| image.path).map_err(|error: Error| fail(&error, error.hint(), output))
}

/// The same with texts that are fit to be printed.
fn printable(found: Preflight) -> Preflight {
    let line = |text: Option<String>| text.map(|text| printable::line(text.as_bytes()));
    let finding = |finding: Finding| Finding {
        message: printable::line(finding.message.as_bytes()),
        hint: line(finding.hint),
        ..finding
    };
    Preflight {
        os: line(found.os),
        os_id: line(found.os_id),
        os_version: line(found.os_version),
        init_version: line(found.init_version),
        init_path: line(found.init_path),
        libc: line(found.libc),
        findings: found.findings.into_iter().map(finding).collect(),
        ..found
    }
}

fn text(told: &Told, output: Output) -> String {
    let found = &told.found;
    let colour = match found.verdict {
        Verdict::Boots => Colour::Green,
        Verdict::BootsWithWarnings => Colour::Yellow,
        Verdict::CannotBoot => Colour::Red,
    };
    let os = found.os.as_deref().unwrap_or("no operating system that it names");
    let mut text = format!("{} {os}\n", output.in_colour(colour, "●"));
    let init = found.init.as_ref().map(|init| {
        let version = found.init_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let path = found.init_path.as_deref().unwrap_or_default();
        format!("{init}{version}, {path}")
    });
    let runs = match found.runs {
        Some("emulated") => ", which this host emulates",
        Some("no") => ", which this host does not run",
        _ => "",
    };
    let machine_id = match found.machine_id {
        "set" => "set, the same for all machines made of it",
        "invalid" => "not valid",
        _ => "made at the first boot",
    };
    let fields = [
        ("Path", Some(format!("{} ({})", told.path, told.kind))),
        ("Init", init),
        ("For", found.architecture.as_ref().map(|name| format!("{name}{runs}"))),
        ("libc", found.libc.clone()),
        ("/usr", found.usr.map(str::to_owned)),
        ("cgroups", found.cgroups.map(str::to_owned)),
        ("ID", found.init.as_ref().map(|_| machine_id.to_owned())),
    ];
    for (label, value) in fields {
        if let Some(value) = value {
            text.push_str(&format!("{label:>10}: {value}\n"));
        }
    }
    if !found.findings.is_empty() {
        text.push('\n');
    }
    for finding in &found.findings {
        let word = match finding.level {
            Level::Fatal => output.in_colour(Colour::Red, "fatal"),
            Level::Warning => output.in_colour(Colour::Yellow, "warning"),
            Level::Note => output.in_colour(Colour::Grey, "note"),
        };
        text.push_str(&format!("{word}: {}\n", finding.message));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("  hint: {hint}\n"));
        }
    }
    let warnings = found.findings.iter().filter(|finding| finding.level == Level::Warning).count();
    let verdict = match (found.verdict, warnings) {
        (Verdict::Boots, _) => "it can be booted here".to_owned(),
        (Verdict::BootsWithWarnings, 1) => "it can be booted here, with 1 warning".to_owned(),
        (Verdict::BootsWithWarnings, _) => format!("it can be booted here, with {warnings} warnings"),
        (Verdict::CannotBoot, _) => "it cannot be booted here".to_owned(),
    };
    text.push_str(&format!("\n{}\n", output.in_colour(colour, &verdict)));
    text
}
