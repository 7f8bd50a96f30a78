//! `/run/spinney/machines/NAME/`: one directory a machine, locked by its supervisor while it lives.
//!
//! It holds `resources` (see [`super::resources`]), `state` (JSON, replaced atomically), the console log, and
//! the mount points of the supervisor's own mount namespace. A directory that nobody has locked (flock(2), of the directory
//! itself) belongs to a supervisor that died: [`super::gc`] clears it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::gc::is_dying;
use super::in_force::InForce;
use super::launch_record::LaunchRecord;
use super::state::State;
use crate::network::state::NetworkState;
use crate::settings::MachineName;
use crate::sys::files::{
    entries, make_directories, make_directory_at, open_directory, read_at, remove_directory_at,
    remove_tree_at, replace_at, try_lock, while_parents_vanish,
};
use crate::sys::process::start_time;
use crate::sys::seccomp::SockFilter;
use crate::sys::{SysError, SysResult};

/// All machines.
pub const MACHINES: &str = "/run/spinney/machines";

/// Whoever may open a directory may lock it, and so hold up its owner: others may only pass through, to `state`.
const MODE: u32 = 0o711;

/// How often, and how long apart, it is looked at a directory that somebody has for a moment: a supervisor begins its journal within a
/// millisecond of its lock, and has a state within some; leavings are collected in tens of them.
const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// The locked directory of a machine.
#[derive(Debug)]
pub struct MachineDirectory {
    name: MachineName,
    path: PathBuf,
    /// With the lock.
    fd: OwnedFd,
}

/// What came of trying to lock a machine's directory.
#[derive(Debug)]
pub enum Claim {
    /// It is ours now. `stale` if it was there already: somebody's leavings.
    Ours {
        /// It.
        directory: MachineDirectory,
        /// Whether an earlier supervisor left it.
        stale: bool,
    },
    /// A living supervisor has it.
    InUse,
}

impl MachineDirectory {
    /// Makes and locks the directory of `name`.
    ///
    /// # Errors
    /// When /run cannot be written.
    pub fn claim(name: &MachineName) -> SysResult<Claim> {
        for _ in 0..LOOKS {
            match while_parents_vanish(|| Self::try_claim(name))? {
                // By who collects leavings, or looks at it; by a supervisor that was killed and is not dead yet, or that begins.
                Claim::InUse if !is_supervised(name) => std::thread::sleep(PAUSE),
                claim => return Ok(claim),
            }
        }
        Ok(Claim::InUse)
    }

    /// Locks the directory of `name` if it is there; `None` if it is not, or is gone before it can be locked.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn claim_existing(name: &MachineName) -> SysResult<Option<Claim>> {
        match open(name).and_then(|fd| Self::lock(name, fd)) {
            Err(error) if error.errno() == Errno::NOENT => Ok(None),
            claim => claim.map(Some),
        }
    }

    fn try_claim(name: &MachineName) -> SysResult<Claim> {
        let machines = make_directories(Path::new(MACHINES), 0o755)?;
        Self::lock(name, make_directory_at(&machines, name.as_str(), MODE)?)
    }

    fn lock(name: &MachineName, fd: OwnedFd) -> SysResult<Claim> {
        if !try_lock(&fd)? {
            return Ok(Claim::InUse);
        }
        // The last owner may have removed it between our open and our lock: then we hold the lock of nothing.
        if rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_nlink == 0) {
            return Err(SysError::new("flock", format!("{MACHINES}/{name}"), Errno::NOENT));
        }
        let stale = !entries(&fd)?.is_empty();
        let path = Path::new(MACHINES).join(name.as_str());
        let directory = Self { name: name.clone(), path, fd };
        Ok(Claim::Ours { directory, stale })
    }

    /// The machine.
    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It, opened.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether it is still what its path leads to.
    pub fn is_in_place(&self) -> bool {
        let same = |there: rustix::fs::Stat| {
            rustix::fs::fstat(&self.fd)
                .is_ok_and(|here| (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
        };
        rustix::fs::lstat(&self.path).is_ok_and(same)
    }

    /// Replaces the state file.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write_state(&self, state: &State) -> SysResult<()> {
        let mut text = serde_json::to_vec_pretty(state)
            .map_err(|_| SysError::new("write", "the state as JSON", Errno::INVAL))?;
        text.push(b'\n');
        replace_at(&self.fd, State::FILE, &text, 0o644)
    }

    /// Writes down how the leader was launched, for those who join the machine.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write_launch(&self, record: &LaunchRecord, filter: &[SockFilter]) -> SysResult<()> {
        let text = serde_json::to_vec(record)
            .map_err(|_| SysError::new("write", "the launch record as JSON", Errno::INVAL))?;
        replace_at(&self.fd, LaunchRecord::FILE, &text, 0o600)?;
        let filter: Vec<u8> = filter.iter().flat_map(|instruction| instruction.to_bytes()).collect();
        replace_at(&self.fd, LaunchRecord::FILTER, &filter, 0o600)
    }

    /// Writes down what is in force, for those who ask later.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write_in_force(&self, in_force: &InForce) -> SysResult<()> {
        let text = serde_json::to_vec(in_force)
            .map_err(|_| SysError::new("write", "what is in force as JSON", Errno::INVAL))?;
        replace_at(&self.fd, InForce::FILE, &text, 0o600)
    }

    /// Writes down what the machine has of networks.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write_network(&self, state: &NetworkState) -> SysResult<()> {
        let mut text = serde_json::to_vec_pretty(state)
            .map_err(|_| SysError::new("write", "the network as JSON", Errno::INVAL))?;
        text.push(b'\n');
        replace_at(&self.fd, NetworkState::FILE, &text, 0o644)
    }

    /// Removes it, and the directories above it that are then empty.
    ///
    /// # Errors
    /// The first fault.
    pub fn remove(self) -> SysResult<()> {
        if !self.is_in_place() {
            // Somebody was faster; the path may be another machine's by now.
            return Ok(());
        }
        for (entry, _) in entries(&self.fd)? {
            remove_tree_at(&self.fd, Path::new(&entry))?;
        }
        let machines = open_directory(Path::new(MACHINES))?;
        remove_if_empty(&machines, self.name.as_str())?;
        let run = open_directory(Path::new("/run"))?;
        remove_if_empty(&run, "spinney/machines")?;
        remove_if_empty(&run, "spinney")
    }
}

