//! The words of `spinney status`: facts to lines.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cli::output::{Colour, Output, table, tree, words};
use crate::cli::verbs::list::{colour_of, state_word};
use crate::machine::report::Report;
use crate::machine::usage::Usage;
use crate::supervisor::archive::LastRun;
use crate::supervisor::printable;
use crate::supervisor::state::{Phase, State};

/// How a report is shown.
pub(super) struct Look {
    /// In microseconds since 1970.
    pub(super) now: u64,
    /// In which times are told.
    pub(super) zone: TimeZone,
    /// Columns of the terminal; `None` where no line is to be cut.
    pub(super) width: Option<usize>,
}

/// What is told of a machine that runs.
pub(super) fn running(report: &Report, look: &Look, output: Output) -> String {
    let state = &report.state;
    let word = state_word(state);
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
    fields.extend(report.zone.iter().map(|zone| ("Zone", format!("{zone} ({})", zone.domain()))));
    if !report.ports.is_empty() {
        let ports: Vec<String> = report.ports.iter().map(ToString::to_string).collect();
        fields.push(("Ports", ports.join(", ")));
    }
    for bind in report.binds.iter().flatten() {
        let read_only = if bind.read_only { ", read-only" } else { "" };
        let (source, target) = (bind.source.to_string_lossy(), bind.target.to_string_lossy());
        fields.push(("Bind", text(&format!("{source} at {target}, {}{read_only}", bind.ids))));
    }
    if let Some(status) = state.status.as_deref().filter(|status| !status.is_empty()) {
        fields.push(("Status", format!("\"{}\"", text(status))));
    }
    fields.extend(usage(report));
    let limits: Vec<String> =
        state.limits.texts().map(|(key, texts)| format!("{}={}", key.name, texts.join(","))).collect();
    if !limits.is_empty() {
        fields.push(("Limits", text(&limits.join(" "))));
    }
    if state.oom_kills > 0 {
        fields.push(("OOM", format!("killed for want of memory: {}", state.oom_kills)));
    }
    fields
}

/// What it uses, as far as the host counts it.
fn usage(report: &Report) -> Vec<(&'static str, String)> {
    let Usage { memory, cpu, io, tasks, network } = &report.usage;
    let limit = |max: Option<String>| max.map(|max| format!(", limit {max}")).unwrap_or_default();
    let mut fields = Vec::new();
    if let Some(tasks) = tasks {
        fields.push(("Tasks", format!("{}{}", tasks.current, limit(tasks.max.map(|max| max.to_string())))));
    }
    if let Some(memory) = memory {
        let peak = memory.peak.map(|peak| format!(", peak {}", words::size(peak))).unwrap_or_default();
        let swap = memory.swap.filter(|swap| *swap > 0);
        let swap = swap.map(|swap| format!(", swap {}", words::size(swap))).unwrap_or_default();
        let max = limit(memory.max.map(words::size));
        fields.push(("Memory", format!("{}{peak}{swap}{max}", words::size(memory.current))));
    }
    if let Some(cpu) = cpu {
        fields.push(("CPU", words::seconds(Duration::from_micros(cpu.microseconds))));
    }
    if let Some(io) = io {
        let (read, written) = (words::size(io.read_bytes), words::size(io.written_bytes));
        fields.push(("IO", format!("{read} read, {written} written")));
    }
    if let Some(network) = network {
        let (received, sent) = (words::size(network.received_bytes), words::size(network.sent_bytes));
        fields.push(("Network", format!("{received} received, {sent} sent")));
    }
    fields
}

