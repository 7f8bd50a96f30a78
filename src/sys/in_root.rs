//! The only way to reach a path of a tree.
//!
//! A tree is hostile: any name in it may be a symlink to the host. A [`Root`] is opened once; every path in it is then
//! resolved by the kernel with openat2(2) `RESOLVE_IN_ROOT`, so that absolute links and `..` end inside the tree, and
//! `RESOLVE_NO_MAGICLINKS`, so that no link of a proc file system mounted there leads out. What is created or removed is
//! named by a parent fd and one component, which no system call below follows.
//!
//! Nothing here uses a path of the tree with the host's rules, and nothing can be blocked by a FIFO or woken a device:
//! contents are read only of what fstat calls a regular file, before it is opened.
//!
//! | file | what it owns |
//! |---|---|
//! | `making` | what is made in a tree, and removed |
//! | `metadata` | what a file of it is: [`Metadata`] |

mod making;
mod metadata;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use metadata::Metadata;

use super::files::read_all;
use super::{FdPath, SysError, SysResult, sys};

/// What every resolution has in common.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// How often a resolution that raced with a rename is tried again. openat2(2) answers EAGAIN when it cannot rule out that
/// a `..` left the root; a guest that renames in a loop must not hold us for ever.
const RACE_RETRIES: u32 = 128;

