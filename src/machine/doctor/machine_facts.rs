//! Looks at one machine for `spinney doctor NAME`. What needs root is left out for others.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::machine::MachineHandle;
use crate::machine::process_tree::directory_of;
use crate::supervisor::console_log;
use crate::supervisor::state::State;
use crate::sys::files::{open_directory, read_at};

/// Lines of the console that are looked through.
const CONSOLE_LINES: usize = 150;

/// What is judged of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// What its supervisor says.
    pub state: State,
    /// Now, in microseconds since 1970.
    pub now: u64,
    /// The state of its leader (proc_pid_stat(5)).
    pub leader: Option<char>,
    /// How often it was refused a process by its limit.
    pub pids_refused: u64,
    /// The last lines of its console, safe to print; `None` for others than root.
    pub console: Option<Vec<String>>,
}

impl MachineFacts {
    /// Looks at `machine`; `now` in microseconds since 1970.
    pub fn of(machine: &MachineHandle, now: u64) -> Self {
        let state = machine.state().clone();
        let console = open_directory(machine.directory());
        let console = console.and_then(|directory| console_log::last_lines(&directory, CONSOLE_LINES));
        // The outer cgroup holds the limits, and counts what they did in it and below.
        let unified = directory_of(&state.cgroup).and_then(|payload| payload.parent().map(Path::to_owned));
        let legacy =
            |controller: &str, file: &str| Some(state.legacy_controllers.get(controller)?.join(file));
        let beside = |file: &str| unified.as_ref().map(|directory| directory.join(file));
        let count = |paths: [Option<PathBuf>; 2], key: &str| {
            paths.into_iter().flatten().map(|path| counter(&read(&path), key)).sum()
        };
        Self {
            leader: leader_state(&read(Path::new(&format!("/proc/{}/stat", state.leader)))),
            pids_refused: count([beside("pids.events"), legacy("pids", "pids.events")], "max"),
            console: console.ok(),
            now,
            state,
        }
    }
}

fn read(path: &Path) -> String {
    let data = read_at(CWD, path, 4096).unwrap_or_default();
    String::from_utf8_lossy(&data).into_owned()
}

/// The number of `key` in a text of `key number` lines.
fn counter(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}

fn leader_state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        for (text, key, expected) in
            [(events, "oom", 3), (events, "max", 12), (events, "none", 0), ("", "max", 0)]
        {
            assert_eq!(counter(text, key), expected, "{key} in {text:?}");
        }
    }

    #[test]
    fn states_of_leaders() {
        for (stat, expected) in [("7 (a) b) T 1", Some('T')), ("", None)] {
            assert_eq!(leader_state(stat), expected);
        }
    }
}
