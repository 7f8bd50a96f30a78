//! Which machines there are rules for, in `/run/spinney/network/rules/NAMESPACE`, where NAMESPACE is the network namespace that they
//! are in ([`NamespaceId`]): hosts in namespaces of their own, as tests have them, do not meet.
//!
//! It holds `machines/NAME` (JSON of [`MachineRules`]), `generation` (that of the rule set after our last change: any other
//! one says that somebody else changed something), and `lock`, which is held through each change.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::machine::MachineRules;
use crate::sys::SysResult;
use crate::sys::files::{
    entries, lock, make_directories, make_directory_at, open_at, open_directory, read_at,
    remove_directory_at, remove_file_at, replace_at, while_parents_vanish,
};
use crate::sys::network::NamespaceId;

/// Where all hosts have theirs.
const DIRECTORY: &str = "/run/spinney/network/rules";

/// A machine has thousands of ports at the most: more is not what we wrote.
const LIMIT: usize = 16 << 20;

/// The store of the network namespace that we are in, locked.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    directory: OwnedFd,
    machines: OwnedFd,
    _lock: OwnedFd,
}

impl Store {
    /// Makes it if it is not there, and waits for its lock.
    pub(super) fn open() -> SysResult<Self> {
        let path = path()?;
        loop {
            let directory = while_parents_vanish(|| make_directories(&path, 0o700))?;
            if let Some(store) = Self::take(path.clone(), directory)? {
                return Ok(store);
            }
        }
    }

    /// The same, if it is there.
    pub(super) fn find() -> SysResult<Option<Self>> {
        Self::find_at(&path()?)
    }

    fn find_at(path: &Path) -> SysResult<Option<Self>> {
        loop {
            let directory = match open_directory(path) {
                Ok(directory) => directory,
                Err(error) if error.errno() == Errno::NOENT => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(store) = Self::take(path.to_owned(), directory)? {
                return Ok(Some(store));
            }
        }
    }

    /// `None` if the last machine went while we waited.
    fn take(path: PathBuf, directory: OwnedFd) -> SysResult<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let taken = open_at(&directory, "lock", flags, Mode::from_raw_mode(0o600)).and_then(|file| {
            lock(&file)?;
            let named = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0);
            let machines = make_directory_at(&directory, "machines", 0o700)?;
            Ok(named.then_some((file, machines)))
        });
        match taken {
            Ok(Some((lock, machines))) => Ok(Some(Self { path, directory, machines, _lock: lock })),
            Ok(None) => Ok(None),
            Err(error) if error.errno() == Errno::NOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All machines, by name.
    pub(super) fn machines(&self) -> SysResult<Vec<MachineRules>> {
        let mut names: Vec<_> = entries(&self.machines)?.into_iter().map(|(name, _)| name).collect();
        names.sort();
        let read = |name: &std::ffi::OsString| self.machine(name.to_str().unwrap_or_default()).transpose();
        names.iter().filter_map(read).collect()
    }

    /// One of them. A file that was cut off, as by a full /run, is none.
    pub(super) fn machine(&self, name: &str) -> SysResult<Option<MachineRules>> {
        match read_at(&self.machines, name, LIMIT) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.errno() == Errno::NOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one down.
    pub(super) fn put(&self, machine: &MachineRules) -> SysResult<()> {
        let text = serde_json::to_vec(machine).unwrap_or_default();
        replace_at(&self.machines, &machine.name, &text, 0o600)
    }

    /// Strikes one out.
    pub(super) fn remove(&self, name: &str) -> SysResult<()> {
        remove_file_at(&self.machines, name)
    }

    /// The generation of the rule set after our last change.
    pub(super) fn generation(&self) -> Option<u32> {
        let text = read_at(&self.directory, "generation", 16).ok()?;
        std::str::from_utf8(&text).ok()?.parse().ok()
    }

    /// Writes it down.
    pub(super) fn set_generation(&self, generation: u32) -> SysResult<()> {
        replace_at(&self.directory, "generation", generation.to_string().as_bytes(), 0o600)
    }

    /// Removes all of it, and directories of ours that are empty then: no machine is left.
    pub(super) fn dissolve(self) -> SysResult<()> {
        remove_directory_at(&self.directory, "machines")?;
        for name in ["generation", super::watch::WATCHER, "lock"] {
            remove_file_at(&self.directory, name)?;
        }
        // The lock's file has no name any more: who waits for it begins anew.
        let mut path = self.path.as_path();
        for _ in 0..4 {
            let removed = remove_directory_at(rustix::fs::CWD, path);
            let gone = removed.map_or_else(|error| error.errno() == Errno::NOTEMPTY, |()| true);
            let Some(parent) = path.parent().filter(|_| gone) else { break };
            path = parent;
        }
        Ok(())
    }
}

/// Strikes machine `name` out, whose rules are gone with their network namespace.
pub(super) fn forget(namespace: NamespaceId, name: &str) -> SysResult<()> {
    let Some(store) = Store::find_at(&Path::new(DIRECTORY).join(namespace.to_string()))? else {
        return Ok(());
    };
    store.remove(name)?;
    if store.machines()?.is_empty() { store.dissolve() } else { Ok(()) }
}

/// That of the network namespace that we are in.
pub(super) fn path() -> SysResult<PathBuf> {
    Ok(Path::new(DIRECTORY).join(NamespaceId::ours()?.to_string()))
}
