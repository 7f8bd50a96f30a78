//! Files of the host and of our own directories, by fds.
//!
//! Paths of a guest are not opened here: see `in_root`.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, MemfdFlags, Mode, OFlags, Uid};
use rustix::io::Errno;

pub use super::remove_tree::remove_tree_at;
use super::{FdPath, Flags, SysError, SysResult, sys};

/// Opens `path` below `directory`.
pub fn open_at(
    directory: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: Mode,
) -> SysResult<OwnedFd> {
    let path = path.as_ref();
    sys("openat", rustix::fs::openat(&directory, path, flags | OFlags::CLOEXEC, mode), || {
        format!("{}, {path:?}, {}", FdPath::of(&directory), Flags(flags))
    })
}

/// Looks whether `path` can be reached without any of /proc's magic links, which lead where no path does: to what a
/// process has open or executes.
///
/// # Errors
/// ELOOP if it cannot; others as open(2) has them.
pub fn refuse_magic_links(path: impl AsRef<Path>) -> SysResult<()> {
    use rustix::fs::ResolveFlags;
    let path = path.as_ref();
    let opened = rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    );
    sys("openat2", opened.map(drop), || format!("{path:?}, O_PATH, RESOLVE_NO_MAGICLINKS"))
}

/// Opens the directory `path` for `*at` calls.
pub fn open_directory(path: &Path) -> SysResult<OwnedFd> {
    open_at(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens the directory `name` below `directory`, never through a symlink.
pub fn open_directory_at(directory: impl AsFd, name: impl AsRef<Path>) -> SysResult<OwnedFd> {
    open_at(directory, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// Makes the directory `name` with exactly `mode`; one that is there stays as it is. Gives an fd of it.
pub fn make_directory_at(directory: impl AsFd, name: impl AsRef<Path>, mode: u32) -> SysResult<OwnedFd> {
    let name = name.as_ref();
    match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
        Ok(()) => {
            let made = open_directory_at(&directory, name)?;
            change_mode(&made, mode)?;
            Ok(made)
        }
        Err(Errno::EXIST) => open_directory_at(directory, name),
        Err(errno) => {
            Err(SysError::new("mkdirat", format!("{}, {name:?}, {mode:o}", FdPath::of(&directory)), errno))
        }
    }
}

/// Makes `path` and its missing parents, each with `mode`, and opens it.
pub fn make_directories(path: &Path, mode: u32) -> SysResult<OwnedFd> {
    let mut directory = open_directory(Path::new("/"))?;
    for component in path.components().skip(1) {
        // Parents of ours may be symlinks of the administrator's (/run -> ..., /var -> ...): followed, only the
        // missing ones are made.
        let name = component.as_os_str();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        directory = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => make_directory_at(&directory, name, mode)?,
            opened => {
                sys("openat", opened, || format!("{}, {name:?}, {}", FdPath::of(&directory), Flags(flags)))?
            }
        };
    }
    Ok(directory)
}

/// Does `make` again while it fails with ENOENT, as when another machine that ends removes an empty directory that both
/// use under our hands: at most once for each that ends.
pub fn while_parents_vanish<T>(mut make: impl FnMut() -> SysResult<T>) -> SysResult<T> {
    const TRIES: usize = 64;
    let mut result = make();
    for _ in 1..TRIES {
        match &result {
            // ENODEV is a file of a cgroup that was removed after the file was opened.
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV) => result = make(),
            _ => break,
        }
    }
    result
}

/// fchmod(2).
pub fn change_mode(fd: impl AsFd, mode: u32) -> SysResult<()> {
    sys("fchmod", rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)), || {
        format!("{}, {mode:o}", FdPath::of(&fd))
    })
}

