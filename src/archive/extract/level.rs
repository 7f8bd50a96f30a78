//! Archives whose only member at the top is one directory: its content goes one level up, as importctl(1) has it, and the
//! root becomes what that directory was.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use crate::archive::entry::Time;
use crate::archive::metadata::Metadata;
use crate::archive::names::open_directory;
use crate::sys::files::{entries, remove_directory_at};
use crate::sys::{FdPath, SysResult, attributes, sys};

/// What the top of a tree is known by (file-hierarchy(7)): a directory with one of these in it is a tree, and one of these is
/// never the only directory above a tree.
const TOP: [&str; 9] = ["bin", "etc", "init", "lib", "nix", "sbin", "usr", "var", "boot"];

/// Moves all that is in the only directory in `root` up to `root`. Gives its name, and what `root` is to be from now on;
/// `None` if there are others, or it holds no tree.
pub(super) fn strip(root: BorrowedFd<'_>) -> SysResult<Option<(OsString, Metadata)>> {
    let there = entries(root)?;
    let [(name, FileType::Directory)] = there.as_slice() else { return Ok(None) };
    if TOP.iter().any(|top| name == top) {
        return Ok(None);
    }
    let top = open_directory(root, name.as_bytes())?;
    let content = entries(&top)?;
    if !content.iter().any(|(name, _)| TOP.iter().any(|top| name == top)) {
        return Ok(None);
    }
    let metadata = metadata(&top)?;
    // Something in it may have its name.
    let aside = OsString::from(format!(".#{:016x}", crate::sys::random()?));
    rename(root, name, root, &aside)?;
    for (inner, _) in &content {
        rename(top.as_fd(), inner, root, inner)?;
    }
    remove_directory_at(root, &aside)?;
    Ok(Some((name.clone(), metadata)))
}

fn rename(from: BorrowedFd<'_>, old: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> SysResult<()> {
    sys("renameat", rustix::fs::renameat(from, old, to, new), || {
        format!("{}, {old:?}, {}, {new:?}", FdPath::of(&from), FdPath::of(&to))
    })
}

/// All that `directory` has.
pub(super) fn metadata(directory: &OwnedFd) -> SysResult<Metadata> {
    let stat = sys("fstat", rustix::fs::fstat(directory), || FdPath::of(directory).to_string())?;
    let mut found = Vec::new();
    for name in attributes::list(directory)? {
        if let Some(value) = attributes::get(directory, &name)? {
            found.push((name, value));
        }
    }
    Ok(Metadata {
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        accessed: None,
        modified: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec.try_into().unwrap_or(0) },
        attributes: found,
    })
}
