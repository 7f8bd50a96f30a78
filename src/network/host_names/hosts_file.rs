//! The host's hosts file: replaced whole, never written in place, so that whoever reads it, and whoever is killed, finds one that is
//! whole; by one supervisor at a time.

mod error;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::sys::files::{
    change_mode, change_owner, make_directories, open_at, open_directory, read_all, remove_directory_at,
    remove_file_at, start_writeback, while_parents_vanish, write_all,
};
use crate::sys::lock_file::{Hold, LockFile};
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

use super::HostName;
use super::hosts_text::{Wanted, with, without};

pub use error::HostsFileError;

/// The host's.
pub const HOSTS: &str = "/etc/hosts";

/// Attributes that are not taken over: signatures of what is in a file (Linux, security/integrity).
const OF_CONTENTS: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// Those without which others could read the file than may, or fewer.
const WHO_MAY: [&[u8]; 2] = [b"security.selinux", b"system.posix_acl_access"];

/// Where the lock is while somebody has it.
const LOCKS: &str = "/run/spinney";
const LOCK: &str = "hosts.lck";

/// How long others are waited for: each has it for as long as the disk takes for a small file.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);

/// How often a file is read again that others write without asking.
const LOOKS: usize = 8;

/// A file of more is left alone: block lists have some megabytes.
const LIMIT: usize = 16 << 20;

/// A hosts file.
#[derive(Debug, Clone)]
pub struct HostsFile {
    path: PathBuf,
    locks: PathBuf,
}

impl HostsFile {
    /// That of the host, if it is for programs that can reach our machines.
    pub fn of_host() -> Option<Self> {
        super::concerns_us(Path::new(HOSTS)).then(Self::in_etc)
    }

    /// That of the host, whoever it is for.
    pub fn in_etc() -> Self {
        Self::at(Path::new(HOSTS), Path::new(LOCKS))
    }

    /// That at `path`, with a lock in the directory `locks`.
    pub fn at(path: &Path, locks: &Path) -> Self {
        Self { path: path.to_owned(), locks: locks.to_owned() }
    }

    /// Has it name `host`. Waits neither for others, who may be at it, nor for the disk.
    ///
    /// # Errors
    /// When it cannot be changed, or not now: then it is as it was.
    pub fn add(&self, host: &HostName) -> Result<(), HostsFileError> {
        let _lock = self.try_lock()?;
        self.change(|text| with(text, host), |file| start_writeback(file))
    }

