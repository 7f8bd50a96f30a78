//! One process per machine: it starts the leader, holds its console, hears its notifications, and cleans up.
//!
//! `start` claims the name and everything the machine needs of the host, each thing written down in the journal of
//! resources before it is made; `boot` is the poll loop while a leader lives; `serve` goes from boot to boot, with all else
//! as it was, and in the end undoes the journal.

pub mod archive;
mod asked;
mod attached;
pub mod background;
mod boot;
mod buffer;
mod claimed;
pub mod console;
pub mod console_log;
pub mod control;
mod devices;
pub mod diagnosis;
mod error;
pub mod event;
mod facts;
mod fault;
mod freezer;
pub mod gc;
pub mod guest_logs;
mod guest_says;
mod host_resolv_conf;
pub mod hotkeys;
mod image;
pub mod in_force;
mod inquiry;
pub mod journal;
mod keeper;
pub mod launch_record;
mod limits;
mod machine;
pub mod machine_event;
mod machined;
pub mod machined_file;
pub mod manager_notifier;
mod names;
mod network;
pub mod notify;
pub mod out_of_memory;
mod pausing;
mod ports;
pub mod printable;
mod registration;
pub mod registry;
mod replay;
pub mod resources;
mod running;
mod serve;
pub mod snapshot;
mod start;
pub mod state;
mod stop;
pub mod stream;
pub mod terminal;
mod unit;
mod verdict;

use std::time::Instant;

use crate::runtime::plan::MachinePlan;
use crate::settings::{MachineName, MachineSettings, Provenance, Slice, ValueError, parse_boolean};
use crate::sys::process::raise_soft_limit;

pub use error::Error;
pub use event::{Event, EventOf};
pub use fault::POINTS as FAULT_POINTS;

/// What the command line asks of a supervisor.
#[derive(Debug)]
pub struct Request {
    /// The machine.
    pub settings: MachineSettings,
    /// Where they came from.
    pub provenance: Provenance,
    /// When the program was started, from which times are told.
    pub started: Instant,
    /// Nobody's terminal is its console.
    pub background: bool,
    /// Whether the machine goes into the unit that we are in (`--keep-unit`).
    pub keep_unit: KeepUnit,
    /// Whether systemd and systemd-machined are told of the machine.
    pub register: Register,
    /// Where its scope goes, if it gets one.
    pub slice: Slice,
    /// What an end of its payload means.
    pub ending: Ending,
}

/// What is to be said to who asks for `slice` though systemd makes no scope here that could go into it.
pub fn no_scope(slice: &Slice, register: Register, keep_unit: KeepUnit) -> Option<String> {
    let why = match (register, keep_unit) {
        // All machines are in that one.
        _ if *slice == Slice::default() => return None,
        (_, KeepUnit::IfDelegated | KeepUnit::Always) => "the machine goes into the unit that we are in",
        (Register::No, _) => "what is not registered gets no scope",
        _ if !crate::host::systemd::is_pid1() => "there is no systemd to make a scope",
        _ => return None,
    };
    Some(format!("--slice={slice} has no effect: {why}"))
}

/// Whether a machine goes into the unit that its supervisor is in: below its cgroup, under its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepUnit {
    /// If the unit was made for us alone.
    #[default]
    IfOurs,
    /// If the unit's cgroup was handed over to it; who asks knows that there may be none (systemd-nspawn(1)).
    IfDelegated,
    /// In any case: we are its main process.
    Always,
}

/// Whether a machine is registered with systemd-machined, and gets a scope of systemd's where it is in no unit (`--register`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Register {
    /// It is not.
    No,
    /// If it boots, and they run here.
    #[default]
    Auto,
    /// In any case. That it could not be is told; the machine runs all the same.
    Yes,
}

impl std::str::FromStr for Register {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match (text, parse_boolean(text)) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(true)) => Ok(Self::Yes),
            (_, Ok(false)) => Ok(Self::No),
            _ => Err(ValueError::new(text, "is not known", "yes, no or auto")),
        }
    }
}

/// What an end of a machine's payload means to who asked for the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// An init that ends before it is up has failed, and what asks for a reboot gets one.
    #[default]
    Judged,
    /// Whatever the payload does is its own affair (systemd-nspawn(1)).
    Plain {
        /// A reboot is our caller's to do.
        reboot_ends: bool,
    },
}

/// Where events go.
pub type Report<'a> = dyn FnMut(&Event<'_>) + 'a;

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// For our caller: the payload's.
    pub exit_status: u8,
    /// What became of the leader.
    pub end: End,
}

/// What became of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Signalled(i32),
    /// It powered the machine off.
    PoweredOff,
    /// It asked for a reboot that is not ours to do.
    Rebooting,
}

/// Runs one machine from start to teardown.
///
/// # Errors
/// When it could not be started, died before it was up, or could not be cleaned up after.
pub fn run(request: Request, report: &mut Report<'_>) -> Result<Outcome, Error> {
    // Ports, questions for names and clients take a file each: a shell's soft limit (1024) is for programs with select(2). What it
    // costs to have less is said where it is reached.
    let _ = raise_soft_limit(libc::RLIMIT_NOFILE);
    let machine = start::start(&request, report)?;
    serve::serve(machine, &request, report)
}

/// The name that a machine of these settings has.
///
/// # Errors
/// When its tree's name makes none.
pub fn name_of(settings: &MachineSettings) -> Result<MachineName, Error> {
    match &settings.machine {
        Some(name) => Ok(name.clone()),
        None => MachineName::from_tree(&settings.tree).map_err(Error::Name),
    }
}

/// The plan that [`run`] would carry out; nothing is made.
///
/// # Errors
/// As [`run`] until its first step.
pub fn explain(request: &Request) -> Result<MachinePlan, Error> {
    facts::plan_only(request)
}
