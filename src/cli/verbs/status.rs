//! `spinney status`

use jiff::tz::TimeZone;

use super::list::{colour_of, phase_word};
use super::{fail, named};
use crate::cli::output::{Colour, Output, tree, words};
use crate::machine::report::Report;
use crate::machine::{Error, MachineHandle, Record, find_image};
use crate::settings::MachineName;
use crate::supervisor::printable;
use crate::supervisor::state::{Phase, State};

/// What systemctl(1) exits with for a unit that is not running, and for one that it does not know.
const NOT_RUNNING: u8 = 3;
const NO_SUCH: u8 = 4;

/// Show what a machine is doing
///
/// Exit status: 0 if it runs, 3 if it does not, 4 if there is no such machine.
#[derive(Debug, clap::Args)]
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
            let look = Look {
                now: words::now(),
                zone: words::zone(),
                width: if arguments.full { None } else { crate::cli::output::terminal_width() },
            };
            output.text(&text(&report, &look, output));
            0
        }
        Some(Record::Unreadable(_, error)) => fail(&error, output),
        Some(Record::Starting(_)) => not_running(name, "starting", arguments.json, output),
        Some(Record::Left(_)) => not_running(name, "dead", arguments.json, output),
        None if find_image::find(name).is_ok() => not_running(name, "stopped", arguments.json, output),
        None => {
            let error = Error::NotRunning { name: name.to_string() };
            output.error(&error, error.hint().as_deref());
            NO_SUCH
        }
    }
}

/// Tells of a machine that does not run.
fn not_running(name: &MachineName, state: &str, json: bool, output: Output) -> u8 {
    if json {
        let object = serde_json::json!({ "name": name.as_str(), "phase": state });
        return if output.json(&object).is_ok() { NOT_RUNNING } else { crate::cli::EXIT_FAILURE };
    }
    let why = match state {
        "dead" => "dead: its supervisor was killed; spinney gc removes what it left",
        "starting" => "starting: it has no leader yet",
        _ => "stopped",
    };
    let colour = colour_of(state).unwrap_or(Colour::Grey);
    output.text(&format!("{} {name}\n     State: {why}\n", output.in_colour(colour, "○")));
    NOT_RUNNING
}

/// How a report is shown.
struct Look {
    now: u64,
    zone: TimeZone,
    width: Option<usize>,
}

fn text(report: &Report, look: &Look, output: Output) -> String {
    let state = &report.state;
    let word = if report.paused { "paused" } else { phase_word(state.phase) };
    let colour = colour_of(word).unwrap_or(Colour::Grey);
    let mut text = format!(
        "{} {} - {}\n",
        output.in_colour(colour, "●"),
        state.name,
        printable::line(state.os.as_bytes())
    );
    let begun = state.ready_at.filter(|_| state.phase == Phase::Ready).unwrap_or(state.started_at);
    let since = format!(
        "{} since {}; {}",
        output.in_colour(colour, word),
        words::timestamp(begun, &look.zone),
        words::ago(begun, look.now)
    );
    let mut line = |label: &str, value: &str| {
        let value = look.width.map_or_else(|| value.to_owned(), |width| cut(value, width.saturating_sub(12)));
        text.push_str(&format!("{label:>10}: {value}\n"));
    };
    line("State", &since);
    for (label, value) in fields(report) {
        line(label, &value);
    }
    if let Some(tree) = &report.processes {
        line("CGroup", &printable::line(state.cgroup.as_bytes()));
        for branch in tree::lines(tree, state.leader) {
            let branch =
                look.width.map_or_else(|| branch.clone(), |width| cut(&branch, width.saturating_sub(12)));
            text.push_str(&format!("            {branch}\n"));
        }
    }
    let console = report.console.as_deref().unwrap_or_default();
    if !console.is_empty() {
        text.push('\n');
    }
    for said in console {
        let said = look.width.map_or_else(|| said.clone(), |width| cut(said, width));
        text.push_str(&format!("{said}\n"));
    }
    text
}

