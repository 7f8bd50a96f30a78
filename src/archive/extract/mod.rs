//! A stream to a fresh directory, which nobody else sees: whole images, exactly as `tar --numeric-owner --xattrs --acls -p`
//! has them, in less time.
//!
//! Unlike [`super::unpack`], which works in trees that live, this one needs no temporary names: whoever asks for it gives
//! the tree its name when all of it is there. The thread that calls reads the stream and makes all names, in the order of
//! the stream, so that what comes twice ends as tar(1) has it; the data of files go to a few threads that write them and
//! finish the files. What the stream's writer can do to us ends at the directory: each name is made by the fd of its parent,
//! directories are entered as themselves and never through a link, and nothing is opened that we did not just make.
//!
//! | file | what it owns |
//! |---|---|
//! | [`filter`] | what the caller may say of members: whiteouts of layers among them |
//! | `tree` | the directories that we are in, and what each gets when we leave it |
//! | `make` | members, but for their data |
//! | `writers` | data, on other threads |
//! | `early` | data on its way to disk meanwhile |
//! | `level` | archives whose only member is one directory |

use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};

use super::entry::{DEPTH_LIMIT, Entry, Kind};
use super::error::{BadStream, Error};
use super::fault::Fault;
use super::input::FromReader;
use super::names::components;
use super::notes::{Counts, Notes, Reason};
use super::read::Reader;
use super::shared::{Copied, Lender};
use crate::sys::SysError;
use crate::sys::files::open_at;

mod early;
pub mod filter;
mod level;
mod make;
mod tree;
mod writers;

pub use filter::{Filter, Verdict, oci_whiteouts};
use tree::Tree;
use writers::Writers;

/// How an archive is unpacked.
#[derive(Clone, Copy, Default)]
pub struct ExtractOptions<'a> {
    /// Make device nodes. Otherwise they are left out, and noted: nobody but root of the host may make any.
    pub devices: bool,
    /// An archive whose only member at the top is a directory with a tree in it becomes that tree, as importctl(1) has it.
    pub strip_top: bool,
    /// How much there may be.
    pub limits: Limits,
    /// Asked about each member.
    pub filter: Option<Filter<'a>>,
    /// Asked about directories that have no member of their own.
    pub lower: Option<Lower<'a>>,
}

/// What lies below in an overlay: the directory at a path, if there is one. A directory that the archive makes names in and says
/// nothing of becomes what that is, as overlayfs has it when it copies one up; without this, tar(1)'s root, 0755.
pub type Lower<'a> = &'a (dyn Fn(&[Vec<u8>]) -> Option<OwnedFd> + Sync);

