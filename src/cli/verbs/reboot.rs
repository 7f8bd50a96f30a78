//! `spinney reboot`: reboots machines in place and waits until they are ready again.

use std::collections::BTreeSet;
use std::time::Instant;

use super::following::{FollowArguments, Followed, Meaning};
use crate::machine::Error;
use crate::supervisor::event::span;
use crate::supervisor::machine_event::MachineEvent;

const EXAMPLES: &str = "\
Examples:
  spinney reboot web                return when it is ready again
  spinney reboot --no-wait web db   ask both to, and return

A machine keeps its name, its addresses and its throw-away layer.";

/// Reboot machines in place
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RebootArguments {
    #[command(flatten)]
    follow: FollowArguments,
}

/// Runs the verb, gives the exit status.
pub fn reboot(arguments: &RebootArguments) -> u8 {
    let (output, deadline) = match arguments.follow.look() {
        Ok(looked) => looked,
        Err(status) => return status,
    };
    let told = Instant::now();
    let mut rebooting = Followed::tell(&arguments.follow.names, "io.systemd.MachineInstance.Reboot", output);
    let mut down = BTreeSet::new();
    if !arguments.follow.no_wait {
        rebooting.until(
            deadline,
            |machine, event, output| {
                let name = machine.name();
                match event {
                    MachineEvent::Rebooting { .. } => {
                        down.insert(name.clone());
                        Meaning::GoOn
                    }
                    MachineEvent::Ready { .. } if down.contains(name) => {
                        output.status(&format!("{name} is ready again after {}", span(told.elapsed())));
                        Meaning::Done
                    }
                    MachineEvent::Ended { error, .. } => {
                        Meaning::Failed(Error::EndedInstead { name: name.to_string(), why: error.clone() })
                    }
                    _ => Meaning::GoOn,
                }
            },
            |machine, _| {
                let name = machine.name().to_string();
                Meaning::Failed(Error::EndedInstead { name, why: None })
            },
            |name, waited| Error::NotReadyAgain { name, waited },
        );
    }
    rebooting.status
}