/// The root directory of a tree, held open.
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory `path` by the host's rules: this is the last path for which they count.
    pub fn open(path: impl AsRef<Path>) -> SysResult<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::openat(CWD, path, flags, Mode::empty());
        let fd = sys("openat", opened, || format!("AT_FDCWD, {path:?}, O_PATH|O_DIRECTORY"))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Takes an open directory, say a detached mount; `path` is only what messages call it.
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self { fd, path: path.into() }
    }

    /// A second handle of the same root.
    pub fn try_clone(&self) -> SysResult<Self> {
        let cloned = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0);
        let fd = sys("fcntl", cloned, || format!("{}, F_DUPFD_CLOEXEC", FdPath::of(&self.fd)))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// The directory `path` of this root as a root of its own.
    pub fn subroot(&self, path: impl AsRef<Path>) -> SysResult<Self> {
        let path = path.as_ref();
        let fd =
            self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
        Ok(Self { fd, path: self.path.join(relative(path)) })
    }

    /// What messages call this root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `path`. The caller says by `flags` what may be opened: without `O_PATH` a FIFO or device of the tree may
    /// answer, so give `O_NONBLOCK` and look at the result with fstat, or use [`Root::read`].
    pub fn open_file(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> SysResult<OwnedFd> {
        self.open_at(path.as_ref(), flags, mode, ResolveFlags::empty())
    }

    /// Opens `path` for use as a place (`O_PATH`), following links within the root.
    pub fn open_path(&self, path: impl AsRef<Path>) -> SysResult<OwnedFd> {
        self.open_at(path.as_ref(), OFlags::PATH, Mode::empty(), ResolveFlags::empty())
    }

    /// As [`Root::open_path`], but `None` where there is nothing (ENOENT, or a parent that is no directory): found out
    /// without the cost of an error that reads well.
    pub fn find(&self, path: impl AsRef<Path>) -> SysResult<Option<OwnedFd>> {
        let path = path.as_ref();
        match self.try_open_at(path, OFlags::PATH, Mode::empty(), ResolveFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            opened => self.opened(path, opened).map(Some),
        }
    }

    /// As [`Root::open_path`], but fails with ELOOP if any component is a symlink.
    pub fn open_path_no_symlinks(&self, path: impl AsRef<Path>) -> SysResult<OwnedFd> {
        self.open_at(path.as_ref(), OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    /// What `path` is, following links within the root.
    pub fn metadata(&self, path: impl AsRef<Path>) -> SysResult<Metadata> {
        Metadata::of(&self.open_path(path)?)
    }

    /// What `path` is, without following its last component.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> SysResult<Metadata> {
        let path = path.as_ref();
        if let Some(name) = single_component(path) {
            // One component that is not followed cannot leave the root, and one call is cheaper than three.
            let stat = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT);
            return sys("fstatat", stat, || self.arguments(path, "AT_SYMLINK_NOFOLLOW")).map(Metadata);
        }
        Metadata::of(&self.open_link(path)?)
    }

    /// Where the symlink `path` points, as written in it.
    pub fn read_link(&self, path: impl AsRef<Path>) -> SysResult<PathBuf> {
        let path = path.as_ref();
        let target = match single_component(path) {
            Some(name) => fs::readlinkat(&self.fd, name, Vec::new()),
            None => fs::readlinkat(self.open_link(path)?, c"", Vec::new()),
        };
        let target = sys("readlinkat", target, || self.arguments(path, ""))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Whether `path` is there, links followed. A dangling link is not there.
    pub fn exists(&self, path: impl AsRef<Path>) -> SysResult<bool> {
        self.find(path).map(|found| found.is_some())
    }

    /// Opens `path` for reading if it is a regular file: nothing else is ever opened, so nothing blocks and no device
    /// acts. Fails with EISDIR for a directory and EINVAL for other kinds.
    pub fn open_regular(&self, path: impl AsRef<Path>) -> SysResult<OwnedFd> {
        let path = path.as_ref();
        let place = self.open_path(path)?;
        let kind = Metadata::of(&place)?.kind();
        if kind != FileType::RegularFile {
            let errno = if kind == FileType::Directory { Errno::ISDIR } else { Errno::INVAL };
            return Err(SysError::new("openat2", self.arguments(path, "O_RDONLY"), errno));
        }
        reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// The first `limit` bytes of the regular file `path`.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> SysResult<Vec<u8>> {
        read_all(self.open_regular(path)?, limit)
    }

    /// The names in the directory `path`, without `.` and `..`, in the order of the file system.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> SysResult<Vec<OsString>> {
        let mut names = Vec::new();
        self.scan_dir(path, |name| {
            names.push(name.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Shows `visit` each name in the directory `path` until it breaks.
    pub fn scan_dir(
        &self,
        path: impl AsRef<Path>,
        mut visit: impl FnMut(&OsStr) -> ControlFlow<()>,
    ) -> SysResult<()> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.open_at(path, flags, Mode::empty(), ResolveFlags::empty())?;
        let failed = |errno| SysError::new("getdents64", self.arguments(path, ""), errno);
        for entry in fs::Dir::new(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." && visit(name).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// `path` itself as a place, its last component not followed.
    fn open_link(&self, path: &Path) -> SysResult<OwnedFd> {
        self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty(), ResolveFlags::empty())
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode, resolve: ResolveFlags) -> SysResult<OwnedFd> {
        self.opened(path, self.try_open_at(path, flags, mode, resolve))
    }

    fn opened(&self, path: &Path, opened: Result<OwnedFd, Errno>) -> SysResult<OwnedFd> {
        sys("openat2", opened, || self.arguments(path, "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS"))
    }

    fn try_open_at(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let name = relative(path);
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..RACE_RETRIES {
            opened = fs::openat2(&self.fd, name, flags | OFlags::CLOEXEC, mode, IN_ROOT | resolve);
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        opened
    }

    fn no_name(&self, path: &Path) -> SysError {
        SysError::new("openat2", self.arguments(path, ""), Errno::INVAL)
    }

    fn arguments(&self, path: &Path, flags: &str) -> String {
        let comma = if flags.is_empty() { "" } else { ", " };
        format!("{}, {:?}{comma}{flags}", FdPath::of(&self.fd), relative(path))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({}<{}>)", self.fd.as_raw_fd(), self.path.display())
    }
}

/// `Ok(None)` where there is nothing at the path (ENOENT, or a parent that is no directory).
pub fn absent_is_none<T>(result: SysResult<T>) -> SysResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes all of `contents`, which may be secret: unlike `files::write_all` its error shows none of them.
pub fn write_all(fd: &impl AsFd, mut contents: &[u8]) -> SysResult<()> {
    while !contents.is_empty() {
        match rustix::io::write(fd, contents) {
            Ok(count) => contents = contents.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(SysError::new(
                    "write",
                    format!("{}, {} bytes", FdPath::of(fd), contents.len()),
                    errno,
                ));
            }
        }
    }
    Ok(())
}

/// Opens for `flags` the very file that `place` (`O_PATH`) stands for; nothing is resolved again.
pub fn reopen(place: &impl AsFd, flags: OFlags) -> SysResult<OwnedFd> {
    let link = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    let opened = fs::openat(CWD, &link, flags | OFlags::CLOEXEC, Mode::empty());
    sys("openat", opened, || format!("{}, {flags:?}", FdPath::of(place)))
}

/// `path` without its leading slashes; the root itself is `.`.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let slashes = bytes.iter().take_while(|byte| **byte == b'/').count();
    match bytes.get(slashes..) {
        None | Some([]) => Path::new("."),
        Some(rest) => Path::new(OsStr::from_bytes(rest)),
    }
}

/// The name if `path` is just one in the root itself.
fn single_component(path: &Path) -> Option<&OsStr> {
    let bytes = relative(path).as_os_str().as_bytes();
    match bytes {
        b"." | b".." => None,
        name if name.contains(&b'/') => None,
        name => Some(OsStr::from_bytes(name)),
    }
}

#[cfg(test)]
mod tests;
