//! Extended attributes (xattr(7)) and times of files, by fds.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{FdPath, SysError, SysResult, sys};

/// The most that a list of names, or a value, may have (limits.h, XATTR_LIST_MAX and XATTR_SIZE_MAX).
pub(super) const LIMIT: usize = 65536;

/// The names of the attributes of `fd` that we may see. A file system without any has none.
pub fn list(fd: impl AsFd) -> SysResult<Vec<Vec<u8>>> {
    names("flistxattr", &fd, |names| {
        rustix::fs::flistxattr(&fd, rustix::buffer::spare_capacity(names)).map(drop)
    })
}

/// As [`list`], of what `place` (`O_PATH`) is: a symlink itself, a device, a FIFO, without opening it.
pub fn list_of_place(place: impl AsFd) -> SysResult<Vec<Vec<u8>>> {
    let path = through_proc(&place);
    names("listxattr", &place, |names| {
        rustix::fs::listxattr(&path, rustix::buffer::spare_capacity(names)).map(drop)
    })
}

/// The value of the attribute `name`; `None` if it is gone.
pub fn get(fd: impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
    value("fgetxattr", &fd, name, |value| {
        rustix::fs::fgetxattr(&fd, name, rustix::buffer::spare_capacity(value)).map(drop)
    })
}

/// As [`get`], of what `place` (`O_PATH`) is.
pub fn get_of_place(place: impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
    let path = through_proc(&place);
    value("getxattr", &place, name, |value| {
        rustix::fs::getxattr(&path, name, rustix::buffer::spare_capacity(value)).map(drop)
    })
}

fn names(
    call: &'static str,
    fd: &impl AsFd,
    mut fetch: impl FnMut(&mut Vec<u8>) -> Result<(), Errno>,
) -> SysResult<Vec<Vec<u8>>> {
    let mut names = Vec::with_capacity(1024);
    loop {
        names.clear();
        match fetch(&mut names) {
            Ok(()) => break,
            Err(Errno::RANGE) if names.capacity() < LIMIT => names.reserve(LIMIT),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(errno) => return Err(SysError::new(call, FdPath::of(fd).to_string(), errno)),
        }
    }
    Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

fn value(
    call: &'static str,
    fd: &impl AsFd,
    name: &[u8],
    mut fetch: impl FnMut(&mut Vec<u8>) -> Result<(), Errno>,
) -> SysResult<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(512);
    loop {
        value.clear();
        match fetch(&mut value) {
            Ok(()) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < LIMIT => value.reserve(LIMIT),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(failed(call, fd, name, errno)),
        }
    }
}

/// Sets the attribute `name`.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> SysResult<()> {
    rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty())
        .map_err(|errno| failed("fsetxattr", &fd, name, errno))
}

/// Sets the attribute `name` of what `place` (`O_PATH`) stands for, a link itself too: xattr calls that take an fd do not
/// take such a one.
pub fn set_of_place(place: impl AsFd, name: &[u8], value: &[u8]) -> SysResult<()> {
    rustix::fs::setxattr(through_proc(&place), name, value, XattrFlags::empty())
        .map_err(|errno| failed("setxattr", &place, name, errno))
}

/// Removes the attribute `name`; one that is not there is fine.
pub fn remove(fd: impl AsFd, name: &[u8]) -> SysResult<()> {
    match rustix::fs::fremovexattr(&fd, name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(failed("fremovexattr", &fd, name, errno)),
    }
}

/// The magic link leads to the very file, and the file, if it is a symlink, is not followed any more.
fn through_proc(place: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", place.as_fd().as_raw_fd())
}

/// Sets when the file `fd` (`O_PATH` is enough, Linux 5.8) was last read and changed, in seconds since 1970 and
/// nanoseconds.
pub fn set_times(fd: impl AsFd, accessed: Timespec, modified: Timespec) -> SysResult<()> {
    let times = Timestamps { last_access: accessed, last_modification: modified };
    sys("utimensat", rustix::fs::utimensat(&fd, "", &times, AtFlags::EMPTY_PATH), || {
        format!("{}, {}.{:09}", FdPath::of(&fd), modified.tv_sec, modified.tv_nsec)
    })
}

/// As [`set_times`], of a file that is open for more than its place: works on any kernel.
pub fn set_times_of_open(fd: impl AsFd, accessed: Timespec, modified: Timespec) -> SysResult<()> {
    let times = Timestamps { last_access: accessed, last_modification: modified };
    sys("utimensat", rustix::fs::futimens(&fd, &times), || {
        format!("{}, {}.{:09}", FdPath::of(&fd), modified.tv_sec, modified.tv_nsec)
    })
}

/// Sets when `name` below `directory`, itself if it is a link, was last read and changed.
pub fn set_times_at(
    directory: impl AsFd,
    name: impl AsRef<Path>,
    accessed: Timespec,
    modified: Timespec,
) -> SysResult<()> {
    let (times, name) = (Timestamps { last_access: accessed, last_modification: modified }, name.as_ref());
    let result = rustix::fs::utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW);
    sys("utimensat", result, || {
        format!("{}, {name:?}, {}.{:09}", FdPath::of(&directory), modified.tv_sec, modified.tv_nsec)
    })
}

fn failed(call: &'static str, fd: &impl AsFd, name: &[u8], errno: Errno) -> SysError {
    SysError::new(call, format!("{}, {:?}", FdPath::of(fd), String::from_utf8_lossy(name)), errno)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, OFlags};

    use super::*;

    /// As an ordinary user only directories and files have attributes that may be set (xattr(7)).
    #[test]
    fn places() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        std::fs::write(&file, "").unwrap();
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let open = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap()
        };
        let set = |path: &Path, name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        };
        match set(&file, "user.a", b"1") {
            Err(Errno::OPNOTSUPP) => return,
            set => set.unwrap(),
        }
        assert_eq!(get_of_place(open(&file), b"user.a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(list_of_place(open(&file)).unwrap(), [b"user.a".to_vec()]);
        assert_eq!(list_of_place(open(&link)).unwrap(), Vec::<Vec<u8>>::new(), "the link is not followed");
        if rustix::process::geteuid().is_root() {
            set(&link, "trusted.b", b"2").unwrap();
            assert_eq!(get_of_place(open(&link), b"trusted.b").unwrap().as_deref(), Some(&b"2"[..]));
            assert_eq!(get_of_place(open(&file), b"trusted.b").unwrap(), None);
        }
    }
}
