//! What machines share of a host's network, and who of them uses it: `/run/spinney/network/NAMESPACE/`, where NAMESPACE is the
//! network namespace that is the host's to them ([`NamespaceId`]).
//!
//! Each thing that is shared is a directory there, with an empty file for each machine that uses it: who takes the last away
//! undoes the thing. All of this under the lock (flock(2)) of NAMESPACE itself. It has no part in machines that run: /run may be
//! wiped while they do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::SysResult;
use crate::sys::files::{
    entries, lock, make_directories, make_directory_at, open_at, open_directory, open_directory_at, read_at,
    remove_directory_at, remove_file_at, remove_tree_at, replace_at, while_parents_vanish,
};
use crate::sys::network::{NamespaceId, numbers};

/// All hosts' networks: there is more than one where machines are started in network namespaces.
pub const NETWORKS: &str = "/run/spinney/network";

/// What is shared in one network namespace, locked as long as this lives.
#[derive(Debug)]
pub struct Shared {
    directory: OwnedFd,
    name: String,
}

impl Shared {
    /// Waits for the lock of `namespace`: whoever has it has it for some milliseconds.
    ///
    /// # Errors
    /// When /run cannot be written.
    pub fn lock(namespace: NamespaceId) -> SysResult<Self> {
        let name = namespace.to_string();
        loop {
            let directory = while_parents_vanish(|| {
                let networks = make_directories(Path::new(NETWORKS), 0o755)?;
                make_directory_at(&networks, &name, 0o755)
            })?;
            lock(&directory)?;
            // The last user may have removed it between our open and our lock.
            if rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_nlink > 0) {
                return Ok(Self { directory, name });
            }
        }
    }

    /// As [`Shared::lock`], if there is anything.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn lock_existing(namespace: NamespaceId) -> SysResult<Option<Self>> {
        match Path::new(NETWORKS).join(namespace.to_string()).exists() {
            true => Self::lock(namespace).map(Some),
            false => Ok(None),
        }
    }

    /// What has the lock.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// All things that are shared.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn things(&self) -> SysResult<Vec<String>> {
        let directories = entries(&self.directory)?.into_iter();
        let directories = directories.filter(|(_, kind)| *kind == FileType::Directory);
        Ok(directories.filter_map(|(name, _)| name.into_string().ok()).collect())
    }

    /// Notes that `machine` uses `thing`; says whether it is the first.
    ///
    /// # Errors
    /// When /run is full.
    pub fn join(&self, thing: &str, machine: &str) -> SysResult<bool> {
        let users = make_directory_at(&self.directory, thing, 0o700)?;
        let first = entries(&users)?.is_empty();
        open_at(
            &users,
            machine,
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW,
            Mode::from_raw_mode(0o600),
        )?;
        Ok(first)
    }

    /// Notes that `machine` does not use `thing` any more; says whether nobody does now.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn leave(&self, thing: &str, machine: &str) -> SysResult<bool> {
        match open_directory_at(&self.directory, thing) {
            Ok(users) => remove_file_at(&users, machine)?,
            Err(error) if error.errno() == Errno::NOENT => return Ok(true),
            Err(error) => return Err(error),
        }
        match remove_directory_at(&self.directory, thing) {
            Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Who uses `thing`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn users(&self, thing: &str) -> SysResult<Vec<String>> {
        match open_directory_at(&self.directory, thing).and_then(entries) {
            Ok(users) => Ok(users.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect()),
            Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What is noted under `name`; nothing if there is no such note.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> SysResult<Vec<u8>> {
        /// A note has a line for each interface of the host.
        const LIMIT: usize = 1 << 20;
        match read_at(&self.directory, name, LIMIT) {
            Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
            read => read,
        }
    }

    /// Notes `text` under `name`, in place of what was there.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write(&self, name: &str, text: &[u8]) -> SysResult<()> {
        replace_at(&self.directory, name, text, 0o600)
    }

    /// Forgets the note `name`.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, name: &str) -> SysResult<()> {
        remove_file_at(&self.directory, name)
    }

    /// Removes what is empty, after the last machine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tidy(self) -> SysResult<()> {
        let run = match open_directory(Path::new("/run")) {
            Err(error) if error.errno() == Errno::NOENT => return Ok(()),
            run => run?,
        };
        for path in [format!("spinney/network/{}", self.name).as_str(), "spinney/network", "spinney"] {
            match remove_directory_at(&run, path) {
                Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => break,
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// Removes what is kept of network namespaces that are gone, but for what the journal of a machine has still to undo.
///
/// # Errors
/// When it cannot be listed or removed.
pub fn sweep() -> SysResult<()> {
    let networks = match open_directory(Path::new(NETWORKS)) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        networks => networks?,
    };
    let there = numbers()?;
    for (name, _) in entries(&networks)? {
        let Some(name) = name.to_str() else { continue };
        let gone = name.parse().is_ok_and(|id: NamespaceId| !there.contains(&id.number));
        if gone && entries(open_directory_at(&networks, name)?)?.iter().all(|(_, kind)| kind.is_file()) {
            remove_tree_at(&networks, name)?;
        }
    }
    Ok(())
}
