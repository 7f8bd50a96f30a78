//! `spinney status`

mod text;

use super::list::colour_of;
use super::{fail, named};
use crate::cli::output::{Colour, Output, words};
use crate::machine::report::Report;
use crate::machine::{Error, MachineHandle, Record, find_image};
use crate::settings::MachineName;
use crate::supervisor::{archive, console_log, printable};
use crate::sys::files::open_directory;

/// What systemctl(1) exits with for a unit that is not running, and for one that it does not know.
const NOT_RUNNING: u8 = 3;
const NO_SUCH: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  spinney status web             what it does, uses and said last
  spinney status -n 50 -l web    with more of its console, and whole lines
  spinney status                 all machines that run";

/// Show what a machine is doing
///
/// Exit status: 0 if it runs, 3 if it does not, 4 if there is no such machine.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArguments {
    /// The machines; all that run, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// How many lines of the log to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,

    /// Cut no line, however narrow the terminal is
    #[arg(short = 'l', long)]
    full: bool,

    /// JSON, an object a machine
    #[arg(long)]
    json: bool,
}

/// Runs the verb, gives the exit status: that of the first machine that does not run.
pub fn status(arguments: &StatusArguments) -> u8 {
    let output = Output::new(false);
    let names = if arguments.names.is_empty() {
        match MachineHandle::all() {
            Ok(machines) => machines.iter().map(|machine| machine.name().to_string()).collect(),
            Err(error) => return fail(&error, output),
        }
    } else {
        arguments.names.clone()
    };
    if names.is_empty() && !arguments.json {
        output.text("No machines.\n");
    }
    let mut first = 0;
    for (place, name) in names.iter().enumerate() {
        if place > 0 && !arguments.json {
            output.text("\n");
        }
        let status = match named(name) {
            Ok(name) => one(&name, arguments, output),
            Err(error) => fail(&error, output),
        };
        first = if first == 0 { status } else { first };
    }
    first
}

fn one(name: &MachineName, arguments: &StatusArguments, output: Output) -> u8 {
    match Record::of(name) {
        Some(Record::Running(machine)) => {
            let report = Report::of(&machine, arguments.lines);
            if arguments.json {
                return if output.json(&report).is_ok() { 0 } else { crate::cli::EXIT_FAILURE };
            }
            let look = text::Look {
                now: words::now(),
                zone: words::zone(),
                width: if arguments.full { None } else { crate::cli::output::terminal_width() },
            };
            output.text(&text::running(&report, &look, output));
            0
        }
        Some(Record::Unreadable(_, error)) => fail(&error, output),
        Some(Record::Starting(_)) => not_running(name, "starting", arguments, output),
        Some(Record::Left(_)) => not_running(name, "dead", arguments, output),
        None if find_image::find(name).is_ok() => not_running(name, "stopped", arguments, output),
        None if archive::last_run(name).is_ok_and(|last| last.is_some()) => {
            not_running(name, "stopped", arguments, output)
        }
        None => {
            let error = Error::NotRunning { name: name.to_string() };
            output.error(&error, error.hint().as_deref());
            NO_SUCH
        }
    }
}

/// Tells of a machine that does not run, and how its last run ended, where that is known and we may read it.
fn not_running(name: &MachineName, state: &str, arguments: &StatusArguments, output: Output) -> u8 {
    let last = archive::last_run(name).ok().flatten();
    if arguments.json {
        let object = serde_json::json!({ "name": name.as_str(), "phase": state, "last-run": last });
        return if output.json(&object).is_ok() { NOT_RUNNING } else { crate::cli::EXIT_FAILURE };
    }
    let why = match state {
        "dead" => "dead: its supervisor was killed; spinney gc removes what it left",
        "starting" => "starting: it has no leader yet",
        _ => "stopped",
    };
    let colour = colour_of(state).unwrap_or(Colour::Grey);
    let os =
        last.as_ref().and_then(|last| last.state.as_ref()).map(|state| printable::line(state.os.as_bytes()));
    let os = os.map(|os| format!(" - {os}")).unwrap_or_default();
    let mut told = format!("{} {name}{os}\n     State: {why}\n", output.in_colour(colour, "○"));
    if let Some(last) = last {
        told.push_str(&text::last_run(&last, &words::zone(), words::now()));
        let console = open_directory(&archive::path(name));
        let console = console.and_then(|directory| console_log::last_lines(&directory, arguments.lines));
        for (place, line) in console.unwrap_or_default().iter().enumerate() {
            told.push_str(if place == 0 { "\n" } else { "" });
            told.push_str(&format!("{line}\n"));
        }
    }
    output.text(&told);
    NOT_RUNNING
}
