//! `spinney list`

use std::collections::BTreeSet;

use serde::Serialize;

use super::fail;
use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output, words};
use crate::machine::{MachineHandle, Record, addresses, find_image};
use crate::settings::MachineName;
use crate::supervisor::printable;
use crate::supervisor::state::{Phase, State};
use crate::sys::in_words;

const EXAMPLES: &str = "\
Examples:
  spinney list              the machines that run
  spinney list -a           also images that do not, and what killed machines left
  spinney list -q           their names, for a script
  spinney list --json       all that is known of them";

/// List the machines that run
///
/// Needs no root: what it shows is public.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArguments {
    /// Also images that do not run, and what killed machines left
    #[arg(short, long)]
    all: bool,

    /// Names only
    #[arg(short, long)]
    quiet: bool,

    /// JSON
    #[arg(long)]
    json: bool,

    /// The same, as machinectl has it: table, json
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table", hide_default_value = true, hide_possible_values = true)]
    output: String,

    /// No heading and no sum
    #[arg(long)]
    no_legend: bool,

    /// Cut no column, however narrow the terminal is
    #[arg(short = 'l', long)]
    full: bool,

    /// Show so many addresses of each machine, or all
    #[arg(long, value_name = "NUMBER", default_value = "1", hide_default_value = true, value_parser = shown_addresses)]
    max_addresses: usize,
}

/// `all`, or a number as machinectl(1) takes it.
fn shown_addresses(text: &str) -> Result<usize, &'static str> {
    match text {
        "all" => Ok(usize::MAX),
        number => number.parse().map_err(|_| "is neither a number nor all"),
    }
}

/// One machine in the list. Texts are safe to print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    /// What machinectl calls the name.
    machine: String,
    class: &'static str,
    service: &'static str,
    state: &'static str,
    os: Option<String>,
    init: Option<String>,
    addresses: Vec<String>,
    zone: Option<String>,
    ports: Vec<String>,
    /// When this boot began (RFC 3339).
    since: Option<String>,
    leader: Option<i32>,
    supervisor: Option<i32>,
    tree: Option<String>,
    ephemeral: Option<bool>,
    #[serde(skip)]
    since_microseconds: Option<u64>,
}

impl Entry {
    fn bare(name: &MachineName, state: &'static str) -> Self {
        Self {
            name: name.to_string(),
            machine: name.to_string(),
            class: "container",
            service: "spinney",
            state,
            os: None,
            init: None,
            addresses: Vec::new(),
            zone: None,
            ports: Vec::new(),
            since: None,
            leader: None,
            supervisor: None,
            tree: None,
            ephemeral: None,
            since_microseconds: None,
        }
    }

    fn running(machine: &MachineHandle) -> Self {
        let (name, state) = (machine.name(), machine.state());
        let network = machine.network_state();
        let text = |text: &str| Some(printable::line(text.as_bytes())).filter(|text| !text.is_empty());
        Self {
            os: text(&state.os),
            init: text(&state.init),
            addresses: addresses::of(state.leader).iter().map(ToString::to_string).collect(),
            zone: network.plan.zone().map(ToString::to_string),
            ports: network.ports.iter().map(ToString::to_string).collect(),
            since: Some(words::rfc3339(state.started_at)),
            leader: Some(state.leader),
            supervisor: Some(state.supervisor),
            tree: text(&state.tree.to_string_lossy()),
            ephemeral: Some(state.ephemeral),
            since_microseconds: Some(state.started_at),
            ..Self::bare(name, state_word(state))
        }
    }

    fn row(self, now: u64, addresses: usize) -> Vec<Cell> {
        let address = shown(&self.addresses, addresses);
        vec![
            self.name.into(),
            Cell::new(self.state, colour_of(self.state)),
            self.os.unwrap_or_default().into(),
            self.init.unwrap_or_default().into(),
            address.into(),
            self.since_microseconds.map(|since| words::ago(since, now)).unwrap_or_default().into(),
        ]
    }
}

/// The first ones, at most `most`, and how many more there are.
fn shown(addresses: &[String], most: usize) -> String {
    let (first, others) = addresses.split_at(most.min(addresses.len()));
    let others = (!others.is_empty()).then(|| format!("+{}", others.len()));
    first.iter().cloned().chain(others).collect::<Vec<_>>().join(" ")
}

/// What a machine does, in a word.
pub(in crate::cli) fn state_word(state: &State) -> &'static str {
    if state.paused { "paused" } else { phase_word(state.phase) }
}

