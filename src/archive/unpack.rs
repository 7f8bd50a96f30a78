//! A stream to a tree.
//!
//! The stream may be hostile, and so may be who else writes where it goes. Members are made below one directory, each by the
//! fd of its parent and one component; directories are entered as themselves (O_NOFOLLOW), never through a link. A file appears under its name
//! when it is whole: it is made under a temporary one, and what has the name already is replaced, if at all, by
//! rename(2). Nothing that was there before is ever opened for writing.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::entry::{DEPTH_LIMIT, Entry, Kind};
use super::error::{BadStream, Error};
use super::fault::Fault;
use super::metadata::Metadata;
use super::names::{components, make_directory, open_directory};
use super::notes::{Counts, Notes, Reason, shown};
use super::read::Reader;
use super::stream::{Source, ToFile};
use crate::sys::{FdPath, SysError, SysResult, sys};

mod metadata;
mod place;
mod temporary;

pub use place::{Naming, Place};
use temporary::Temporary;

/// How members are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Replace files that exist.
    pub replace: bool,
    /// Without set-id bits of files, and without file capabilities.
    pub drop_privileges: bool,
    /// Whose everything is, in place of what the stream says: user and group.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks one stream.
#[derive(Debug)]
pub struct Unpacker<'a> {
    reader: Reader<Source<'a>>,
    place: Place,
    options: UnpackOptions,
    /// The directories from the place down to the last member's, the place's own excluded.
    levels: Vec<Level>,
    notes: Notes,
    counts: Counts,
}

/// A directory that we are in.
#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    fd: Rc<OwnedFd>,
    /// What it gets when we leave it; `None` for one that was there before.
    metadata: Option<Metadata>,
}

impl<'a> Unpacker<'a> {
    /// Unpacks `source` at `place`.
    pub fn new(source: Source<'a>, place: Place, options: UnpackOptions) -> Self {
        let (levels, notes, counts) = Default::default();
        Self { reader: Reader::new(source), place, options, levels, notes, counts }
    }

    /// Unpacks all of it; says what was made, what was not, and how it ended. What was made stays, whole files all of them.
    pub fn run(mut self) -> (Counts, Notes, Result<(), Error>) {
        let result = self.members();
        while let Some(level) = self.levels.pop() {
            self.leave(level);
        }
        (self.counts, self.notes, result)
    }

