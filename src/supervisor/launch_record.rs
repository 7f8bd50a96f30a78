//! How a leader was launched: what a process that joins the machine later must have in common with it.
//!
//! In `launch` of the machine's directory, for root alone: the environment may hold secrets. The system call filter lies
//! beside it as the kernel's own bytes: some thousand instructions would be slow to write and to read as JSON.

use serde::{Deserialize, Serialize};

use crate::network::plan::Namespace;
use crate::runtime::plan::MachinePlan;
use crate::sys::process::Namespaces;

/// What `/run/spinney/machines/NAME/launch` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LaunchRecord {
    /// CLONE_NEW* flags of the namespaces that are not ours, user and time namespace among them.
    pub namespaces: u32,
    /// The capability bounding set, bit n for capability n.
    pub bounding: u64,
    /// PR_SET_NO_NEW_PRIVS was set.
    pub no_new_privileges: bool,
    /// personality(2) value, where one was set.
    pub personality: Option<u32>,
    /// Environment of PID 1, `NAME=value`; not UTF-8 where the user gave it so.
    pub environment: Vec<Vec<u8>>,
}

impl LaunchRecord {
    /// Its name in the machine's directory.
    pub const FILE: &'static str = "launch";

    /// The name of the filter: an array of `struct sock_filter` (linux/filter.h), empty for none.
    pub const FILTER: &'static str = "seccomp";

    /// The record of a leader that is launched by `plan`.
    pub fn of(plan: &MachinePlan) -> Self {
        let mut namespaces = plan.namespaces;
        namespaces.set(Namespaces::NEWUSER, plan.ids.is_some());
        namespaces.set(Namespaces::NEWTIME, plan.boot_clock);
        if matches!(plan.network.namespace, Namespace::Path(_)) {
            namespaces |= Namespaces::NEWNET;
        }
        let process = &plan.process;
        Self {
            namespaces: namespaces.bits(),
            bounding: process.capabilities.bounding,
            no_new_privileges: process.no_new_privileges,
            personality: process.personality,
            environment: process.environment.clone(),
        }
    }
}
