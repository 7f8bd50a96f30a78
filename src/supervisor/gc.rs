//! Clears what supervisors that were killed left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::CWD;
use rustix::process::Pid;

use crate::host::CgroupHierarchy;
use crate::image::lock;
use crate::network::{host_names, link, rules};
use crate::runtime::controllers;
use crate::runtime::root::SCRATCH;
use crate::settings::MachineName;
use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::process::ends_within;
use crate::sys::process::pidfd_open;
use crate::sys::{SysError, SysResult};

use super::claimed::is_alive;
use super::journal;
use super::machined_file;
use super::printable;
use super::registry::{Claim, MACHINES, MachineDirectory, names};
use super::resources::{self, Resource};
use super::state::State;

/// How long a supervisor that was killed is waited for: the kernel takes its memory and its mounts apart first.
const DYING: Duration = Duration::from_secs(5);

/// How often it is looked whether the last process of a machine is dead.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: u32 = 200;

/// A state or a /proc file larger than this is none.
const LIMIT: usize = 1 << 20;

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Machines whose leavings are gone.
    pub removed: Vec<MachineName>,
    /// What could not be removed, and why.
    pub failed: Vec<(MachineName, ClearError)>,
}

/// Why something that a machine left stays.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// Of what is known to us.
    #[error(transparent)]
    System(#[from] SysError),
    /// The journal has lines that say nothing to us; all others are undone. It stays, for who understands them.
    #[error("another version of spinney made what this one cannot undo: {}", printable::line(lines.join(" ").as_bytes()))]
    Unknown {
        /// The machine's.
        directory: PathBuf,
        /// As they are written.
        lines: Vec<String>,
    },
}

impl ClearError {
    /// The next step, where it is another than to try again later.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::System(_) => None,
            Self::Unknown { directory, .. } => Some(format!(
                "run gc of that version; or undo it by hand, remove {} and run spinney gc",
                directory.join(journal::NAME).display()
            )),
        }
    }
}

/// Clears all machines whose supervisor is dead.
///
/// # Errors
/// When the registry cannot be read; single faults are in the result.
pub fn collect(cgroups: &CgroupHierarchy) -> Result<Collected, SysError> {
    let mut collected = Collected::default();
    for name in names()? {
        collect_into(&name, cgroups, &mut collected);
    }
    for name in orphans() {
        match clear_orphan(&name, cgroups) {
            Ok(true) => collected.removed.push(name),
            Ok(false) => {}
            Err(error) => collected.failed.push((name, error.into())),
        }
    }
    // Of machines whose journal somebody has removed, or that went with the host.
    lock::sweep_all();
    // Who may not write it has others who do.
    let has_directory = |machine: &str| Path::new(MACHINES).join(machine).exists();
    let _ = host_names::sweep(has_directory);
    machined_file::sweep(has_directory);
    // What cannot be removed now is tried again the next time.
    let _ = machined_file::sweep_unfinished();
    let _ = link::holding::sweep(has_directory);
    let _ = rules::sweep_gone(has_directory);
    let _ = link::shared::sweep();
    if let Ok(true) = link::lost::sweep() {
        let _ = rules::sweep();
    }
    Ok(collected)
}

/// Clears the machine `name`, if its supervisor is dead; says whether there was anything.
///
/// # Errors
/// What could not be removed.
pub fn collect_one(name: &MachineName, cgroups: &CgroupHierarchy) -> Result<bool, ClearError> {
    let mut collected = Collected::default();
    collect_into(name, cgroups, &mut collected);
    match collected.failed.pop() {
        Some((_, error)) => Err(error),
        None => Ok(!collected.removed.is_empty()),
    }
}

fn collect_into(name: &MachineName, cgroups: &CgroupHierarchy, collected: &mut Collected) {
    let claim = match MachineDirectory::claim_existing(name) {
        Ok(Some(Claim::InUse)) if has_died(name) => MachineDirectory::claim_existing(name),
        claim => claim,
    };
    match claim {
        Ok(None | Some(Claim::InUse)) => {}
        Ok(Some(Claim::Ours { directory, stale })) => match clear(directory, cgroups) {
            Ok(()) if stale => collected.removed.push(name.clone()),
            // An empty one: of a machine that ends or starts at this moment.
            Ok(()) => {}
            Err(error) => collected.failed.push((name.clone(), error)),
        },
        Err(error) => collected.failed.push((name.clone(), error.into())),
    }
}

