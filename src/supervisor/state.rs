//! The state file of a machine, which the command line, the manager and units read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::Limits;

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its init was started and has not said that it is up.
    Booting,
    /// It is up.
    Ready,
    /// It is on its way down.
    Stopping,
}

/// What `/run/spinney/machines/NAME/state` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// The machine's name.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// Its processes are stopped by the cgroup freezer (cgroup.freeze, cgroups(7)).
    #[serde(default)]
    pub paused: bool,
    /// PID of the leader; only a hint, since pids are reused.
    pub leader: i32,
    /// When it was started, in clock ticks since the host's boot: with the pid it names one process.
    pub leader_started: u64,
    /// PID of the supervisor.
    pub supervisor: i32,
    /// When that was started.
    pub supervisor_started: u64,
    /// The tree that it runs from.
    pub tree: PathBuf,
    /// It runs on a throw-away layer.
    pub ephemeral: bool,
    /// Nobody's terminal is its console: it was started to run in the background.
    pub background: bool,
    /// The machine's ID (machine-id(5)), as a UUID.
    pub uuid: String,
    /// When this boot began, in microseconds since 1970.
    pub started_at: u64,
    /// When it was up, the same; `None` before.
    pub ready_at: Option<u64>,
    /// Its init, with version where known.
    pub init: String,
    /// Its operating system, in words.
    pub os: String,
    /// First host id of its user namespace; 0 without one.
    pub id_base: u32,
    /// Number of its ids.
    pub id_size: u32,
    /// The guest's cgroup, below the root of the v2 hierarchy; its parent is the machine's, which holds the limits.
    pub cgroup: String,
    /// Its cgroups in v1 hierarchies, by controller: absolute paths on the host. Empty where v2 has them all.
    #[serde(default)]
    pub legacy_controllers: BTreeMap<String, PathBuf>,
    /// How much of the host it may have.
    #[serde(default)]
    pub limits: Limits,
    /// How many of its processes the kernel killed for want of memory.
    #[serde(default)]
    pub oom_kills: u64,
    /// How often it rebooted.
    pub boots: u32,
    /// What its init last said of itself (sd_notify(3), STATUS).
    pub status: Option<String>,
}

impl State {
    /// Its file's name in the machine's directory.
    pub const FILE: &'static str = "state";
}