/// Which boot it is, and how long it took.
fn boot(state: &State) -> String {
    let took = state.ready_at.and_then(|ready| ready.checked_sub(state.started_at));
    let took = match took {
        Some(took) => format!("ready after {}", words::span(Duration::from_micros(took))),
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
    if line.contains('\x1b') { line.to_owned() } else { table::fitted(line, width) }
}

/// How a machine's last run ended.
pub(super) fn last_run(last: &LastRun, zone: &TimeZone, now: u64) -> String {
    let ran = last.started_at.and_then(|started| last.ended_at.checked_sub(started));
    let ran =
        ran.map(|ran| format!(" after {}", words::span(Duration::from_micros(ran)))).unwrap_or_default();
    let mut text = format!(
        "     Ended: {}; {}{ran}\n    Reason: {} (exit status {})\n",
        words::timestamp(last.ended_at, zone),
        words::ago(last.ended_at, now),
        printable::line(last.reason.as_bytes()),
        last.exit_status,
    );
    if let Some(hint) = last.failure.as_ref().and_then(|failure| failure.hint.as_deref()) {
        text.push_str(&format!("      Hint: {}\n", printable::line(hint.as_bytes())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::process_tree::{CgroupNode, Process, ProcessTree};
    use crate::machine::usage::{Cpu, Io, Memory, Tasks};

    fn report() -> Report {
        let state = serde_json::json!({
            "name": "web", "phase": "ready", "leader": 4242, "leader-started": 7, "supervisor": 4240,
            "supervisor-started": 6, "tree": "/var/lib/machines/web", "ephemeral": true, "background": true,
            "uuid": "0c1d2e3f-0000-4000-8000-000000000000", "started-at": 1_795_322_354_000_000_u64,
            "ready-at": 1_795_322_354_312_000_u64, "init": "systemd 252", "os": "Debian GNU/Linux 12 (bookworm)",
            "id-base": 655_360, "id-size": 65536, "cgroup": "/spinney/web/payload", "boots": 2,
            "status": "Startup finished in 260ms.",
            "limits": { "memory-max": ["536870912"] }, "oom-kills": 2
        });
        let init = CgroupNode {
            name: "init.scope".to_owned(),
            processes: vec![Process { pid: 4242, name: "systemd".to_owned() }],
            children: vec![],
        };
        Report {
            state: serde_json::from_value(state).unwrap(),
            usage: Usage {
                memory: Some(Memory {
                    current: 47_395_635,
                    peak: Some(50 << 20),
                    swap: Some(0),
                    max: Some(512 << 20),
                }),
                cpu: Some(Cpu { microseconds: 1_234_567 }),
                io: Some(Io { read_bytes: 4096, written_bytes: 0 }),
                tasks: Some(Tasks { current: 12, max: None }),
                network: None,
            },
            binds: None,
            zone: "lab".parse().ok(),
            ports: vec!["8080:80".parse().unwrap(), "udp:53".parse().unwrap()],
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
            "      Zone: lab (lab.internal)",
            "     Ports: tcp:8080:80, udp:53:53",
            "    Status: \"Startup finished in 260ms.\"",
            "     Tasks: 12",
            "    Memory: 45.1M, peak 50M, limit 512M",
            "       CPU: 1.235s",
            "        IO: 4K read, 0B written",
            "    Limits: memory-max=536870912",
            "       OOM: killed for want of memory: 2",
            "    CGroup: /spinney/web/payload",
            "            └─init.scope",
            "              └─4242 systemd (leader)",
            "",
            "[  OK  ] Reached target multi-user.target.",
        ];
        assert_eq!(running(&report(), &look, Output::plain()).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn last_runs() {
        let last = serde_json::json!({
            "name": "web", "exit-status": 137, "reason": "its supervisor was killed\u{1b}[2J", "failure": null,
            "started-at": 1_795_322_354_000_000_u64, "ended-at": 1_795_322_356_500_000_u64, "state": null
        });
        let mut last: LastRun = serde_json::from_value(last).unwrap();
        assert_eq!(
            last_run(&last, &TimeZone::UTC, 1_795_322_366_500_000),
            "     Ended: Sun 2026-11-22 04:39:16 UTC; 10s ago after 2s\n    \
                 Reason: its supervisor was killed (exit status 137)\n"
        );
        last.started_at = None;
        assert!(last_run(&last, &TimeZone::UTC, 0).contains("; just now\n"));
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
