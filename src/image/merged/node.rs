//! A file of a view, as the layers together have it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::layer::{mark, stat_of};
use crate::image::overlay::Marks;
use crate::sys::in_root::reopen;
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

/// A file of a view.
#[derive(Debug)]
pub struct Node {
    pub(super) place: OwnedFd,
    pub(super) stat: Stat,
    /// Which layer it is of.
    pub(super) layer: usize,
    pub(super) marks: Option<Marks>,
    /// What it is made of, the uppermost first, if it is a directory.
    pub(super) parts: Vec<Part>,
    /// Where its data is, if not where its metadata is.
    pub(super) data: Option<OwnedFd>,
}

/// The part of a directory that one layer has.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) layer: usize,
    pub(super) directory: OwnedFd,
    /// Empty files in it may be whiteouts.
    pub(super) has_attribute_whiteouts: bool,
}

impl Node {
    /// What fstat(2) says of it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Regular file, directory, symlink, ...
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Which file it is, among all of its view: names that have the same are links of one.
    pub fn identity(&self) -> (usize, u64, u64) {
        (self.layer, self.stat.st_dev, self.stat.st_ino)
    }

    /// Whether it is made of the very same files as `other` of another view.
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_mode);
        let data = |node: &Self| node.data.as_ref().map(|data| stat_of(data).map(|stat| key(&stat)).ok());
        let parts = |node: &Self| -> Option<Vec<_>> {
            node.parts.iter().map(|part| stat_of(&part.directory).ok().map(|stat| key(&stat))).collect()
        };
        key(&self.stat) == key(&other.stat)
            && data(self) == data(other)
            && parts(self).is_some()
            && parts(self) == parts(other)
    }

    /// Itself, as a place.
    pub fn place(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// EINVAL for what is none: it could block, or be a device.
    pub fn open(&self) -> SysResult<OwnedFd> {
        if self.kind() != FileType::RegularFile {
            return Err(SysError::new("openat", FdPath::of(&self.place).to_string(), Errno::INVAL));
        }
        let place = self.data.as_ref().unwrap_or(&self.place);
        reopen(place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Where a symlink points, as written in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn link_target(&self) -> SysResult<PathBuf> {
        let target = rustix::fs::readlinkat(&self.place, c"", Vec::new());
        let target = sys("readlinkat", target, || FdPath::of(&self.place).to_string())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Its extended attributes as a machine sees them, sorted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn attributes(&self) -> SysResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        for name in attributes::list_of_place(&self.place)? {
            let Some(shown) = self.shown(&name) else { continue };
            if let Some(value) = attributes::get_of_place(&self.place, &name)? {
                found.push((shown, value));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn shown(&self, name: &[u8]) -> Option<Vec<u8>> {
        let Some(marks) = self.marks else { return Some(name.to_vec()) };
        match (
            name.strip_prefix(mark(marks, "").as_slice()),
            name.strip_prefix(mark(marks, "overlay.").as_slice()),
        ) {
            // What a nested overlay wrote (Linux 6.7).
            (_, Some(rest)) => Some([mark(marks, "").as_slice(), rest].concat()),
            (Some(_), None) => None,
            (None, None) => Some(name.to_vec()),
        }
    }
}
