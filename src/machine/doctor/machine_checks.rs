//! Facts of a machine to findings. Pure.

use super::Finding;
use super::machine_facts::MachineFacts;
use crate::supervisor::printable;
use crate::supervisor::state::Phase;

/// A boot that takes longer than this has something to wait for: the slowest distribution takes a few seconds.
const LONG_BOOT: u64 = 30_000_000;

/// How many lines of the console are quoted for a reason.
const QUOTED: usize = 3;

/// What guests say when something is wrong, and what it means.
const SYMPTOMS: [(&str, &str, &str); 8] = [
    ("[FAILED]", "units failed", "spinney exec NAME -- systemctl --failed; spinney logs NAME"),
    ("Too many open files", "it ran out of descriptors or inotify instances", "see spinney doctor, inotify"),
    ("No space left on device", "its file system or its tmpfs is full", "spinney exec NAME -- df -h"),
    ("Out of memory", "it ran out of memory", "spinney set NAME --memory-max= gives it more"),
    ("Cannot allocate memory", "it ran out of memory", "spinney set NAME --memory-max= gives it more"),
    ("You are in emergency mode", "it booted into emergency mode", "spinney attach NAME"),
    (
        "Freezing execution",
        "its systemd gave up",
        "spinney logs NAME says why; spinney terminate NAME ends it",
    ),
    ("segfault", "a program of it crashed", "spinney logs NAME"),
];

/// Judges a machine.
pub fn judge(facts: &MachineFacts) -> Vec<Finding> {
    let mut findings = vec![phase(facts), leader(facts)];
    findings.push(if facts.state.paused {
        Finding::warning(
            "paused",
            "its processes are kept from running",
            format!("spinney resume {}", facts.state.name),
        )
    } else {
        Finding::ok("paused", "no")
    });
    findings.push(match facts.state.oom_kills {
        0 => Finding::ok("memory", "no process was killed for want of memory"),
        count => Finding::problem(
            "memory",
            format!("OOM: the kernel killed {count} of its processes for want of memory"),
            format!("spinney set {} --memory-max= gives it more", facts.state.name),
        ),
    });
    findings.push(match facts.pids_refused {
        0 => Finding::ok("pids", "no process was refused"),
        count => Finding::warning(
            "pids",
            match count {
                1 => "its limit of processes was reached once".to_owned(),
                _ => format!("its limit of processes was reached {count} times"),
            },
            format!("spinney set {} --tasks-max= gives it more", facts.state.name),
        ),
    });
    findings.extend(console(facts));
    findings
}

fn phase(facts: &MachineFacts) -> Finding {
    let check = "phase";
    let state = &facts.state;
    let status = match state.status.as_deref() {
        Some(status) if !status.is_empty() => {
            format!("; it says \"{}\"", printable::line(status.as_bytes()))
        }
        _ => String::new(),
    };
    let seconds = facts.now.saturating_sub(state.started_at) / 1_000_000;
    match state.phase {
        Phase::Ready => Finding::ok(check, "ready"),
        Phase::Stopping => Finding::warning(
            check,
            format!("it is on its way down{status}"),
            format!(
                "spinney wait {} --for stopped; spinney terminate {} does not ask",
                state.name, state.name
            ),
        ),
        Phase::Booting if facts.now.saturating_sub(state.started_at) > LONG_BOOT => Finding::problem(
            check,
            format!("it has been booting for {seconds} s and is not ready{status}"),
            format!("spinney exec {} -- systemctl list-jobs shows what it waits for", state.name),
        ),
        Phase::Booting => Finding::ok(check, format!("booting for {seconds} s{status}")),
    }
}

fn leader(facts: &MachineFacts) -> Finding {
    let check = "leader";
    let name = &facts.state.name;
    match facts.leader {
        Some('T' | 't') => Finding::problem(
            check,
            "its PID 1 is stopped (SIGSTOP)",
            format!("spinney kill {name} --kill-whom=leader --signal=CONT"),
        ),
        Some('Z' | 'X') => Finding::problem(
            check,
            "its PID 1 has ended, and what it left does not go",
            format!("spinney terminate {name}"),
        ),
        Some('D') if !facts.state.paused => Finding::warning(
            check,
            "its PID 1 waits for a disk or a file system and cannot be interrupted",
            "look again in a moment; what it waits for is on the host",
        ),
        Some(_) => Finding::ok(check, "its PID 1 runs"),
        None => Finding::problem(check, "its PID 1 is gone", "look again in a moment: it may be rebooting"),
    }
}

