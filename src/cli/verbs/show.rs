//! `spinney show`

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{each, fail};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Output, words};
use crate::cli::refusal::Message;
use crate::machine::MachineHandle;
use crate::machine::report::Report;
use crate::settings::limits::keys::KEYS;
use crate::settings::nearest;
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

    /// Only these properties
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    property: Vec<String>,

    /// Only these properties, and of them the values
    #[arg(short = 'P', value_name = "NAME", value_delimiter = ',')]
    property_value: Vec<String>,

    /// Values without names
    #[arg(long)]
    value: bool,

    /// Also properties that are empty
    #[arg(short, long)]
    all: bool,

    /// JSON, an object a machine
    #[arg(long)]
    json: bool,
}

/// Runs the verb, gives the exit status.
pub fn show(arguments: &ShowArguments) -> u8 {
    let output = Output::new(false);
    let wanted: Vec<&str> =
        arguments.property.iter().chain(&arguments.property_value).map(String::as_str).collect();
    let known: Vec<&str> = NAMES.iter().copied().chain(KEYS.iter().map(|key| key.property)).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !known.contains(wanted)) {
        let hint = match nearest(unknown, known.iter().copied()) {
            Some(known) => format!("did you mean {known}?"),
            None => "spinney show --all NAME shows all of a machine's".to_owned(),
        };
        output.error(&Message::new(format!("there is no property {unknown:?}")), Some(&hint));
        return EXIT_FAILURE;
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
    let all = arguments.all || !wanted.is_empty();
    let shown: Vec<Vec<(&'static str, Value)>> = found
        .iter()
        .map(|machine| {
            let properties = properties(&Report::of(machine, 0));
            properties
                .into_iter()
                .filter(|(name, value)| {
                    (wanted.is_empty() || wanted.contains(name)) && (all || !is_empty(value))
                })
                .collect()
        })
        .collect();
    if arguments.json {
        let objects = shown.into_iter().map(|properties| {
            properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
        });
        return match output.json(&objects.collect::<Vec<_>>()) {
            Ok(()) => status,
            Err(_) => EXIT_FAILURE,
        };
    }
    let bare = arguments.value || !arguments.property_value.is_empty();
    let blocks: Vec<String> = shown.iter().map(|properties| text(properties, bare)).collect();
    output.text(&blocks.join("\n"));
    status
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
fn properties(report: &Report) -> Vec<(&'static str, Value)> {
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

pub(in crate::cli) fn yes_no(yes: bool) -> Value {
    if yes { "yes" } else { "no" }.into()
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
    unit_of(&String::from_utf8_lossy(&cgroups))
}

/// The innermost unit in a /proc/PID/cgroup text: `.service` or `.scope`, in systemd's own hierarchy or v2.
fn unit_of(cgroups: &str) -> String {
    cgroups
        .lines()
        .filter_map(|line| {
            line.strip_prefix("0::").or_else(|| line.split_once(":name=systemd:").map(|(_, path)| path))
        })
        .flat_map(|path| path.rsplit('/'))
        .find(|part| part.ends_with(".service") || part.ends_with(".scope"))
        .map(|unit| printable::line(unit.as_bytes()))
        .unwrap_or_default()
}

pub(in crate::cli) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// `NAME=VALUE` lines.
pub(in crate::cli) fn text(properties: &[(&'static str, Value)], bare: bool) -> String {
    let line = |(name, value): &(&'static str, Value)| {
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        if bare { format!("{value}\n") } else { format!("{name}={value}\n") }
    };
    properties.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (cgroups, expected) in [
            ("0::/system.slice/spinney@web.service/supervisor\n", "spinney@web.service"),
            (
                "3:cpu:/x.service\n1:name=systemd:/user.slice/user-0.slice/session-2.scope\n0::/\n",
                "session-2.scope",
            ),
            ("0::/\n", ""),
            ("", ""),
        ] {
            assert_eq!(unit_of(cgroups), expected, "{cgroups}");
        }
    }

    #[test]
    fn lines() {
        let properties = [
            ("Name", "web".into()),
            ("TasksCurrent", 5.into()),
            ("Addresses", vec!["10.0.0.1", "fe80::1"].into()),
        ];
        assert_eq!(text(&properties, false), "Name=web\nTasksCurrent=5\nAddresses=10.0.0.1 fe80::1\n");
        assert_eq!(text(&properties, true), "web\n5\n10.0.0.1 fe80::1\n");
    }
}
