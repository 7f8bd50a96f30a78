//! Files that are not whole yet, under a name of ours in the directory that they are for.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::sys::files::open_at;
use crate::sys::{FdPath, SysError, SysResult, sys};

/// How the names begin; what a killed copy leaves can be found by it.
const PREFIX: &str = ".#spinney-";

/// A file under a temporary name; gone when dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    directory: Rc<OwnedFd>,
    name: OsString,
    /// A regular file to write, any other as a place.
    fd: OwnedFd,
    /// It has no name any more that is ours to remove.
    done: bool,
}

impl Temporary {
    /// An empty regular file that nobody else may open.
    pub(super) fn file(directory: Rc<OwnedFd>) -> SysResult<Self> {
        let name = name()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = open_at(&directory, &name, flags, Mode::from_raw_mode(0o600))?;
        Ok(Self { directory, name, fd, done: false })
    }

    /// A symbolic link.
    pub(super) fn symlink(directory: Rc<OwnedFd>, target: &[u8]) -> SysResult<Self> {
        let name = name()?;
        let target = OsStr::from_bytes(target);
        sys("symlinkat", rustix::fs::symlinkat(target, &directory, &name), || {
            format!("{target:?}, {}, {name:?}", FdPath::of(&directory))
        })?;
        Self::made(directory, name, FileType::Symlink)
    }

    /// A FIFO. Its permissions cannot be changed by a place before Linux 6.6, so it has them from the beginning.
    pub(super) fn fifo(directory: Rc<OwnedFd>, mode: u32) -> SysResult<Self> {
        let name = name()?;
        let before = rustix::process::umask(Mode::empty());
        let made = rustix::fs::mknodat(&directory, &name, FileType::Fifo, Mode::from_raw_mode(mode), 0);
        rustix::process::umask(before);
        sys("mknodat", made, || format!("{}, {name:?}, S_IFIFO, {mode:o}", FdPath::of(&directory)))?;
        Self::made(directory, name, FileType::Fifo)
    }

    /// Another name of `name` in `from`, itself if that is a link.
    pub(super) fn link(from: impl AsFd, old: &[u8], directory: Rc<OwnedFd>) -> SysResult<Self> {
        let (name, old) = (name()?, OsStr::from_bytes(old));
        sys("linkat", rustix::fs::linkat(&from, old, &directory, &name, AtFlags::empty()), || {
            format!("{}, {old:?}, {}, {name:?}", FdPath::of(&from), FdPath::of(&directory))
        })?;
        let fd = open_place(&directory, &name)?;
        Ok(Self { directory, name, fd, done: false })
    }

    /// Opens what was made. If somebody put something else there, that is not ours.
    fn made(directory: Rc<OwnedFd>, name: OsString, kind: FileType) -> SysResult<Self> {
        let fd = open_place(&directory, &name)?;
        let stat = sys("fstat", rustix::fs::fstat(&fd), || FdPath::of(&fd).to_string())?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return Err(SysError::new("fstat", format!("{name:?} was replaced"), Errno::STALE));
        }
        Ok(Self { directory, name, fd, done: false })
    }

    /// It.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, name: &[u8], flags: RenameFlags) -> SysResult<()> {
        let name = OsStr::from_bytes(name);
        let renamed =
            match rustix::fs::renameat_with(&self.directory, &self.name, &self.directory, name, flags) {
                // A file system without RENAME_NOREPLACE (renameat2(2)): a link does not replace either.
                Err(Errno::INVAL) if flags == RenameFlags::NOREPLACE => {
                    rustix::fs::linkat(&self.directory, &self.name, &self.directory, name, AtFlags::empty())
                }
                Ok(()) if flags.is_empty() => Ok(()),
                renamed => {
                    self.done = renamed.is_ok();
                    renamed
                }
            };
        // Where the temporary name may be there still, it goes when we do: after a link, and after a rename onto another
        // name of the same file, which does nothing (rename(2)).
        sys("renameat2", renamed, || {
            format!("{}, {:?}, {name:?}, {flags:?}", FdPath::of(&self.directory), self.name)
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            // What failed before says why.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn open_place(directory: &OwnedFd, name: &OsStr) -> SysResult<OwnedFd> {
    open_at(directory, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
}

fn name() -> SysResult<OsString> {
    let mut random = [0_u8; 8];
    sys("getrandom", getrandom(&mut random, GetRandomFlags::empty()), || "8".to_owned())?;
    Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)).into())
}
