//! Machines that come: the registry, watched by inotify(7).
//!
//! Nothing of it need be there yet. Whatever changes, all is looked at again: machines are few, and start seldom.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::{Error, MachineHandle};
use crate::settings::MachineName;
use crate::supervisor::registry::{MACHINES, names};
use crate::sys::watch::Watch;

/// The registry.
#[derive(Debug)]
pub struct RegistryWatch {
    watch: Watch,
}

impl RegistryWatch {
    /// Begins to watch; [`RegistryWatch::machines`] says what is there.
    ///
    /// # Errors
    /// When the user has too many watches.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { watch: Watch::new().map_err(failed())? })
    }

    /// Running machines that are not `known`, now. Once the watch is readable there may be others.
    ///
    /// # Errors
    /// When the registry cannot be read or watched.
    pub fn machines(&self, known: impl Fn(&MachineName) -> bool) -> Result<Vec<MachineHandle>, Error> {
        let names = self.follow(known)?;
        Ok(names.iter().filter_map(|name| MachineHandle::find(name).ok()).collect())
    }

    /// Watches all that the registry has now, also what supervisors say of their machines. Gives the names that are not `known`.
    ///
    /// # Errors
    /// When the registry cannot be read or watched.
    pub fn follow(&self, known: impl Fn(&MachineName) -> bool) -> Result<Vec<MachineName>, Error> {
        self.watch.clear().map_err(failed())?;
        // Watched before it is looked at, the outer directories first: nothing comes in between.
        let mut directories: Vec<PathBuf> = Path::new(MACHINES).ancestors().map(PathBuf::from).collect();
        directories.reverse();
        for directory in directories.iter().skip(1) {
            if !self.watch.add(directory).map_err(failed())? {
                break;
            }
        }
        let new: Vec<MachineName> =
            names().map_err(failed())?.into_iter().filter(|name| !known(name)).collect();
        for name in &new {
            // A machine that is starting has a directory before it has a state.
            self.watch.add(&MachineHandle::directory_of(name)).map_err(failed())?;
        }
        Ok(new)
    }
}

impl AsFd for RegistryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

fn failed() -> impl FnOnce(crate::sys::SysError) -> Error {
    Error::system("watch the registry of machines")
}
