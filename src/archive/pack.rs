//! A tree to a stream.
//!
//! Each file is opened once as a place (`O_PATH`, its last component never followed), looked at, and then opened for
//! reading by that very place: what the tree's owner swaps meanwhile is another file, and FIFOs and devices are never opened.
//! A directory is open while what is in it is packed; no path is resolved.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::entry::{CAPABILITY, DEPTH_LIMIT, Entry, Kind, NAME_LIMIT, Time, is_kept, travels};
use super::error::Error;
use super::notes::{Counts, Notes, Reason};
use super::output::Output;
use super::sparse::Map;
use super::write;
use crate::sys::open_files::OpenFiles;
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

mod links;

use links::Links;

/// The set-user-ID and set-group-ID bits.
pub(super) const SET_ID: u32 = 0o6000;

/// What of a tree is packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// Without set-id bits of files, and without file capabilities.
    pub drop_privileges: bool,
    /// Without what is in directories on other file systems.
    pub one_file_system: bool,
    /// What of files is packed.
    pub extent: Extent,
    /// Directories in the order of their names, so that the same tree gives the same bytes.
    pub sorted: bool,
    /// When files were changed, to those who unpack them.
    pub modified: Modified,
}

/// What of files is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// What a guest and its host may have of each other: no device nodes, no labels.
    #[default]
    Copy,
    /// All that makes an image, and nothing that reading it changes: when files were read is left out.
    Image,
}

/// What becomes of the times of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Modified {
    /// They stay.
    #[default]
    AsItIs,
    /// What is later becomes this (reproducible-builds.org, "SOURCE_DATE_EPOCH").
    AtMost(Time),
    /// All become this.
    Fixed(Time),
}

impl Modified {
    fn apply(self, time: Time) -> Time {
        match self {
            Self::AsItIs => time,
            Self::AtMost(limit) => time.min(limit),
            Self::Fixed(fixed) => fixed,
        }
    }
}

/// Packs trees into one stream.
#[derive(Debug)]
pub struct Packer<O> {
    sink: O,
    open_files: OpenFiles,
    options: PackOptions,
    links: Links,
    notes: Notes,
    counts: Counts,
}

impl<O: Output> Packer<O> {
    /// Packs into `sink`.
    pub fn new(sink: O, open_files: OpenFiles, options: PackOptions) -> Self {
        let (links, notes, counts) = Default::default();
        Self { sink, open_files, options, links, notes, counts }
    }

    /// Packs what `place` (`O_PATH`) is, and all below it, as `name`.
    ///
    /// # Errors
    /// What ends the stream; a file that cannot be read is noted, and the rest goes on.
    pub fn add(&mut self, name: &[u8], place: OwnedFd) -> Result<(), Error> {
        let mut path = name.to_vec();
        self.file(&mut path, place, 0, None)
    }