/// Its phase in a word.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Booting => "booting",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
    }
}

/// How a state looks.
pub(super) fn colour_of(state: &str) -> Option<Colour> {
    match state {
        "ready" => Some(Colour::Green),
        "starting" | "booting" | "stopping" | "paused" => Some(Colour::Yellow),
        "dead" => Some(Colour::Red),
        _ => Some(Colour::Grey),
    }
}

/// Runs the verb, gives the exit status.
pub fn list(arguments: &ListArguments) -> u8 {
    let output = Output::new(false);
    let records = match Record::all() {
        Ok(records) => records,
        Err(error) => return fail(&error, output),
    };
    let mut entries = Vec::with_capacity(records.len());
    let mut left = 0;
    for record in &records {
        match record {
            Record::Running(machine) => entries.push(Entry::running(machine)),
            Record::Starting(name) => entries.push(Entry::bare(name, "starting")),
            Record::Left(name) => {
                left += 1;
                if arguments.all {
                    entries.push(Entry::bare(name, "dead"));
                }
            }
            // One that is broken is no reason not to see the others.
            Record::Unreadable(_, error) => output.warning(&in_words(error)),
        }
    }
    if arguments.all {
        let running: BTreeSet<String> = records.iter().map(|record| record.name().to_string()).collect();
        for name in find_image::names().iter().filter(|name| !running.contains(*name)) {
            if let Ok(name) = name.parse::<MachineName>() {
                let tree = find_image::find(&name).ok().map(|tree| tree.to_string_lossy().into_owned());
                entries.push(Entry { tree, ..Entry::bare(&name, "stopped") });
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
    }
    if arguments.json || arguments.output == "json" {
        return match output.json(&entries) {
            Ok(()) => 0,
            Err(_) => crate::cli::EXIT_FAILURE,
        };
    }
    if arguments.quiet {
        let names: String = entries.iter().map(|entry| format!("{}\n", entry.name)).collect();
        output.text(&names);
        return 0;
    }
    let count = entries.len();
    let mut table = Table::new(&["NAME", "STATE", "OS", "INIT", "ADDRESSES", "SINCE"]);
    let now = words::now();
    for entry in entries {
        table.add(entry.row(now, arguments.max_addresses));
    }
    if count > 0 {
        output.table(&table, !arguments.no_legend, arguments.full);
    }
    if !arguments.no_legend {
        output.text(&sum(count, left, arguments.all));
    }
    0
}

/// The last line, as machinectl has it, and what is left of the dead.
fn sum(count: usize, left: usize, all: bool) -> String {
    let mut text = match count {
        0 => "No machines.\n".to_owned(),
        1 => "\n1 machine listed.\n".to_owned(),
        _ => format!("\n{count} machines listed.\n"),
    };
    if left > 0 {
        let what = if left == 1 {
            "1 machine was killed".to_owned()
        } else {
            format!("{left} machines were killed")
        };
        let whose = if left == 1 { "it" } else { "they" };
        let see = if all { String::new() } else { format!("spinney list --all shows what {whose} left, ") };
        text.push_str(&format!("{what}: {see}spinney gc clears up\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let [none, one, two] = [0, 1, 2].map(|count| vec!["a".to_owned(), "b".to_owned()][..count].to_vec());
        for (addresses, most, expected) in [
            (&none, 1, ""),
            (&one, 1, "a"),
            (&two, 1, "a +1"),
            (&two, 2, "a b"),
            (&two, usize::MAX, "a b"),
            (&two, 0, "+2"),
        ] {
            assert_eq!(shown(addresses, most), expected, "{addresses:?} {most}");
        }
        assert_eq!(shown_addresses("all"), Ok(usize::MAX));
        assert_eq!(shown_addresses("-1"), Err("is neither a number nor all"));
    }

    #[test]
    fn sums() {
        for (count, left, all, expected) in [
            (0, 0, false, "No machines.\n"),
            (1, 0, false, "\n1 machine listed.\n"),
            (2, 0, true, "\n2 machines listed.\n"),
            (
                0,
                1,
                false,
                "No machines.\n1 machine was killed: spinney list --all shows what it left, spinney gc clears up\n",
            ),
            (
                0,
                2,
                false,
                "No machines.\n2 machines were killed: spinney list --all shows what they left, spinney gc clears up\n",
            ),
            (2, 2, true, "\n2 machines listed.\n2 machines were killed: spinney gc clears up\n"),
        ] {
            assert_eq!(sum(count, left, all), expected);
        }
    }
}