    /// Removes all lines of machines that are not to be `kept`. Waits for others who are at it. There are none of ours in a file that
    /// cannot be read: we could not have written it.
    ///
    /// # Errors
    /// When it cannot be changed: then it is as it was.
    pub fn keep(&self, kept: impl Fn(&str) -> bool) -> Result<(), HostsFileError> {
        // Looked at without the lock first: mostly there is nothing of ours.
        let place = self.place().map_err(|source| self.failed(source));
        let nothing = match place.as_ref().map(|at| self.read(at)) {
            Ok(Ok(Some(old))) => matches!(without(Some(&old.text), &kept), Wanted::Same),
            // Others are at it all the time: not before we have the lock.
            Err(HostsFileError::Change { source, .. }) if source.errno() == Errno::AGAIN => false,
            Ok(Ok(None) | Err(_)) | Err(_) => true,
        };
        if nothing {
            self.clear(place.ok().as_ref());
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        let _lock = loop {
            match self.try_lock() {
                Err(HostsFileError::Busy { .. }) if Instant::now() < until => std::thread::sleep(LOOK),
                lock => break lock?,
            }
        };
        // Before it has the name: after a loss of power the host would have an empty file.
        self.change(
            |text| without(text, &kept),
            |file| {
                // One that cannot is a file system's own matter, and says so elsewhere.
                let _ = rustix::fs::fdatasync(file);
            },
        )
    }

    /// Removes what one of us that was killed at it has left of lock and new file. Somebody who is at it now does that himself.
    fn clear(&self, place: Option<&Place>) {
        let new = place.map(|place| (place, temporary(place)));
        let has_new = new.as_ref().is_some_and(|(place, name)| is_there(&place.directory, name));
        if !has_new && rustix::fs::lstat(self.locks.join(LOCK)).is_err() {
            return;
        }
        // Dropped, the lock has its file removed, whoever made that.
        if let (Ok(_lock), Some((place, name))) = (self.try_lock(), new) {
            // In a directory that cannot be written there is none.
            let _ = remove_file_at(&place.directory, &name);
        }
    }

    /// Changes it as `edit` says, by who has the lock. Others than us do not look for that: what they have written in between is
    /// read again.
    fn change(
        &self,
        edit: impl Fn(Option<&[u8]>) -> Wanted,
        store: impl Fn(&OwnedFd),
    ) -> Result<(), HostsFileError> {
        for _ in 0..LOOKS {
            let place = self.place().map_err(|source| self.failed(source))?;
            let old = self.read(&place)?;
            let is_same = || Stamp::at(&place) == old.as_ref().map(|old| old.stamp);
            let changed = match edit(old.as_ref().map(|old| old.text.as_slice())) {
                Wanted::Same => Ok(true),
                Wanted::Text(text) => replace(&place, old.as_ref(), &text, &store, is_same),
                Wanted::Gone if is_same() => remove_file_at(&place.directory, &place.name).map(|()| true),
                Wanted::Gone => Ok(false),
            };
            if changed.map_err(|source| self.failed(source))? {
                return Ok(());
            }
        }
        Err(HostsFileError::Busy { path: self.path.clone() })
    }

    fn failed(&self, source: SysError) -> HostsFileError {
        let path = self.path.clone();
        match source.errno() {
            Errno::ROFS | Errno::BUSY | Errno::PERM | Errno::XDEV => HostsFileError::Fixed { path, source },
            _ => HostsFileError::Change { path, source },
        }
    }

    /// The lock, if nobody has it.
    pub(super) fn try_lock(&self) -> Result<Held, HostsFileError> {
        let taken = while_parents_vanish(|| {
            LockFile::try_take(make_directories(&self.locks, 0o755)?, LOCK, Hold::Exclusive)
        });
        match taken.map_err(|source| self.failed(source))? {
            Some(lock) => Ok(Held { lock: Some(lock), directory: self.locks.clone() }),
            None => Err(HostsFileError::Busy { path: self.path.clone() }),
        }
    }

    /// Where the file is, behind symbolic links.
    fn place(&self) -> SysResult<Place> {
        let mut path = None;
        let mut nameless = Vec::new();
        for _ in 0..LOOKS {
            path = match open_at(CWD, &self.path, OFlags::PATH, Mode::empty()) {
                Ok(file) => match named(&file)? {
                    Named::At(path) => Some(path),
                    Named::Nowhere(inode) => {
                        nameless.push(inode);
                        None
                    }
                },
                // A link that leads nowhere stays what it is.
                Err(error) if error.errno() == Errno::NOENT && rustix::fs::lstat(&self.path).is_err() => {
                    Some(self.path.clone())
                }
                Err(error) => return Err(error),
            };
            if path.is_some() {
                break;
            }
        }
        // One file without a name, time and again: it is mounted there, as in a container, and was replaced where it came from.
        let errno = if nameless.windows(2).all(|two| two[0] == two[1]) { Errno::BUSY } else { Errno::AGAIN };
        let path = path.ok_or_else(|| SysError::new("readlink", format!("{:?}", self.path), errno))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Place { directory: open_directory(path.parent().unwrap_or(Path::new("/")))?, name })
    }

    /// The file and its text, if it is there.
    fn read(&self, place: &Place) -> Result<Option<Old>, HostsFileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open_at(&place.directory, &place.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) if error.errno() == Errno::NOENT => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let stat = sys("fstat", rustix::fs::fstat(&file), || FdPath::of(&file).to_string())
            .map_err(|source| self.failed(source))?;
        // A link to /dev/null, say.
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            let source = SysError::new("read", FdPath::of(&file).to_string(), Errno::INVAL);
            return Err(self.failed(source));
        }
        let text = read_all(&file, LIMIT + 1).map_err(|source| self.failed(source))?;
        match text.len() > LIMIT {
            true => Err(HostsFileError::Large { path: self.path.clone() }),
            false => Ok(Some(Old { file, stamp: Stamp::of(&stat), text })),
        }
    }
}

