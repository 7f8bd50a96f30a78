//! Owner, permissions, attributes and times: in this order, since chown(2) takes set-id bits and capabilities away, and all
//! of them change times.

use std::os::fd::OwnedFd;

use rustix::fs::Timespec;
use rustix::io::Errno;

use super::temporary::Temporary;
use super::{Fault, Unpacker};
use crate::archive::entry::{ACL_DEFAULT, CAPABILITY, Entry, Kind, Time};
use crate::archive::notes::Reason;
use crate::archive::pack::SET_ID;
use crate::sys::files::{change_mode, change_owner_partly};
use crate::sys::{SysError, SysResult, attributes};

/// Who owns what has no owner here (the kernel's overflow uid, Documentation/admin-guide/sysctl/kernel.rst).
const NOBODY: u32 = 65534;

/// What a file gets when it is whole.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) mode: u32,
    owner: (u32, u32),
    accessed: Option<Time>,
    modified: Time,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Unpacker<'_> {
    /// What `entry` says, within what is let through.
    pub(super) fn metadata(&mut self, entry: &Entry) -> Metadata {
        let mut mode = entry.mode & 0o7777;
        let mut attributes = entry.attributes.clone();
        let is_directory = entry.kind == Kind::Directory;
        // A directory's set-group-ID bit gives nobody a right of the owner's.
        if self.options.drop_privileges && !is_directory {
            if mode & SET_ID != 0 && !matches!(entry.kind, Kind::Symlink { .. }) {
                self.notes.add(Reason::SetId, &entry.path);
            }
            mode &= !SET_ID;
            if attributes.iter().any(|(name, _)| name == CAPABILITY) {
                self.notes.add(Reason::Capability, &entry.path);
                attributes.retain(|(name, _)| name != CAPABILITY);
            }
        }
        attributes.retain(|(name, _)| is_directory || name != ACL_DEFAULT);
        let owner = self.options.owner.unwrap_or((entry.uid, entry.gid));
        Metadata { mode, owner, accessed: entry.accessed, modified: entry.modified, attributes }
    }

    /// Gives `metadata` to an open file or directory.
    pub(super) fn apply(&mut self, metadata: &Metadata, file: &OwnedFd, path: &[u8]) -> Result<(), Fault> {
        self.give_owner(metadata.owner, file, path)?;
        change_mode(file, metadata.mode)?;
        for (name, value) in &metadata.attributes {
            match attributes::set(file, name, value) {
                Err(error) if matches!(error.errno(), Errno::NOSPC | Errno::DQUOT | Errno::IO) => {
                    return Err(error.into());
                }
                Err(error) => self.notes.add_fault(Reason::Attribute, path, &error),
                Ok(()) => {}
            }
        }
        set_times(metadata, file)?;
        Ok(())
    }

    /// Gives `metadata` to what is no file or directory.
    pub(super) fn apply_to_place(
        &mut self,
        metadata: &Metadata,
        made: &Temporary,
        path: &[u8],
    ) -> Result<(), Fault> {
        self.give_owner(metadata.owner, made.fd(), path)?;
        set_times(metadata, made.fd())?;
        Ok(())
    }

    fn give_owner(&mut self, (uid, gid): (u32, u32), file: &OwnedFd, path: &[u8]) -> Result<(), Fault> {
        // All ones would be no ID but "as it is" (chown(2)): a stream may say anything.
        let (uid, gid) = (Some(uid).filter(|id| *id != u32::MAX), Some(gid).filter(|id| *id != u32::MAX));
        let changed = match (uid, gid) {
            (Some(_), Some(_)) => change_owner_partly(file, uid, gid),
            _ => Err(SysError::new("fchownat", "an ID of all ones", Errno::INVAL)),
        };
        match changed {
            // EINVAL is an ID that the user namespace has not (chown(2)).
            Err(error) if error.errno() == Errno::INVAL => {
                self.notes.add(Reason::ForeignOwner, path);
                if uid.is_none() || change_owner_partly(file, uid, None).is_err() {
                    change_owner_partly(file, Some(NOBODY), None)?;
                }
                if gid.is_none() || change_owner_partly(file, None, gid).is_err() {
                    change_owner_partly(file, None, Some(NOBODY))?;
                }
                Ok(())
            }
            // A file system without owners.
            Err(error) if matches!(error.errno(), Errno::PERM | Errno::OPNOTSUPP) => {
                self.notes.add_fault(Reason::Attribute, path, &error);
                Ok(())
            }
            changed => Ok(changed?),
        }
    }
}

fn set_times(metadata: &Metadata, file: &OwnedFd) -> SysResult<()> {
    /// Leaves a time as it is (utimensat(2)).
    const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ };
    let timespec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    attributes::set_times(file, metadata.accessed.map_or(OMIT, timespec), timespec(metadata.modified))
}
