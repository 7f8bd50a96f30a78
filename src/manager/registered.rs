//! Machines of other programs, which register them as with systemd-machined: systemd-nspawn, systemd-vmspawn, libvirt.
//!
//! Each is a file in /run/systemd/machines ([`crate::supervisor::machined_file`]), which outlives the manager, and is there as long
//! as its leader. That process is known by a pidfd from the moment that it is registered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::CWD;
use rustix::process::Pid;

use super::problem::{Kind, Problem};
use crate::machine::Leader;
use crate::supervisor::machined_file::{self, DIRECTORY, MachinedFile, SERVICE};
use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::process::{ends_within, pidfd_open};

/// More of them are not taken: each has a file, an object and an fd.
pub const MOST: usize = 1024;

/// One of them.
#[derive(Debug)]
pub struct Registered {
    /// What its file says.
    pub file: MachinedFile,
    /// Its leader.
    leader: OwnedFd,
}

impl Registered {
    /// Of a file whose leader lives.
    ///
    /// # Errors
    /// When it does not.
    pub fn of(file: MachinedFile) -> Result<Self, Problem> {
        let leader = leader(&file)?.pidfd;
        Ok(Self { file, leader })
    }

    /// Its leader's pidfd.
    pub fn leader(&self) -> &OwnedFd {
        &self.leader
    }

    fn is_there(&self) -> bool {
        !ends_within(&self.leader, Duration::ZERO).unwrap_or(true)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct RegisteredMachines(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The files of earlier have been read.
    loaded: bool,
    machines: BTreeMap<String, Arc<Registered>>,
}

impl RegisteredMachines {
    /// The machine called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Registered>> {
        self.lock().machines.get(name).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Registered>> {
        self.lock().machines.values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().machines.is_empty()
    }

    /// Those that came with the first look, and those whose leaders have ended; their files are removed.
    pub fn refresh(&self) -> (Vec<String>, Vec<String>) {
        let mut known = self.lock();
        let mut came = Vec::new();
        if !known.loaded {
            known.loaded = true;
            for machine in load() {
                came.push(machine.file.name.clone());
                known.machines.insert(machine.file.name.clone(), Arc::new(machine));
            }
        }
        let mut went = Vec::new();
        known.machines.retain(|name, machine| {
            if !machine.is_there() {
                // A file that cannot be removed is seen to be stale by whoever reads it.
                let _ = machined_file::remove(&machine.file);
                went.push(name.clone());
            }
            went.last().is_none_or(|gone| gone != name)
        });
        (came, went)
    }

    /// Keeps one more, with its file.
    ///
    /// # Errors
    /// [`Kind::MachineExists`]; when there are too many, or the file cannot be written.
    pub fn add(&self, machine: Registered) -> Result<(), Problem> {
        let mut known = self.lock();
        let name = machine.file.name.clone();
        if known.machines.len() >= MOST {
            return Err(Problem::new(Kind::Failed, "Too many machines are registered"));
        }
        match machine.file.write() {
            Ok(true) if !known.machines.contains_key(&name) => {
                known.machines.insert(name, Arc::new(machine));
                Ok(())
            }
            Ok(_) => Err(Problem::new(Kind::MachineExists, format!("Machine '{name}' already exists"))),
            Err(error) => Err(Problem::of(Kind::Failed, &error, None)),
        }
    }

    /// Forgets one and its file.
    pub fn remove(&self, name: &str) -> Option<Arc<Registered>> {
        let machine = self.lock().machines.remove(name)?;
        let _ = machined_file::remove(&machine.file);
        Some(machine)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the file is of a machine that is none of ours.
pub fn is_others(file: &MachinedFile) -> bool {
    file.service != SERVICE
}

/// What the directory says; files whose leaders are gone are removed.
fn load() -> Vec<Registered> {
    let names = open_directory(Path::new(DIRECTORY)).and_then(entries).unwrap_or_default();
    let names = names.into_iter().filter_map(|(name, _): (OsString, _)| name.into_string().ok());
    let files = names
        .filter(|name| !name.starts_with('.') && !name.contains(':'))
        .filter_map(|name| machined_file::read(&name).ok().flatten().filter(|file| file.name == name))
        .filter(is_others);
    files
        .take(MOST)
        .filter_map(|file| {
            let alive = file.is_alive().then(|| Registered::of(file.clone()).ok()).flatten();
            if alive.is_none() {
                let _ = machined_file::remove(&file);
            }
            alive
        })
        .collect()
}

/// The leader that `file` names.
///
/// # Errors
/// [`Kind::NoSuchMachine`] when it is gone.
pub fn leader(file: &MachinedFile) -> Result<Leader, Problem> {
    let gone = || Problem::no_machine(&file.name);
    let pid = Pid::from_raw(file.leader).ok_or_else(gone)?;
    let pidfd = pidfd_open(pid).map_err(|_| gone())?;
    // Asked after the pidfd was had: what the pid means now, the pidfd does.
    if file.is_alive() { Ok(Leader { pid, pidfd }) } else { Err(gone()) }
}

/// The first host id of the user namespace of `leader`; 0 where it has the host's.
///
/// # Errors
/// When it is gone.
pub fn uid_shift(leader: &Leader) -> Result<u32, Problem> {
    let path = format!("/proc/{}/uid_map", leader.pid.as_raw_nonzero());
    let text = read_at(CWD, path, 1 << 16).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    let text = String::from_utf8_lossy(&text);
    let mut rows = text.lines().map(|line| line.split_ascii_whitespace());
    let first = rows.find_map(|mut row| (row.next()? == "0").then(|| row.next()?.parse().ok()).flatten());
    Ok(first.unwrap_or(0))
}
