//! `spinney top`

use std::time::{Duration, Instant};

use serde_json::json;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Output, words};
use crate::cli::top::frame::{Room, picture, table};
use crate::cli::top::sample::{Samples, rows};
use crate::cli::top::screen::{Input, Screen};
use crate::cli::top::view::{Order, View, Wish};
use crate::machine::terminate::terminate;
use crate::machine::{Error, MachineHandle};
use crate::settings::{MachineName, ValueError, parse_duration};
use crate::sys::SysError;

const EXAMPLES: &str = "\
Examples:
  spinney top                      all machines, on the full screen
  spinney top --batch -n 1 web     one table, for a log";

/// Watch what machines use
///
/// Keys: c, m, i, p, n and N sort by CPU, memory, I/O, tasks, network and name; r reverses; the arrows move; space pauses;
/// k kills the machine that is pointed at, once y confirms it; q quits.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArguments {
    /// The machines; all that run, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Time between two looks
    #[arg(short, long, value_name = "TIME", default_value = "2s")]
    delay: String,

    /// End after so many looks (default: 1 if stdout is no terminal)
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,

    /// What to sort by: name, cpu, memory, io, tasks, network
    #[arg(short, long, value_name = "KEY", value_parser = Order::WORDS, default_value = "cpu", hide_possible_values = true)]
    order: String,

    /// The other way round
    #[arg(short, long)]
    reverse: bool,

    /// Print tables one after the other
    #[arg(short, long)]
    batch: bool,

    /// JSON, an object for each look
    #[arg(long)]
    json: bool,
}

/// Runs the verb, gives the exit status.
pub fn top(arguments: &TopArguments) -> u8 {
    let output = Output::new(false);
    let delay = match delay(&arguments.delay) {
        Ok(delay) => delay,
        Err(error) => {
            let message = crate::cli::refusal::Message::new(format!("bad value for --delay=: {error}"));
            output.error(&message, Some(error.hint()));
            return EXIT_FAILURE;
        }
    };
    let (names, status) = known(&arguments.names, output);
    if names.is_empty() && !arguments.names.is_empty() {
        return status;
    }
    let view = View::new(Order::from_word(&arguments.order).unwrap_or(Order::Cpu), arguments.reverse);
    let on_terminal = crate::cli::output::terminal_width().is_some();
    let done = if arguments.json || arguments.batch || !on_terminal {
        let one = (!on_terminal && !arguments.batch && !arguments.json).then_some(1);
        printed(&names, &view, delay, arguments.iterations.or(one), arguments.json, output)
    } else {
        watched(&names, view, delay, arguments.iterations, output)
    };
    match done {
        Ok(()) => status,
        Err(error) => fail(&error, output),
    }
}

/// Not so short that looking is all that is done.
fn delay(text: &str) -> Result<Duration, ValueError> {
    const LEAST: Duration = Duration::from_millis(100);
    match parse_duration(text)? {
        Some(delay) if delay >= LEAST => Ok(delay),
        Some(_) => Err(ValueError::new(text, "is too short", "100ms and more")),
        None => Err(ValueError::new(text, "would show nothing", "100ms and more")),
    }
}

/// Those of `names` that run; tells of the others, and gives the exit status for the first.
fn known(names: &[String], output: Output) -> (Vec<MachineName>, u8) {
    let mut running = Vec::new();
    let mut status = 0;
    for name in names {
        match named(name).and_then(|name| MachineHandle::find(&name).map(|_| name)) {
            Ok(name) => running.push(name),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    (running, status)
}

/// Tables or JSON, one after the other. The first comes when there are two looks to compare.
fn printed(
    names: &[MachineName],
    view: &View,
    delay: Duration,
    iterations: Option<u64>,
    json: bool,
    output: Output,
) -> Result<(), Error> {
    let mut before = Samples::take(names)?;
    let mut count = 0;
    while iterations.is_none_or(|most| count < most) {
        std::thread::sleep(delay);
        let now = Samples::take(names)?;
        let mut rows = rows(Some(&before), &now);
        view.sort(&mut rows);
        if json {
            let object = json!({ "time": words::rfc3339(words::now()), "machines": rows });
            let printed = output.json(&object);
            printed.map_err(|_| {
                Error::system("print JSON")(SysError::new("write", "stdout", rustix::io::Errno::IO))
            })?;
        } else {
            let gap = if count == 0 { "" } else { "\n" };
            output.text(&(gap.to_owned() + &table(&rows)));
        }
        before = now;
        count += 1;
    }
    Ok(())
}

/// The full screen, until the user has seen enough.
fn watched(
    names: &[MachineName],
    mut view: View,
    delay: Duration,
    iterations: Option<u64>,
    output: Output,
) -> Result<(), Error> {
    let mut now = Samples::take(names)?;
    let mut shown = rows(None, &now);
    let mut count = 0;
    let mut screen = Screen::take(output).map_err(Error::system("use the terminal"))?;
    // Rates are there soon, whatever the delay is.
    let mut next = Instant::now() + delay.min(FIRST);
    loop {
        view.sort(&mut shown);
        let (width, height) = screen.size();
        screen.draw(&picture(&shown, &view, Room { width, height, colour: output.has_colour() }));
        let deadline = (!view.paused).then_some(next);
        let keys = match screen.wait(deadline).map_err(Error::system("wait for keys"))? {
            Input::Keys(keys) => keys,
            Input::End => return Ok(()),
        };
        for key in keys {
            match view.press(key, &shown) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Suspend => screen.suspend().map_err(Error::system("use the terminal"))?,
                Wish::Kill(name) => view.message = Some(killed(&name)),
            }
        }
        if !view.paused && Instant::now() >= next {
            let before = std::mem::replace(&mut now, Samples::take(names)?);
            shown = rows(Some(&before), &now);
            next = Instant::now() + delay;
            count += 1;
            if iterations.is_some_and(|most| count >= most) {
                return Ok(());
            }
        }
    }
}

/// How long after the first look the second is.
const FIRST: Duration = Duration::from_millis(500);

/// Ends a machine at once, and says what came of it.
fn killed(name: &str) -> String {
    let done = named(name)
        .and_then(|name| MachineHandle::find(&name))
        .and_then(|machine| terminate(&machine).map(drop));
    match done {
        Ok(()) => format!("{name} is killed"),
        Err(error) => match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        },
    }
}
