//! All that the registry knows, whatever state it is in: for those who look at machines and must not stumble.

use super::error::Error;
use super::handle::MachineHandle;
use crate::settings::MachineName;
use crate::supervisor::registry::{is_abandoned, names};

/// One entry of the registry.
#[derive(Debug)]
pub enum Record {
    /// A machine whose supervisor lives.
    Running(Box<MachineHandle>),
    /// A supervisor is at work on it and has no leader yet.
    Starting(MachineName),
    /// Its supervisor is dead: what is left goes with `spinney gc` or with the next start.
    Left(MachineName),
    /// It cannot be read: it is half a record, or none of ours.
    Unreadable(MachineName, Error),
}

impl Record {
    /// What the registry says of `name`; `None` where it says nothing.
    pub fn of(name: &MachineName) -> Option<Self> {
        match MachineHandle::find(name) {
            Ok(machine) => Some(Self::Running(Box::new(machine))),
            Err(Error::Starting { .. }) => Some(Self::Starting(name.clone())),
            Err(Error::NotRunning { .. }) => {
                let directory = MachineHandle::directory_of(name);
                // Others than root cannot try its lock, but can see that its supervisor is gone.
                let left = is_abandoned(name) || directory.join("state").exists();
                left.then(|| Self::Left(name.clone()))
            }
            Err(error) => Some(Self::Unreadable(name.clone(), error)),
        }
    }

    /// All entries, by name. One that vanishes while we look is left out. Needs no privileges.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn all() -> Result<Vec<Self>, Error> {
        let names = names().map_err(Error::system("read the registry of machines"))?;
        Ok(names.iter().filter_map(Self::of).collect())
    }

    /// Whose it is.
    pub fn name(&self) -> &MachineName {
        match self {
            Self::Running(machine) => machine.name(),
            Self::Starting(name) | Self::Left(name) | Self::Unreadable(name, _) => name,
        }
    }
}
