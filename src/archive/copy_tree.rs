//! A tree to another place, exactly, without a stream in between.
//!
//! Everything goes by fds, as when a tree is packed: what the source's owner swaps meanwhile is another file, and no FIFO
//! or device is ever opened. The target is a fresh directory that nobody else writes to. Data is shared where the file
//! system can (reflinks), else moved within the kernel, holes staying holes. What cannot be copied ends the copy: half a
//! tree is none; only what the target's file system has no place for is noted, and files that went while we looked.
//!
//! | file | what it owns |
//! |---|---|
//! | `data` | the data of a file |
//! | `metadata` | owner, permissions, attributes, times |

mod data;
mod metadata;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::entry::DEPTH_LIMIT;
use super::error::Error;
use super::notes::{Counts, Notes, Reason};
use crate::sys::files::open_at;
use crate::sys::open_files::OpenFiles;
use crate::sys::{FdPath, SysError, SysResult, sys};

/// How much memory the names of files with several links may take.
const LINKS_LIMIT: usize = 64 << 20;

/// A path that openat2(2) takes as one (limits.h, PATH_MAX).
const PATH_MAX: usize = 4096;

/// What of a tree is copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyTreeOptions {
    /// What is mounted on the source's directories stays out: they are empty in the copy.
    pub one_file_system: bool,
    /// With the attributes by which an overlay knows its layers: for a layer, not for a tree.
    pub overlay_attributes: bool,
}

/// Told how many more bytes of data there are in the copy, and asked whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> Result<(), Error>;

