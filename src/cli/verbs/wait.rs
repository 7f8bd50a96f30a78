//! `spinney wait`: until something holds of a machine.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::exec::TIMED_OUT;
use crate::machine::wait::{Condition, Result as Outcome, wait as wait_for};
use crate::settings::{MachineName, ValueError, parse_duration};

const EXAMPLES: &str = "\
Conditions:
  ready                   its init says that it is up (default)
  unit=UNIT               a unit of systemd, a service of OpenRC, runit, finit or sysvinit runs
  target=TARGET           a target of systemd, a runlevel of OpenRC, finit or sysvinit is reached
  port=[tcp/|udp/]PORT    somebody in the machine listens there
  file=PATH               the file is there
  exec=COMMAND            the shell command succeeds
  stopped                 the machine is gone

Examples:
  spinney wait web && spinney exec web -- make test
  spinney wait web --for unit=postgresql --for port=5432 --timeout 30s
  spinney wait web --for stopped

Exit status: 0 when all holds; 124 when the time is over, 1 when it cannot hold any more (the unit failed, the machine is \
gone), 125 when spinney itself fails.";

/// Wait until something holds of a machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct WaitArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// What is to hold; several one after the other
    #[arg(long = "for", value_name = "CONDITION", default_value = "ready")]
    conditions: Vec<String>,

    /// How long to wait for all of it (default: for ever)
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,

    /// Say it as JSON, a line a condition
    #[arg(long)]
    json: bool,

    /// Say nothing when all holds
    #[arg(short, long)]
    quiet: bool,
}

/// It cannot hold any more.
const NEVER: u8 = 1;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Said<'a> {
    machine: &'a str,
    condition: String,
    result: &'static str,
    reason: Option<&'a str>,
    after_seconds: f64,
}

/// Runs the verb, gives the exit status.
pub fn wait(arguments: &WaitArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let asked = || -> Result<(Vec<Condition>, Option<Duration>), ValueError> {
        let conditions = arguments.conditions.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok((conditions, arguments.timeout.as_deref().map(parse_duration).transpose()?.flatten()))
    };
    let (conditions, timeout) = match asked() {
        Ok(asked) => asked,
        Err(error) => {
            output.error(&error, Some(error.hint()));
            return EXIT_FAILURE;
        }
    };
    let name = match named(&arguments.name) {
        Ok(name) => name,
        Err(error) => return fail(&error, output),
    };
    let started = Instant::now();
    let deadline = timeout.and_then(|timeout| started.checked_add(timeout));
    for condition in &conditions {
        match wait_for(&name, condition, deadline) {
            Ok(outcome) => {
                say(&name, condition, &outcome, started.elapsed(), arguments.json, output);
                match outcome {
                    Outcome::Holds => {}
                    Outcome::TimedOut(_) => return TIMED_OUT,
                    Outcome::Failed(_) => return NEVER,
                }
            }
            Err(error) => return fail(&error, output),
        }
    }
    0
}

fn say(
    name: &MachineName,
    condition: &Condition,
    outcome: &Outcome,
    after: Duration,
    json: bool,
    output: Output,
) {
    let (result, reason) = match outcome {
        Outcome::Holds => ("holds", None),
        Outcome::TimedOut(why) => ("timeout", Some(why.as_str())),
        Outcome::Failed(why) => ("failed", Some(why.as_str())),
    };
    let after_seconds = (after.as_secs_f64() * 1000.0).round() / 1000.0;
    if json {
        let said =
            Said { machine: name.as_str(), condition: condition.to_string(), result, reason, after_seconds };
        if let Err(error) = output.json(&said) {
            output.error(&error, None);
        }
        return;
    }
    match reason {
        None => output.status(&format!("{name}: {condition} holds after {after_seconds} s")),
        Some(reason) => {
            let end = if result == "timeout" { "does not hold" } else { "will not hold" };
            let message =
                Message::new(format!("{name}: {condition} {end} after {after_seconds} s: {reason}"));
            output.error(&message, Some("spinney status and spinney logs tell more of the machine"));
        }
    }
}
