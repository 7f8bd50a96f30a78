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
    let mut names = Vec::with_capacity(1024);
    loop {
        names.clear();
        match rustix::fs::flistxattr(&fd, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => break,
            Err(Errno::RANGE) if names.capacity() < LIMIT => names.reserve(LIMIT),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(errno) => return Err(SysError::new("flistxattr", FdPath::of(&fd).to_string(), errno)),
        }
    }
    Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The value of the attribute `name`; `None` if it is gone.
pub fn get(fd: impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(512);
    loop {
        value.clear();
        match rustix::fs::fgetxattr(&fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < LIMIT => value.reserve(LIMIT),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(failed("fgetxattr", &fd, name, errno)),
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
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    rustix::fs::setxattr(path, name, value, XattrFlags::empty())
        .map_err(|errno| failed("setxattr", &place, name, errno))
}

/// The names of the attributes of what `place` (`O_PATH`) stands for, as [`list`] gives them.
pub fn list_of_place(place: impl AsFd) -> SysResult<Vec<Vec<u8>>> {
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    let mut names = Vec::with_capacity(LIMIT);
    match rustix::fs::listxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(SysError::new("listxattr", FdPath::of(&place).to_string(), errno)),
    }
    Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The value of the attribute `name` of what `place` (`O_PATH`) stands for; `None` if it is gone.
pub fn get_of_place(place: impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    let mut value = Vec::with_capacity(LIMIT);
    match rustix::fs::getxattr(path, name, rustix::buffer::spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(failed("getxattr", &place, name, errno)),
    }
}

/// Removes the attribute `name`; one that is not there is fine.
pub fn remove(fd: impl AsFd, name: &[u8]) -> SysResult<()> {
    match rustix::fs::fremovexattr(&fd, name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(failed("fremovexattr", &fd, name, errno)),
    }
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
