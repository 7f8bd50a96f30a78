//! What a machine has of the host's, and how it is given back. It is written down in the [journal](super::journal) before it is made.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::host::CgroupHierarchy;
use crate::image::lock;
use crate::network::host_names::{self, hosts_file::HostsFileError};
use crate::network::link::holding::Holding;
use crate::network::rules::{self, RulesError};
use crate::runtime::cgroup::{CgroupError, Hierarchy};
use crate::runtime::controllers;
use crate::runtime::id_range::LOCK_DIRECTORY;
use crate::runtime::legacy_cgroup;
use crate::runtime::root::SCRATCH;
use crate::sys::SysResult;
use crate::sys::files::{
    make_directories, make_directory_at, open_at, open_directory, remove_file_at, remove_tree_at, try_lock,
    try_lock_description, while_parents_vanish,
};
use crate::sys::network::NamespaceId;

use super::machined_file;
use super::registry::remove_if_empty;

/// Something of the host's that goes with the machine. A line of the journal each: what older versions have written is read too, so
/// that their machines can be cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The lock file of a range of host ids, by its first id.
    IdRange(u32),
    /// The machine's cgroups, by its name.
    Cgroup(String),
    /// Its cgroups in a unit.
    CgroupInUnit {
        /// Its name.
        name: String,
        /// The unit's.
        unit: PathBuf,
    },
    /// Those in a unit that has no other machine, by the unit's: versions that knew of one alone wrote it.
    UnitCgroup(PathBuf),
    /// Its cgroups in the named v1 hierarchy, by its name.
    LegacyCgroup(String),
    /// Its cgroups in v1 hierarchies with controllers.
    Controllers {
        /// Its name.
        name: String,
        /// Where they begin: the roots of the hierarchies, or the cgroups of its unit.
        hierarchies: Vec<PathBuf>,
    },
    /// Its scratch directory below [`SCRATCH`], by its name.
    Scratch(String),
    /// Lock files of images, by the images' paths.
    ImageLocks(Vec<PathBuf>),
    /// A symlink of the host to the guest's journal (`--link-journal=guest`).
    JournalLink(PathBuf),
    /// What the host was told of the machine's name: lines in /etc/hosts, and perhaps a hook of systemd-resolved.
    Names {
        /// Its name.
        machine: String,
        /// The hook's socket.
        hook: Option<PathBuf>,
    },
    /// What systemd's tools read of it, in /run/systemd/machines.
    MachinedFile {
        /// Its name.
        name: String,
        /// PID of its supervisor: what is somebody else's by then stays.
        supervisor: i32,
    },
    /// Something of the host's network.
    Network(Holding),
    /// Rules about its packets.
    Rules {
        /// Its name.
        machine: String,
        /// The network namespace that they are in.
        namespace: NamespaceId,
    },
}

impl Resource {
    /// The fault point after it was given back.
    pub(super) fn teardown_point(&self) -> &'static str {
        match self {
            Self::IdRange(_) => "teardown-id-range",
            Self::Cgroup(_) | Self::CgroupInUnit { .. } | Self::UnitCgroup(_) => "teardown-cgroup",
            Self::LegacyCgroup(_) => "teardown-legacy-cgroup",
            Self::Controllers { .. } => "teardown-controllers",
            Self::Scratch(_) => "teardown-scratch",
            Self::ImageLocks(_) => "teardown-image-locks",
            Self::JournalLink(_) => "teardown-journal-link",
            Self::Names { .. } => "teardown-names",
            Self::MachinedFile { .. } => "teardown-machined-file",
            Self::Network(_) => "teardown-network",
            Self::Rules { .. } => "teardown-rules",
        }
    }
}