/// Copies what is in the directory `source`, and what that itself is, to the empty directory `target`.
///
/// # Errors
/// What could not be copied, or what `progress` says. What was copied before stays for the caller to remove.
pub fn copy_tree(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    options: CopyTreeOptions,
    progress: Progress<'_>,
) -> Result<(Counts, Notes), Error> {
    let failed = || Error::system("copy", b"/");
    let (counts, notes, links) = Default::default();
    let mut copier = Copier {
        target,
        options,
        progress,
        open_files: OpenFiles::of_this_process().map_err(failed())?,
        shares: true,
        path: Vec::new(),
        links,
        links_size: 0,
        counts,
        notes,
    };
    let stat = stat(&source).map_err(failed())?;
    let directory = open_at(source, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    let own = open_at(target, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    copier.fill(directory.map_err(failed())?, &own.map_err(failed())?, &stat, 0)?;
    Ok((copier.counts, copier.notes))
}

struct Copier<'a> {
    target: BorrowedFd<'a>,
    options: CopyTreeOptions,
    progress: Progress<'a>,
    open_files: OpenFiles,
    /// Whether the two file systems may share data, as far as we know.
    shares: bool,
    /// Where we are, from the top of the tree.
    path: Vec<u8>,
    /// The first names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    links_size: usize,
    counts: Counts,
    notes: Notes,
}

impl Copier<'_> {
    /// Copies what is in `source` to `target`, and gives it what `stat` says.
    fn fill(&mut self, source: OwnedFd, target: &OwnedFd, stat: &Stat, depth: usize) -> Result<(), Error> {
        (self.progress)(0)?;
        if depth > DEPTH_LIMIT {
            let source =
                SysError::new("openat", format!("{DEPTH_LIMIT} directories deep"), Errno::NAMETOOLONG);
            return Err(self.failed()(source));
        }
        self.counts.directories += 1;
        let mut entries = rustix::fs::Dir::new(source)
            .map_err(|errno| self.failed()(SysError::new("getdents64", String::new(), errno)))?;
        let length = self.path.len();
        while let Some(entry) = entries.read() {
            let entry =
                entry.map_err(|errno| self.failed()(SysError::new("getdents64", String::new(), errno)))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.path.push(b'/');
            self.path.extend(name.to_bytes());
            let directory =
                entries.fd().map_err(|errno| self.failed()(SysError::new("dirfd", String::new(), errno)))?;
            self.entry(directory, target, name, depth)?;
            self.path.truncate(length);
        }
        let source =
            entries.fd().map_err(|errno| self.failed()(SysError::new("dirfd", String::new(), errno)))?;
        self.give_all(stat, source, target)
    }

    /// Copies `name` of the directory `source`.
    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: &OwnedFd,
        name: &CStr,
        depth: usize,
    ) -> Result<(), Error> {
        let (place, is_mount) = match self.open_place(source, name) {
            Err(error) if error.errno() == Errno::NOENT => {
                self.notes.add(Reason::Changed, &self.path);
                return Ok(());
            }
            opened => opened.map_err(self.failed())?,
        };
        let stat = stat(&place).map_err(self.failed())?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && self.link(&stat, target, name)? {
            self.counts.files += 1;
            return Ok(());
        }
        let name = OsStr::from_bytes(name.to_bytes());
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
                let inner = open_at(&place, ".", flags, Mode::empty()).map_err(self.failed())?;
                drop(place);
                let made = rustix::fs::mkdirat(target, name, Mode::RWXU);
                sys("mkdirat", made, || format!("{}, {name:?}", FdPath::of(target)))
                    .map_err(self.failed())?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let made = open_at(target, name, flags, Mode::empty()).map_err(self.failed())?;
                if is_mount {
                    self.counts.directories += 1;
                    return self.give_all(&stat, inner.as_fd(), &made);
                }
                return self.fill(inner, &made, &stat, depth + 1);
            }
            FileType::RegularFile => self.regular(&place, target, name, &stat, is_mount)?,
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(&place, c"", Vec::new());
                let text =
                    sys("readlinkat", text, || FdPath::of(&place).to_string()).map_err(self.failed())?;
                let made = rustix::fs::symlinkat(text.as_c_str(), target, name);
                sys("symlinkat", made, || format!("{text:?}, {}, {name:?}", FdPath::of(target)))
                    .map_err(self.failed())?;
                self.finish_place(&place, target, name, &stat)?;
            }
            // FIFOs, devices, and sockets, which are but names without who listens.
            _ => {
                let made = rustix::fs::mknodat(target, name, kind, Mode::empty(), stat.st_rdev);
                sys("mknodat", made, || format!("{}, {name:?}, {kind:?}", FdPath::of(target)))
                    .map_err(self.failed())?;
                self.finish_place(&place, target, name, &stat)?;
            }
        }
        self.counts.files += 1;
        Ok(())
    }

    /// Opens `name` as a place, itself if it is a link; says whether something is mounted there that is to stay out.
    fn open_place(&self, directory: BorrowedFd<'_>, name: &CStr) -> SysResult<(OwnedFd, bool)> {
        if name.to_bytes().contains(&b'/') {
            return Err(SysError::new("openat", format!("{name:?}"), Errno::INVAL));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let shown = || format!("{}, {name:?}, O_PATH|O_NOFOLLOW", FdPath::of(&directory));
        if self.options.one_file_system {
            match rustix::fs::openat2(directory, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
                Err(Errno::XDEV) => {}
                opened => return sys("openat2", opened, shown).map(|place| (place, false)),
            }
        }
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty());
        sys("openat", opened, shown).map(|place| (place, self.options.one_file_system))
    }

    fn regular(
        &mut self,
        place: &OwnedFd,
        target: &OwnedFd,
        name: &OsStr,
        stat: &Stat,
        is_mount: bool,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let source = self.open_files.reopen(place, flags).map_err(self.failed())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let copy = open_at(target, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.failed())?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if !is_mount && size > 0 && !self.share(&source, &copy, size)? {
            self.data(&source, &copy, stat, size)?;
        }
        self.give_all(stat, source.as_fd(), &copy)
    }

    /// Makes `name` another name of a file that was copied before. False if it was not; from now on it is.
    fn link(&mut self, stat: &Stat, target: &OwnedFd, name: &CStr) -> Result<bool, Error> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&key) else {
            let size = self.path.len() + size_of::<((u64, u64), Vec<u8>)>();
            if self.links_size + size > LINKS_LIMIT || self.path.len() >= PATH_MAX {
                self.notes.add(Reason::HardLink, &self.path);
            } else {
                self.links_size += size;
                self.links.insert(key, self.path.clone());
            }
            return Ok(false);
        };
        let slash = first.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (parent, own) = first.split_at(slash);
        let parent = [b".", parent].concat();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // All of them we made.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = OsStr::from_bytes(&parent);
        let opened = rustix::fs::openat2(self.target, parent, flags, Mode::empty(), resolve);
        let opened = sys("openat2", opened, || format!("{parent:?}")).map_err(self.failed())?;
        let own = OsStr::from_bytes(own.get(1..).unwrap_or_default());
        let linked = rustix::fs::linkat(&opened, own, target, name, rustix::fs::AtFlags::empty());
        match linked {
            // As many names as this file system lets a file have (btrfs has few in one directory).
            Err(Errno::MLINK) => {
                self.notes.add(Reason::HardLink, &self.path);
                Ok(false)
            }
            linked => sys("linkat", linked, || format!("{}, {own:?}, {name:?}", FdPath::of(&opened)))
                .map(|()| true)
                .map_err(self.failed()),
        }
    }

    /// The path is made fit for a message only when there is one.
    fn failed(&self) -> impl FnOnce(SysError) -> Error {
        |source| Error::system("copy", &self.path)(source)
    }
}

fn stat(fd: &impl AsFd) -> SysResult<Stat> {
    sys("fstat", rustix::fs::fstat(fd), || FdPath::of(fd).to_string())
}

#[cfg(test)]
mod tests;
