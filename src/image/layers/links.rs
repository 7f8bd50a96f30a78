//! Symlinks from images to their layers, and renames.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::sys::{FdPath, SysError, SysResult, sys};

/// How an image in `pool` says where `target` is: relative within the pool, so that the pool can be moved.
pub(super) fn link_text(target: &Path, pool: &Path) -> PathBuf {
    match target.strip_prefix(pool) {
        Ok(below) => Path::new("..").join(below),
        Err(_) => target.to_owned(),
    }
}

/// Where the entry of an image leads.
pub(super) fn target_of(directory: &OwnedFd, path: &Path, entry: &str) -> SysResult<PathBuf> {
    match rustix::fs::readlinkat(directory, entry, Vec::new()) {
        Ok(text) => Ok(normal(&path.join(OsString::from_vec(text.into_bytes())))),
        Err(Errno::INVAL) => Ok(path.join(entry)),
        Err(errno) => {
            Err(SysError::new("readlinkat", format!("{}, {entry:?}", FdPath::of(directory)), errno))
        }
    }
}

/// Without `.` and `..`. `path` begins with one of which the kernel says that it has no links in it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Whether two paths lead to one file.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let key = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    one == other || (key(one).is_some() && key(one) == key(other))
}

/// By which the kernel knows it.
pub(super) fn real_path(fd: &impl AsFd) -> SysResult<PathBuf> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let path = sys("readlink", rustix::fs::readlink(&link, Vec::new()), || format!("{link:?}"))?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

/// symlinkat(2).
pub(super) fn link(directory: &impl AsFd, name: &str, target: &Path) -> SysResult<()> {
    sys("symlinkat", rustix::fs::symlinkat(target, directory, name), || {
        format!("{target:?}, {}, {name:?}", FdPath::of(directory))
    })
}

/// renameat2(2).
pub(in crate::image) fn rename(
    from: &impl AsFd,
    old: &str,
    to: &impl AsFd,
    new: &str,
    flags: RenameFlags,
) -> SysResult<()> {
    sys("renameat2", rustix::fs::renameat_with(from, old, to, new, flags), || {
        format!("{}, {old:?}, {}, {new:?}, {flags:?}", FdPath::of(from), FdPath::of(to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let rows = [
            ("/var/lib/machines/base", "/var/lib/machines", "../base"),
            ("/var/lib/machines/.#spinney/layers/1", "/var/lib/machines", "../.#spinney/layers/1"),
            ("/var/lib/spinney/layers/1", "/var/lib/machines", "/var/lib/spinney/layers/1"),
            ("/var/lib/machines2/base", "/var/lib/machines", "/var/lib/machines2/base"),
        ];
        for (target, pool, text) in rows {
            assert_eq!(link_text(Path::new(target), Path::new(pool)), Path::new(text));
            let image = Path::new(pool).join("clone.mstack");
            assert_eq!(normal(&image.join(text)), Path::new(target));
        }
    }
}