/// Undoes the journal of a claimed directory, newest first, and removes the directory. A fault does not stop the rest,
/// but the directory stays for another try.
///
/// # Errors
/// The first fault.
pub fn clear(directory: MachineDirectory, cgroups: &CgroupHierarchy) -> Result<(), ClearError> {
    // A log that cannot be written must not keep the name from its next start.
    let _ = super::archive::keep_killed(&directory);
    let journal::Written { resources, unknown: lines } = journal::read(&directory)?;
    undo_all(&resources, cgroups)?;
    match lines.is_empty() {
        true => Ok(directory.remove()?),
        false => Err(ClearError::Unknown { directory: directory.path().to_owned(), lines }),
    }
}

fn undo_all(resources: &[Resource], cgroups: &CgroupHierarchy) -> SysResult<()> {
    let mut first_fault = Ok(());
    for resource in resources.iter().rev() {
        let undone = resources::undo(resource, cgroups);
        first_fault = first_fault.and(undone);
    }
    first_fault
}

/// Whether the supervisor of `name` was killed and is dying; then waits until it is dead.
fn has_died(name: &MachineName) -> bool {
    let path = Path::new(MACHINES).join(name.as_str()).join(State::FILE);
    let state = read_at(CWD, path, LIMIT).ok().and_then(|text| serde_json::from_slice::<State>(&text).ok());
    let Some(pid) = state.and_then(|state| Pid::from_raw(state.supervisor)) else { return false };
    let status = read_at(CWD, format!("/proc/{}/status", pid.as_raw_nonzero()), LIMIT).unwrap_or_default();
    if !is_dying(&String::from_utf8_lossy(&status)) {
        return false;
    }
    let Ok(pidfd) = pidfd_open(pid) else { return true };
    ends_within(&pidfd, DYING).is_ok_and(|ended| ended)
}

/// Whether a process with this /proc/PID/status is gone, or has a SIGKILL to die of (proc_pid_status(5)).
pub(super) fn is_dying(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kill = |name: &str| {
        let mask = field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_some_and(|mask| mask & (1 << (libc::SIGKILL - 1)) != 0)
    };
    status.is_empty()
        || field("State:").is_some_and(|state| state.starts_with(['Z', 'X']))
        || kill("SigPnd:")
        || kill("ShdPnd:")
}

/// Names that have a scratch directory and no machine's directory: those of machines that went with the host, whose /run is
/// empty after a boot, and of supervisors that were killed after somebody had removed their directory.
fn orphans() -> Vec<MachineName> {
    let scratch = open_directory(Path::new(SCRATCH)).and_then(entries).unwrap_or_default();
    let mut names: Vec<MachineName> =
        scratch.into_iter().filter_map(|(name, _)| name.to_str()?.parse().ok()).collect();
    names.sort();
    names.retain(|name| !Path::new(MACHINES).join(name.as_str()).exists());
    names
}

/// Clears what an orphan has; says whether it did. Not one whose machine runs: its supervisor is about to put the
/// directory back.
fn clear_orphan(name: &MachineName, cgroups: &CgroupHierarchy) -> SysResult<bool> {
    let runs = || is_alive(cgroups, name);
    // Its processes may be dying still, and a supervisor that lives is given the time to say so.
    let mut looks = 0;
    while runs() && looks < LOOKS && !Path::new(MACHINES).join(name.as_str()).exists() {
        std::thread::sleep(LOOK);
        looks += 1;
    }
    let Claim::Ours { directory, stale: false } = MachineDirectory::claim(name)? else { return Ok(false) };
    let runs = runs();
    let cleared = if runs {
        Ok(())
    } else {
        let name = name.to_string();
        let hierarchies = controllers::of(cgroups);
        undo_all(
            &[
                Resource::Cgroup(name.clone()),
                Resource::Controllers { name: name.clone(), hierarchies },
                Resource::Scratch(name),
            ],
            cgroups,
        )
    };
    directory.remove()?;
    cleared.map(|()| !runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dying() {
        let rows = [
            ("", true),
            (
                "Name:\tspinney\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n",
                false,
            ),
            ("State:\tZ (zombie)\n", true),
            ("State:\tD (disk sleep)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n", true),
            ("State:\tR (running)\nSigPnd:\t0000000000000101\nShdPnd:\t0000000000000000\n", true),
            ("State:\tS (sleeping)\nShdPnd:\t0000000000004000\n", false),
        ];
        for (status, expected) in rows {
            assert_eq!(is_dying(status), expected, "{status:?}");
        }
    }
}