/// Gives back what is left of `resource`.
///
/// # Errors
/// When it cannot be removed now.
pub fn undo(resource: &Resource, cgroups: &CgroupHierarchy) -> SysResult<()> {
    match resource {
        Resource::IdRange(base) => free_id_range(*base),
        Resource::Cgroup(name) => in_hierarchy(cgroups, |hierarchy| hierarchy.remove(name)),
        Resource::CgroupInUnit { name, unit } => {
            in_hierarchy(cgroups, |hierarchy| hierarchy.remove_from_unit(unit, name))
        }
        Resource::UnitCgroup(unit) => in_hierarchy(cgroups, |hierarchy| hierarchy.remove_only_one(unit)),
        Resource::LegacyCgroup(name) => legacy_cgroup::remove(name),
        Resource::Controllers { name, hierarchies } => controllers::remove(hierarchies, name),
        Resource::Scratch(name) => remove_scratch(name),
        Resource::ImageLocks(paths) => {
            paths.iter().for_each(|path| lock::sweep(path));
            Ok(())
        }
        Resource::Names { machine, hook } => {
            host_names::forget(machine, hook.as_deref()).map_err(HostsFileError::into_source)
        }
        Resource::MachinedFile { name, supervisor } => machined_file::remove_ours(name, *supervisor),
        Resource::JournalLink(path) => match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => remove_file_at(rustix::fs::CWD, path),
            _ => Ok(()),
        },
        Resource::Network(holding) => holding.undo(),
        Resource::Rules { machine, namespace } => {
            rules::remove_machine_in(*namespace, machine).map_err(RulesError::into_source)
        }
    }
}

fn in_hierarchy(cgroups: &CgroupHierarchy, undo: impl FnOnce(&Hierarchy) -> SysResult<()>) -> SysResult<()> {
    match Hierarchy::open(cgroups) {
        Ok(hierarchy) => undo(&hierarchy),
        // The machine never came so far: it got the same answer.
        Err(CgroupError::Missing) => Ok(()),
        Err(CgroupError::Make { source, .. }) => Err(source),
    }
}

/// Removes the lock file of a range whose owner is dead; one that somebody took since stays.
fn free_id_range(base: u32) -> SysResult<()> {
    let directory = match open_directory(Path::new(LOCK_DIRECTORY)) {
        Ok(directory) => directory,
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    let name = base.to_string();
    match open_at(&directory, &name, OFlags::RDWR | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(lock) => {
            // One that was removed between our open and our lock is not the one that has the name now.
            let named = || rustix::fs::fstat(&lock).is_ok_and(|stat| stat.st_nlink > 0);
            if try_lock_description(&lock)? && named() {
                remove_file_at(&directory, &name)?;
            }
        }
        Err(error) if error.errno() == Errno::NOENT => {}
        Err(error) => return Err(error),
    }
    // Where there is no systemd, its directory is ours too.
    let run = open_directory(Path::new("/run"))?;
    remove_if_empty(&run, "systemd/nspawn-uid")?;
    remove_if_empty(&run, "systemd")
}

/// Makes the scratch directory of machine `name`, which nobody but root may enter: files in it have the guest's ids,
/// setuid ones among them. Who holds it has its flock(2): see [`is_scratch_in_use`].
///
/// # Errors
/// When the disk is full or read-only.
pub fn make_scratch(name: &str) -> SysResult<OwnedFd> {
    while_parents_vanish(|| {
        let scratch = make_directories(Path::new(SCRATCH), 0o700)?;
        // That of a machine that went with the host, whose /run is empty after a boot: another one's layer.
        remove_tree_at(&scratch, name)?;
        let made = make_directory_at(scratch, name, 0o700)?;
        try_lock(&made)?;
        Ok(made)
    })
}

/// Whether a supervisor holds the scratch directory of machine `name`.
pub fn is_scratch_in_use(name: &str) -> bool {
    open_directory(&Path::new(SCRATCH).join(name))
        .is_ok_and(|directory| !try_lock(&directory).unwrap_or(true))
}

fn remove_scratch(name: &str) -> SysResult<()> {
    let scratch = match open_directory(Path::new(SCRATCH)) {
        Ok(scratch) => scratch,
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    remove_tree_at(&scratch, name)?;
    let lib = open_directory(Path::new("/var/lib"))?;
    remove_if_empty(&lib, "spinney/scratch")?;
    remove_if_empty(&lib, "spinney")
}