/// Gives what `fd` (O_PATH is enough) refers to, to `uid` and `gid`.
pub fn change_owner(fd: impl AsFd, uid: u32, gid: u32) -> SysResult<()> {
    let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
    let result = rustix::fs::chownat(&fd, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH);
    sys("fchownat", result, || format!("{}, \"\", {uid}, {gid}", FdPath::of(&fd)))
}

/// As [`change_owner`], but leaves as they are user or group that are not given.
pub fn change_owner_partly(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> SysResult<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    let result = rustix::fs::chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH);
    sys("fchownat", result, || format!("{}, \"\", {uid:?}, {gid:?}", FdPath::of(&fd)))
}

/// Gives `name` below `directory` to `uid` and `gid`, itself if it is a symlink.
pub fn change_owner_at(directory: impl AsFd, name: &str, uid: u32, gid: u32) -> SysResult<()> {
    let result = rustix::fs::chownat(
        &directory,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    sys("fchownat", result, || format!("{}, {name:?}, {uid}, {gid}", FdPath::of(&directory)))
}

/// Writes all of `data`, in one write(2) where the kernel takes it (as cgroupfs and procfs need).
pub fn write_all(fd: impl AsFd, mut data: &[u8]) -> SysResult<()> {
    while !data.is_empty() {
        match rustix::io::write(&fd, data) {
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => {
                let shown = String::from_utf8_lossy(data.get(..data.len().min(64)).unwrap_or_default());
                return Err(SysError::new("write", format!("{}, {shown:?}", FdPath::of(&fd)), errno));
            }
        }
    }
    Ok(())
}

/// Has the file behind `fd` hold `data` and nothing else. In place: who has it open or mounted sees it.
///
/// # Errors
/// ENOSPC and the like; then it may hold some of it.
pub fn write_at_start(fd: impl AsFd, data: &[u8]) -> SysResult<()> {
    let mut offset = 0;
    while let Some(rest) = data.get(offset..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pwrite(&fd, rest, u64::try_from(offset).unwrap_or(u64::MAX)) {
            Ok(written) => offset += written,
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(SysError::new(
                    "pwrite",
                    format!("{}, {} bytes", FdPath::of(&fd), rest.len()),
                    errno,
                ));
            }
        }
    }
    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
    sys("ftruncate", rustix::fs::ftruncate(&fd, length), || format!("{}, {length}", FdPath::of(&fd)))
}

/// Writes `data` to the existing file `name` below `directory`.
pub fn write_at(directory: impl AsFd, name: impl AsRef<Path>, data: &[u8]) -> SysResult<()> {
    let file = open_at(directory, name, OFlags::WRONLY, Mode::empty())?;
    write_all(file, data)
}

/// Makes `name` below `directory` hold `data`, whole or not at all: written aside and renamed into place.
pub fn replace_at(directory: impl AsFd, name: &str, data: &[u8], mode: u32) -> SysResult<()> {
    replace_by(directory, &format!(".#{name}"), name, data, mode)
}

/// As [`replace_at`], where what is written aside is called `temporary`.
pub fn replace_by(
    directory: impl AsFd,
    temporary: &str,
    name: &str,
    data: &[u8],
    mode: u32,
) -> SysResult<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let file = open_at(&directory, temporary, flags, Mode::from_raw_mode(mode))?;
    let written = write_all(file, data).and_then(|()| {
        let renamed = rustix::fs::renameat(&directory, temporary, &directory, name);
        sys("renameat", renamed, || format!("{}, {temporary:?}, {name:?}", FdPath::of(&directory)))
    });
    if written.is_err() {
        let _ = remove_file_at(&directory, temporary);
    }
    written
}

/// Reads the file `path` below `directory`, at most `limit` bytes of it.
pub fn read_at(directory: impl AsFd, path: impl AsRef<Path>, limit: usize) -> SysResult<Vec<u8>> {
    let file = open_at(directory, path, OFlags::RDONLY, Mode::empty())?;
    read_all(file, limit)
}

