//! Changing limits while the machine runs. They hold from then on, over reboots of the guest too: its outer cgroups stay.

use rustix::io::Errno;

use crate::host::limits::{DiskError, Wholes};
use crate::runtime::controllers::{LimitError, write_limits};
use crate::runtime::limit_plan::{self, Assignment, LegacyCgroup};
use crate::settings::Limits;
use crate::sys::files::{read_at, write_at};
use crate::sys::{SysError, SysResult};

use super::error::Error;
use super::machine::Machine;
use super::resources::Resource;

/// Why a limit was not changed. What came before it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0}= cannot be changed while the machine runs")]
    NotLive(&'static str),
    #[error(transparent)]
    Journal(#[from] Error),
    #[error("cannot move the machine into a cgroup of its own")]
    Move(#[source] SysError),
}

impl ChangeError {
    /// The next step.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Limit(error) => Some(error.hint()),
            Self::Disk(_) => Some("the node of a disk, such as /dev/sda, or a file on it"),
            Self::NotLive(_) => Some(
                "give it when the machine is started; spinney bind brings a device node into a running one",
            ),
            Self::Journal(_) | Self::Move(_) => None,
        }
    }
}

impl Machine {
    /// Changes limits, one after the other. Gives those that this host does not have, a line each.
    pub(super) fn change_limits(&mut self, changes: &Limits) -> Result<Vec<String>, ChangeError> {
        let mut warnings = Vec::new();
        for (key, texts) in changes.texts() {
            if !key.live {
                return Err(ChangeError::NotLive(key.property));
            }
            let mut limits = self.parts.limits.clone();
            for text in texts {
                // It came out of the same table.
                let _ = limits.set(key, &text);
            }
            warnings.extend(self.change_limit(key.property, &limits)?);
            self.parts.limits = limits;
        }
        Ok(warnings)
    }

    /// Makes `property` what `limits` says.
    fn change_limit(&mut self, property: &str, limits: &Limits) -> Result<Vec<String>, ChangeError> {
        let host = self.claimed.cgroups();
        let wholes = Wholes::probe(limits, host)?;
        let plan = limit_plan::plan(limits, host, &wholes, false);
        // v1 counts swap together with memory.
        let concerned = |limit: &Assignment| {
            limit.property == property || (property == "MemoryMax" && limit.property == "MemorySwapMax")
        };
        let mut warnings: Vec<String> =
            plan.warnings.into_iter().filter(|warning| warning.contains(&format!("{property}="))).collect();

        let unified: Vec<Assignment> = plan.unified.into_iter().filter(concerned).collect();
        let outer = self.parts.cgroup.outer();
        for limit in unified.iter().filter(|limit| limit.file == "memory.max") {
            make_room(outer, &limit.text).map_err(|source| LimitError {
                property: limit.property,
                text: limit.text.clone(),
                source,
            })?;
        }
        warnings.extend(write_limits(outer, &unified)?);

        let mut legacy: Vec<LegacyCgroup> = plan.legacy;
        legacy.iter_mut().for_each(|cgroup| cgroup.assignments.retain(concerned));
        legacy.retain(|cgroup| !cgroup.assignments.is_empty());
        let new: Vec<_> = legacy
            .iter()
            .map(|cgroup| cgroup.controller)
            .filter(|controller| self.parts.controllers.get(*controller).is_none())
            .collect();
        if !new.is_empty() {
            // Undone in the turn of this note, before that of the cgroups of v2, the machine's processes would be in the way
            // for a moment: removal waits for them.
            let name = self.parts.plan.name.to_string();
            let hierarchies = self.parts.controllers.begins(&legacy);
            self.claimed.note(&Resource::Controllers { name, hierarchies })?;
        }
        warnings.extend(self.parts.controllers.apply(&legacy)?);
        if !new.is_empty() {
            self.parts.controllers.take_in(&new, outer).map_err(ChangeError::Move)?;
        }
        Ok(warnings)
    }
}

/// Takes back memory until no more than `limit` is used. v2 does not refuse a limit below that but kills for it, which nobody
/// wants who asks for a number.
fn make_room(cgroup: &std::os::fd::OwnedFd, limit: &str) -> SysResult<()> {
    let Ok(limit) = limit.parse::<u64>() else { return Ok(()) };
    let used = || -> SysResult<u64> {
        let text = read_at(cgroup, "memory.current", 64)?;
        Ok(String::from_utf8_lossy(&text).trim().parse().unwrap_or(0))
    };
    let more = used()?.saturating_sub(limit);
    if more > 0 {
        // Since Linux 5.19; EAGAIN when it got less than that.
        let _ = write_at(cgroup, "memory.reclaim", more.to_string().as_bytes());
    }
    if used()? > limit {
        return Err(SysError::new("write", format!("memory.max, \"{limit}\""), Errno::BUSY));
    }
    Ok(())
}
