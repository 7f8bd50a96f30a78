//! Locks of images, those that systemd-nspawn and systemd-machined take (systemd's image_path_lock(), the same in 252
//! and 262): what one of us uses, the others refuse to change, and the other way round.
//!
//! An image has two. The local one, `.#NAME.lck` beside it, counts on all hosts that share a file system; the global one,
//! `/run/systemd/nspawn/locks/inode-DEVICE:INODE` or `block-MAJOR:MINOR`, counts under whatever path the image is reached.
//! Held alone by who writes to an image, shared by those that only read it. A third, `locks/name-NAME`, keeps two from
//! giving the same name to two images.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::name::ImageName;
use super::store::Image;
use super::users;
use crate::host::systemd;
use crate::sys::files::{
    entries, make_directories, make_directory_at, open_at, open_directory, remove_directory_at,
    while_parents_vanish,
};
pub use crate::sys::lock_file::Hold;
use crate::sys::lock_file::LockFile;
use crate::sys::{FdPath, SysError, SysResult, sys};

/// Where the global ones are.
pub const LOCKS: &str = "/run/systemd/nspawn/locks";

/// An image that is locked, until this is dropped. Whoever holds its fds holds it: no child gets them by exec.
#[derive(Debug)]
#[must_use = "dropped, it is let go of"]
pub struct ImageLock {
    _local: Option<LockFile>,
    _global: Option<GlobalLock>,
}

/// A name that nobody else can give to an image, until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it is let go of"]
pub struct NameLock {
    _file: GlobalLock,
}

/// A file in [`LOCKS`].
#[derive(Debug)]
struct GlobalLock(Option<LockFile>);

impl Drop for GlobalLock {
    fn drop(&mut self) {
        self.0 = None;
        // Where there is no systemd, its directories are ours too: gone with the last that needs them.
        if !systemd::is_pid1() {
            for directory in Path::new(LOCKS).ancestors().take(3) {
                if remove_directory_at(CWD, directory).is_err() {
                    break;
                }
            }
        }
    }
}

/// Locks `image`.
///
/// # Errors
/// [`Error::InUse`], which says who has it.
pub fn lock(image: &Image, hold: Hold) -> Result<ImageLock, Error> {
    lock_path(&image.path, hold).map_err(|error| match error {
        Error::InUse { by, .. } => Error::InUse { name: image.name.to_string(), by },
        other => other,
    })
}

/// Locks the tree, disk image or block device at `path`, wherever it is. Symlinks are followed. The host's own root can be
/// shared, never held alone.
///
/// # Errors
/// [`Error::InUse`], which says who has it.
pub fn lock_path(path: &Path, hold: Hold) -> Result<ImageLock, Error> {
    /// Who looks whether a file is held holds it for a moment.
    const LOOKS: u32 = 3;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 1..LOOKS {
        match try_lock_path(path, hold)? {
            Some(lock) => return Ok(lock),
            None => std::thread::sleep(PAUSE),
        }
    }
    try_lock_path(path, hold)?.ok_or_else(|| Error::InUse {
        name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        by: users::holders(path),
    })
}

/// As [`lock_path`], `None` where somebody has it.
///
/// # Errors
/// When the lock files cannot be made.
pub fn try_lock_path(path: &Path, hold: Hold) -> Result<Option<ImageLock>, Error> {
    let failed = || Error::system("lock", path);
    let (real, global) = place(path).map_err(failed())?;
    if real == Path::new("/") {
        return Ok((hold == Hold::Shared).then_some(ImageLock { _local: None, _global: None }));
    }
    let local = match beside(&real) {
        None => None,
        Some((directory, name)) => {
            match open_directory(directory).and_then(|directory| LockFile::try_take(directory, &name, hold)) {
                Ok(None) => return Ok(None),
                Ok(taken) => taken,
                // Where no file can be made, nobody takes the local lock.
                Err(error) if error.errno() == Errno::ROFS => None,
                Err(error) => return Err(failed()(error)),
            }
        }
    };
    let global = take_global(&global, hold).map_err(failed())?;
    Ok(global.map(|global| ImageLock { _local: local, _global: Some(global) }))
}

/// Removes the lock files that a killed holder left of the image at `path`; those that are held stay, each for itself: on a file system
/// of many hosts another one may have the local lock, and none of ours.
pub fn sweep(path: &Path) {
    let Ok((real, global)) = place(path) else { return };
    if real == Path::new("/") {
        return;
    }
    if let Some((directory, name)) = beside(&real) {
        let directory = open_directory(directory);
        drop(directory.and_then(|directory| LockFile::try_take(directory, &name, Hold::Exclusive)));
    }
    drop(take_global(&global, Hold::Exclusive));
}

/// Removes all global lock files that killed holders left, whatever images they were of.
pub fn sweep_all() {
    let names = open_directory(Path::new(LOCKS)).and_then(entries).unwrap_or_default();
    for name in names.iter().filter_map(|(name, _)| name.to_str()) {
        drop(take_global(name, Hold::Exclusive));
    }
}

/// Keeps others from making an image `name`, systemd's programs too.
///
/// # Errors
/// [`Error::Busy`] when somebody is about to.
pub fn lock_name(name: &ImageName) -> Result<NameLock, Error> {
    let failed = || Error::system("lock the name of image", name.as_str());
    let taken = take_global(&format!("name-{name}"), Hold::Exclusive).map_err(failed())?;
    taken.map(|file| NameLock { _file: file }).ok_or_else(|| Error::Busy { name: name.to_string() })
}

