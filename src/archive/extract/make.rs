//! Members, but for their data: each made by the fd of its directory and one name.
//!
//! What has the name already goes: an archive may have it twice, and the last one counts, as with tar(1). Only a directory
//! with something in it stays.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::Extraction;
use super::writers::Target;
use crate::archive::entry::{ACL_DEFAULT, Entry, Kind, is_kept};
use crate::archive::fault::Fault;
use crate::archive::metadata::Metadata;
use crate::archive::names::{components, make_directory};
use crate::archive::notes::Reason;
use crate::archive::shared::Lender;
use crate::archive::sparse::Map;
use crate::sys::files::open_at;
use crate::sys::{FdPath, SysResult, sys};

/// What a member gets when it is whole.
pub(super) fn metadata(entry: &Entry) -> Metadata {
    let is_directory = entry.kind == Kind::Directory;
    let kept = |name: &[u8]| is_kept(name) && (is_directory || name != ACL_DEFAULT);
    Metadata {
        mode: entry.mode & 0o7777,
        owner: (entry.uid, entry.gid),
        // When it was read is no news: tar(1) leaves that to the day it is unpacked.
        accessed: None,
        modified: entry.modified,
        attributes: entry.attributes.iter().filter(|(name, _)| kept(name)).cloned().collect(),
    }
}

impl<R: Lender> Extraction<'_, '_, '_, R> {
    pub(super) fn directory(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Fault> {
        let here = self.tree.here();
        let mut hides = false;
        let is_new = match make_directory(here, name, 0o700) {
            Err(error) if error.errno() == Errno::EXIST => match kind_of(here, name)? {
                Found::Directory => false,
                found => {
                    // What hid the directory of a lower layer goes on hiding what is in it.
                    hides = found == Found::Whiteout && self.options.filter.is_some();
                    clear(here, name)?;
                    make_directory(here, name, 0o700)?;
                    true
                }
            },
            made => made.map(|()| true)?,
        };
        self.tree.enter_child(name, is_new, metadata(entry))?;
        if hides {
            self.tree.make_opaque()?;
        }
        self.extracted.counts.directories += 1;
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        entry: &Entry,
        name: &[u8],
        size: u64,
        map: Option<&Map>,
    ) -> Result<(), Fault> {
        let metadata = metadata(entry);
        let permissions = metadata.mode & 0o777;
        let file = anew(self.tree.here(), name, |here, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            open_at(here, name, flags, Mode::from_raw_mode(permissions))
        })?;
        if map.is_some() {
            let grown = rustix::fs::ftruncate(&file, size);
            sys("ftruncate", grown, || format!("{}, {size}", FdPath::of(&file)))?;
        }
        self.extracted.counts.files += 1;
        let whole = [(0, size)];
        let pieces = map.map_or(whole.as_slice(), Map::pieces);
        let as_made = self.tree.as_made(permissions);
        let target = Target::new(file, metadata, as_made, entry.path.clone(), pieces);
        let reader = &mut self.reader;
        Ok(self.writers.fill(target, pieces, |most| reader.lend(most))?)
    }

    pub(super) fn symlink(&mut self, entry: &Entry, name: &[u8], target: &[u8]) -> Result<(), Fault> {
        let here = self.tree.here();
        anew(here, name, |here, name| {
            let target = OsStr::from_bytes(target);
            sys("symlinkat", rustix::fs::symlinkat(target, here, name), || {
                format!("{target:?}, {}, {name:?}", FdPath::of(&here))
            })
        })?;
        let (as_made, notes) = (self.tree.as_made(0), &mut self.extracted.notes);
        metadata(entry).apply_at(here, name, as_made, &entry.path, notes)?;
        self.extracted.counts.files += 1;
        Ok(())
    }

    pub(super) fn hard_link(&mut self, entry: &Entry, name: &[u8], target: &[u8]) -> Result<(), Fault> {
        let path = components(target);
        let Some((old, parents)) = path.as_ref().and_then(|path| path.split_last()) else {
            self.extracted.notes.add(Reason::Name, &entry.path);
            return Ok(());
        };
        let here = self.tree.here();
        let directory = self.tree.look(parents)?;
        // Without AT_SYMLINK_FOLLOW a link's other name is the link's, not that of what it leads to.
        let link = |here: BorrowedFd<'_>, name: &OsStr| {
            let old = OsStr::from_bytes(old);
            let linked = rustix::fs::linkat(&directory, old, here, name, AtFlags::empty());
            sys("linkat", linked, || {
                format!("{}, {old:?}, {}, {name:?}", FdPath::of(&directory), FdPath::of(&here))
            })
        };
        match link(here, OsStr::from_bytes(name)) {
            Err(error) if error.errno() == Errno::EXIST => {
                if identity(here, name)? != identity(&directory, old)? {
                    clear(here, name)?;
                    link(here, OsStr::from_bytes(name))?;
                }
            }
            linked => linked?,
        }
        self.extracted.counts.files += 1;
        Ok(())
    }

    pub(super) fn device(
        &mut self,
        entry: &Entry,
        name: &[u8],
        is_block: bool,
        major: u32,
        minor: u32,
    ) -> Result<(), Fault> {
        if !self.options.devices {
            self.extracted.notes.add(Reason::Device, &entry.path);
            return Ok(());
        }
        let kind = if is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
        match self.node(entry, name, kind, makedev(major, minor)) {
            // Root of a user namespace is not the root that may.
            Err(Fault::Member(error)) if error.errno() == Errno::PERM && error.call() == "mknodat" => {
                self.extracted.notes.add(Reason::Device, &entry.path);
                Ok(())
            }
            made => made,
        }
    }

    pub(super) fn node(
        &mut self,
        entry: &Entry,
        name: &[u8],
        kind: FileType,
        device: u64,
    ) -> Result<(), Fault> {
        let metadata = metadata(entry);
        let here = self.tree.here();
        let permissions = metadata.mode & 0o777;
        make_node(here, name, kind, permissions, device)?;
        let as_made = self.tree.as_made(permissions);
        metadata.apply_at(here, name, as_made, &entry.path, &mut self.extracted.notes)?;
        if as_made.is_none_or(|made| made.mode != metadata.mode) {
            // It is not a link: it was made here.
            let mode = Mode::from_raw_mode(metadata.mode);
            let changed = rustix::fs::chmodat(here, OsStr::from_bytes(name), mode, AtFlags::empty());
            sys("fchmodat", changed, || format!("{}, {:?}", FdPath::of(&here), OsStr::from_bytes(name)))?;
        }
        self.extracted.counts.files += 1;
        Ok(())
    }

    /// Makes what hides `name` of lower layers.
    pub(super) fn whiteout(&mut self, parents: &[Vec<u8>], name: &[u8], entry: &Entry) -> Result<(), Fault> {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            self.extracted.notes.add(Reason::Name, &entry.path);
            return Ok(());
        }
        self.tree.enter(parents, &mut self.extracted.notes)?;
        // A layer's own file hides the one below as well, whichever of the two comes first.
        match kind_of(self.tree.here(), name)? {
            Found::Nothing => {
                make_node(self.tree.here(), name, FileType::CharacterDevice, 0, makedev(0, 0))?;
                self.extracted.counts.files += 1;
            }
            Found::Directory => {
                self.tree.enter_again(name)?;
                self.tree.make_opaque()?;
            }
            Found::Whiteout | Found::Other => {}
        }
        Ok(())
    }
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Directory,
    /// A character device 0/0.
    Whiteout,
    Other,
}

