//! Removal of trees, whatever is in them: deeper than there are fds, immutable, with subvolumes of btrfs.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::files::{entries, open_at, remove_directory_at, remove_file_at};
use super::{FdPath, SysError, SysResult, btrfs, sys};

/// How many directories are open at once, at most: what is deeper is first moved up.
const DEPTH: usize = 128;

/// Removes `name` below `directory` and all below it, never leaving it through a symlink or onto another mount.
///
/// # Errors
/// The first fault; what could be removed is.
pub fn remove_tree_at(directory: impl AsFd, name: impl AsRef<Path>) -> SysResult<()> {
    let name = name.as_ref();
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // What unlink(2) says of a directory, and of what is immutable.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => {
            return Err(SysError::new("unlinkat", format!("{}, {name:?}", FdPath::of(&directory)), errno));
        }
    }
    // Most directories of ours are empty at the end.
    if remove_directory_at(&directory, name).is_ok() {
        return Ok(());
    }
    let top = match open_directory_on_same_mount(&directory, name) {
        Ok(top) => top,
        Err(error) if matches!(error.errno(), Errno::NOTDIR | Errno::LOOP) => {
            return remove_stubborn(&directory, name, AtFlags::empty());
        }
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    if btrfs::is_subvolume(&top) {
        if btrfs::delete(&directory, name.as_os_str()).is_ok() {
            return Ok(());
        }
        btrfs::set_read_only(&top, false)?;
    }
    let mut removal = Removal { top: &top, moved_up: Vec::new(), first_fault: None };
    removal.empty(&top, 0);
    while let Some(entry) = removal.moved_up.pop() {
        removal.remove_directory(&top, &entry, 0);
    }
    match removal.first_fault {
        Some(error) => Err(error),
        None => remove_subvolume_or_directory(&directory, name),
    }
}

struct Removal<'a> {
    top: &'a OwnedFd,
    /// Directories that were too deep, now in the top one.
    moved_up: Vec<OsString>,
    first_fault: Option<SysError>,
}

impl Removal<'_> {
    fn empty(&mut self, directory: &OwnedFd, depth: usize) {
        let listed = match entries(directory) {
            Ok(listed) => listed,
            Err(error) => return self.note(error),
        };
        for (entry, kind) in listed {
            if kind == FileType::Directory {
                self.remove_directory(directory, &entry, depth + 1);
            } else if let Err(error) = remove_stubborn(directory, Path::new(&entry), AtFlags::empty()) {
                self.note(error);
            }
        }
    }

    fn remove_directory(&mut self, directory: &OwnedFd, entry: &OsStr, depth: usize) {
        let name = Path::new(entry);
        // To try rmdir(2) first would have the kernel walk all that it remembers below, at each level again.
        if depth >= DEPTH && self.move_up(directory, entry) {
            return;
        }
        let removed = open_directory_on_same_mount(directory, name).and_then(|inner| {
            if btrfs::is_subvolume(&inner) {
                if btrfs::delete(directory, entry).is_ok() {
                    return Ok(());
                }
                btrfs::set_read_only(&inner, false)?;
            }
            self.empty(&inner, depth);
            drop(inner);
            match &self.first_fault {
                // It cannot be empty, or may be: the fault that was told first says why.
                Some(_) => {
                    let _ = remove_directory_at(directory, name);
                    Ok(())
                }
                None => remove_subvolume_or_directory(directory, name),
            }
        });
        if let Err(error) = removed {
            self.note(error);
        }
    }

    fn move_up(&mut self, directory: &OwnedFd, entry: &OsStr) -> bool {
        let Ok(number) = super::random() else { return false };
        let name = format!(".#deep.{number:016x}");
        let moved = rustix::fs::renameat_with(directory, entry, self.top, &name, RenameFlags::NOREPLACE);
        if moved.is_ok() {
            self.moved_up.push(name.into());
        }
        moved.is_ok()
    }

    /// What somebody else has removed meanwhile is no fault.
    fn note(&mut self, error: SysError) {
        if error.errno() != Errno::NOENT {
            self.first_fault.get_or_insert(error);
        }
    }
}

fn open_directory_on_same_mount(directory: impl AsFd, name: &Path) -> SysResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    sys("openat2", rustix::fs::openat2(&directory, name, flags, Mode::empty(), resolve), || {
        format!("{}, {name:?}, RESOLVE_NO_XDEV", FdPath::of(&directory))
    })
}

/// Kernels older than 4.18 have subvolumes removed by their own request alone.
fn remove_subvolume_or_directory(directory: impl AsFd, name: &Path) -> SysResult<()> {
    match remove_stubborn(&directory, name, AtFlags::REMOVEDIR) {
        Err(error) => btrfs::delete(directory, name.as_os_str()).map_err(|_| error),
        removed => removed,
    }
}

/// A guest without a user namespace may have set the immutable attribute (chattr(1)) on files and directories of its
/// layer: taken off before removal.
fn remove_stubborn(directory: impl AsFd, name: &Path, flags: AtFlags) -> SysResult<()> {
    let removed = rustix::fs::unlinkat(&directory, name, flags);
    if removed.is_ok() {
        return Ok(());
    }
    if removed == Err(Errno::PERM) {
        clear_immutable(&directory)?;
        // Nothing else can have it, and to open a device is to use it.
        let harmless = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory)
        });
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        if harmless && let Ok(file) = open_at(&directory, name, flags, Mode::empty()) {
            clear_immutable(&file)?;
        }
    }
    match flags.contains(AtFlags::REMOVEDIR) {
        true => remove_directory_at(directory, name),
        false => remove_file_at(directory, name),
    }
}

fn clear_immutable(file: impl AsFd) -> SysResult<()> {
    use rustix::fs::{ioctl_getflags, ioctl_setflags};
    let flags = sys("ioctl", ioctl_getflags(&file), || format!("{}, FS_IOC_GETFLAGS", FdPath::of(&file)))?;
    let cleared = flags - (IFlags::IMMUTABLE | IFlags::APPEND);
    if cleared == flags {
        return Ok(());
    }
    sys("ioctl", ioctl_setflags(&file, cleared), || format!("{}, FS_IOC_SETFLAGS", FdPath::of(&file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::{make_directory_at, open_directory};

    #[test]
    fn deep_trees() {
        let temporary = tempfile::tempdir().unwrap();
        let top = open_directory(temporary.path()).unwrap();
        let mut inner = make_directory_at(&top, "tree", 0o755).unwrap();
        // Three times as deep as there are directories open.
        for _ in 0..400 {
            inner = make_directory_at(&inner, "deep", 0o755).unwrap();
            open_at(&inner, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
        }
        drop(inner);
        remove_tree_at(&top, "tree").unwrap();
        assert_eq!(entries(&top).unwrap(), []);
    }

    #[test]
    fn links_are_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        std::fs::create_dir_all(path("tree/below")).unwrap();
        std::fs::create_dir(path("other")).unwrap();
        std::fs::write(path("other/file"), "").unwrap();
        std::os::unix::fs::symlink("../../other", path("tree/below/link")).unwrap();
        std::os::unix::fs::symlink("other", path("top")).unwrap();
        let top = open_directory(temporary.path()).unwrap();
        remove_tree_at(&top, "tree").unwrap();
        remove_tree_at(&top, "top").unwrap();
        remove_tree_at(&top, "missing").unwrap();
        assert!(!path("tree").exists() && !path("top").exists() && path("other/file").exists());
    }
}
