//! What is in a pool under a hidden name: images that are being made or removed, `.#NAME.RANDOM`.
//!
//! Whoever works on one has it locked (flock(2), of itself); what is not locked belongs to nobody any more, and goes with
//! the next command. Between the making of one and its lock it may be swept: then it is made again.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::Error;
use super::lock;
use super::name::ImageName;
use super::store::{ImageKind, POOL, Store};
use crate::sys::files::{
    change_mode, entries, make_directories, make_directory_at, open_at, open_directory, open_directory_at,
    remove_tree_at, try_lock,
};
use crate::sys::{FdPath, SysError, SysResult, btrfs};

/// How all hidden names of ours and systemd's begin.
pub const PREFIX: &str = ".#";

/// How long the random end of a hidden name is.
const DIGITS: usize = 16;

/// Opens the pool at `path`, made if it is missing. That of the system is closed to other users, as systemd's tmpfiles.d has
/// it: files in images have the ids of guests, and a setuid program of a guest's root is one of the host's to who gets there.
///
/// # Errors
/// When it cannot be made or closed.
pub(super) fn pool(path: &Path) -> SysResult<OwnedFd> {
    const OTHERS: u32 = 0o007;
    let pool = make_directories(path, 0o700)?;
    if path == Path::new(POOL) {
        let mode = rustix::fs::fstat(&pool).map(|stat| stat.st_mode & 0o7777).unwrap_or(0o700);
        if mode & OTHERS != 0 {
            change_mode(&pool, mode & !OTHERS)?;
        }
    }
    Ok(pool)
}

