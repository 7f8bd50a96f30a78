//! `spinney stop`: powers machines off, all at once, and waits until they are gone.

use std::time::{Duration, Instant};

use super::following::{FollowArguments, Followed, Meaning};
use crate::cli::output::Output;
use crate::machine::terminate::ends_within;
use crate::machine::{Error, MachineHandle};
use crate::supervisor::event::span;
use crate::supervisor::machine_event::{EndReason, MachineEvent};

const EXAMPLES: &str = "\
Examples:
  spinney stop web db             power both off, return when both are gone
  spinney stop --no-wait web      ask it to, and return
  spinney stop --timeout=10s web  give up waiting after ten seconds; it goes on stopping

A machine that does not stop within its --timeout-stop= (90s) is killed; spinney terminate does that at once.";

/// After its last event a supervisor has only to exit.
const EXIT: Duration = Duration::from_secs(10);

/// Power machines off, in the way of their init
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StopArguments {
    #[command(flatten)]
    follow: FollowArguments,
}

/// Runs the verb, gives the exit status.
pub fn stop(arguments: &StopArguments) -> u8 {
    let (output, deadline) = match arguments.follow.look() {
        Ok(looked) => looked,
        Err(status) => return status,
    };
    let told = Instant::now();
    let mut stopping = Followed::tell(&arguments.follow.names, "io.systemd.MachineInstance.PowerOff", output);
    if !arguments.follow.no_wait {
        stopping.until(
            deadline,
            |machine, event, output| match event {
                MachineEvent::Ended { reason, error, .. } => {
                    gone(machine, *reason, error.as_deref(), told, output)
                }
                _ => Meaning::GoOn,
            },
            |machine, output| {
                if machine.is_alive() {
                    return Meaning::Failed(Error::NoAnswer {
                        name: machine.name().to_string(),
                        waited: told.elapsed(),
                    });
                }
                output.warning(&format!(
                    "{}: its supervisor was killed; spinney gc removes what it left",
                    machine.name()
                ));
                Meaning::Done
            },
            |name, waited| Error::StillThere { name, waited },
        );
    }
    stopping.status
}

/// Tells the end of a machine.
fn gone(
    machine: &MachineHandle,
    reason: EndReason,
    error: Option<&str>,
    told: Instant,
    output: Output,
) -> Meaning {
    let name = machine.name();
    // Its name is free by now, but its process may still be writing its last words.
    if let Ok(supervisor) = machine.supervisor()
        && !ends_within(&supervisor, EXIT).unwrap_or(true)
    {
        return Meaning::Failed(Error::NoAnswer { name: name.to_string(), waited: EXIT });
    }
    match (reason, error) {
        (EndReason::Killed, _) => output.warning(&format!("{name} did not stop, and was killed")),
        (_, Some(error)) => output.warning(&format!("{name}: {error}")),
        _ => {}
    }
    output.status(&format!("{name} is off after {}", span(told.elapsed())));
    Meaning::Done
}
