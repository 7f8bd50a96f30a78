//! Transfers that run: a record each, `/run/spinney/transfers/ID`, of whoever moves something now.
//!
//! Who has a record has it locked (flock(2)), from before it has its name until it ends, however that is: an unlocked one is
//! nobody's and is swept by who comes by. A record is one line of JSON, written over in place as the transfer goes on, since the
//! lock is the file's; who reads it meanwhile may have to look again.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::told::Told;
use crate::sys::files::{
    entries, make_directories, open_at, open_directory, read_at, remove_directory_at, remove_file_at,
    try_lock, while_parents_vanish,
};
use crate::sys::process::{pidfd_open, pidfd_send_signal, start_time};
use crate::sys::{FdPath, SysError, SysResult, sys};

/// Where the records are.
pub const DIRECTORY: &str = "/run/spinney/transfers";

/// The longest record; what would make it longer is cut.
pub(super) const LIMIT: usize = 32 << 10;

/// The longest text in one.
const TEXT: usize = 1024;

/// How often a record is read again that was being written.
pub(super) const LOOKS: usize = 5;

/// What of a transfer others can see. Texts may be a server's: not fit to be printed as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Record {
    /// The process.
    pub pid: i32,
    /// When that was started, in clock ticks since the host's boot.
    pub started: u64,
    /// The verb: `pull`, `import-tar`, ...
    pub kind: String,
    /// What it comes from, or goes to: an address without a password, a reference, a file.
    pub remote: String,
    /// The image.
    pub local: String,
    /// When it began, in microseconds since 1970.
    pub since: u64,
    /// How many bytes of the present stage have moved.
    pub moved: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
}

/// A record as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    #[serde(flatten)]
    pub(super) record: Record,
    #[serde(flatten)]
    pub(super) told: Told,
}

/// A record and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// By which it is cancelled.
    pub id: u32,
    /// What is known of it.
    #[serde(flatten)]
    pub record: Record,
}

/// Why a transfer cannot be cancelled.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("there is no transfer {id}")]
    NoTransfer { id: u32 },
    #[error("cannot look at the transfers in {}", .path.display())]
    Look {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("cannot cancel transfer {id}")]
    Signal {
        id: u32,
        #[source]
        source: SysError,
    },
}

/// The transfers with records in `directory`, by their numbers. Records of who is dead are removed.
///
/// # Errors
/// When it cannot be read. One that is not there has no transfers.
pub fn list(directory: &Path) -> Result<Vec<Transfer>, Error> {
    let failed = |source| Error::Look { path: directory.to_owned(), source };
    let opened = match open_directory(directory) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
    let mut found = Vec::new();
    for id in numbers(&opened).map_err(failed)? {
        if let Some((record, _)) = look(&opened, id) {
            found.push(Transfer { id, record });
        }
    }
    if found.is_empty() {
        remove_if_empty(directory);
    }
    found.sort_by_key(|transfer| transfer.id);
    Ok(found)
}

/// Has the transfer `id` end as by its user's SIGTERM: what it made is removed. A second time it ends at once.
///
/// # Errors
/// [`Error::NoTransfer`] also where it has ended.
pub fn cancel(directory: &Path, id: u32) -> Result<Transfer, Error> {
    let gone = || Error::NoTransfer { id };
    let opened = open_directory(directory).map_err(|_| gone())?;
    let (record, file) = look(&opened, id).ok_or_else(gone)?;
    let pid = Pid::from_raw(record.pid).ok_or_else(gone)?;
    let failed = |source: SysError| match source.errno() {
        Errno::SRCH => gone(),
        _ => Error::Signal { id, source },
    };
    let pidfd = pidfd_open(pid).map_err(failed)?;
    // Who has the lock now wrote the record, and lives: the pid is its own. A clone of it that holds the lock alone
    // is told by its time.
    if !is_locked(&file) || start_time(record.pid).ok() != Some(record.started) {
        return Err(gone());
    }
    pidfd_send_signal(&pidfd, libc::SIGTERM).map_err(failed)?;
    Ok(Transfer { id, record })
}

