//! Limits as what is written into which file of which cgroup, on hosts of all kinds: pure.
//!
//! A controller is in one hierarchy at a time. What v1 has mounted goes to the machine's cgroup there, all else to its outer
//! cgroup of v2 (Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst). The guest sees neither.

use std::path::PathBuf;

use crate::host::limits::Wholes;
use crate::host::{CgroupHierarchy, CgroupMode, Controller};
use crate::settings::Limits;
use crate::settings::limits::DeviceAmount;
use crate::settings::limits::amount::Amount;

use super::limit_files::{Form, Wanted, wanted};

/// All limits of one machine, and what is watched of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitPlan {
    /// Into the machine's outer cgroup of v2.
    pub unified: Vec<Assignment>,
    /// Its cgroups in v1 hierarchies.
    pub legacy: Vec<LegacyCgroup>,
    /// Limits that this host does not have; each a line for the user.
    pub warnings: Vec<String>,
}

/// A cgroup in a v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyCgroup {
    /// What for.
    pub controller: Controller,
    /// The root of the hierarchy.
    pub hierarchy: PathBuf,
    /// What is written into it.
    pub assignments: Vec<Assignment>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which property of systemd.resource-control(5) it is.
    pub property: &'static str,
    /// Its name.
    pub file: &'static str,
    /// What is written.
    pub text: String,
    /// Written also, or in its place: what a kernel built otherwise has for the same.
    pub or: Option<(&'static str, String)>,
}

/// Controllers that are of use even without a limit: they count.
const ACCOUNTING: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Io];

/// Plans `limits` for `host`. With `accounting` what the machine uses can be told also where only v1 counts it.
pub fn plan(limits: &Limits, host: &CgroupHierarchy, wholes: &Wholes, accounting: bool) -> LimitPlan {
    let mut plan = LimitPlan::default();
    if accounting {
        // v2 counts time on CPUs without any controller; where it is mounted for us alone, nobody else can read that.
        let cpu = (host.mode == CgroupMode::Legacy).then_some(Controller::Cpuacct);
        for controller in ACCOUNTING.into_iter().chain(cpu) {
            if let Some(hierarchy) = host.legacy(controller) {
                plan.legacy_cgroup(controller, hierarchy);
            }
        }
    }
    for Wanted { property, controller, form } in wanted(limits, wholes) {
        let legacy = host.legacy(controller);
        let unified = controller.unified_name().filter(|name| wholes.unified.iter().any(|has| has == name));
        match (form, legacy, unified) {
            (Form { legacy: Some((file, text, or)), caveat, .. }, Some(hierarchy), _) => {
                let assignment = Assignment { property, file, text, or };
                plan.legacy_cgroup(controller, hierarchy).assignments.push(assignment);
                plan.warnings.extend(caveat.map(|caveat| format!("{property}= {caveat}")));
            }
            (Form { legacy: None, caveat, .. }, Some(_), _) => {
                let why = caveat.unwrap_or("is of cgroup v2 alone");
                let name = controller.legacy_name();
                plan.warnings
                    .push(format!("{property}= {why}: this host has the controller {name} in cgroup v1"));
            }
            (Form { unified: Some((file, text, or)), .. }, None, Some(_)) => {
                plan.unified.push(Assignment { property, file, text, or });
            }
            (Form { unified, .. }, None, _) => {
                let warning = match (controller.unified_name(), unified) {
                    (Some(name), Some(_)) => {
                        format!("this host has no controller {name}: {property}= does nothing")
                    }
                    _ => {
                        let name = controller.legacy_name();
                        format!(
                            "this host has not mounted the cgroup v1 controller {name}: {property}= does nothing"
                        )
                    }
                };
                plan.warnings.push(warning);
            }
        }
    }
    plan.warnings.dedup();
    plan
}

impl LimitPlan {
    fn legacy_cgroup(&mut self, controller: Controller, hierarchy: &std::path::Path) -> &mut LegacyCgroup {
        let at = self.legacy.iter().position(|cgroup| cgroup.controller == controller);
        let at = at.unwrap_or_else(|| {
            self.legacy.push(LegacyCgroup {
                controller,
                hierarchy: hierarchy.to_path_buf(),
                assignments: Vec::new(),
            });
            self.legacy.len() - 1
        });
        &mut self.legacy[at]
    }
}

/// The numbers of the disk that a limit is for.
pub(super) fn disk_numbers<'a>(limit: &DeviceAmount, wholes: &'a Wholes) -> Option<&'a (u32, u32)> {
    wholes.disks.iter().find(|(path, _)| *path == limit.device).map(|(_, numbers)| numbers)
}

/// A number as v2 and v1 write it, where no limit is a word of each one's own.
pub(super) fn number(amount: Amount, whole: u64, infinity: &str) -> String {
    amount.of(whole).map_or_else(|| infinity.to_owned(), |amount| amount.to_string())
}

#[cfg(test)]
#[path = "limit_plan_tests.rs"]
mod tests;
