//! One process per machine: it starts the leader, holds its console, hears its notifications, and cleans up.
//!
//! `start` claims the name and everything the machine needs of the host, each thing written down in the journal of
//! resources before it is made; `boot` is the poll loop while a leader lives; `serve` goes from boot to boot, with all else
//! as it was, and in the end undoes the journal.

mod asked;
mod boot;
mod buffer;
mod claimed;
pub mod console;
pub mod console_log;
mod error;
mod facts;
mod fault;
pub mod gc;
mod guest_says;
pub mod hotkeys;
pub mod launch_record;
pub mod manager_notifier;
pub mod notify;
pub mod printable;
pub mod registry;
pub mod resources;
mod running;
mod serve;
mod start;
pub mod state;
mod stop;
pub mod stream;
pub mod terminal;
mod verdict;

use std::time::{Duration, Instant};

use crate::runtime::plan::MachinePlan;
use crate::settings::MachineSettings;

pub use error::Error;
pub use fault::POINTS as FAULT_POINTS;

/// What the command line asks of a supervisor.
#[derive(Debug)]
pub struct Request {
    /// The machine.
    pub settings: MachineSettings,
    /// When the program was started, from which times are told.
    pub started: Instant,
    /// Nobody's terminal is its console.
    pub background: bool,
}

/// What happens, for the user to see.
#[derive(Debug)]
pub enum Event<'a> {
    /// The host lacks something and the machine goes without; or something is odd.
    Warning(&'a str),
    /// PID 1 runs.
    Started {
        /// Its machine.
        plan: &'a MachinePlan,
        /// The operating system, in words.
        os: &'a str,
        /// The init, in words; `None` for a command.
        init: Option<&'a str>,
        /// Since the program's start.
        after: Duration,
    },
    /// The guest is up.
    Ready {
        /// Its machine.
        name: &'a str,
        /// Since the program's start, or the reboot.
        after: Duration,
        /// It did not say so: nothing is known of its init.
        assumed: bool,
    },
    /// The guest was told to stop, or to reboot.
    Stopping {
        /// Its machine.
        name: &'a str,
        /// To come back.
        reboot: bool,
    },
    /// It is killed at once: the user asked for that, or it was not ready in time.
    Killing {
        /// Its machine.
        name: &'a str,
    },
    /// It did not stop in time and the next step is taken.
    Escalating {
        /// Its machine.
        name: &'a str,
        /// Which is the kill.
        kill: bool,
    },
    /// It rebooted.
    Rebooting {
        /// Its machine.
        name: &'a str,
    },
    /// It is gone.
    Ended {
        /// Its machine.
        name: &'a str,
        /// How long it took to stop, if it was told to.
        after: Option<Duration>,
    },
}

/// Where events go.
pub type Report<'a> = dyn FnMut(&Event<'_>) + 'a;

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// For our caller: the payload's.
    pub exit_status: u8,
}

/// Runs one machine from start to teardown.
///
/// # Errors
/// When it could not be started, died before it was up, or could not be cleaned up after.
pub fn run(request: Request, report: &mut Report<'_>) -> Result<Outcome, Error> {
    let machine = start::start(&request, report)?;
    serve::serve(machine, &request, report)
}

/// The plan that [`run`] would carry out; nothing is made.
///
/// # Errors
/// As [`run`] until its first step.
pub fn explain(request: &Request) -> Result<MachinePlan, Error> {
    facts::plan_only(request)
}