    /// Ends the stream; says what was packed, and what was not.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> Result<(Counts, Notes), Error> {
        write::end(&mut self.sink)?;
        Ok((self.counts, self.notes))
    }

    fn file(
        &mut self,
        path: &mut Vec<u8>,
        place: OwnedFd,
        depth: usize,
        device: Option<u64>,
    ) -> Result<(), Error> {
        let stat = match sys("fstat", rustix::fs::fstat(&place), || FdPath::of(&place).to_string()) {
            Ok(stat) => stat,
            Err(error) => return self.failed(path, &error),
        };
        let mut entry = Entry {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: self.options.modified.apply(time(stat.st_mtime, stat.st_mtime_nsec)),
            accessed: (self.options.extent == Extent::Copy).then(|| time(stat.st_atime, stat.st_atime_nsec)),
            ..Entry::new(path.as_slice(), Kind::Unknown)
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.regular(entry, &stat, &place),
            FileType::Directory => self.directory(entry, path, &stat, &place, depth, device),
            FileType::Symlink => match rustix::fs::readlinkat(&place, c"", Vec::new()) {
                Ok(target) => {
                    entry.kind = Kind::Symlink { target: target.into_bytes() };
                    self.small(entry, &stat, &place)
                }
                Err(errno) => {
                    self.failed(path, &SysError::new("readlinkat", FdPath::of(&place).to_string(), errno))
                }
            },
            FileType::Fifo => {
                entry.kind = Kind::Fifo;
                self.small(entry, &stat, &place)
            }
            FileType::Socket => {
                self.notes.add(Reason::Socket, path);
                Ok(())
            }
            kind if self.options.extent == Extent::Image => {
                let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                entry.kind = Kind::Device { is_block: kind == FileType::BlockDevice, major, minor };
                self.small(entry, &stat, &place)
            }
            _ => {
                self.notes.add(Reason::Device, path);
                Ok(())
            }
        }
    }

    /// What has no data.
    fn small(&mut self, mut entry: Entry, stat: &Stat, place: &OwnedFd) -> Result<(), Error> {
        if let Some(first) = self.links.first_name(stat, &entry.path, &mut self.notes) {
            entry.kind = Kind::HardLink { target: first };
        } else if self.options.extent == Extent::Image {
            self.take_attributes_of_place(&mut entry, place);
        }
        self.counts.files += 1;
        self.header(&entry)
    }

    fn regular(&mut self, mut entry: Entry, stat: &Stat, place: &OwnedFd) -> Result<(), Error> {
        if self.options.drop_privileges && entry.mode & SET_ID != 0 {
            entry.mode &= !SET_ID;
            self.notes.add(Reason::SetId, &entry.path);
        }
        if let Some(first) = self.links.first_name(stat, &entry.path, &mut self.notes) {
            entry.kind = Kind::HardLink { target: first };
            self.counts.files += 1;
            return self.header(&entry);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.open_files.reopen(place, flags) {
            Ok(file) => file,
            Err(error) => {
                // Its other names would be links to nothing.
                self.links.forget(stat);
                return self.failed(&entry.path, &error);
            }
        };
        self.take_attributes(&mut entry, &file);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        // Blocks are of 512 bytes here whatever the file system's are (stat(2)).
        let may_have_holes = u64::try_from(stat.st_blocks).unwrap_or(0) < size.div_ceil(512);
        let map = if may_have_holes { Map::of(&file, size) } else { None };
        entry.kind = Kind::File { size, map };
        self.header(&entry)?;
        let mut missing = false;
        let mut data = 0;
        if let Kind::File { map: Some(map), .. } = &entry.kind {
            let text = map.to_text(size);
            self.sink.write(&text)?;
            self.sink.pad(text.len() as u64)?;
            for (offset, length) in map.pieces() {
                missing |= self.sink.write_file(&file, *offset, *length)? < *length;
                data += length;
            }
        } else {
            missing = self.sink.write_file(&file, 0, size)? < size;
            data = size;
        }
        self.sink.pad(data)?;
        if missing {
            self.notes.add(Reason::Changed, &entry.path);
        }
        self.counts.files += 1;
        self.counts.bytes += data;
        Ok(())
    }

    fn directory(
        &mut self,
        mut entry: Entry,
        path: &mut Vec<u8>,
        stat: &Stat,
        place: &OwnedFd,
        depth: usize,
        device: Option<u64>,
    ) -> Result<(), Error> {
        // Through the place itself, which is a directory and open: nothing is followed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(place, ".", flags, Mode::empty());
        let directory = match sys("openat", opened, || format!("{}, \".\"", FdPath::of(place))) {
            Ok(directory) => directory,
            Err(error) => return self.failed(path, &error),
        };
        self.take_attributes(&mut entry, &directory);
        entry.kind = Kind::Directory;
        self.counts.directories += 1;
        self.header(&entry)?;
        drop(entry);
        let device = device.unwrap_or(stat.st_dev);
        if self.options.one_file_system && stat.st_dev != device {
            return Ok(());
        }
        if depth == DEPTH_LIMIT {
            let error =
                SysError::new("openat", format!("{DEPTH_LIMIT} directories deep"), Errno::NAMETOOLONG);
            return self.failed(path, &error);
        }
        if self.options.sorted {
            // One directory's worth of names, and those of the directories above.
            let mut names = match crate::sys::files::entries(&directory) {
                Ok(names) => names,
                Err(error) => return self.failed(path, &error),
            };
            names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            for (name, _) in names {
                self.member_of(path, &directory, name.as_bytes(), depth, device)?;
            }
            return Ok(());
        }
        let mut entries = match rustix::fs::Dir::new(directory) {
            Ok(entries) => entries,
            Err(errno) => return self.failed(path, &SysError::new("getdents64", String::new(), errno)),
        };
        while let Some(next) = entries.read() {
            let name = match &next {
                Ok(next) => next.file_name().to_bytes(),
                Err(errno) => {
                    return self.failed(path, &SysError::new("getdents64", String::new(), *errno));
                }
            };
            if name == b"." || name == b".." {
                continue;
            }
            match entries.fd() {
                Ok(directory) => self.member_of(path, directory, name, depth, device)?,
                Err(errno) => self.failed(path, &SysError::new("dirfd", String::new(), errno))?,
            }
        }
        Ok(())
    }

    /// Packs `name`, which is in the directory at `path`.
    fn member_of(
        &mut self,
        path: &mut Vec<u8>,
        directory: impl AsFd,
        name: &[u8],
        depth: usize,
        device: u64,
    ) -> Result<(), Error> {
        let length = path.len();
        path.push(b'/');
        path.extend(name);
        let done = if path.len() > NAME_LIMIT {
            let error = SysError::new("openat", "the name in the archive", Errno::NAMETOOLONG);
            self.failed(path, &error)
        } else {
            match open_place(directory, name) {
                Ok(place) => self.file(path, place, depth + 1, Some(device)),
                Err(error) if error.errno() == Errno::NOENT => {
                    self.notes.add(Reason::Changed, path);
                    Ok(())
                }
                Err(error) => self.failed(path, &error),
            }
        };
        path.truncate(length);
        done
    }

    fn take_attributes(&mut self, entry: &mut Entry, file: &OwnedFd) {
        let names = attributes::list(file);
        self.take(entry, names, |name| attributes::get(file, name));
    }

    /// The same for what cannot be opened.
    fn take_attributes_of_place(&mut self, entry: &mut Entry, place: &OwnedFd) {
        let names = attributes::list_of_place(place);
        self.take(entry, names, |name| attributes::get_of_place(place, name));
    }

    fn take(
        &mut self,
        entry: &mut Entry,
        names: SysResult<Vec<Vec<u8>>>,
        value: impl Fn(&[u8]) -> SysResult<Option<Vec<u8>>>,
    ) {
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.notes.add_fault(Reason::Attribute, &entry.path, &error),
        };
        let taken = match self.options.extent {
            Extent::Copy => travels,
            Extent::Image => is_kept,
        };
        // File systems have an order of their own.
        names.sort_unstable();
        for name in names.into_iter().filter(|name| taken(name)) {
            if name == CAPABILITY && self.options.drop_privileges {
                self.notes.add(Reason::Capability, &entry.path);
                continue;
            }
            match value(&name) {
                Ok(Some(value)) => entry.attributes.push((name, value)),
                Ok(None) => {}
                Err(error) => self.notes.add_fault(Reason::Attribute, &entry.path, &error),
            }
        }
    }

    fn header(&mut self, entry: &Entry) -> Result<(), Error> {
        if write::header(&mut self.sink, entry)?.0 {
            self.notes.add(Reason::Attribute, &entry.path);
        }
        Ok(())
    }

    /// A fault of one file, which the rest does not suffer for.
    fn failed(&mut self, path: &[u8], error: &SysError) -> Result<(), Error> {
        self.notes.add_fault(Reason::Failed, path, error);
        Ok(())
    }
}

/// Opens `name` of `directory` as a place, itself if it is a link.
fn open_place(directory: impl AsFd, name: &[u8]) -> SysResult<OwnedFd> {
    let name = OsStr::from_bytes(name);
    // A file system of the guest's may say anything.
    if name.as_bytes().contains(&b'/') {
        return Err(SysError::new("openat", format!("{name:?}"), Errno::INVAL));
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys("openat", rustix::fs::openat(&directory, name, flags, Mode::empty()), || {
        format!("{}, {name:?}, O_PATH|O_NOFOLLOW", FdPath::of(&directory))
    })
}

fn time(seconds: impl Into<i64>, nanoseconds: impl TryInto<u32>) -> Time {
    Time { seconds: seconds.into(), nanoseconds: nanoseconds.try_into().unwrap_or(0) }
}
