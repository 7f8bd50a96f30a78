//! Lock files as systemd's programs have them (systemd's lock-util.c): an empty file that is locked while it has a name.
//!
//! The lock belongs to the open file description (F_OFD_SETLK, fcntl(2)), so that children may hold it and threads do not
//! share it by accident. Who lets go of it last removes the file; who locks one that was removed meanwhile has the lock
//! of nothing, and tries again. A file that a killed owner left is in nobody's way.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::files::{open_at, remove_file_at};
use super::{FdPath, SysError, SysResult};

/// Who else may hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nobody.
    Exclusive,
    /// Others who share it.
    Shared,
}

/// A lock file that is held. Dropped, it is let go of and removed unless others hold it.
#[derive(Debug)]
pub struct LockFile {
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
    hold: Hold,
}

impl LockFile {
    /// Takes `name` in `directory` if nobody has it; `None` if somebody has.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn try_take(directory: OwnedFd, name: &str, hold: Hold) -> SysResult<Option<Self>> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NOCTTY;
            let file = open_at(&directory, name, flags, Mode::from_raw_mode(0o600))?;
            if !try_lock(&file, hold)? {
                return Ok(None);
            }
            // The last owner may have removed it between our open and our lock.
            if rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
                return Ok(Some(Self { directory, name: name.to_owned(), file, hold }));
            }
        }
    }

    /// What others hold of `name`, whoever they are: nothing, a share, or all of it.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn held_by_others(directory: impl AsFd, name: &str) -> SysResult<Option<Hold>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = match open_at(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) if error.errno() == Errno::NOENT => return Ok(None),
            Err(error) => return Err(error),
        };
        query(&file)
    }

    /// Its file, to tell who else has it open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Alone on it, nobody can have locked this file under its name: it may go. What fails leaves an empty file.
        if self.hold == Hold::Exclusive || try_lock(&self.file, Hold::Exclusive).unwrap_or(false) {
            let _ = remove_file_at(&self.directory, &self.name);
        }
    }
}

fn request(hold: Hold) -> libc::flock {
    // SAFETY: flock is a struct of integers; all zero is a valid value (the whole file, from its start).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let kind = match hold {
        Hold::Exclusive => libc::F_WRLCK,
        Hold::Shared => libc::F_RDLCK,
    };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock
}

fn try_lock(file: &OwnedFd, hold: Hold) -> SysResult<bool> {
    let lock = request(hold);
    // SAFETY: the struct lives across the call and the fd is borrowed for its length.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    match super::check(result.into()) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => {
            Err(SysError::new("fcntl", format!("{}, F_OFD_SETLK, {hold:?}", FdPath::of(file)), errno))
        }
    }
}

fn query(file: &OwnedFd) -> SysResult<Option<Hold>> {
    let mut lock = request(Hold::Exclusive);
    // SAFETY: the struct lives across the call, which may write to it, and the fd is borrowed for its length.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    super::check(result.into())
        .map_err(|errno| SysError::new("fcntl", format!("{}, F_OFD_GETLK", FdPath::of(file)), errno))?;
    Ok(match libc::c_int::from(lock.l_type) {
        libc::F_UNLCK => None,
        libc::F_RDLCK => Some(Hold::Shared),
        _ => Some(Hold::Exclusive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::open_directory;

    #[test]
    fn shares() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = || open_directory(temporary.path()).unwrap();
        let take = |hold| LockFile::try_take(directory(), "x.lck", hold).unwrap();
        let there = || temporary.path().join("x.lck").exists();
        let held = || LockFile::held_by_others(directory(), "x.lck").unwrap();
        assert_eq!(held(), None);
        assert!(!there());
        let alone = take(Hold::Exclusive).unwrap();
        assert_eq!(held(), Some(Hold::Exclusive));
        assert!(take(Hold::Exclusive).is_none() && take(Hold::Shared).is_none());
        drop(alone);
        assert!(!there());
        let (one, two) = (take(Hold::Shared).unwrap(), take(Hold::Shared).unwrap());
        assert_eq!(held(), Some(Hold::Shared));
        assert!(take(Hold::Exclusive).is_none());
        drop(one);
        assert!(there());
        drop(two);
        assert!(!there());
        // What a killed owner left.
        std::fs::write(temporary.path().join("x.lck"), "").unwrap();
        assert!(take(Hold::Exclusive).is_some());
    }
}
