//! A directory of an archive as the root of the tree: some distros pack theirs one level down.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use crate::sys::files::{
    change_mode, change_owner, entries, open_at, open_directory_at, remove_directory_at, remove_tree_at,
};
use crate::sys::{FdPath, SysResult, sys};

/// What the directory is called while what is in it takes its place: no name of an archive's entry is so long.
const ASIDE: &str = ".#the-root-of-the-tree-before-it-is-lifted";

/// Makes what is in the directory `name` of `target` all that is in it.
pub(super) fn lift(target: BorrowedFd<'_>, name: &str) -> SysResult<()> {
    // As it was made by us, and by no name that leads elsewhere.
    let target = open_at(target, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let inner = open_directory_at(&target, OsStr::new(name))?;
    // Before anything leaves it: that changes its time.
    let stat = sys("fstat", rustix::fs::fstat(&inner), || FdPath::of(&inner).to_string())?;
    rename(&target, name.as_ref(), &target, ASIDE.as_ref())?;
    for (other, _) in entries(&target)? {
        if other != ASIDE {
            remove_tree_at(&target, &other)?;
        }
    }
    for (entry, _) in entries(&inner)? {
        rename(&inner, &entry, &target, &entry)?;
    }
    remove_directory_at(&target, ASIDE)?;
    change_owner(&target, stat.st_uid, stat.st_gid)?;
    change_mode(&target, stat.st_mode & 0o7777)?;
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    sys("futimens", rustix::fs::futimens(&target, &times), || FdPath::of(&target).to_string())
}

fn rename(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> SysResult<()> {
    let renamed = rustix::fs::renameat_with(&from, name, &to, new, rustix::fs::RenameFlags::NOREPLACE);
    sys("renameat2", renamed, || format!("{}, {name:?}, {}, {new:?}", FdPath::of(&from), FdPath::of(&to)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::sys::files::open_directory;

    #[test]
    fn what_is_in_it_is_all_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("root.x/etc")).unwrap();
        fs::create_dir_all(at("root.x/root.x")).unwrap();
        fs::write(at("root.x/etc/os-release"), "ID=x\n").unwrap();
        fs::write(at("pkglist"), "x").unwrap();
        fs::set_permissions(at("root.x"), fs::Permissions::from_mode(0o751)).unwrap();
        let time = at("root.x").metadata().unwrap().mtime_nsec();
        lift(open_directory(directory.path()).unwrap().as_fd(), "root.x").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["etc", "root.x"]);
        assert_eq!(fs::read(at("etc/os-release")).unwrap(), b"ID=x\n");
        let metadata = directory.path().metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime_nsec()), (0o751, time));
    }

    #[test]
    fn a_link_is_no_root() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/", directory.path().join("root.x")).unwrap();
        let target = open_directory(directory.path()).unwrap();
        for name in ["root.x", "missing"] {
            assert!(lift(target.as_fd(), name).is_err(), "{name}");
        }
        assert!(directory.path().join("root.x").is_symlink());
    }
}
