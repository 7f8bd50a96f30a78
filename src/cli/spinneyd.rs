//! `spinneyd`: the manager, called by its own name.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;

use super::EXIT_FAILURE;
use super::output::Output;
use crate::manager::daemon::{Options, PERSONALITY, run};
use crate::manager::problem::Problem;
use crate::settings::parse_duration;

const HELP: &str = "\
The bus starts it when a program asks for org.spinney, and for org.freedesktop.machine1 and org.freedesktop.import1 where \
systemd-machined is not installed. It keeps nothing: machines, images and transfers go on without it, and it ends when there is \
nothing to do.";

/// Serves machines, images and transfers on the system bus
#[derive(Debug, Parser)]
#[command(name = PERSONALITY, version, after_help = HELP)]
struct Arguments {
    /// How long it stays with nothing to do, or infinity (default: 30s)
    #[arg(long, value_name = "TIME")]
    exit_idle_time: Option<String>,

    /// Be org.freedesktop.machine1 and org.freedesktop.import1 also where systemd-machined is installed
    #[arg(long)]
    instead_of_machined: bool,
}

/// Whether the executable was called as the manager: a unit may have its whole path.
pub(super) fn is_called(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    name.is_some_and(|name| name == PERSONALITY)
}

/// Runs it, gives the exit status.
pub(super) fn main(arguments: Vec<OsString>) -> u8 {
    let output = Output::new(false);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            output.error(&super::refusal::Message::new(error.kind().to_string()), Some("spinneyd --help"));
            return EXIT_FAILURE;
        }
        Err(display) => {
            output.text(&display.to_string());
            return 0;
        }
    };
    let idle = match arguments.exit_idle_time.as_deref().map(parse_duration).transpose() {
        Ok(idle) => idle,
        Err(error) => {
            output.error(&error, Some(error.hint()));
            return EXIT_FAILURE;
        }
    };
    let complain = |problem: &Problem| Output::new(false).warning(&problem.text);
    let instead_of_machined = arguments.instead_of_machined;
    match run(&Options { idle, instead_of_machined, complain: Some(complain) }) {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error, error.hint());
            EXIT_FAILURE
        }
    }
}
