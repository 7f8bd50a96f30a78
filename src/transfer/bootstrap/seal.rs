//! Taking this host and this moment out of a tree: no two machines may come out as the same one, and none as this host.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::sys::files::{entries, open_at, read_at, remove_tree_at};
use crate::sys::in_root::Root;
use crate::sys::{SysResult, sys};

/// What tools leave in trees, or copy there from this host.
const FILES: [&str; 9] = [
    "etc/hostname",
    "etc/resolv.conf",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
];

const DIRECTORIES: [(&str, &str); 1] = [("var/log", "apt")];

/// Mode of files that all may read.
const FOR_ALL: Mode = Mode::from_raw_mode(0o644);

/// Does it to the tree `root`, whose directory is `directory`.
pub(super) fn seal(root: &Root, directory: BorrowedFd<'_>) -> SysResult<()> {
    for path in FILES {
        gone(root.unlink(path))?;
    }
    for (parent, name) in DIRECTORIES {
        if let Some(parent) = root.find(parent)? {
            let parent = open_at(&parent, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            remove_tree_at(&parent, name)?;
        }
    }
    if root.exists("etc/ssh")? {
        for name in root.read_dir("etc/ssh")? {
            if name.as_bytes().starts_with(b"ssh_host_") {
                gone(root.unlink(std::path::Path::new("etc/ssh").join(name)))?;
            }
        }
    }
    if root.exists("etc")? {
        // Empty, not missing: the init gives itself an id at each boot, and no boot counts as the first (machine-id(5)).
        root.write("etc/machine-id", b"", Mode::from_raw_mode(0o444))?;
        if !root.exists("etc/hosts")? {
            root.write("etc/hosts", b"127.0.0.1 localhost\n::1 localhost ip6-localhost\n", FOR_ALL)?;
        }
    }
    stamp(root, directory)
}

/// For systemd (ConditionNeedsUpdate=, systemd.unit(5)): the packages are configured, and no boot needs to do the work of
/// ldconfig and sysusers again. That is when these are not older than /usr.
fn stamp(root: &Root, _: BorrowedFd<'_>) -> SysResult<()> {
    if !root.exists("usr/lib/systemd")? {
        return Ok(());
    }
    let usr = root.open_path("usr")?;
    let stat = sys("fstat", rustix::fs::fstat(&usr), || "usr".to_owned())?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0) };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in ["etc/.updated", "var/.updated"] {
        root.write(path, b"", FOR_ALL)?;
        let file =
            root.open_file(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())?;
        sys("futimens", rustix::fs::futimens(&file, &times), || path.to_owned())?;
    }
    Ok(())
}

/// Copies the files of the host's directory `from` into the tree.
pub(super) fn copy_keys(root: &Root, from: &str, to: &str) -> SysResult<()> {
    let host = crate::sys::files::open_directory(std::path::Path::new(from))?;
    root.mkdir_all(to, Mode::from_raw_mode(0o755))?;
    for (name, _) in entries(&host)? {
        let key = read_at(&host, &name, 1 << 16)?;
        root.write(std::path::Path::new(to).join(&name), &key, FOR_ALL)?;
    }
    Ok(())
}

fn gone(removed: SysResult<()>) -> SysResult<()> {
    match removed {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn nothing_of_this_host_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["etc/ssh", "usr/lib/systemd", "var/log/apt", "var/lib/dbus"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in [
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/sshd_config",
            "etc/hostname",
            "var/log/apt/term.log",
            "var/log/wtmp",
        ] {
            fs::write(at(path), "x").unwrap();
        }
        fs::write(at("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        std::os::unix::fs::symlink("/etc/machine-id", at("var/lib/dbus/machine-id")).unwrap();
        std::os::unix::fs::symlink("/run/resolv.conf", at("etc/resolv.conf")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let fd = crate::sys::files::open_directory(directory.path()).unwrap();
        seal(&root, fd.as_fd()).unwrap();
        assert_eq!(fs::read(at("etc/machine-id")).unwrap(), b"");
        for path in [
            "etc/ssh/ssh_host_rsa_key",
            "etc/hostname",
            "var/log/apt",
            "var/lib/dbus/machine-id",
            "etc/resolv.conf",
        ] {
            assert!(at(path).symlink_metadata().is_err(), "{path}");
        }
        for path in ["etc/ssh/sshd_config", "var/log/wtmp", "etc/hosts"] {
            assert!(at(path).is_file(), "{path}");
        }
        let time = |path: &str| at(path).metadata().unwrap().modified().unwrap();
        assert_eq!(time("etc/.updated"), time("usr"));
        // Once more: nothing of it is an error.
        seal(&root, fd.as_fd()).unwrap();
    }
}