/// What its console says, a finding a symptom.
fn console(facts: &MachineFacts) -> Vec<Finding> {
    let Some(console) = &facts.console else {
        return vec![Finding::ok("console", "not looked at: it is root's alone")];
    };
    let mut findings = Vec::new();
    for (symptom, meaning, hint) in SYMPTOMS {
        let said: Vec<&str> =
            console.iter().filter(|line| line.contains(symptom)).map(String::as_str).collect();
        if said.is_empty() || findings.iter().any(|finding: &Finding| finding.text.starts_with(meaning)) {
            continue;
        }
        let quoted: Vec<String> =
            said.iter().rev().take(QUOTED).rev().map(|line| format!("\"{}\"", line.trim())).collect();
        let hint = hint.replace("NAME", &facts.state.name);
        findings.push(Finding::warning("console", format!("{meaning}: {}", quoted.join(", ")), hint));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("console", "says nothing of concern"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::doctor::Verdict;
    use crate::machine::doctor::host_checks::worst;

    fn facts() -> MachineFacts {
        let state = serde_json::json!({
            "name": "web", "phase": "ready", "leader": 42, "leader-started": 7, "supervisor": 40,
            "supervisor-started": 6, "tree": "/t", "ephemeral": true, "background": true, "uuid": "",
            "started-at": 1_000_000, "ready-at": 1_300_000, "init": "systemd 252", "os": "Debian", "id-base": 655_360,
            "id-size": 65536, "cgroup": "/spinney/web/payload", "boots": 1, "status": null
        });
        MachineFacts {
            state: serde_json::from_value(state).unwrap(),
            now: 3_000_000,
            leader: Some('S'),
            pids_refused: 0,
            console: Some(vec!["[  OK  ] Reached target multi-user.target.".to_owned()]),
        }
    }

    type Row = (fn(&mut MachineFacts), &'static str, Verdict, &'static str);

    #[test]
    fn findings() {
        use Verdict::{Ok as Fine, Problem, Warning};
        let rows: &[Row] = &[
            (|_| (), "phase", Fine, "ready"),
            (|facts| facts.state.phase = Phase::Booting, "phase", Fine, "booting for 2 s"),
            (
                |facts| {
                    facts.state.phase = Phase::Booting;
                    facts.state.status = Some("waiting for \u{1b}[31mdisk".to_owned());
                    facts.now = 40_000_000;
                },
                "phase",
                Problem,
                "booting for 39 s and is not ready; it says \"waiting for disk\"",
            ),
            (|facts| facts.state.phase = Phase::Stopping, "phase", Warning, "on its way down"),
            (|facts| facts.leader = Some('T'), "leader", Problem, "SIGSTOP"),
            (|facts| facts.leader = None, "leader", Problem, "gone"),
            (|facts| facts.leader = Some('D'), "leader", Warning, "disk"),
            (|facts| facts.state.paused = true, "paused", Warning, "kept from running"),
            (|facts| facts.state.oom_kills = 2, "memory", Problem, "OOM: the kernel killed 2"),
            (|facts| facts.pids_refused = 3, "pids", Warning, "3 times"),
            (|facts| facts.console = None, "console", Fine, "root's alone"),
            (
                |facts| {
                    facts.console.as_mut().unwrap().push("[FAILED] Failed to start ssh.service.".to_owned())
                },
                "console",
                Warning,
                "units failed: \"[FAILED] Failed to start ssh.service.\"",
            ),
            (
                |facts| {
                    facts
                        .console
                        .as_mut()
                        .unwrap()
                        .push("Failed to create inotify: Too many open files".to_owned())
                },
                "console",
                Warning,
                "inotify instances",
            ),
        ];
        for (change, check, verdict, part) in rows {
            let mut facts = facts();
            change(&mut facts);
            let findings = judge(&facts);
            let found =
                findings.iter().find(|finding| finding.check == *check && finding.text.contains(part));
            assert_eq!(found.map(|finding| finding.verdict), Some(*verdict), "{check} {part}: {findings:#?}");
            assert_eq!(worst(&findings), *verdict, "{check} {part}");
        }
    }
}
