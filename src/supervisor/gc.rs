//! Clears what supervisors that were killed left behind.

use crate::host::CgroupHierarchy;
use crate::settings::MachineName;
use crate::sys::SysError;

use super::registry::{Claim, MachineDirectory, names};
use super::resources;

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Machines whose leavings are gone.
    pub removed: Vec<MachineName>,
    /// What could not be removed, and why.
    pub failed: Vec<(MachineName, SysError)>,
}

/// Clears all machines whose supervisor is dead.
///
/// # Errors
/// When the registry cannot be read; single faults are in the result.
pub fn collect(cgroups: &CgroupHierarchy) -> Result<Collected, SysError> {
    let mut collected = Collected::default();
    for name in names()? {
        match MachineDirectory::claim_existing(&name) {
            Ok(None | Some(Claim::InUse)) => {}
            Ok(Some(Claim::Ours { directory, stale })) => match clear(directory, cgroups) {
                Ok(()) if stale => collected.removed.push(name),
                // An empty one: of a machine that ends or starts at this moment.
                Ok(()) => {}
                Err(error) => collected.failed.push((name, error)),
            },
            Err(error) => collected.failed.push((name, error)),
        }
    }
    Ok(collected)
}

/// Undoes the journal of a claimed directory, newest first, and removes the directory. A fault does not stop the rest,
/// but the directory stays for another try.
///
/// # Errors
/// The first fault.
pub fn clear(directory: MachineDirectory, cgroups: &CgroupHierarchy) -> Result<(), SysError> {
    // A log that cannot be written must not keep the name from its next start.
    let _ = super::archive::keep_killed(&directory);
    let mut first_fault = None;
    for resource in resources::read(&directory)?.iter().rev() {
        if let Err(error) = resources::undo(resource, cgroups) {
            first_fault.get_or_insert(error);
        }
    }
    match first_fault {
        Some(error) => Err(error),
        None => directory.remove(),
    }
}
