//! The state file of a machine, which the command line, the manager and units read.

use serde::{Deserialize, Serialize};

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
    /// PID of the leader; only a hint, since pids are reused.
    pub leader: i32,
    /// PID of the supervisor.
    pub supervisor: i32,
    /// Its init, with version where known.
    pub init: String,
    /// Its operating system, in words.
    pub os: String,
    /// First host id of its user namespace; 0 without one.
    pub id_base: u32,
    /// Its cgroup, below the root of the v2 hierarchy.
    pub cgroup: String,
    /// How often it rebooted.
    pub boots: u32,
    /// What its init last said of itself (sd_notify(3), STATUS).
    pub status: Option<String>,
}
