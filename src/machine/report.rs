//! Everything there is to see of one running machine at one moment, for `status` and programs. What needs root is left
//! out for others.

use std::net::IpAddr;

use serde::Serialize;

use super::addresses;
use super::handle::MachineHandle;
use super::process_tree::{ProcessTree, directory_of};
use crate::supervisor::console_log;
use crate::supervisor::state::State;
use crate::sys::files::{open_directory, read_at};

/// One machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What its supervisor says.
    #[serde(flatten)]
    pub state: State,
    /// Its processes do not run (cgroup.freeze, or the v1 freezer).
    pub paused: bool,
    /// Its addresses, where it has a network of its own.
    pub addresses: Vec<IpAddr>,
    /// Its processes; `None` where its cgroup cannot be read.
    pub processes: Option<ProcessTree>,
    /// The last lines of its console, safe to print; `None` for others than root.
    pub console: Option<Vec<String>>,
}

impl Report {
    /// Looks at `machine`, and at the last `lines` lines that its console said.
    pub fn of(machine: &MachineHandle, lines: usize) -> Self {
        let state = machine.state().clone();
        let processes = directory_of(&state.cgroup).and_then(|directory| ProcessTree::of(&directory).ok());
        let console =
            open_directory(machine.directory()).ok().and_then(|fd| console_log::last_lines(&fd, lines).ok());
        Self { paused: is_paused(&state), addresses: addresses::of(state.leader), processes, console, state }
    }
}

/// Whether the machine's processes are kept from running, in its own cgroup or the one above it, which holds its limits.
pub fn is_paused(state: &State) -> bool {
    let file = |path: std::path::PathBuf| read_at(rustix::fs::CWD, path, 4096).unwrap_or_default();
    if let Some(freezer) = state.legacy_controllers.get("freezer")
        && file(freezer.join("freezer.state")).trim_ascii() != b"THAWED"
        && freezer.exists()
    {
        return true;
    }
    directory_of(&state.cgroup).is_some_and(|directory| {
        file(directory.join("cgroup.events")).split(|byte| *byte == b'\n').any(|line| line == b"frozen 1")
    })
}
