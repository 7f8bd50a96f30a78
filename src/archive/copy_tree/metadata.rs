//! What a copy gets besides its data: owner, permissions, attributes, times.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;

use super::Copier;
use crate::archive::entry::ACL_ACCESS;
use crate::archive::error::Error;
use crate::archive::notes::Reason;
use crate::sys::files::{change_mode, change_owner, open_at};
use crate::sys::{SysResult, attributes};

/// Attributes that steer overlays: of a plain tree they are no part (Documentation/filesystems/overlayfs.rst).
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

impl Copier<'_> {
    /// Owner, permissions, attributes and times: in this order, since each takes some of the later ones away.
    pub(super) fn give_all(
        &mut self,
        stat: &Stat,
        source: BorrowedFd<'_>,
        copy: &OwnedFd,
    ) -> Result<(), Error> {
        change_owner(copy, stat.st_uid, stat.st_gid).map_err(self.failed())?;
        change_mode(copy, stat.st_mode & 0o7777).map_err(self.failed())?;
        for name in attributes::list(source).map_err(self.failed())? {
            if !self.options.overlay_attributes && OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let Some(value) = attributes::get(source, &name).map_err(self.failed())? else { continue };
            match attributes::set(copy, &name, &value) {
                Ok(()) => {}
                // A file system that has none, or none so large; labels that the host's policy gives (EPERM).
                Err(error)
                    if matches!(
                        error.errno(),
                        Errno::OPNOTSUPP
                            | Errno::PERM
                            | Errno::ACCESS
                            | Errno::INVAL
                            | Errno::TOOBIG
                            | Errno::RANGE
                    ) =>
                {
                    if name.starts_with(b"user.") || name.starts_with(b"security.cap") || name == ACL_ACCESS {
                        self.notes.add_fault(Reason::Attribute, &self.path, &error);
                    }
                }
                Err(error) => return Err(self.failed()(error)),
            }
        }
        give_times(stat, copy).map_err(self.failed())
    }

    /// The same for what is opened as a place alone.
    pub(super) fn finish_place(
        &mut self,
        place: &OwnedFd,
        target: &OwnedFd,
        name: &OsStr,
        stat: &Stat,
    ) -> Result<(), Error> {
        let copy =
            open_at(target, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).map_err(self.failed())?;
        change_owner(&copy, stat.st_uid, stat.st_gid).map_err(self.failed())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let mode = stat.st_mode & 0o7777;
            self.open_files.change_mode(&copy, mode).map_err(self.failed())?;
            if let Some(acl) = self.open_files.attribute(place, ACL_ACCESS).map_err(self.failed())?
                && let Err(error) = self.open_files.set_attribute(&copy, ACL_ACCESS, &acl)
            {
                self.notes.add_fault(Reason::Attribute, &self.path, &error);
            }
        }
        give_times(stat, &copy).map_err(self.failed())
    }
}

fn give_times(stat: &Stat, copy: &OwnedFd) -> SysResult<()> {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    attributes::set_times(
        copy,
        time(stat.st_atime, stat.st_atime_nsec),
        time(stat.st_mtime, stat.st_mtime_nsec),
    )
}