/// Whether the directory of `name` belongs to nobody: its supervisor is dead. Who may not look is told no.
pub fn is_abandoned(name: &MachineName) -> bool {
    open(name).is_ok_and(|directory| try_lock(&directory).unwrap_or(false))
}

/// Whether somebody has the directory of `name`: a supervisor, or who clears what one has left. Who may not look is told no.
pub fn is_held(name: &MachineName) -> bool {
    open(name).is_ok_and(|directory| !try_lock(&directory).unwrap_or(true))
}

/// Whether there is nothing in the directory of `name` so far: a supervisor makes it before it can lock it.
pub fn is_bare(name: &MachineName) -> bool {
    open(name).and_then(entries).is_ok_and(|entries| entries.is_empty())
}

fn open(name: &MachineName) -> SysResult<OwnedFd> {
    open_directory(&Path::new(MACHINES).join(name.as_str()))
}

/// The pid of the supervisor of `name`, as its state file says.
pub fn supervisor_of(name: &MachineName) -> Option<i32> {
    state_of(name).map(|state| state.supervisor)
}

/// Whether the supervisor of `name` is alive, as its state file says, and not about to die.
fn is_supervised(name: &MachineName) -> bool {
    state_of(name).is_some_and(|state| {
        let status = read_at(CWD, format!("/proc/{}/status", state.supervisor), STATE_BYTES);
        start_time(state.supervisor).is_ok_and(|started| started == state.supervisor_started)
            && status.is_ok_and(|status| !is_dying(&String::from_utf8_lossy(&status)))
    })
}

fn state_of(name: &MachineName) -> Option<State> {
    let path = Path::new(MACHINES).join(name.as_str()).join(State::FILE);
    serde_json::from_slice(&read_at(CWD, path, STATE_BYTES).ok()?).ok()
}

/// A state file longer than this is none of ours.
const STATE_BYTES: usize = 4 << 20;

/// Removes the directory `name` unless somebody uses it.
///
/// # Errors
/// When the kernel refuses for another reason.
pub fn remove_if_empty(directory: &OwnedFd, name: &str) -> SysResult<()> {
    match remove_directory_at(directory, name) {
        Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(()),
        other => other,
    }
}

/// The names of all machine directories, living or left behind.
///
/// # Errors
/// When the directory cannot be read; that there is none means no machines.
pub fn names() -> SysResult<Vec<MachineName>> {
    let machines = match open_directory(Path::new(MACHINES)) {
        Ok(machines) => machines,
        Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<MachineName> = entries(machines)?
        .into_iter()
        .filter_map(|(entry, _)| entry.to_str().and_then(|name| name.parse().ok()))
        .collect();
    names.sort();
    Ok(names)
}
