//! The journal of resources: what a machine has of the host's, written down before it is made.
//!
//! A line of JSON each, in `resources` of the machine's directory. Whoever finds the directory unlocked undoes the lines
//! backwards; undoing what was never made, or is undone already, does nothing.

use std::cell::RefCell;
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
use crate::sys::files::{
    make_directories, make_directory_at, open_at, open_directory, read_at, remove_file_at, remove_tree_at,
    replace_at, try_lock_description, while_parents_vanish, write_all,
};
use crate::sys::network::NamespaceId;
use crate::sys::{SysError, SysResult};

use super::registry::{MachineDirectory, remove_if_empty};

/// Something of the host's that goes with the machine.
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
            Self::Cgroup(_) | Self::CgroupInUnit { .. } => "teardown-cgroup",
            Self::LegacyCgroup(_) => "teardown-legacy-cgroup",
            Self::Controllers { .. } => "teardown-controllers",
            Self::Scratch(_) => "teardown-scratch",
            Self::ImageLocks(_) => "teardown-image-locks",
            Self::JournalLink(_) => "teardown-journal-link",
            Self::Names { .. } => "teardown-names",
            Self::Network(_) => "teardown-network",
            Self::Rules { .. } => "teardown-rules",
        }
    }
}

/// The journal of one machine.
#[derive(Debug)]
pub struct Journal {
    file: OwnedFd,
    /// All that it says, should the file be removed.
    noted: RefCell<Vec<Resource>>,
}

/// A journal of this many bytes is not one of ours: a machine has a handful of resources.
const LIMIT: usize = 1 << 20;

/// Its name in the machine's directory.
pub const NAME: &str = "resources";

impl Journal {
    /// Opens the journal of the machine whose directory this is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &MachineDirectory) -> SysResult<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
        let file = open_at(directory.fd(), NAME, flags, Mode::from_raw_mode(0o600))?;
        Ok(Self { file, noted: RefCell::default() })
    }

    /// Writes it once more, in `directory`, where it was removed.
    ///
    /// # Errors
    /// When /run is full.
    pub fn restore(&mut self, directory: &MachineDirectory) -> SysResult<()> {
        let text = self.noted.borrow().iter().map(line).collect::<SysResult<Vec<_>>>()?.concat();
        replace_at(directory.fd(), NAME, &text, 0o600)?;
        self.file = Self::open(directory)?.file;
        Ok(())
    }

    /// What it says, in the order of making.
    pub fn resources(&self) -> Vec<Resource> {
        self.noted.borrow().clone()
    }

    /// Writes `resource` down; it may be made afterwards.
    ///
    /// # Errors
    /// When /run is full: then it must not be made.
    pub fn note(&self, resource: &Resource) -> SysResult<()> {
        write_all(&self.file, &line(resource)?)?;
        self.noted.borrow_mut().push(resource.clone());
        Ok(())
    }
}

fn line(resource: &Resource) -> SysResult<Vec<u8>> {
    let mut line = serde_json::to_vec(resource)
        .map_err(|_| SysError::new("write", "a resource as JSON", Errno::INVAL))?;
    line.push(b'\n');
    Ok(line)
}

/// What the journal of `directory` holds, in the order of making. A last line that was cut off by a kill was not
/// acted upon and does not count.
///
/// # Errors
/// When it cannot be read.
pub fn read(directory: &MachineDirectory) -> SysResult<Vec<Resource>> {
    match read_at(directory.fd(), NAME, LIMIT) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(text: &[u8]) -> Vec<Resource> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
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
/// setuid ones among them.
///
/// # Errors
/// When the disk is full or read-only.
pub fn make_scratch(name: &str) -> SysResult<OwnedFd> {
    while_parents_vanish(|| {
        let scratch = make_directories(Path::new(SCRATCH), 0o700)?;
        // That of a machine that went with the host, whose /run is empty after a boot: another one's layer.
        remove_tree_at(&scratch, name)?;
        make_directory_at(scratch, name, 0o700)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_line_does_not_count() {
        let text = b"{\"id-range\":524288}\n{\"cgroup\":\"demo\"}\n{\"scratch\":\"de";
        assert_eq!(parse(text), [Resource::IdRange(524_288), Resource::Cgroup("demo".to_owned())]);
    }
}