/// The file as it is before we change it.
struct Old {
    file: OwnedFd,
    /// Of before it was read.
    stamp: Stamp,
    text: Vec<u8>,
}

/// Tells one version of the file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    changed: (i64, u64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self { inode: stat.st_ino, size: stat.st_size, changed: (stat.st_mtime, stat.st_mtime_nsec) }
    }

    /// That of what is at `place` now.
    fn at(place: &Place) -> Option<Self> {
        let stat = rustix::fs::statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW);
        stat.ok().map(|stat| Self::of(&stat))
    }
}

/// A file's directory and its name there.
struct Place {
    directory: OwnedFd,
    name: String,
}

/// The lock, and its directory, which goes when nobody uses it.
#[derive(Debug)]
pub(super) struct Held {
    lock: Option<LockFile>,
    directory: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lock = None;
        // Another one's lock or machines keep it there.
        let _ = remove_directory_at(CWD, &self.directory);
    }
}

/// The new file until it has the name: the same for all, who have the lock.
fn temporary(place: &Place) -> String {
    format!(".#{}.spinney", place.name)
}

fn is_there(directory: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Puts `text` in place of the file, with mode, owner and attributes of the `old` one, if it `is_same` until then; says whether it
/// was. `store` has the kernel bring the new one to disk.
fn replace(
    place: &Place,
    old: Option<&Old>,
    text: &[u8],
    store: impl Fn(&OwnedFd),
    is_same: impl Fn() -> bool,
) -> SysResult<bool> {
    // What one that was killed left is gone with the next.
    let temporary = temporary(place);
    remove_file_at(&place.directory, &temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let new = open_at(&place.directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
    let written = write_all(&new, text).and_then(|()| make_alike(&new, old)).and_then(|()| {
        store(&new);
        if !is_same() {
            return Ok(false);
        }
        let renamed = rustix::fs::renameat(&place.directory, &temporary, &place.directory, &place.name);
        sys("renameat", renamed.map(|()| true), || {
            format!("{}, {temporary:?}, {:?}", FdPath::of(&place.directory), place.name)
        })
    });
    if !matches!(written, Ok(true)) {
        let _ = remove_file_at(&place.directory, &temporary);
    }
    written
}

fn make_alike(new: &OwnedFd, old: Option<&Old>) -> SysResult<()> {
    let Some(Old { file: old, .. }) = old else { return change_mode(new, 0o644) };
    let stat =
        sys("fstat", rustix::fs::statat(old, "", AtFlags::EMPTY_PATH), || FdPath::of(old).to_string())?;
    change_owner(new, stat.st_uid, stat.st_gid)?;
    for name in attributes::list(old.as_fd())? {
        // Those are of the old file's contents.
        if OF_CONTENTS.contains(&name.as_slice()) {
            continue;
        }
        let set = match attributes::get(old, &name) {
            Ok(Some(value)) => attributes::set(new, &name, &value),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if WHO_MAY.contains(&name.as_slice()) {
            set?;
        }
    }
    // Last: owner and access control lists change it.
    change_mode(new, stat.st_mode & 0o7777)
}

/// Where a file is that was opened.
enum Named {
    At(PathBuf),
    /// It has no name any more; its inode.
    Nowhere(u64),
}

/// The path that `file` has; none when another took its place since it was opened: then /proc says `NAME (deleted)`.
fn named(file: &OwnedFd) -> SysResult<Named> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = std::fs::read_link(&link).map_err(|_| SysError::new("readlink", link, Errno::NOENT))?;
    // Asked afterwards: what is there now was there before. It may have other names, which are no business of ours.
    let stat = sys("fstat", rustix::fs::fstat(file), || FdPath::of(file).to_string())?;
    let is_it = |there: rustix::fs::Stat| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino);
    let is_there = rustix::fs::lstat(&path).is_ok_and(is_it);
    Ok(if is_there { Named::At(path) } else { Named::Nowhere(stat.st_ino) })
}

#[cfg(test)]
mod tests;