/// What others hold of the image at `path`; nothing where that cannot be told.
pub fn held(path: &Path) -> Option<Hold> {
    let (real, global) = place(path).ok()?;
    let local = beside(&real).and_then(|(directory, name)| {
        LockFile::held_by_others(open_directory(directory).ok()?, &name).ok().flatten()
    });
    let directory = open_directory(Path::new(LOCKS)).ok();
    local.or_else(|| LockFile::held_by_others(directory?, &global).ok().flatten())
}

/// Removes the global lock files that killed holders left, whoever they were: those that are held stay.
pub fn sweep_global() {
    let Ok(directory) = open_directory(Path::new(LOCKS)) else { return };
    for (name, _) in entries(&directory).unwrap_or_default() {
        let lock = name
            .to_str()
            .filter(|name| ["inode-", "block-", "name-"].iter().any(|kind| name.starts_with(kind)));
        if let Some(name) = lock.filter(|name| is_old(&directory, name)) {
            drop(take_global(name, Hold::Exclusive));
        }
    }
}

/// Removes the lock file `name` of `directory`, and the global one of the image at `path`, that a killed holder left.
pub(super) fn sweep_file(directory: &OwnedFd, name: &str, path: &Path) {
    if !is_old(directory, name) {
        return;
    }
    if path.exists() {
        return sweep(path);
    }
    // Of an image that is gone.
    if let Ok(directory) = directory.try_clone() {
        drop(LockFile::try_take(directory, name, Hold::Exclusive));
    }
}

/// Whether the lock file was not made just now, by somebody who is about to lock it.
fn is_old(directory: &OwnedFd, name: &str) -> bool {
    const GRACE: Duration = Duration::from_secs(2);
    let made = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_ctime);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    made.is_ok_and(|made| {
        Duration::from_secs(u64::try_from(made).unwrap_or_default()).saturating_add(GRACE) < now
    })
}

/// Whether somebody has the lock file `name` of `directory`.
pub(super) fn is_held(directory: impl AsFd, name: &str) -> bool {
    LockFile::held_by_others(directory, name).is_ok_and(|hold| hold.is_some())
}

/// The files by which the image at `path` is locked, to find who has them open.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let Ok((real, global)) = place(path) else { return Vec::new() };
    let local = beside(&real).map(|(directory, name)| directory.join(name));
    [Some(Path::new(LOCKS).join(global)), local].into_iter().flatten().collect()
}

/// Where `path` leads to, and the name of its global lock.
fn place(path: &Path) -> SysResult<(PathBuf, String)> {
    let target = open_at(CWD, path, OFlags::PATH, Mode::empty())?;
    let stat = sys("fstat", rustix::fs::fstat(&target), || FdPath::of(&target).to_string())?;
    let global = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => {
            let device = stat.st_rdev;
            format!("block-{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
        }
        FileType::Directory | FileType::RegularFile => format!("inode-{}:{}", stat.st_dev, stat.st_ino),
        _ => return Err(SysError::new("fstat", FdPath::of(&target).to_string(), Errno::NOTBLK)),
    };
    // By which the kernel knows it: that is where systemd puts the local lock.
    let link = format!("/proc/self/fd/{}", target.as_raw_fd());
    let real = sys("readlink", rustix::fs::readlinkat(CWD, &link, Vec::new()), || format!("{link:?}"))?;
    Ok((PathBuf::from(OsStr::from_bytes(real.as_bytes())), global))
}

/// The directory and the name of the local lock of `real`.
fn beside(real: &Path) -> Option<(&Path, String)> {
    // The numbers of a device lock it on this host, and devices are no other host's. A name that is not UTF-8 has the
    // global lock alone.
    let name = real.file_name()?.to_str().filter(|_| !real.starts_with("/dev"))?;
    Some((real.parent()?, format!(".#{name}.lck")))
}

/// The directory is made by the first who locks anything, with the modes that systemd gives it.
fn take_global(name: &str, hold: Hold) -> SysResult<Option<GlobalLock>> {
    let taken = while_parents_vanish(|| {
        let locks = match open_directory(Path::new(LOCKS)) {
            Err(error) if error.errno() == Errno::NOENT => {
                let parent = make_directories(Path::new("/run/systemd/nspawn"), 0o755)?;
                make_directory_at(parent, "locks", 0o700)?
            }
            opened => opened?,
        };
        LockFile::try_take(locks, name, hold)
    })?;
    Ok(taken.map(|file| GlobalLock(Some(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_locks() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let temporary = tempfile::tempdir().unwrap();
        let tree = temporary.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        symlink("tree", temporary.path().join("alias")).unwrap();
        let stat = std::fs::metadata(&tree).unwrap();
        let global = Path::new(LOCKS).join(format!("inode-{}:{}", stat.dev(), stat.ino()));
        // One lock, whatever the path.
        for name in ["tree", "alias"] {
            let expected = [global.clone(), temporary.path().join(".#tree.lck")];
            assert_eq!(files(&temporary.path().join(name)), expected, "{name}");
        }
        assert_eq!(files(Path::new("/dev/null")), Vec::<PathBuf>::new());
    }
}