/// Makes a record: its number above `last`, itself, its length.
pub(super) fn make(directory: &Path, content: &Written, last: u32) -> SysResult<(u32, OwnedFd, usize)> {
    while_parents_vanish(|| {
        let opened = make_directories(directory, 0o755)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        // It has no name before it is locked and whole.
        let file = open_at(&opened, ".", flags, Mode::from_raw_mode(0o644))?;
        try_lock(&file)?;
        let length = write(&file, content, 0)?;
        for id in numbers(&opened)? {
            // Those of the dead go.
            let _ = look(&opened, id);
        }
        let id = give_number(&opened, &file, last)?;
        Ok((id, file, length))
    })
}

/// Writes a record over one that was `before` long; gives how long it is now.
pub(super) fn write(file: &OwnedFd, content: &Written, before: usize) -> SysResult<usize> {
    let mut text =
        serde_json::to_vec(content).map_err(|_| SysError::new("write", "a record as JSON", Errno::INVAL))?;
    // In one call, over all that was there: nothing of an older one stays behind it.
    text.resize(text.len().max(before.saturating_sub(1)), b' ');
    text.push(b'\n');
    let written = rustix::io::pwrite(file, &text, 0);
    sys("pwrite64", written, || FdPath::of(file).to_string())?;
    Ok(text.len())
}

/// What the record `id` says, and itself, if somebody has it; else it is removed.
fn look(directory: &OwnedFd, id: u32) -> Option<(Record, OwnedFd)> {
    let name = id.to_string();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open_at(directory, &name, flags, Mode::empty()).ok()?;
    if !is_locked(&file) {
        // Of a number that somebody else has by now, this is not the file.
        if is_named(directory, &name, &file) {
            let _ = remove_file_at(directory, &name);
        }
        return None;
    }
    let read = || serde_json::from_slice(&read_at(directory, &name, LIMIT).ok()?).ok();
    let record = (0..LOOKS).find_map(|_| read())?;
    Some((record, file))
}

/// Whether `name` in `directory` is the file that is open.
pub(super) fn is_named(directory: &OwnedFd, name: &str, file: &OwnedFd) -> bool {
    let named = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let key = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    matches!((named, rustix::fs::fstat(file)), (Ok(named), Ok(opened)) if key(&named) == key(&opened))
}

/// Whether somebody has `file`. A shared lock, for a moment, that a record's owner never meets: it has its own already.
pub(super) fn is_locked(file: &OwnedFd) -> bool {
    let locked = rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockShared);
    matches!(locked, Err(Errno::WOULDBLOCK))
}

/// Gives `file` the number after the last one there is, and after `last`.
fn give_number(directory: &OwnedFd, file: &OwnedFd, last: u32) -> SysResult<u32> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    loop {
        let id = numbers(directory)?.into_iter().max().unwrap_or(0).max(last).wrapping_add(1);
        match rustix::fs::linkat(CWD, &path, directory, id.to_string(), AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => return Ok(id),
            Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(SysError::new(
                    "linkat",
                    format!("{path:?}, {}, {id}", FdPath::of(directory)),
                    errno,
                ));
            }
        }
    }
}

fn numbers(directory: &OwnedFd) -> SysResult<Vec<u32>> {
    Ok(entries(directory)?.into_iter().filter_map(|(entry, _)| entry.to_str()?.parse().ok()).collect())
}

/// Removes `directory`, and what it is in, where nothing is in them.
pub(super) fn remove_if_empty(directory: &Path) {
    let _ = remove_directory_at(CWD, directory);
    if let Some(parent) = directory.parent().filter(|_| directory == Path::new(DIRECTORY)) {
        let _ = remove_directory_at(CWD, parent);
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT / 4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_dead_are_swept() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().to_owned();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let record = Record { pid: child.id().try_into().unwrap(), ..Record::default() };
        std::fs::write(directory.join("7"), serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::write(directory.join("other"), "").unwrap();
        // Nobody has it: the process by its pid is another one.
        assert!(matches!(cancel(&directory, 7), Err(Error::NoTransfer { id: 7 })));
        assert!(matches!(cancel(&directory, 8), Err(Error::NoTransfer { id: 8 })));
        assert_eq!((list(&directory).unwrap(), child.try_wait().unwrap()), (Vec::new(), None));
        let names: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["other"]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
