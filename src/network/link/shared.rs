//! What machines share of a host's network, and who of them uses it: `/run/spinney/network/NAMESPACE/`, where NAMESPACE is the
//! network namespace that is the host's to them ([`NamespaceId`]).
//!
//! Each thing that is shared is a directory there, with an empty file for each machine that uses it: who takes the last away
//! undoes the thing. All of this under the lock (flock(2)) of NAMESPACE itself. It has no part in machines that run: /run may be
//! wiped while they do.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::files::{
    entries, lock, make_directory_at, open_at, open_directory, open_directory_at, read_at,
    remove_directory_at, remove_file_at, remove_tree_at, replace_at, try_lock,
};
use crate::sys::network::{NamespaceId, numbers};
use crate::sys::{FdPath, SysError, SysResult};

/// All hosts' networks: there is more than one where machines are started in network namespaces.
pub const NETWORKS: &str = "/run/spinney/network";

/// What is shared in one network namespace, locked as long as this lives.
#[derive(Debug)]
pub struct Shared {
    directory: OwnedFd,
    path: PathBuf,
}

impl Shared {
    /// Waits for the lock of `namespace`: whoever has it has it for some milliseconds.
    ///
    /// # Errors
    /// When /run cannot be written.
    pub fn lock(namespace: NamespaceId) -> SysResult<Self> {
        loop {
            let (path, directory) = namespace.make_directory_in(Path::new(NETWORKS), 0o755)?;
            lock(&directory)?;
            // The last user may have removed it between our open and our lock.
            if is_named(&directory) {
                return Ok(Self { directory, path });
            }
        }
    }

    /// As [`Shared::lock_existing`], for who must not wait: an error of EWOULDBLOCK where somebody else has the lock.
    ///
    /// # Errors
    /// When it cannot be opened or locked.
    pub fn try_lock_existing(namespace: NamespaceId) -> SysResult<Option<Self>> {
        let path = namespace.directory_in(Path::new(NETWORKS));
        let directory = match open_directory(&path) {
            Err(error) if error.errno() == Errno::NOENT => return Ok(None),
            directory => directory?,
        };
        if !try_lock(&directory)? {
            return Err(SysError::new("flock", FdPath::of(&directory).to_string(), Errno::WOULDBLOCK));
        }
        Ok(is_named(&directory).then_some(Self { directory, path }))
    }

    /// As [`Shared::lock`], if there is anything.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn lock_existing(namespace: NamespaceId) -> SysResult<Option<Self>> {
        loop {
            let path = namespace.directory_in(Path::new(NETWORKS));
            let directory = match open_directory(&path) {
                Err(error) if error.errno() == Errno::NOENT => return Ok(None),
                directory => directory?,
            };
            lock(&directory)?;
            if is_named(&directory) {
                return Ok(Some(Self { directory, path }));
            }
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
        read_note(&self.directory, name)
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
        let own = self.path.strip_prefix("/run").unwrap_or(&self.path);
        for path in [own, Path::new("spinney/network"), Path::new("spinney")] {
            match remove_directory_at(&run, path) {
                Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => break,
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// Whether the directory has not been removed since it was opened.
fn is_named(directory: &OwnedFd) -> bool {
    rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_nlink > 0)
}

/// What is noted under `name` in `namespace`, by whoever holds the lock; nothing if there is no such note.
///
/// # Errors
/// When it cannot be read.
pub fn peek(namespace: NamespaceId, name: &str) -> SysResult<Vec<u8>> {
    match open_directory(&namespace.directory_in(Path::new(NETWORKS))) {
        Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
        directory => read_note(&directory?, name),
    }
}

fn read_note(directory: &OwnedFd, name: &str) -> SysResult<Vec<u8>> {
    /// A note has a line for each interface of the host.
    const LIMIT: usize = 1 << 20;
    match read_at(directory, name, LIMIT) {
        Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
        read => read,
    }
}

/// Removes what is kept of network namespaces that are gone, but for what the journal of a machine has still to undo.
///
/// # Errors
/// When it cannot be listed or removed.
pub fn sweep() -> SysResult<()> {
    match open_directory(Path::new(NETWORKS)) {
        Err(error) if error.errno() == Errno::NOENT => Ok(()),
        networks => sweep_in(&networks?, numbers),
    }
}

fn sweep_in(networks: &OwnedFd, there: impl FnOnce() -> SysResult<BTreeSet<u64>>) -> SysResult<()> {
    for name in gone(networks, there)? {
        let directory = match open_directory_at(networks, &name) {
            Err(error) if error.errno() == Errno::NOENT => continue,
            directory => directory?,
        };
        // Who has the lock is at it, and tidies up himself.
        if try_lock(&directory)? && entries(&directory)?.iter().all(|(_, kind)| kind.is_file()) {
            remove_tree_at(networks, &name)?;
        }
    }
    Ok(())
}

/// The entries of `directory` that are of network namespaces which are not `there` any more. What there is is listed before it is
/// looked which are there: one that begins meanwhile is not listed.
///
/// # Errors
/// When they cannot be listed.
pub fn gone(directory: &OwnedFd, there: impl FnOnce() -> SysResult<BTreeSet<u64>>) -> SysResult<Vec<String>> {
    let listed = entries(directory)?;
    let there = there()?;
    let is_gone = |name: &String| name.parse().is_ok_and(|id: NamespaceId| !there.contains(&id.number));
    Ok(listed.into_iter().filter_map(|(name, _)| name.into_string().ok()).filter(is_gone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_namespaces_that_are_gone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        let make = |name: &str| std::fs::create_dir(path(name)).unwrap();
        ["6-1", "7-1", "8-1", "8", "9-1", "9-1/forwarding", "10-1", "rules"].into_iter().for_each(make);
        ["8-1/lab.json", "8-1/changed"]
            .into_iter()
            .for_each(|file| std::fs::write(path(file), "{}").unwrap());
        let networks = open_directory(temporary.path()).unwrap();
        let held = open_directory(&path("10-1")).unwrap();
        lock(&held).unwrap();
        let there = || {
            // One that begins while it is looked which are there.
            make("11-1");
            Ok([6, 7].into())
        };
        sweep_in(&networks, there).unwrap();
        let mut left: Vec<_> =
            entries(&networks).unwrap().into_iter().map(|(name, _)| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["10-1", "11-1", "6-1", "7-1", "9-1", "rules"]);
    }
}
