//! Which machines there are rules for, in `/run/spinney/network/rules/NAMESPACE`, where NAMESPACE is the network namespace that they
//! are in ([`NamespaceId`]): hosts in namespaces of their own, as tests have them, do not meet.
//!
//! It holds `machines/NAME` (JSON of [`MachineRules`]), `opened` (JSON of [`Opened`], as the rules have it), `generation` (that of the
//! rule set after our last change: any other one says that somebody else changed something), `no-bridges` (where the kernel has
//! no rules for bridges), and `lock`, which is held through each change.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::link::forwarding::Opened;
use super::super::link::shared;
use super::machine::MachineRules;
use crate::sys::files::{
    entries, lock, make_directory_at, open_at, open_directory, read_at, remove_directory_at, remove_file_at,
    remove_tree_at, replace_at, try_lock,
};
use crate::sys::network::{NamespaceId, numbers};
use crate::sys::{FdPath, SysError, SysResult};

/// Where all hosts have theirs.
const DIRECTORY: &str = "/run/spinney/network/rules";

/// The file that says that the kernel has no rules for bridges.
const NO_BRIDGES: &str = "no-bridges";

/// A machine has thousands of ports at the most: more is not what we wrote.
const LIMIT: usize = 16 << 20;

/// How long who has the lock is waited for: some milliseconds, if nobody has stopped him.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Long,
    Short,
    Not,
}

impl Wait {
    fn lock(self, file: &OwnedFd) -> SysResult<()> {
        /// A quarter of a second, in the time that a change takes.
        const TRIES: usize = 250;
        const TIME: std::time::Duration = std::time::Duration::from_millis(1);
        let tries = match self {
            Self::Long => return lock(file),
            Self::Short => TRIES,
            Self::Not => 1,
        };
        for again in 0..tries {
            if again > 0 {
                std::thread::sleep(TIME);
            }
            if try_lock(file)? {
                return Ok(());
            }
        }
        Err(SysError::new("flock", FdPath::of(file).to_string(), Errno::WOULDBLOCK))
    }
}

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
        loop {
            let (path, directory) = directory()?;
            if let Some(store) = Self::take(path, directory, Wait::Long)? {
                return Ok(store);
            }
        }
    }

    /// The same, if it is there.
    pub(super) fn find() -> SysResult<Option<Self>> {
        Self::find_at(&path()?, Wait::Long)
    }

    /// The same for who must not wait: an error of EWOULDBLOCK where somebody else has the lock.
    pub(super) fn try_find() -> SysResult<Option<Self>> {
        Self::find_at(&path()?, Wait::Not)
    }

    /// The same for who may wait a moment, as for what a user has asked for.
    pub(super) fn find_soon() -> SysResult<Option<Self>> {
        Self::find_at(&path()?, Wait::Short)
    }

    fn find_at(path: &Path, wait: Wait) -> SysResult<Option<Self>> {
        loop {
            let directory = match open_directory(path) {
                Ok(directory) => directory,
                Err(error) if error.errno() == Errno::NOENT => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(store) = Self::take(path.to_owned(), directory, wait)? {
                return Ok(Some(store));
            }
        }
    }

    /// `None` if the last machine went while we waited.
    fn take(path: PathBuf, directory: OwnedFd, wait: Wait) -> SysResult<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let taken = open_at(&directory, "lock", flags, Mode::from_raw_mode(0o600)).and_then(|file| {
            wait.lock(&file)?;
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
        self.names()?.iter().filter_map(|name| self.machine(name).transpose()).collect()
    }

    /// Their names, in order.
    pub(super) fn names(&self) -> SysResult<Vec<String>> {
        let names = entries(&self.machines)?.into_iter().filter_map(|(name, _)| name.into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
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

    /// The interfaces that were opened, as the rules of the last generation of ours have them.
    pub(super) fn opened(&self) -> Opened {
        let text = read_at(&self.directory, "opened", LIMIT).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes them down.
    pub(super) fn set_opened(&self, opened: &Opened) -> SysResult<()> {
        if self.opened() == *opened {
            return Ok(());
        }
        let text = serde_json::to_vec(opened).unwrap_or_default();
        replace_at(&self.directory, "opened", &text, 0o600)
    }

    /// Whether the kernel has no rules for bridges.
    pub(super) fn has_no_bridges(&self) -> bool {
        rustix::fs::accessat(&self.directory, NO_BRIDGES, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Notes that it has none.
    pub(super) fn note_no_bridges(&self) -> SysResult<()> {
        replace_at(&self.directory, NO_BRIDGES, b"", 0o600)
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
        // What could not be read is nobody's.
        remove_tree_at(&self.directory, "machines")?;
        for name in ["generation", "opened", NO_BRIDGES, super::watch::WATCHER, "lock"] {
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
    let path = namespace.directory_in(Path::new(DIRECTORY));
    let Some(store) = Store::find_at(&path, Wait::Long)? else { return Ok(()) };
    store.remove(name)?;
    if store.machines()?.is_empty() { store.dissolve() } else { Ok(()) }
}

/// Strikes out machines that are not `alive` whose network namespaces are gone, and with them their rules.
pub(super) fn sweep(alive: impl Fn(&str) -> bool) -> SysResult<()> {
    let directory = match open_directory(Path::new(DIRECTORY)) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        directory => directory?,
    };
    for namespace in shared::gone(&directory, numbers)? {
        let Some(store) = Store::find_at(&Path::new(DIRECTORY).join(namespace), Wait::Long)? else {
            continue;
        };
        let machines = entries(&store.machines)?.into_iter();
        let (live, dead): (Vec<_>, Vec<_>) =
            machines.partition(|(name, _)| name.to_str().is_some_and(&alive));
        match live.is_empty() {
            true => store.dissolve()?,
            // The journals of these have still to undo it.
            false => dead.iter().try_for_each(|(name, _)| remove_file_at(&store.machines, name))?,
        }
    }
    Ok(())
}

/// What is written down of machine `name`, whoever holds the lock.
pub(super) fn peek(name: &str) -> Option<MachineRules> {
    let machines = open_directory(&path().ok()?.join("machines")).ok()?;
    serde_json::from_slice(&read_at(machines, name, LIMIT).ok()?).ok()
}

/// That of the network namespace that we are in.
fn path() -> SysResult<PathBuf> {
    Ok(NamespaceId::ours()?.directory_in(Path::new(DIRECTORY)))
}

/// The same, made if it is not there.
pub(super) fn directory() -> SysResult<(PathBuf, OwnedFd)> {
    NamespaceId::ours()?.make_directory_in(Path::new(DIRECTORY), 0o700)
}
