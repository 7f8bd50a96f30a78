//! `spinney disable`: has machines not started with the host any more.

use super::{enable, fail, named};
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::{Error, MachineHandle, autostart};
use crate::manager::systemd;
use crate::settings::MachineName;

const EXAMPLES: &str = "\
Examples:
  spinney disable web              it comes no more; if it runs, it goes on
  spinney disable --now web        it is powered off as well";

/// Have machines started with the host no more
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DisableArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Power them off at once as well, those that run
    #[arg(long)]
    now: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status. A machine that runs goes on, without `--now`.
pub fn disable(arguments: &DisableArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("disable", "sudo spinney disable NAME", output) {
        return EXIT_FAILURE;
    }
    let mut status = 0;
    let has_units = systemd::has_units();
    for name in &arguments.names {
        match disable_one(name, has_units, output) {
            Ok(None) => status = EXIT_FAILURE,
            Ok(Some(true)) => output.status(&format!("{name} is disabled")),
            Ok(Some(false)) => output.status(&format!("{name} was not enabled")),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    if arguments.now && status == 0 {
        // One that is starting is one to be stopped.
        let runs = |name: &MachineName| !matches!(MachineHandle::find(name), Err(Error::NotRunning { .. }));
        let runs = arguments.names.iter().filter(|name| named(name).is_ok_and(|name| runs(&name)));
        return enable::also("stop", runs, arguments.quiet);
    }
    status
}

/// Whether it was enabled before, by systemd's means or ours; `None` where systemd said no, which is told.
fn disable_one(name: &str, has_units: bool, output: Output) -> Result<Option<bool>, Error> {
    let name = named(name)?;
    let by_file = autostart::disable(&name)?;
    if !has_units {
        return Ok(Some(by_file));
    }
    let by_unit = systemd::disable(&name).inspect_err(|error| output.error(error, Some(error.hint()))).ok();
    Ok(by_unit.map(|by_unit| by_unit || by_file))
}
