//! Everything there is to see of one running machine at one moment, for `status` and programs. What needs root is left
//! out for others.

use std::net::IpAddr;

use serde::Serialize;

use super::addresses;
use super::bind::{BindRecord, binds};
use super::handle::MachineHandle;
use super::process_tree::{ProcessTree, directory_of};
use super::usage::Usage;
use crate::settings::network::{PortMapping, ZoneName};
use crate::supervisor::console_log;
use crate::supervisor::state::State;
use crate::sys::files::open_directory;

/// One machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What its supervisor says.
    #[serde(flatten)]
    pub state: State,
    /// What it uses.
    pub usage: Usage,
    /// Its addresses, where it has a network of its own.
    pub addresses: Vec<IpAddr>,
    /// The zone of its network.
    pub zone: Option<ZoneName>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PortMapping>,
    /// Its processes; `None` where its cgroup cannot be read.
    pub processes: Option<ProcessTree>,
    /// What `spinney bind` mounted; `None` for others than root.
    pub binds: Option<Vec<BindRecord>>,
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
        let (usage, addresses) = (Usage::of(&state), addresses::of(state.leader));
        let network = machine.network_state();
        let zone = network.plan.zone().cloned();
        Self {
            usage,
            addresses,
            zone,
            ports: network.ports,
            processes,
            binds: binds(machine).ok(),
            console,
            state,
        }
    }
}