/// Makes an empty image of `kind`, which is ours alone: its hidden name, and it.
///
/// # Errors
/// When it cannot be made.
pub fn make(pool: &OwnedFd, name: &ImageName, kind: ImageKind) -> SysResult<(String, OwnedFd)> {
    loop {
        let hidden = fresh_name(name)?;
        let made = match kind {
            ImageKind::Raw => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                open_at(pool, &hidden, flags, Mode::from_raw_mode(0o600))
            }
            ImageKind::Subvolume => btrfs::create(pool, &hidden),
            _ => make_directory_at(pool, &hidden, 0o755),
        };
        match made {
            Ok(made) if claim(pool, &hidden, &made)? => return Ok((hidden, made)),
            Ok(_) => {}
            // Swept before it was opened.
            Err(error) if error.errno() == Errno::NOENT && kind != ImageKind::Raw => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a snapshot of the subvolume `source`, on the same file system, which is ours alone: its hidden name, and it.
///
/// # Errors
/// When it cannot be made.
pub fn snapshot(pool: &OwnedFd, name: &ImageName, source: &OwnedFd) -> SysResult<(String, OwnedFd)> {
    loop {
        let hidden = fresh_name(name)?;
        btrfs::snapshot(source, pool, &hidden, false)?;
        if let Some(opened) = claimed(pool, &hidden)? {
            return Ok((hidden, opened));
        }
    }
}

/// Opens and locks the hidden directory `entry`, just made; `None` if it was swept before.
pub(super) fn claimed(pool: &OwnedFd, entry: &str) -> SysResult<Option<OwnedFd>> {
    match open_directory_at(pool, entry) {
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
        Ok(opened) => Ok(claim(pool, entry, &opened)?.then_some(opened)),
    }
}

/// A hidden name that nothing has.
pub fn fresh_name(name: &ImageName) -> SysResult<String> {
    Ok(format!("{PREFIX}{name}.{:016x}", crate::sys::random()?))
}

/// Takes the lock of `opened` if nobody has it and it is still what `hidden` names.
fn claim(pool: &OwnedFd, hidden: &str, opened: &OwnedFd) -> SysResult<bool> {
    if !try_lock(opened)? {
        return Ok(false);
    }
    let named = rustix::fs::statat(pool, hidden, AtFlags::SYMLINK_NOFOLLOW);
    let itself = rustix::fs::fstat(opened);
    Ok(matches!((named, itself), (Ok(named), Ok(itself))
        if (named.st_dev, named.st_ino) == (itself.st_dev, itself.st_ino)))
}

/// Of which image `entry` is a leaving.
pub fn name_of(entry: &str) -> Option<&str> {
    let (name, random) = entry.strip_prefix(PREFIX)?.rsplit_once('.')?;
    let is_random = random.len() == DIGITS
        && random.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (is_random && name.parse::<ImageName>().is_ok()).then_some(name)
}

/// Hides `entry` of `pool`, so that it can be removed: no half of it is seen. Gives its hidden name and, locked, itself.
///
/// # Errors
/// When it cannot be renamed.
pub fn hide(pool: &OwnedFd, entry: &str, name: &ImageName) -> SysResult<(String, Option<OwnedFd>)> {
    let hidden = fresh_name(name)?;
    let opened = lockable(pool, entry).filter(|opened| try_lock(opened).unwrap_or(false));
    rustix::fs::renameat_with(pool, entry, pool, &hidden, RenameFlags::NOREPLACE)
        .map_err(|errno| SysError::new("renameat2", format!("{}, {entry:?}", FdPath::of(pool)), errno))?;
    Ok((hidden, opened))
}

/// A link, or a device, has no lock of its own: nobody works on one for long.
fn lockable(pool: &OwnedFd, entry: &str) -> Option<OwnedFd> {
    let stat = rustix::fs::statat(pool, entry, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    matches!(kind, FileType::Directory | FileType::RegularFile)
        .then(|| open_at(pool, entry, flags, Mode::empty()).ok())
        .flatten()
}

/// Whether somebody works on the hidden `entry` of `pool`.
pub(super) fn is_locked(pool: &OwnedFd, entry: &str) -> bool {
    lockable(pool, entry).is_some_and(|opened| !try_lock(&opened).unwrap_or(true))
}

/// Removes what killed commands left in the pool of `store`. Gives what was removed, and the first fault.
pub fn sweep(store: &Store) -> (Vec<String>, Option<Error>) {
    let (mut swept, mut fault) = (Vec::new(), None);
    let Ok(pool) = open_directory(&store.pool) else { return (swept, fault) };
    sweep_directory(&pool, &store.pool, &mut swept, &mut fault);
    // Versions that were being removed.
    for (entry, kind) in entries(&pool).unwrap_or_default() {
        let is_versions = kind == FileType::Directory && entry.as_bytes().ends_with(b".v");
        if is_versions && let Ok(versions) = open_directory_at(&pool, &entry) {
            sweep_directory(&versions, &store.pool.join(&entry), &mut swept, &mut fault);
        }
    }
    lock::sweep_global();
    (swept, fault)
}

fn sweep_directory(pool: &OwnedFd, path: &Path, swept: &mut Vec<String>, fault: &mut Option<Error>) {
    let names =
        entries(pool).unwrap_or_default().into_iter().filter_map(|(entry, _)| entry.into_string().ok());
    for entry in names {
        if let Some(of) = entry.strip_prefix(PREFIX).and_then(|entry| entry.strip_suffix(".lck")) {
            lock::sweep_file(pool, &entry, &path.join(of));
            continue;
        }
        if name_of(&entry).is_none() {
            continue;
        }
        match remove_if_free(pool, &entry) {
            Ok(true) => swept.push(entry),
            Ok(false) => {}
            Err(error) => {
                fault.get_or_insert(Error::system("remove", path.join(&entry))(error));
            }
        }
    }
}

/// Removes what killed commands left of images called `name` in the directory `pool`.
///
/// # Errors
/// The first fault.
pub fn sweep_of(pool: &OwnedFd, name: &ImageName) -> SysResult<()> {
    let names = entries(pool)?.into_iter().filter_map(|(entry, _)| entry.into_string().ok());
    let mut of_name = names.filter(|entry| name_of(entry) == Some(name.as_str()));
    of_name.try_for_each(|entry| remove_if_free(pool, &entry).map(drop))
}

/// Removes the hidden `entry` unless somebody works on it.
pub(super) fn remove_if_free(pool: &OwnedFd, entry: &str) -> SysResult<bool> {
    let opened = lockable(pool, entry);
    if let Some(opened) = &opened
        && !claim(pool, entry, opened)?
    {
        return Ok(false);
    }
    remove_tree_at(pool.as_fd(), entry)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (entry, expected) in [
            (".#web.0123456789abcdef", Some("web")),
            (".#web.v1.0123456789abcdef", Some("web.v1")),
            (".#web.0123456789ABCDEF", None),
            (".#web.lck", None),
            (".#spinney", None),
            (".#machine.web0123456789abcdef", None),
            (".#.0123456789abcdef", None),
            ("web.0123456789abcdef", None),
        ] {
            assert_eq!(name_of(entry), expected, "{entry}");
        }
        let name: ImageName = "web".parse().unwrap();
        assert_eq!(name_of(&fresh_name(&name).unwrap()), Some("web"));
    }

    #[test]
    fn sweeping() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        let pool = open_directory(temporary.path()).unwrap();
        let name: ImageName = "web".parse().unwrap();
        let (being_made, _lock) = make(&pool, &name, ImageKind::Directory).unwrap();
        let (left, lock) = make(&pool, &name, ImageKind::Raw).unwrap();
        drop(lock);
        std::fs::create_dir(temporary.path().join("web")).unwrap();
        let (removed, lock) = hide(&pool, "web", &name).unwrap();
        drop(lock);
        std::fs::create_dir_all(temporary.path().join("web.v/web_1")).unwrap();
        let versions = open_directory(&temporary.path().join("web.v")).unwrap();
        let (version, lock) = hide(&versions, "web_1", &name).unwrap();
        drop(lock);
        std::fs::create_dir(temporary.path().join(".#spinney")).unwrap();
        let (mut swept, fault) = sweep(&store);
        assert!(fault.is_none());
        swept.sort();
        let mut expected = [left, removed, version];
        expected.sort();
        assert_eq!(swept, expected);
        let mut there: Vec<_> = entries(&pool).unwrap().into_iter().map(|(entry, _)| entry).collect();
        there.sort();
        let mut kept = [being_made.as_str(), ".#spinney", "web.v"];
        kept.sort();
        assert_eq!(there, kept);
    }
}
