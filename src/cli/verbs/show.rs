//! `spinney show`

use std::collections::BTreeMap;

use serde_json::Value;

use super::{each, fail};
use crate::cli::output::{Output, words};
use crate::cli::properties::{Properties, PropertyOptions, yes_no};
use crate::host::systemd;
use crate::machine::MachineHandle;
use crate::machine::report::Report;
use crate::settings::limits::keys::KEYS;
use crate::supervisor::printable;
use crate::supervisor::state::Phase;

const EXAMPLES: &str = "\
Examples:
  spinney show web                     all of its properties
  spinney show -P Leader web           the pid of its PID 1
  spinney show -p State,Addresses web  these two
  spinney show --json                  all machines, for a program";

/// Print the properties of machines, for programs
///
/// Properties that machinectl has too are called as there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    /// The machines; all that run, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    options: PropertyOptions,
}

/// Runs the verb, gives the exit status.
pub fn show(arguments: &ShowArguments) -> u8 {
    let output = Output::new(false);
    let known = NAMES.iter().copied().chain(KEYS.iter().map(|key| key.property));
    let all = "spinney show --all NAME shows all of a machine's";
    if let Err(status) = arguments.options.refuse_unknown(known, all, output) {
        return status;
    }
    let mut found = Vec::new();
    if arguments.names.is_empty() {
        match MachineHandle::all() {
            Ok(machines) => found = machines,
            Err(error) => return fail(&error, output),
        }
    }
    let status = each(&arguments.names, output, |machine| {
        found.push(machine.clone());
        Ok(())
    });
    let shown = found.iter().map(|machine| properties(&Report::of(machine, 0))).collect();
    arguments.options.print(shown, status, output)
}

/// All properties, in the order in which they are shown; after them come those of limits.
const NAMES: &[&str] = &[
    "Name",
    "Id",
    "Timestamp",
    "TimestampMonotonic",
    "Service",
    "Unit",
    "Leader",
    "Supervisor",
    "Class",
    "RootDirectory",
    "State",
    "Phase",
    "Paused",
    "ReadyTimestamp",
    "Boots",
    "Ephemeral",
    "Background",
    "OS",
    "Init",
    "StatusText",
    "UIDShift",
    "UIDRange",
    "ControlGroup",
    "Addresses",
    "MemoryCurrent",
    "MemoryPeak",
    "CPUUsageNSec",
    "IOReadBytes",
    "IOWriteBytes",
    "TasksCurrent",
    "OOMKills",
];

/// The properties of one machine. Times as machinectl prints them: words for `Timestamp`, microseconds since the host's boot
/// for `TimestampMonotonic`.
fn properties(report: &Report) -> Properties {
    let (state, usage) = (&report.state, &report.usage);
    let text = |text: &str| Value::from(printable::line(text.as_bytes()));
    let zone = words::zone();
    let time = |microseconds: u64| Value::from(words::timestamp(microseconds, &zone));
    let value = |name: &str| match name {
        "Name" => text(&state.name),
        "Id" => Value::from(state.uuid.replace('-', "")),
        "Timestamp" => time(state.started_at),
        "TimestampMonotonic" => monotonic(state.leader_started).into(),
        "Service" => "spinney".into(),
        "Unit" => unit(state.supervisor).into(),
        "Leader" => state.leader.into(),
        "Supervisor" => state.supervisor.into(),
        "Class" => "container".into(),
        "RootDirectory" => text(&state.tree.to_string_lossy()),
        // machined's words for the three phases.
        "State" => match state.phase {
            Phase::Booting => "opening",
            Phase::Ready => "running",
            Phase::Stopping => "closing",
        }
        .into(),
        "Phase" => super::list::phase_word(state.phase).into(),
        "Paused" => yes_no(state.paused),
        "ReadyTimestamp" => state.ready_at.map_or(Value::Null, time),
        "Boots" => state.boots.into(),
        "Ephemeral" => yes_no(state.ephemeral),
        "Background" => yes_no(state.background),
        "OS" => text(&state.os),
        "Init" => text(&state.init),
        "StatusText" => text(state.status.as_deref().unwrap_or_default()),
        "UIDShift" => state.id_base.into(),
        "UIDRange" => state.id_size.into(),
        "ControlGroup" => text(&state.cgroup),
        "Addresses" => report.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
        "MemoryCurrent" => usage.memory.map(|memory| memory.current).into(),
        "MemoryPeak" => usage.memory.and_then(|memory| memory.peak).into(),
        "CPUUsageNSec" => usage.cpu.map(|cpu| cpu.microseconds.saturating_mul(1000)).into(),
        "IOReadBytes" => usage.io.map(|io| io.read_bytes).into(),
        "IOWriteBytes" => usage.io.map(|io| io.written_bytes).into(),
        "TasksCurrent" => usage.tasks.map(|tasks| tasks.current).into(),
        "OOMKills" => state.oom_kills.into(),
        _ => Value::Null,
    };
    let limits: BTreeMap<&str, Vec<String>> =
        state.limits.texts().map(|(key, texts)| (key.property, texts)).collect();
    let limit = |property: &str| match limits.get(property) {
        Some(texts) => text(&texts.join(" ")),
        None => Value::Null,
    };
    let limits = KEYS.iter().map(|key| (key.property, limit(key.property)));
    NAMES.iter().map(|name| (*name, value(name))).chain(limits).collect()
}

/// Microseconds of the monotonic clock for `ticks` since boot; nearly, since a host that slept has fewer of the former.
fn monotonic(ticks: u64) -> u64 {
    /// A tick of what /proc tells is a hundredth of a second on all architectures of ours (USER_HZ, time(7)).
    const TICK: u64 = 10_000;
    ticks.saturating_mul(TICK)
}

/// The systemd unit that the supervisor is in, by its cgroup; empty where there is none.
fn unit(supervisor: i32) -> String {
    let cgroups = crate::sys::files::read_at(rustix::fs::CWD, format!("/proc/{supervisor}/cgroup"), 64 << 10)
        .unwrap_or_default();
    systemd::unit_of_process(&String::from_utf8_lossy(&cgroups))
        .map(|unit| printable::line(unit.as_bytes()))
        .unwrap_or_default()
}
