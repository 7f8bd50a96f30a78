//! A running machine, found by its name.
//!
//! The state file names processes by pid. A pid is reused, so each comes with the time at which its process was started
//! (proc_pid_stat(5), field 22): the same pair is the same process, and a pidfd keeps it so.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;

use super::error::Error;
use crate::network::state::NetworkState;
use crate::settings::MachineName;
use crate::supervisor::in_force::InForce;
use crate::supervisor::launch_record::LaunchRecord;
use crate::supervisor::registry::{MACHINES, is_abandoned, names};
use crate::supervisor::state::State;
use crate::sys::SysError;
use crate::sys::files::read_at;
use crate::sys::process::{pidfd_open, state_and_start_time};
use crate::sys::seccomp::SockFilter;

/// A state file or a launch record larger than this is none of ours.
const LIMIT: usize = 4 << 20;

/// A machine whose supervisor lived when we looked.
#[derive(Debug, Clone)]
pub struct MachineHandle {
    name: MachineName,
    directory: PathBuf,
    state: State,
}

/// The leader of a machine: the guest's PID 1 as the host sees it.
#[derive(Debug)]
pub struct Leader {
    /// Its pid on the host; valid while the pidfd says that it lives.
    pub pid: Pid,
    /// It, and never another process.
    pub pidfd: OwnedFd,
}

impl MachineHandle {
    /// Finds the running machine `name`. Needs no privileges.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where there is none; [`Error::Starting`] when it has no leader yet.
    pub fn find(name: &MachineName) -> Result<Self, Error> {
        let directory = Self::directory_of(name);
        let not_running = || Error::NotRunning { name: name.to_string() };
        let state = match read_at(CWD, directory.join("state"), LIMIT) {
            Ok(text) => serde_json::from_slice::<State>(&text).map_err(|error| Error::State {
                name: name.to_string(),
                source: SysError::new("read", format!("{directory:?}/state: {error}"), Errno::BADMSG),
            })?,
            Err(error) if error.errno() == Errno::NOENT => {
                // It may go while we look: it is looked for last.
                let starting = !is_abandoned(name) && directory.is_dir();
                return Err(if starting {
                    Error::Starting { name: name.to_string() }
                } else {
                    not_running()
                });
            }
            Err(source) => return Err(Error::State { name: name.to_string(), source }),
        };
        let machine = Self { name: name.clone(), directory, state };
        if machine.is_alive() { Ok(machine) } else { Err(not_running()) }
    }

    /// All running machines, by name. One that ends while we look is left out. Needs no privileges.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn all() -> Result<Vec<Self>, Error> {
        let names = names().map_err(Error::system("read the registry of machines"))?;
        Ok(names.iter().filter_map(|name| Self::find(name).ok()).collect())
    }

    /// Where the registry has what it knows of `name`, if anything.
    pub fn directory_of(name: &MachineName) -> PathBuf {
        Path::new(MACHINES).join(name.as_str())
    }

    /// The only machine that runs.
    ///
    /// # Errors
    /// [`Error::NotOne`] when there is none, or more than one.
    pub fn only() -> Result<Self, Error> {
        let mut all = Self::all()?;
        match (all.pop(), all.len()) {
            (Some(machine), 0) => Ok(machine),
            (last, others) => Err(Error::NotOne { count: others + usize::from(last.is_some()) }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// Its directory in the registry.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its state, as of when it was found.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether its supervisor lives.
    pub fn is_alive(&self) -> bool {
        is_same_process(self.state.supervisor, self.state.supervisor_started)
    }

    /// Its supervisor, by pidfd.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it is gone.
    pub fn supervisor(&self) -> Result<OwnedFd, Error> {
        Ok(self.process(self.state.supervisor, self.state.supervisor_started)?.pidfd)
    }

    /// Its leader, by pidfd. After a reboot of the guest it is another.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it is gone.
    pub fn leader(&self) -> Result<Leader, Error> {
        self.process(self.state.leader, self.state.leader_started)
    }

    /// Its network, as it is told to everybody; of one that has none, or is not read, nothing.
    pub fn network_state(&self) -> NetworkState {
        let text = read_at(CWD, self.directory.join(NetworkState::FILE), LIMIT).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// How its leader was launched, secrets of the guest's environment included: for root alone.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for others.
    pub fn launch_record(&self) -> Result<LaunchRecord, Error> {
        let text = self.read_secret(LaunchRecord::FILE, "enter")?;
        serde_json::from_slice(&text).map_err(|error| Error::State {
            name: self.name.to_string(),
            source: SysError::new("read", format!("the launch record: {error}"), Errno::BADMSG),
        })
    }

    /// The system call filter of its processes; empty for none. For root alone.
    ///
    /// # Errors
    /// As [`MachineHandle::launch_record`].
    pub fn system_call_filter(&self) -> Result<Vec<SockFilter>, Error> {
        let bytes = self.read_secret(LaunchRecord::FILTER, "enter")?;
        let (instructions, _) = bytes.as_chunks();
        Ok(instructions.iter().copied().map(SockFilter::from_bytes).collect())
    }

    /// What is in force: settings, secrets of them included, and the plan. For root alone.
    ///
    /// # Errors
    /// As [`MachineHandle::launch_record`].
    pub fn in_force(&self) -> Result<InForce, Error> {
        let text = self.read_secret(InForce::FILE, "explain")?;
        serde_json::from_slice(&text).map_err(|error| Error::State {
            name: self.name.to_string(),
            source: SysError::new("read", format!("what is in force: {error}"), Errno::BADMSG),
        })
    }

    fn read_secret(&self, file: &str, action: &'static str) -> Result<Vec<u8>, Error> {
        let name = || self.name.to_string();
        read_at(CWD, self.directory.join(file), LIMIT).map_err(|source| match source.errno() {
            Errno::ACCESS | Errno::PERM => Error::PermissionDenied { action, name: name() },
            Errno::NOENT => Error::NotRunning { name: name() },
            _ => Error::State { name: name(), source },
        })
    }

    /// The process that was `pid` when it was started at `started`.
    fn process(&self, pid: i32, started: u64) -> Result<Leader, Error> {
        let gone = || Error::NotRunning { name: self.name.to_string() };
        let pid = Pid::from_raw(pid).ok_or_else(gone)?;
        let pidfd = match pidfd_open(pid) {
            Err(error) if error.errno() == Errno::SRCH => return Err(gone()),
            opened => opened.map_err(Error::system("open the machine's process"))?,
        };
        // Asked after the pidfd was had: if the pid means what was written down now, the pidfd does.
        if is_same_process(pid.as_raw_nonzero().get(), started) {
            Ok(Leader { pid, pidfd })
        } else {
            Err(gone())
        }
    }
}

/// Whether `pid` is still the process that was started at `started`, in clock ticks since the host's boot. One that has
/// ended is not, though its parent may take its time to wait for it.
fn is_same_process(pid: i32, started: u64) -> bool {
    state_and_start_time(pid).is_ok_and(|(state, now)| now == started && !matches!(state, 'Z' | 'X'))
}
