//! A tree copied whole: every kind of file, holes, hard links, owners, attributes, times to the nanosecond.
//!
//! The source is a [`View`], so a copy of layers is what a machine sees of them. Data is shared where the file system can
//! (FICLONE), else copied by the kernel. The target is a directory that nobody else knows yet.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::merged::{Node, View};
use crate::archive::sparse::Map;
use crate::sys::files::{change_mode, change_owner, open_at};
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

/// Directories in each other: more than any distro has, fewer than we may have open.
const DEPTH_LIMIT: usize = 500;

/// Bytes copied by one call.
const PIECE: usize = 16 << 20;

/// Bytes read at once where the kernel does not copy.
const CHUNK: usize = 256 << 10;

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files of every kind, directories too.
    pub files: u64,
    /// Bytes of regular files, holes not among them.
    pub bytes: u64,
}

/// Copies the whole of `view` to the directory `target`, which is empty.
///
/// # Errors
/// The first fault; what was copied is there.
pub fn copy_tree(view: &View, target: BorrowedFd<'_>) -> SysResult<Copied> {
    let root = view.root()?;
    let mut copier = Copier {
        view,
        target,
        links: HashMap::new(),
        copied: Copied { files: 1, bytes: 0 },
        can_clone: true,
    };
    copier.contents(&root, target, &mut PathBuf::new(), 0)?;
    copy_metadata(&root, target)?;
    Ok(copier.copied)
}

struct Copier<'a> {
    view: &'a View,
    target: BorrowedFd<'a>,
    /// The first names of files that have more than one, below the target.
    links: HashMap<(usize, u64, u64), PathBuf>,
    copied: Copied,
    /// Until the file system says that it cannot.
    can_clone: bool,
}

impl Copier<'_> {
    fn contents(
        &mut self,
        from: &Node,
        to: BorrowedFd<'_>,
        path: &mut PathBuf,
        depth: usize,
    ) -> SysResult<()> {
        if depth > DEPTH_LIMIT {
            return Err(SysError::new("openat", format!("{} directories deep", depth), Errno::NAMETOOLONG));
        }
        for name in self.view.names(from)? {
            let Some(node) = self.view.child(from, &name)? else { continue };
            path.push(&name);
            self.file(&node, to, &name, path, depth)?;
            path.pop();
        }
        Ok(())
    }

    fn file(
        &mut self,
        node: &Node,
        to: BorrowedFd<'_>,
        name: &OsStr,
        path: &mut PathBuf,
        depth: usize,
    ) -> SysResult<()> {
        self.copied.files += 1;
        let stat = node.stat();
        if !node.is_directory() && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&node.identity()) {
                let linked = rustix::fs::linkat(self.target, first, to, name, AtFlags::empty());
                // More links than the file system can, or a path too long: a file of its own.
                if !matches!(linked, Err(Errno::MLINK | Errno::NAMETOOLONG)) {
                    return sys("linkat", linked, || format!("{first:?}, {}, {name:?}", FdPath::of(&to)));
                }
            }
            self.links.insert(node.identity(), path.clone());
        }
        match node.kind() {
            FileType::Directory => {
                let made = rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700));
                sys("mkdirat", made, || format!("{}, {name:?}", FdPath::of(&to)))?;
                let made =
                    open_at(to, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                self.contents(node, made.as_fd(), path, depth + 1)?;
                copy_metadata(node, made.as_fd())
            }
            FileType::RegularFile => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let made = open_at(to, name, flags, Mode::from_raw_mode(0o600))?;
                self.data(&node.open()?, &made)?;
                copy_metadata(node, made.as_fd())
            }
            FileType::Symlink => {
                let target = node.link_target()?;
                sys("symlinkat", rustix::fs::symlinkat(&target, to, name), || {
                    format!("{target:?}, {}, {name:?}", FdPath::of(&to))
                })?;
                copy_place_metadata(node, &place(to, name)?)
            }
            kind => {
                let mode = Mode::from_raw_mode(0o600);
                let made = rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev);
                sys("mknodat", made, || format!("{}, {name:?}, {kind:?}", FdPath::of(&to)))?;
                copy_place_metadata(node, &place(to, name)?)
            }
        }
    }

    fn data(&mut self, from: &OwnedFd, to: &OwnedFd) -> SysResult<()> {
        let size = size_of_file(from)?;
        if size == 0 {
            return Ok(());
        }
        if self.can_clone {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => {
                    self.copied.bytes += size;
                    return Ok(());
                }
                Err(_) => self.can_clone = false,
            }
        }
        self.copied.bytes += copy_data(from, to, size)?;
        Ok(())
    }
}