fn kind_of(here: BorrowedFd<'_>, name: &[u8]) -> SysResult<Found> {
    let stat = match rustix::fs::statat(here, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        stat => sys("fstatat", stat, || format!("{}, {:?}", FdPath::of(&here), OsStr::from_bytes(name)))?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    })
}

/// Makes something as `name`, in place of what is called so.
fn anew<T>(
    here: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn(BorrowedFd<'_>, &OsStr) -> SysResult<T>,
) -> SysResult<T> {
    match make(here, OsStr::from_bytes(name)) {
        Err(error) if error.errno() == Errno::EXIST => {
            clear(here, name)?;
            make(here, OsStr::from_bytes(name))
        }
        made => made,
    }
}

/// Removes a file or an empty directory.
fn clear(here: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    let name = OsStr::from_bytes(name);
    match rustix::fs::unlinkat(here, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {
            let removed = rustix::fs::unlinkat(here, name, AtFlags::REMOVEDIR);
            sys("unlinkat", removed, || format!("{}, {name:?}, AT_REMOVEDIR", FdPath::of(&here)))
        }
        removed => sys("unlinkat", removed, || format!("{}, {name:?}", FdPath::of(&here))),
    }
}

fn make_node(here: BorrowedFd<'_>, name: &[u8], kind: FileType, mode: u32, device: u64) -> SysResult<()> {
    anew(here, name, |here, name| {
        let made = rustix::fs::mknodat(here, name, kind, Mode::from_raw_mode(mode), device);
        sys("mknodat", made, || format!("{}, {name:?}, {kind:?}, {device:#x}", FdPath::of(&here)))
    })
}

/// Which file has a name: its device and inode.
fn identity(directory: impl std::os::fd::AsFd, name: &[u8]) -> SysResult<(u64, u64)> {
    let name = OsStr::from_bytes(name);
    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
    sys("fstatat", stat, || format!("{}, {name:?}", FdPath::of(&directory)))
        .map(|stat| (stat.st_dev, stat.st_ino))
}
