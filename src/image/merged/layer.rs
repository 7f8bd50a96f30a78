//! One layer, and what overlayfs left in it: whiteouts, redirects.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::node::Part;
use crate::image::overlay::Marks;
use crate::sys::files::open_at;
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

/// Where overlayfs goes on to look, in lower layers.
pub(super) enum Redirect {
    /// For the same.
    None,
    /// For another name in the same directory.
    Name(OsString),
    /// For a path from the root.
    Path(PathBuf),
}

/// Whatever wrote it, it leads nowhere but into the layers.
pub(super) fn redirect_of(value: Option<Vec<u8>>) -> SysResult<Redirect> {
    let Some(value) = value else { return Ok(Redirect::None) };
    let refused =
        || SysError::new("fgetxattr", format!("a redirect to {:?}", OsStr::from_bytes(&value)), Errno::INVAL);
    let path = Path::new(OsStr::from_bytes(&value));
    let mut names = path.components().filter(|component| *component != Component::RootDir).peekable();
    if names.peek().is_none() || !names.all(|component| matches!(component, Component::Normal(_))) {
        return Err(refused());
    }
    match (path.is_absolute(), path.components().count()) {
        (true, _) => Ok(Redirect::Path(path.strip_prefix("/").unwrap_or(path).to_owned())),
        (false, 1) => Ok(Redirect::Name(path.as_os_str().to_owned())),
        (false, _) => Err(refused()),
    }
}

pub(super) fn stat_of(fd: &impl AsFd) -> SysResult<Stat> {
    sys("fstat", rustix::fs::fstat(fd), || FdPath::of(fd).to_string())
}

/// A directory can be listed once by an fd.
pub(super) fn rewound(part: &Part) -> SysResult<OwnedFd> {
    open_at(&part.directory, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

pub(super) fn open_place(directory: &OwnedFd, name: &OsStr) -> SysResult<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        opened => sys("openat", opened, || format!("{}, {name:?}, O_PATH", FdPath::of(directory)))?,
    };
    let stat = stat_of(&place)?;
    Ok(Some((place, stat)))
}

/// `path` in one layer: none of its directories may be removed there, or be anything else.
pub(super) fn walk(layer: Option<&OwnedFd>, path: &Path) -> SysResult<Option<(OwnedFd, Stat)>> {
    let Some(layer) = layer else { return Ok(None) };
    let mut found: Option<(OwnedFd, Stat)> = None;
    for name in path {
        let directory = found.as_ref().map_or(layer, |(place, _)| place);
        match open_place(directory, name)? {
            None => return Ok(None),
            next => found = next,
        }
    }
    Ok(found)
}

/// The attribute `name` of overlayfs.
pub(super) fn mark(marks: Marks, name: &str) -> Vec<u8> {
    let space = match marks {
        Marks::User => "user.overlay.",
        Marks::Trusted => "trusted.overlay.",
    };
    format!("{space}{name}").into_bytes()
}

/// In a directory that says so an empty file with an attribute is one, too.
pub(super) fn is_whiteout(place: &OwnedFd, stat: &Stat, attribute: Option<Marks>) -> SysResult<bool> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => match attribute {
            Some(marks) => attributes::get_of_place(place, &mark(marks, "whiteout"))?.is_some(),
            None => false,
        },
        _ => false,
    })
}
