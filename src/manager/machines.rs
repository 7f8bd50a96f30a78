//! The machines there are, as what interfaces tell of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::machine::{MachineHandle, Record};
use crate::settings::MachineName;
use crate::supervisor::state::{Phase, State};
use crate::sys::inet::interface_index;

/// How far a machine is, in systemd-machined's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being started.
    Opening,
    /// Its processes run.
    Running,
    /// It is on its way down.
    Closing,
}

impl Progress {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Closing => "closing",
        }
    }
}

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What its supervisor says of it.
    pub state: State,
    /// Interfaces of the host that lead to it, by index.
    pub interfaces: Vec<i32>,
}

impl Machine {
    /// What is known of `machine` now.
    pub fn of(machine: &MachineHandle) -> Self {
        let network = machine.network_state();
        let names = network.plan.links.iter().filter_map(|link| link.host.as_ref());
        let interfaces = names
            .filter_map(|name| interface_index(name.as_str()).ok())
            .filter_map(|index| index.try_into().ok())
            .collect();
        Self { state: machine.state().clone(), interfaces }
    }

    /// Whether its supervisor lives still.
    pub fn is_there(&self) -> bool {
        self.state.name.parse().is_ok_and(|name: MachineName| MachineHandle::find(&name).is_ok())
    }

    /// Its machine ID (machine-id(5)); nothing where it has none.
    pub fn id(&self) -> Vec<u8> {
        let digits: Vec<u32> = self.state.uuid.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match self.state.phase {
            Phase::Booting | Phase::Ready => Progress::Running,
            Phase::Stopping => Progress::Closing,
        }
    }
}

/// The machines that the objects of the bus speak for.
#[derive(Debug, Default)]
pub struct Machines(Mutex<BTreeMap<String, Arc<Machine>>>);

/// What is different from before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They were not there.
    pub came: Vec<String>,
    /// They are gone.
    pub went: Vec<String>,
    /// Something about them is another.
    pub changed: Vec<String>,
}

impl Machines {
    /// The machine called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Machine>> {
        self.lock().get(name).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Machine>> {
        self.lock().values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Reads the registry anew.
    ///
    /// # Errors
    /// When it cannot be read; nothing changes then.
    pub fn refresh(&self) -> Result<Changes, crate::machine::Error> {
        let now = Record::all()?.into_iter().filter_map(|record| match record {
            Record::Running(machine) => Some((machine.name().to_string(), Arc::new(Machine::of(&machine)))),
            _ => None,
        });
        Ok(self.replace(now.collect()))
    }

    /// Reads the record of one machine anew, for who asks of it before its coming was told.
    ///
    /// # Errors
    /// When no such machine runs.
    pub fn look(name: &str) -> Result<MachineHandle, crate::machine::Error> {
        let name = name.parse::<MachineName>().map_err(|source| crate::machine::Error::Name { source })?;
        MachineHandle::find(&name)
    }

    fn replace(&self, now: BTreeMap<String, Arc<Machine>>) -> Changes {
        let mut machines = self.lock();
        let mut changes = Changes::default();
        for (name, machine) in &now {
            match machines.get(name) {
                None => changes.came.push(name.clone()),
                // A reboot in place is a change; another machine of the same name is another machine.
                Some(before) if before.state.supervisor_started != machine.state.supervisor_started => {
                    changes.went.push(name.clone());
                    changes.came.push(name.clone());
                }
                Some(before) if before != machine => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        changes.went.extend(machines.keys().filter(|name| !now.contains_key(*name)).cloned());
        *machines = now;
        changes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Machine>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