/// Reads `fd` to its end, at most `limit` bytes.
pub fn read_all(fd: impl AsFd, limit: usize) -> SysResult<Vec<u8>> {
    // Most files read here (procfs, cgroupfs) are a few hundred bytes; the program of an init is a few megabytes.
    let mut data = vec![0; limit.min(4096)];
    let mut filled = 0;
    loop {
        let room = data.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            if filled >= limit {
                break;
            }
            data.resize(limit.min(filled * 4), 0);
            continue;
        }
        match rustix::io::read(&fd, room) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("read", FdPath::of(&fd).to_string(), errno)),
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// Takes the flock(2) of `fd` if nobody has it; says whether it did.
pub fn try_lock(fd: impl AsFd) -> SysResult<bool> {
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(SysError::new("flock", format!("{}, LOCK_EX|LOCK_NB", FdPath::of(&fd)), errno)),
    }
}

/// Takes the flock(2) of `fd`, however long others have it: for locks that nobody holds while it waits for anything.
pub fn lock(fd: impl AsFd) -> SysResult<()> {
    let result = rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive));
    sys("flock", result, || format!("{}, LOCK_EX", FdPath::of(&fd)))
}

/// Takes a write lock on the whole of `fd`, owned by the open file description (F_OFD_SETLK, fcntl(2)); says whether
/// it did. systemd's lock files are held this way.
pub fn try_lock_description(fd: impl AsFd) -> SysResult<bool> {
    use std::os::fd::AsRawFd;
    // SAFETY: flock is a struct of integers; all zero is a valid value (the whole file, from its start).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap_or(1);
    // SAFETY: the struct lives across the call and the fd is borrowed for its length.
    let result = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    match super::check(result.into()) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(SysError::new("fcntl", format!("{}, F_OFD_SETLK", FdPath::of(&fd)), errno)),
    }
}

/// A file that is in memory alone, named `name` for who looks at fds, holding `data`; its offset is at the start.
///
/// # Errors
/// ENOMEM.
pub fn memory_file(name: &CStr, data: &[u8]) -> SysResult<OwnedFd> {
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
    let file = sys("memfd_create", made, || format!("{name:?}, MFD_CLOEXEC"))?;
    write_at_start(&file, data)?;
    Ok(file)
}

/// Removes the file `name` below `directory`; one that is gone already is fine.
pub fn remove_file_at(directory: impl AsFd, name: impl AsRef<Path>) -> SysResult<()> {
    remove_at(directory, name.as_ref(), AtFlags::empty())
}

/// Removes the empty directory `name` below `directory`; one that is gone already is fine.
pub fn remove_directory_at(directory: impl AsFd, name: impl AsRef<Path>) -> SysResult<()> {
    remove_at(directory, name.as_ref(), AtFlags::REMOVEDIR)
}

fn remove_at(directory: impl AsFd, name: &Path, flags: AtFlags) -> SysResult<()> {
    match rustix::fs::unlinkat(&directory, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(SysError::new(
            "unlinkat",
            format!("{}, {name:?}, {}", FdPath::of(&directory), Flags(flags)),
            errno,
        )),
    }
}

/// The entries of a directory with their types, without `.` and `..`.
pub fn entries(directory: impl AsFd) -> SysResult<Vec<(OsString, FileType)>> {
    let list = || -> Result<Vec<(OsString, FileType)>, Errno> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                found.push((name.to_owned(), entry.file_type()));
            }
        }
        Ok(found)
    };
    sys("getdents64", list(), || FdPath::of(&directory).to_string())
}

/// Has the kernel begin to bring what was written to `file` to disk, and does not wait for it (sync_file_range(2)). Whether it
/// comes there is for syncfs(2) or fsync(2) to say.
pub fn start_writeback(file: impl AsFd) {
    use std::os::fd::AsRawFd;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: takes numbers alone, and the fd is borrowed for the length of the call.
    let _ = unsafe { libc::sync_file_range(fd, 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
