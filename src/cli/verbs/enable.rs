//! `spinney enable`: has machines started with the host.

use std::ffi::OsString;

use super::{fail, named};
use crate::cli::invocation::{self, Invocation};
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::{Error, MachineHandle, autostart, find_image};
use crate::manager::systemd;

const EXAMPLES: &str = "\
Where systemd runs the host and spinney@.service is installed, that is enabled. Elsewhere a boot script has to run spinney \
start --all-enabled.

Examples:
  spinney enable web db            both come with the host
  spinney enable --now web         and this one runs already";

/// Have machines started with the host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct EnableArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Start them at once as well, those that do not run
    #[arg(long)]
    now: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn enable(arguments: &EnableArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("enable", "sudo spinney enable NAME", output) {
        return EXIT_FAILURE;
    }
    let mut status = 0;
    let has_units = systemd::has_units();
    for name in &arguments.names {
        match enable_one(name, has_units, output) {
            Ok(None) => status = EXIT_FAILURE,
            Ok(Some(new)) if has_units => {
                let already = if new { "" } else { " already" };
                output.status(&format!("{name} is enabled{already}: systemd starts spinney@{name}.service"));
            }
            Ok(Some(true)) => {
                output.status(&format!("{name} is enabled: spinney start --all-enabled starts it"))
            }
            Ok(Some(false)) => output.status(&format!("{name} was enabled already")),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    if status == 0 && !has_units && crate::host::systemd::is_pid1() {
        output.status(
            "systemd runs this host: it starts machines when a unit runs spinney start --all-enabled",
        );
    }
    if arguments.now && status == 0 {
        let stopped = |name: &&String| named(name).is_ok_and(|name| MachineHandle::find(&name).is_err());
        return also("start", arguments.names.iter().filter(stopped), arguments.quiet);
    }
    status
}

/// Does `verb` to the machines in `names`, gives the exit status.
pub(super) fn also<'a>(verb: &str, names: impl Iterator<Item = &'a String>, quiet: bool) -> u8 {
    let mut line: Vec<OsString> = ["spinney", verb].map(OsString::from).to_vec();
    line.extend(quiet.then(|| "--quiet".into()));
    let options = line.len();
    line.extend(names.map(OsString::from));
    if line.len() == options {
        // They all are as they should be.
        return 0;
    }
    match invocation::parse(line) {
        Ok(Invocation::Verb(verb)) => verb.perform(),
        _ => EXIT_FAILURE,
    }
}

/// Whether it was not enabled before; `None` where systemd said no, which is told.
fn enable_one(name: &str, has_units: bool, output: Output) -> Result<Option<bool>, Error> {
    let name = named(name)?;
    find_image::find(&name)?;
    // What is wrong with its settings is better heard now than at the next boot.
    autostart::needs(&name)?;
    if !has_units {
        return autostart::enable(&name).map(Some);
    }
    autostart::refuse_what_settings_say(&name, false)?;
    Ok(systemd::enable(&name).inspect_err(|error| output.error(error, Some(error.hint()))).ok())
}
