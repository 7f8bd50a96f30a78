//! What is in force in a running machine: its settings with where they came from, and the plan that was made of them.
//!
//! In `in-force` of the machine's directory, for root alone: settings may hold secrets. Files may have changed since, and
//! the command line is nowhere else to be found.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runtime::describe::describe;
use crate::runtime::plan::MachinePlan;
use crate::settings::Provenance;

/// What `/run/spinney/machines/NAME/in-force` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InForce {
    /// The settings.
    pub provenance: Provenance,
    /// The plan in words.
    pub plan: Value,
}

impl InForce {
    /// Its name in the machine's directory.
    pub const FILE: &'static str = "in-force";

    /// What a machine of `plan` has.
    pub fn of(provenance: &Provenance, plan: &MachinePlan) -> Self {
        Self { provenance: provenance.clone(), plan: describe(plan) }
    }
}