/// Copies `size` bytes, and leaves holes where holes are. Says how much data there was.
///
/// # Errors
/// When one cannot be read or the other not be written.
pub fn copy_data(from: &OwnedFd, to: &OwnedFd, size: u64) -> SysResult<u64> {
    let whole = [(0, size)];
    let map = Map::of(from, size);
    let mut copied = 0;
    for (offset, length) in map.as_ref().map_or(&whole[..], Map::pieces) {
        copied += length;
        copy_piece(from, to, *offset, *length)?;
    }
    sys("ftruncate", rustix::fs::ftruncate(to, size), || format!("{}, {size}", FdPath::of(to)))?;
    Ok(copied)
}

fn copy_piece(from: &OwnedFd, to: &OwnedFd, offset: u64, length: u64) -> SysResult<()> {
    let end = offset + length;
    let (mut read, mut written) = (offset, offset);
    while read < end {
        let piece = usize::try_from(end - read).unwrap_or(PIECE).min(PIECE);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), piece) {
            // Cut short meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems of two kinds the kernel does not (copy_file_range(2)).
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(errno) => {
                let arguments = format!("{}, {}", FdPath::of(from), FdPath::of(to));
                return Err(SysError::new("copy_file_range", arguments, errno));
            }
        }
    }
    let mut buffer = vec![0; if read < end { CHUNK } else { 0 }];
    while read < end {
        let wanted = usize::try_from(end - read).unwrap_or(CHUNK).min(CHUNK);
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        let count =
            sys("pread64", rustix::io::pread(from, &mut *room, read), || FdPath::of(from).to_string())?;
        let mut data = room.get(..count).unwrap_or_default();
        if data.is_empty() {
            return Ok(());
        }
        while !data.is_empty() {
            let count = sys("pwrite64", rustix::io::pwrite(to, data, read), || FdPath::of(to).to_string())?;
            data = data.get(count..).unwrap_or_default();
            read += count as u64;
        }
    }
    Ok(())
}

/// The size of the regular file `fd`.
///
/// # Errors
/// When it cannot be told.
pub fn size_of_file(fd: &OwnedFd) -> SysResult<u64> {
    let stat = sys("fstat", rustix::fs::fstat(fd), || FdPath::of(fd).to_string())?;
    Ok(u64::try_from(stat.st_size).unwrap_or_default())
}

/// Gives the directory or regular file `to` owner, attributes, mode and times of `node`.
///
/// # Errors
/// When one of them cannot be set.
pub fn copy_metadata(node: &Node, to: BorrowedFd<'_>) -> SysResult<()> {
    let stat = node.stat();
    change_owner(to, stat.st_uid, stat.st_gid)?;
    for (name, value) in node.attributes()? {
        attributes::set(to, &name, &value)?;
    }
    // A new owner takes set-id bits and file capabilities away, so these come after (chown(2)).
    change_mode(to, stat.st_mode & 0o7777)?;
    set_times(stat, to)
}

/// The same for what is not opened: links, devices, FIFOs and sockets.
fn copy_place_metadata(node: &Node, to: &OwnedFd) -> SysResult<()> {
    let stat = node.stat();
    change_owner(to, stat.st_uid, stat.st_gid)?;
    for (name, value) in node.attributes()? {
        attributes::set_of_place(to, &name, &value)?;
    }
    if node.kind() != FileType::Symlink {
        let path = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(to).to_string());
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        sys("fchmodat", rustix::fs::chmod(&path, mode), || format!("{}, {mode:?}", FdPath::of(to)))?;
    }
    set_times(stat, to.as_fd())
}

fn set_times(stat: &Stat, to: BorrowedFd<'_>) -> SysResult<()> {
    let time = |seconds, nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    // A number of nanoseconds fits whatever type the platform has.
    #[allow(clippy::cast_possible_wrap, clippy::cast_lossless, reason = "below 10^9")]
    let (accessed, modified) =
        (time(stat.st_atime, stat.st_atime_nsec as _), time(stat.st_mtime, stat.st_mtime_nsec as _));
    attributes::set_times(to, accessed, modified)
}

fn place(directory: BorrowedFd<'_>, name: &OsStr) -> SysResult<OwnedFd> {
    open_at(directory, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
}