/// What is told of a machine, besides its state: labels and values.
fn fields(report: &Report) -> Vec<(&'static str, String)> {
    let state = &report.state;
    let mut fields = vec![("Boot", boot(state))];
    if state.leader > 0 {
        fields.push(("Leader", format!("{}, supervisor {}", state.leader, state.supervisor)));
    }
    let text = |text: &str| printable::line(text.as_bytes());
    if !state.init.is_empty() {
        fields.push(("Init", text(&state.init)));
    }
    let ephemeral = if state.ephemeral { " (ephemeral)" } else { "" };
    fields.push(("Tree", text(&state.tree.to_string_lossy()) + ephemeral));
    fields.push(("ID", text(&state.uuid)));
    fields.push((
        "Users",
        match state.id_size {
            0 => "the host's: no user namespace".to_owned(),
            size => {
                format!("{} to {} of the host", state.id_base, u64::from(state.id_base) + u64::from(size) - 1)
            }
        },
    ));
    if !report.addresses.is_empty() {
        let addresses: Vec<String> = report.addresses.iter().map(ToString::to_string).collect();
        fields.push(("Address", addresses.join(", ")));
    }
    if let Some(status) = state.status.as_deref().filter(|status| !status.is_empty()) {
        fields.push(("Status", format!("\"{}\"", text(status))));
    }
    if let Some(tree) = &report.processes {
        fields.push(("Tasks", tree.count.to_string()));
    }
    fields
}

/// Which boot it is, and how long it took.
fn boot(state: &State) -> String {
    let took = state.ready_at.and_then(|ready| ready.checked_sub(state.started_at));
    let took = match took {
        Some(took) => format!("ready after {}", words::span(std::time::Duration::from_micros(took))),
        None => "not ready yet".to_owned(),
    };
    match state.boots {
        0 | 1 => took,
        2 => format!("{took}; 1 reboot"),
        boots => format!("{took}; {} reboots", boots - 1),
    }
}

/// As much of a line as fits; one with colours in it is short.
fn cut(line: &str, width: usize) -> String {
    if line.contains('\x1b') { line.to_owned() } else { crate::cli::output::table::fitted(line, width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::process_tree::{CgroupNode, Process, ProcessTree};

    fn report() -> Report {
        let state = serde_json::json!({
            "name": "web", "phase": "ready", "leader": 4242, "leader-started": 7, "supervisor": 4240,
            "supervisor-started": 6, "tree": "/var/lib/machines/web", "ephemeral": true, "background": true,
            "uuid": "0c1d2e3f-0000-4000-8000-000000000000", "started-at": 1_795_322_354_000_000_u64,
            "ready-at": 1_795_322_354_312_000_u64, "init": "systemd 252", "os": "Debian GNU/Linux 12 (bookworm)",
            "id-base": 655_360, "id-size": 65536, "cgroup": "/spinney/web/payload", "boots": 2,
            "status": "Startup finished in 260ms."
        });
        let init = CgroupNode {
            name: "init.scope".to_owned(),
            processes: vec![Process { pid: 4242, name: "systemd".to_owned() }],
            children: vec![],
        };
        Report {
            state: serde_json::from_value(state).unwrap(),
            paused: false,
            addresses: vec!["10.0.0.2".parse().unwrap(), "fe80::1".parse().unwrap()],
            processes: Some(ProcessTree {
                root: CgroupNode { name: String::new(), processes: vec![], children: vec![init] },
                count: 1,
            }),
            console: Some(vec!["[  OK  ] Reached target multi-user.target.".to_owned()]),
        }
    }

    #[test]
    fn a_running_machine() {
        let look = Look { now: 1_795_322_654_000_000, zone: TimeZone::UTC, width: None };
        let expected = [
            "● web - Debian GNU/Linux 12 (bookworm)",
            "     State: ready since Sun 2026-11-22 04:39:14 UTC; 4min 59s ago",
            "      Boot: ready after 312ms; 1 reboot",
            "    Leader: 4242, supervisor 4240",
            "      Init: systemd 252",
            "      Tree: /var/lib/machines/web (ephemeral)",
            "        ID: 0c1d2e3f-0000-4000-8000-000000000000",
            "     Users: 655360 to 720895 of the host",
            "   Address: 10.0.0.2, fe80::1",
            "    Status: \"Startup finished in 260ms.\"",
            "     Tasks: 1",
            "    CGroup: /spinney/web/payload",
            "            └─init.scope",
            "              └─4242 systemd (leader)",
            "",
            "[  OK  ] Reached target multi-user.target.",
        ];
        assert_eq!(text(&report(), &look, Output::plain()).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn boots() {
        let mut state = report().state;
        state.boots = 1;
        assert_eq!(boot(&state), "ready after 312ms");
        state.boots = 3;
        state.ready_at = None;
        assert_eq!(boot(&state), "not ready yet; 2 reboots");
    }
}
