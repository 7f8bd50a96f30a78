//! What is made in a tree, and removed: named by a parent fd and one component, which none of these calls follows.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Metadata, Root, relative, write_all};
use crate::sys::{FdPath, SysError, SysResult, sys};

impl Root {
    /// The directory `path`, made with its missing parents (mode `mode`, subject to the umask) and opened as a place.
    /// Links to directories of the tree are followed; a dangling one is not filled in but fails with EEXIST.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: Mode) -> SysResult<OwnedFd> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.try_open_at(path, flags, Mode::empty(), ResolveFlags::empty()) {
            Err(Errno::NOENT) => {}
            opened => return self.opened(path, opened),
        }
        if let Some((directory, name)) = split(path) {
            let parent = self.mkdir_all(directory, mode)?;
            sys("mkdirat", fs::mkdirat(&parent, name, mode), || {
                format!("{}, {name:?}, {:#o}", FdPath::of(&parent), mode.bits())
            })?;
        } else if let Some(above) = relative(path).parent() {
            self.mkdir_all(above, mode)?;
        }
        // Resolved from the root again: what is there now may be a link of somebody else's.
        self.open_at(path, flags, Mode::empty(), ResolveFlags::empty())
    }

    /// Makes the regular file `path`, open for writing; fails with EEXIST if anything has that name.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: Mode) -> SysResult<OwnedFd> {
        let (parent, name) = self.parent(path.as_ref())?;
        create_in(&parent, &name, mode)
    }

    /// Puts a regular file with `contents` at `path`, whatever has that name now (but not a directory): readers see the
    /// old or the new one, and a link there is replaced, not followed.
    pub fn write(&self, path: impl AsRef<Path>, contents: &[u8], mode: Mode) -> SysResult<()> {
        let (parent, name) = self.parent(path.as_ref())?;
        let mut temporary = OsString::from(".#");
        temporary.push(&name);
        let file = match create_in(&parent, &temporary, mode) {
            Err(error) if error.errno() == Errno::EXIST => {
                // Ours, of a run that was killed between create and rename.
                unlink_in(&parent, &temporary, AtFlags::empty())?;
                create_in(&parent, &temporary, mode)?
            }
            created => created?,
        };
        let done = write_all(&file, contents).and_then(|()| {
            sys("renameat", fs::renameat(&parent, &temporary, &parent, &name), || {
                format!("{}, {temporary:?}, {name:?}", FdPath::of(&parent))
            })
        });
        if done.is_err() {
            // The first error is the one that says why.
            let _ = unlink_in(&parent, &temporary, AtFlags::empty());
        }
        done
    }

    /// Makes the symlink `path` with the contents `target`; fails with EEXIST if anything has that name.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> SysResult<()> {
        let (target, (parent, name)) = (target.as_ref(), self.parent(path.as_ref())?);
        sys("symlinkat", fs::symlinkat(target, &parent, &name), || {
            format!("{target:?}, {}, {name:?}", FdPath::of(&parent))
        })
    }

    /// Removes the name `path`, which is not a directory.
    pub fn unlink(&self, path: impl AsRef<Path>) -> SysResult<()> {
        let (parent, name) = self.parent(path.as_ref())?;
        unlink_in(&parent, &name, AtFlags::empty())
    }

    /// Removes the empty directory `path`.
    pub fn rmdir(&self, path: impl AsRef<Path>) -> SysResult<()> {
        let (parent, name) = self.parent(path.as_ref())?;
        unlink_in(&parent, &name, AtFlags::REMOVEDIR)
    }

    /// A place to mount a file on: `path` as it is if it is there and no directory, else an empty file, made with its
    /// missing parents. Fails with EISDIR for a directory, EEXIST for a dangling link.
    pub fn ensure_file(&self, path: impl AsRef<Path>) -> SysResult<OwnedFd> {
        let path = path.as_ref();
        if let Some(found) = self.find(path)? {
            return match Metadata::of(&found)?.kind() {
                FileType::Directory => Err(SysError::new("openat2", self.arguments(path, ""), Errno::ISDIR)),
                _ => Ok(found),
            };
        }
        let (directory, name) = split(path).ok_or_else(|| self.no_name(path))?;
        let parent = self.mkdir_all(directory, Mode::from_raw_mode(0o755))?;
        drop(create_in(&parent, name, Mode::from_raw_mode(0o644))?);
        self.open_path(path)
    }

    /// The directory that holds `path`, resolved in the root, and the name in it.
    fn parent(&self, path: &Path) -> SysResult<(OwnedFd, OsString)> {
        let (directory, name) = split(path).ok_or_else(|| self.no_name(path))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = self.open_at(directory, flags, Mode::empty(), ResolveFlags::empty())?;
        Ok((parent, name.to_owned()))
    }
}

fn create_in(parent: &OwnedFd, name: &OsStr, mode: Mode) -> SysResult<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys("openat", fs::openat(parent, name, flags, mode), || {
        format!("{}, {name:?}, O_WRONLY|O_CREAT|O_EXCL, {:#o}", FdPath::of(parent), mode.bits())
    })
}

fn unlink_in(parent: &OwnedFd, name: &OsStr, flags: AtFlags) -> SysResult<()> {
    sys("unlinkat", fs::unlinkat(parent, name, flags), || format!("{}, {name:?}", FdPath::of(parent)))
}

/// The directory part and the name of `path`; `None` if it ends in `..` or is the root.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let path = relative(path);
    match path.components().next_back() {
        Some(Component::Normal(name)) => Some((path.parent().unwrap_or(Path::new(".")), name)),
        _ => None,
    }
}
