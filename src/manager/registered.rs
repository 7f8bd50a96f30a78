//! Machines of other programs, which register them as with systemd-machined: systemd-nspawn, systemd-vmspawn, libvirt.
//!
//! Each is a file in /run/systemd/machines ([`crate::supervisor::machined_file`]), which outlives the manager, and is there as long
//! as its leader. That process is known by a pidfd from the moment that it is registered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::CWD;
use rustix::process::Pid;

use super::lifeline::Lifeline;
use super::problem::{Kind, Problem};
use crate::machine::Leader;
use crate::supervisor::machined_file::{self, MachinedFile, SERVICE};
use crate::sys::files::read_at;
use crate::sys::process::pidfd_open;

/// More of them are not taken: each has a file, an object and an fd.
pub const MOST: usize = 1024;

/// One of them.
#[derive(Debug)]
pub struct Registered {
    /// What its file says.
    pub file: MachinedFile,
    leader: Arc<Lifeline>,
}

impl Registered {
    /// Of a file whose leader lives.
    ///
    /// # Errors
    /// When it does not.
    pub fn of(file: MachinedFile) -> Result<Self, Problem> {
        let leader = Lifeline::of(leader(&file)?.pidfd);
        let leader = leader.map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        Ok(Self { file, leader: Arc::new(leader) })
    }

    /// Its leader.
    pub fn leader(&self) -> &Arc<Lifeline> {
        &self.leader
    }

    /// Whether that one lives still.
    pub fn is_there(&self) -> bool {
        self.leader.holds()
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
        self.lock().machines.get(name).filter(|machine| machine.is_there()).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Registered>> {
        self.lock().machines.values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().machines.is_empty()
    }

    /// Those of earlier, by their files, when it is asked for the first time; files of leaders that have ended are removed, and what
    /// is there by half.
    pub fn load(&self) -> Vec<Arc<Registered>> {
        let mut known = self.lock();
        if std::mem::replace(&mut known.loaded, true) {
            return Vec::new();
        }
        let machines: Vec<Arc<Registered>> = load().into_iter().map(Arc::new).collect();
        known.machines =
            machines.iter().map(|machine| (machine.file.name.clone(), Arc::clone(machine))).collect();
        machines
    }

    /// Keeps one more, with its file. Gives also the one that had its name, if that is dead and nobody has told of it so far.
    ///
    /// # Errors
    /// [`Kind::MachineExists`]; when there are too many, or the file cannot be written.
    pub fn add(&self, machine: Registered) -> Result<(Arc<Registered>, Option<Arc<Registered>>), Problem> {
        let mut known = self.lock();
        let (name, machine) = (machine.file.name.clone(), Arc::new(machine));
        let exists = || Problem::new(Kind::MachineExists, format!("Machine '{name}' already exists"));
        match known.machines.get(&name) {
            Some(before) if before.is_there() => return Err(exists()),
            // Its file, and the link of its unit.
            Some(dead) => drop(machined_file::remove(&dead.file)),
            None if known.machines.len() >= MOST => {
                return Err(Problem::new(Kind::Failed, "Too many machines are registered"));
            }
            None => {}
        }
        match machine.file.write() {
            Ok(true) => {
                let dead = known.machines.insert(name, Arc::clone(&machine));
                Ok((machine, dead))
            }
            Ok(false) => Err(exists()),
            Err(error) => Err(Problem::of(Kind::Failed, &error, None)),
        }
    }

    /// Forgets one and its file.
    pub fn remove(&self, name: &str) -> Option<Arc<Registered>> {
        let machine = self.lock().machines.remove(name)?;
        let _ = machined_file::remove(&machine.file);
        Some(machine)
    }

    /// Forgets one whose leader has ended, if it is that one still, and its file.
    pub fn forget(&self, name: &str, leader: &Arc<Lifeline>) -> Option<Arc<Registered>> {
        let is_it = self.lock().machines.get(name).is_some_and(|known| Arc::ptr_eq(&known.leader, leader));
        if is_it { self.remove(name) } else { None }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the file is of a machine that is none of ours.
pub fn is_others(file: &MachinedFile) -> bool {
    file.service != SERVICE
}

/// What the directory says; files whose leaders are gone are removed, and what is there by half.
fn load() -> Vec<Registered> {
    // Of a manager that was killed.
    let _ = machined_file::sweep_unfinished();
    let files = machined_file::read_all().into_iter().filter(is_others);
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
