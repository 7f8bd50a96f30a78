//! Where a guest's logs are in its root, and how they are opened: regular files alone, and none of the kernel's.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::sys::in_root::{Metadata, Root, reopen};

/// Where systemd-journald keeps journals: what does not outlive its boot, and what does (systemd-journald.service(8)).
pub const JOURNALS: [&str; 2] = ["run/log/journal", "var/log/journal"];

/// The same, below /run and below [`LOGS`].
pub const JOURNALS_OF_RUN: &str = "log/journal";
#[allow(missing_docs, reason = "as above")]
pub const JOURNALS_OF_LOGS: &str = "journal";

/// The directory of syslog daemons.
pub const LOGS: &str = "var/log";

/// What they call the log of everything by default: rsyslog and syslog-ng on Debian, rsyslog elsewhere and busybox,
/// metalog.
pub const SYSLOGS: [&str; 4] = ["syslog", "messages", "everything/current", "everything.log"];

/// What a syslog's predecessor has after its name: by logrotate(8), and by busybox.
pub const ROTATED_SYSLOG: [&str; 2] = [".1", ".0"];

/// So many names of a directory are looked at.
const NAMES_MAX: usize = 4096;

/// The directories of journal files below `base`, which is one of [`JOURNALS`]: that of `machine`; where it has none, all
/// that bear the id of one. Those of journal namespaces have a dot in the name, and are not meant (journalctl(1)).
pub fn journal_directories(base: &Root, machine: Option<&str>) -> Vec<Root> {
    if let Some(own) = machine.and_then(|machine| base.subroot(machine).ok()) {
        return vec![own];
    }
    let is_id = |name: &OsStr| name.len() == 32 && name.as_bytes().iter().all(u8::is_ascii_hexdigit);
    names(base).into_iter().filter(|name| is_id(name)).filter_map(|name| base.subroot(name).ok()).collect()
}

/// The names of journal files in `directory`. A tilde marks one that was not closed as it should have been.
pub fn journal_names(directory: &Root) -> Vec<OsString> {
    let is_journal = |name: &OsString| {
        [".journal", ".journal~"].iter().any(|end| name.as_bytes().ends_with(end.as_bytes()))
    };
    names(directory).into_iter().filter(is_journal).collect()
}

fn names(directory: &Root) -> Vec<OsString> {
    let mut names = Vec::new();
    // A directory that cannot be read holds nothing for us.
    let _ = directory.scan_dir(".", |name| {
        names.push(name.to_owned());
        if names.len() < NAMES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    names
}

/// Opens `name` in `directory` if it is a regular file on storage, and neither a link nor behind one.
pub fn open_stored(directory: &Root, name: impl AsRef<Path>) -> Option<(OwnedFd, Metadata)> {
    let place = directory.open_path_no_symlinks(name).ok()?;
    let metadata = Metadata::of(&place).ok()?;
    if !metadata.is_file() || !is_storage(&place) {
        return None;
    }
    let file = reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    Some((file, metadata))
}

/// Files of the kernel's own file systems look regular: to read some of them is to act, or tells what the guest may not
/// know (/proc/kmsg), since we have more rights than it. Numbers as in statfs(2).
fn is_storage(file: &impl AsFd) -> bool {
    const KERNELS: [i64; 8] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x6367_7270, // cgroup2
        0x0027_e0eb, // cgroup
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
    ];
    rustix::fs::fstatfs(file).is_ok_and(|stat| !KERNELS.contains(&stat.f_type))
}

/// Whether what is in `directory` may still be copied to an upper layer when it is written, and be another file then.
pub fn is_overlay(directory: &impl AsFd) -> bool {
    const OVERLAYFS: i64 = 0x794c_7630;
    rustix::fs::fstatfs(directory).is_ok_and(|stat| stat.f_type == OVERLAYFS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_stored_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "x").unwrap();
        fs::create_dir(path("directory")).unwrap();
        fs::write(path("directory/file"), "x").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("directory", path("place")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let root = Root::open(directory.path()).unwrap();
        let rows = [
            ("file", true),
            ("directory/file", true),
            ("directory", false),
            ("link", false),
            ("place/file", false),
            ("fifo", false),
            ("missing", false),
        ];
        for (name, expected) in rows {
            assert_eq!(open_stored(&root, name).is_some(), expected, "{name}");
        }
        let kernel = Root::open("/proc/self").unwrap();
        assert!(open_stored(&kernel, "status").is_none());
    }

    #[test]
    fn directories_of_journals() {
        let directory = tempfile::tempdir().unwrap();
        let (own, other) = ("0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff");
        for name in [own, other, "0123456789abcdef0123456789abcdef.namespace", "remote"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        for name in ["system.journal", "user-1000@1.journal~", "system.journal.gz", "fss"] {
            fs::write(directory.path().join(own).join(name), "").unwrap();
        }
        let base = Root::open(directory.path()).unwrap();
        let found = |machine| {
            let mut found: Vec<_> = journal_directories(&base, machine)
                .iter()
                .map(|root| root.path().file_name().unwrap().to_owned())
                .collect();
            found.sort();
            found
        };
        assert_eq!(found(Some(own)), [own]);
        assert_eq!(found(Some("00000000000000000000000000000000")), [own, other]);
        assert_eq!(found(None), [own, other]);
        let mut names = journal_names(&base.subroot(own).unwrap());
        names.sort();
        assert_eq!(names, ["system.journal", "user-1000@1.journal~"]);
    }
}
