//! Owner, permissions, attributes and times: in this order, since chown(2) takes set-id bits and capabilities away, and all
//! of them change times.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, Timespec};
use rustix::io::Errno;

use super::entry::Time;
use super::notes::{Notes, Reason};
use crate::sys::files::{change_mode, change_owner_partly, open_at};
use crate::sys::{SysError, SysResult, attributes};

/// Who owns what has no owner here (the kernel's overflow uid, Documentation/admin-guide/sysctl/kernel.rst).
const NOBODY: u32 = 65534;

/// Leaves a time as it is (utimensat(2)).
pub(super) const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ };

/// What a file gets when it is whole.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) accessed: Option<Time>,
    pub(super) modified: Time,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a file was made with, and need not get again.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsMade {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
}

impl Metadata {
    /// Gives it all to an open file or directory. What the file system there has not is noted.
    ///
    /// # Errors
    /// When the file cannot be what it should.
    pub(super) fn apply(
        &self,
        file: &OwnedFd,
        made: Option<AsMade>,
        path: &[u8],
        notes: &mut Notes,
    ) -> SysResult<()> {
        let has_owner = made.is_some_and(|made| made.owner == self.owner);
        if !has_owner {
            self.give_owner(file, path, notes)?;
        }
        if made.is_none_or(|made| made.mode != self.mode) {
            change_mode(file, self.mode)?;
        }
        for (name, value) in &self.attributes {
            match attributes::set(file, name, value) {
                Err(error) if matches!(error.errno(), Errno::NOSPC | Errno::DQUOT | Errno::IO) => {
                    return Err(error);
                }
                Err(error) => notes.add_fault(Reason::Attribute, path, &error),
                Ok(()) => {}
            }
        }
        let (accessed, modified) = self.times();
        attributes::set_times_of_open(file, accessed, modified)
    }

    /// The same for what is no file or directory: `name` in `parent`, which nobody else can change.
    ///
    /// # Errors
    /// As [`Metadata::apply`].
    pub(super) fn apply_at(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        made: Option<AsMade>,
        path: &[u8],
        notes: &mut Notes,
    ) -> SysResult<()> {
        let has_owner = made.is_some_and(|made| made.owner == self.owner);
        if !has_owner || !self.attributes.is_empty() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let place = open_at(parent, OsStr::from_bytes(name), flags, Mode::empty())?;
            self.give_owner(&place, path, notes)?;
            for (name, value) in &self.attributes {
                if let Err(error) = attributes::set_of_place(&place, name, value) {
                    notes.add_fault(Reason::Attribute, path, &error);
                }
            }
        }
        let (accessed, modified) = self.times();
        attributes::set_times_at(parent, OsStr::from_bytes(name), accessed, modified)
    }

    /// Gives owner and times to what is no file or directory: `place` is `O_PATH`.
    ///
    /// # Errors
    /// As [`Metadata::apply`].
    pub(super) fn apply_to_place(&self, place: &OwnedFd, path: &[u8], notes: &mut Notes) -> SysResult<()> {
        self.give_owner(place, path, notes)?;
        let (accessed, modified) = self.times();
        attributes::set_times(place, accessed, modified)
    }

    /// When it was read and changed, for utimensat(2).
    pub(super) fn times(&self) -> (Timespec, Timespec) {
        let timespec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
        (self.accessed.map_or(OMIT, timespec), timespec(self.modified))
    }

    /// Gives what `fd` stands for, `O_PATH` too, to its owner; to nobody where there is no such owner.
    ///
    /// # Errors
    /// When not even that is possible.
    pub(super) fn give_owner(&self, fd: impl AsFd, path: &[u8], notes: &mut Notes) -> SysResult<()> {
        let (uid, gid) = self.owner;
        // All ones would be no ID but "as it is" (chown(2)): a stream may say anything.
        let (uid, gid) = (Some(uid).filter(|id| *id != u32::MAX), Some(gid).filter(|id| *id != u32::MAX));
        let changed = match (uid, gid) {
            (Some(_), Some(_)) => change_owner_partly(&fd, uid, gid),
            _ => Err(SysError::new("fchownat", "an ID of all ones", Errno::INVAL)),
        };
        match changed {
            // EINVAL is an ID that the user namespace has not (chown(2)).
            Err(error) if error.errno() == Errno::INVAL => {
                notes.add(Reason::ForeignOwner, path);
                if uid.is_none() || change_owner_partly(&fd, uid, None).is_err() {
                    change_owner_partly(&fd, Some(NOBODY), None)?;
                }
                if gid.is_none() || change_owner_partly(&fd, None, gid).is_err() {
                    change_owner_partly(&fd, None, Some(NOBODY))?;
                }
                Ok(())
            }
            // A file system without owners.
            Err(error) if matches!(error.errno(), Errno::PERM | Errno::OPNOTSUPP) => {
                notes.add_fault(Reason::Attribute, path, &error);
                Ok(())
            }
            changed => changed,
        }
    }
}