    fn members(&mut self) -> Result<(), Error> {
        while let Some(entry) = self.reader.next_entry()? {
            let Some(path) = components(&entry.path) else {
                self.notes.add(Reason::Name, &entry.path);
                continue;
            };
            let path = self.place.naming.apply(path);
            if path.len() > DEPTH_LIMIT {
                return Err(BadStream::Excessive("its directories are too deep").into());
            }
            if let Err(fault) = self.member(&entry, &path) {
                fault.note(&entry.path, &mut self.notes)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, entry: &Entry, path: &[Vec<u8>]) -> Result<(), Fault> {
        let Some((name, parents)) = path.split_last() else {
            // The place itself: it was there before, and stays as it is.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(self.other_kind(entry, "a directory").into()),
            };
        };
        if parents.is_empty() && self.place.directory_only && entry.kind != Kind::Directory {
            return Err(Error::OtherKind {
                path: shown(self.place.shown.as_bytes()),
                is: "no directory",
                wanted: wanted(&entry.kind),
            }
            .into());
        }
        self.enter(parents)?;
        match &entry.kind {
            Kind::Directory => self.directory(entry, path, name),
            Kind::File { .. } => {
                let metadata = self.metadata(entry);
                self.check_free(entry, name)?;
                let file = Temporary::file(self.parent())?;
                self.fill(entry, file.fd())?;
                metadata.apply(file.fd(), None, &entry.path, &mut self.notes)?;
                self.commit(entry, file, name)
            }
            Kind::HardLink { target } => {
                self.check_free(entry, name)?;
                let Some(target) = components(target) else {
                    self.notes.add(Reason::Name, &entry.path);
                    return Ok(());
                };
                let target = self.place.naming.apply(target);
                let link = self.hard_link(&target)?;
                self.commit(entry, link, name)
            }
            Kind::Symlink { target } => {
                let metadata = self.metadata(entry);
                self.check_free(entry, name)?;
                let link = Temporary::symlink(self.parent(), target)?;
                metadata.apply_to_place(link.fd(), &entry.path, &mut self.notes)?;
                self.commit(entry, link, name)
            }
            Kind::Fifo => {
                let metadata = self.metadata(entry);
                self.check_free(entry, name)?;
                let fifo = Temporary::fifo(self.parent(), metadata.mode)?;
                metadata.apply_to_place(fifo.fd(), &entry.path, &mut self.notes)?;
                self.commit(entry, fifo, name)
            }
            Kind::Device { .. } => {
                self.notes.add(Reason::Device, &entry.path);
                Ok(())
            }
            Kind::Unknown => {
                self.notes.add(Reason::Type, &entry.path);
                Ok(())
            }
        }
    }

    /// The directory that we are in.
    fn parent(&self) -> Rc<OwnedFd> {
        Rc::clone(self.levels.last().map_or(&self.place.directory, |level| &level.fd))
    }

    /// Leaves the directories that are not above the next member, and enters those that are.
    fn enter(&mut self, parents: &[Vec<u8>]) -> Result<(), Fault> {
        let common = self.levels.iter().zip(parents).take_while(|(level, name)| level.name == **name).count();
        while self.levels.len() > common
            && let Some(level) = self.levels.pop()
        {
            self.leave(level);
        }
        for name in &parents[common..] {
            let fd = match open_directory(self.parent(), name) {
                // An archive need not have its directories.
                Err(error) if error.errno() == Errno::NOENT => {
                    make_directory(self.parent(), name, 0o755)?;
                    open_directory(self.parent(), name)?
                }
                opened => opened?,
            };
            self.levels.push(Level { name: name.clone(), fd: Rc::new(fd), metadata: None });
        }
        Ok(())
    }

    fn leave(&mut self, level: Level) {
        if let Some(metadata) = level.metadata {
            let path = self.levels.iter().map(|level| level.name.as_slice()).chain([level.name.as_slice()]);
            let path = path.collect::<Vec<_>>().join(&b'/');
            if let Err(error) = metadata.apply(&level.fd, None, &path, &mut self.notes) {
                self.notes.add_fault(Reason::Failed, &path, &error);
            }
        }
    }

    fn directory(&mut self, entry: &Entry, path: &[Vec<u8>], name: &[u8]) -> Result<(), Fault> {
        if self.levels.len() == path.len() {
            return Ok(());
        }
        let made = match make_directory(self.parent(), name, 0o700) {
            Err(error) if error.errno() == Errno::EXIST => false,
            made => made.map(|()| true)?,
        };
        let fd = match open_directory(self.parent(), name) {
            Err(error) if matches!(error.errno(), Errno::LOOP | Errno::NOTDIR) => {
                return Err(self.other_kind(entry, "no directory").into());
            }
            opened => opened?,
        };
        let metadata = made.then(|| self.metadata(entry));
        self.counts.directories += 1;
        self.levels.push(Level { name: name.to_vec(), fd: Rc::new(fd), metadata });
        Ok(())
    }

    /// Says no before anything is written, where the name is taken.
    fn check_free(&self, entry: &Entry, name: &[u8]) -> Result<(), Fault> {
        let there = rustix::fs::statat(self.parent(), OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
        match there {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Err(self.other_kind(entry, "a directory").into())
            }
            Ok(_) if !self.options.replace => Err(self.exists(entry).into()),
            // That the name is too long or the like is for the call that makes it to find out.
            _ => Ok(()),
        }
    }

    /// Gives what was made its name.
    fn commit(&mut self, entry: &Entry, made: Temporary, name: &[u8]) -> Result<(), Fault> {
        let flags = if self.options.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match made.rename(name, flags) {
            Ok(()) => {
                self.counts.files += 1;
                Ok(())
            }
            Err(error) => Err(match error.errno() {
                Errno::EXIST => self.exists(entry).into(),
                Errno::ISDIR => self.other_kind(entry, "a directory").into(),
                _ => error.into(),
            }),
        }
    }

    /// Puts the data of the current member into `file`.
    fn fill(&mut self, entry: &Entry, file: &OwnedFd) -> Result<(), Fault> {
        let Kind::File { size, map } = &entry.kind else { return Ok(()) };
        let whole = [(0, *size)];
        for (offset, length) in map.as_ref().map_or(whole.as_slice(), |map| map.pieces()) {
            self.reader.data(*length)?.to_file(file, *offset, *length).map_err(|fault| match fault {
                ToFile::Stream(error) => Fault::All(error),
                ToFile::File(errno) => {
                    let source = SysError::new("write", FdPath::of(file).to_string(), errno);
                    Fault::All(Error::system("write", &entry.path)(source))
                }
            })?;
            self.counts.bytes += length;
        }
        if map.is_some() {
            sys("ftruncate", rustix::fs::ftruncate(file, *size), || format!("{}, {size}", FdPath::of(file)))?;
        }
        Ok(())
    }

    /// A second name, temporary yet, of the file at `path`.
    fn hard_link(&self, path: &[Vec<u8>]) -> SysResult<Temporary> {
        let (name, parents) =
            path.split_last().ok_or_else(|| SysError::new("linkat", "no name", Errno::INVAL))?;
        let mut directory: Option<OwnedFd> = None;
        for parent in parents {
            let next = match &directory {
                Some(directory) => open_directory(directory, parent),
                None => open_directory(&self.place.directory, parent),
            };
            directory = Some(next?);
        }
        Temporary::link(directory.as_ref().unwrap_or(&self.place.directory), name, self.parent())
    }

    fn exists(&self, entry: &Entry) -> Error {
        Error::Exists { path: self.place.shown_path(&entry.path) }
    }

    fn other_kind(&self, entry: &Entry, is: &'static str) -> Error {
        Error::OtherKind { path: self.place.shown_path(&entry.path), is, wanted: wanted(&entry.kind) }
    }
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } | Kind::HardLink { .. } => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink { .. } => "a symbolic link",
        Kind::Fifo => "a FIFO",
        Kind::Device { .. } | Kind::Unknown => "something else",
    }
}

#[cfg(test)]
mod tests;