impl std::fmt::Debug for ExtractOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtractOptions")
            .field("devices", &self.devices)
            .field("strip_top", &self.strip_top)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What no honest archive goes beyond; limits of single members are those of [`super::entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members.
    pub members: u64,
    /// Bytes of data in all of them.
    pub bytes: u64,
}

impl Default for Limits {
    /// More than any distribution has, less than what ends a host: an ext4 of 256 GiB has as many inodes.
    fn default() -> Self {
        Self { members: 16 << 20, bytes: 1 << 40 }
    }
}

/// What was made.
#[derive(Debug, Default)]
pub struct Extracted {
    /// How much.
    pub counts: Counts,
    /// What was left out. [`Notes::has_faults`] tells whether the tree is not what the archive says.
    pub notes: Notes,
    /// The directory at the top, if it was the only member there and its content took its place.
    pub stripped: Option<Vec<u8>>,
    /// Some of its directories are as those below.
    pub from_lower: bool,
}

/// Unpacks `stream`, which is tar and not compressed, into `directory`, which is empty. Nothing is brought to disk for
/// good: that is for who gives the tree its name.
///
/// # Errors
/// What ends it: a stream that breaks off, is damaged or goes beyond `options.limits`, a full disk. [`Error::Input`] has
/// what reading `stream` said. What was made by then is left to the caller to remove.
pub fn extract(
    stream: impl BufRead,
    directory: impl AsFd,
    options: &ExtractOptions<'_>,
) -> Result<Extracted, Error> {
    extract_lent(Copied(stream), directory, options)
}

/// The same, and the data of files are written from where they came in.
///
/// # Errors
/// As [`extract`].
pub fn extract_lent(
    stream: impl Lender,
    directory: impl AsFd,
    options: &ExtractOptions<'_>,
) -> Result<Extracted, Error> {
    let failed = |error: SysError| Error::system("prepare", b"/")(error);
    let mut extracted = Extracted::default();
    let mut tree = Tree::new(directory.as_fd(), options.lower).map_err(failed)?;
    // Anew: who gave `directory` is told through that what could not be brought to disk.
    let root = open_at(&directory, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let notes = Writers::run(&root, |writers| {
        let mut extraction = Extraction {
            reader: Reader::new(FromReader::new(stream)),
            tree: &mut tree,
            writers,
            options,
            members: 0,
            extracted: &mut extracted,
        };
        extraction.members()
    })?;
    extracted.notes.merge(notes);
    tree.leave_all(&mut extracted.notes);
    if options.strip_top {
        let stripped = level::strip(tree.root()).map_err(failed)?;
        extracted.stripped = stripped.map(|(name, metadata)| {
            tree.set_root(metadata);
            name.into_vec()
        });
    }
    extracted.from_lower = tree.finish(&mut extracted.notes)?;
    Ok(extracted)
}

struct Extraction<'a, 'w, 't, R> {
    reader: Reader<FromReader<R>>,
    tree: &'a mut Tree<'t>,
    writers: &'a mut Writers<'w>,
    options: &'a ExtractOptions<'a>,
    members: u64,
    extracted: &'a mut Extracted,
}

impl<R: Lender> Extraction<'_, '_, '_, R> {
    fn members(&mut self) -> Result<(), Error> {
        while let Some(entry) = self.reader.next_entry()? {
            self.count()?;
            if let Err(fault) = self.member(&entry) {
                fault.note(&entry.path, &mut self.extracted.notes)?;
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Error> {
        self.members += 1;
        if self.members > self.options.limits.members {
            return Err(BadStream::Excessive("it has too many members").into());
        }
        self.extracted.counts.bytes = self.extracted.counts.bytes.saturating_add(self.reader.left());
        if self.extracted.counts.bytes > self.options.limits.bytes {
            return Err(BadStream::Excessive("it has too much data").into());
        }
        Ok(())
    }

    fn member(&mut self, entry: &Entry) -> Result<(), Fault> {
        let Some(path) = components(&entry.path) else {
            self.extracted.notes.add(Reason::Name, &entry.path);
            return Ok(());
        };
        if path.len() > DEPTH_LIMIT {
            return Err(BadStream::Excessive("its directories are too deep").into());
        }
        let Some((name, parents)) = path.split_last() else {
            return self.root(entry);
        };
        match self.options.filter.map_or(Verdict::Take, |filter| filter(&path, &entry.kind)) {
            Verdict::Take => {}
            Verdict::Skip => return Ok(()),
            Verdict::Whiteout(name) => return self.whiteout(parents, &name, entry),
            Verdict::Opaque => {
                self.tree.enter(parents, &mut self.extracted.notes)?;
                return Ok(self.tree.make_opaque()?);
            }
        }
        self.tree.enter(parents, &mut self.extracted.notes)?;
        match &entry.kind {
            Kind::Directory => self.directory(entry, name),
            Kind::File { size, map } => self.file(entry, name, *size, map.as_ref()),
            Kind::HardLink { target } => self.hard_link(entry, name, target),
            Kind::Symlink { target } => self.symlink(entry, name, target),
            Kind::Fifo => self.node(entry, name, rustix::fs::FileType::Fifo, 0),
            Kind::Device { is_block, major, minor } => self.device(entry, name, *is_block, *major, *minor),
            Kind::Unknown => {
                self.extracted.notes.add(Reason::Type, &entry.path);
                Ok(())
            }
        }
    }

    /// The directory itself: `./`.
    fn root(&mut self, entry: &Entry) -> Result<(), Fault> {
        if entry.kind == Kind::Directory {
            self.tree.set_root(make::metadata(entry));
            self.extracted.counts.directories += 1;
        } else {
            self.extracted.notes.add(Reason::Name, &entry.path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
