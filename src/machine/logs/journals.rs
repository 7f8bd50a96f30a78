//! The journal files of a machine.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::journal::{Id, Journal, JournalFile, Stamp};
use crate::sys::in_root::{Metadata, Root, reopen};

/// Where systemd-journald keeps them, in the guest's root: what does not outlive its boot, and what does.
pub const JOURNALS: [&str; 2] = ["run/log/journal", "var/log/journal"];

/// So many files are read, the newest: each is open all the while.
const FILES_MAX: usize = 400;

/// So many names of a directory are looked at.
const NAMES_MAX: usize = 4096;

/// The directories of journal files below `base`, which is one of [`JOURNALS`]: that of `machine`; where it has none, all
/// that bear the id of one (those of other namespaces have a dot in the name, and programs of their own).
pub fn directories(base: &Root, machine: Option<&str>) -> Vec<Root> {
    if let Some(own) = machine.and_then(|machine| base.subroot(machine).ok()) {
        return vec![own];
    }
    let is_id = |name: &&OsStr| name.len() == 32 && name.as_bytes().iter().all(u8::is_ascii_hexdigit);
    names(base)
        .iter()
        .map(|name| name.as_os_str())
        .filter(is_id)
        .filter_map(|name| base.subroot(name).ok())
        .collect()
}

fn names(directory: &Root) -> Vec<std::ffi::OsString> {
    let mut names = Vec::new();
    // A directory that cannot be read holds nothing for us.
    let _ = directory.scan_dir(".", |name| {
        names.push(name.to_owned());
        if names.len() < NAMES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    names
}

/// Opens `name` in `directory` if it is a regular file on storage, and no link.
pub fn open_regular(directory: &Root, name: impl AsRef<Path>) -> Option<(OwnedFd, Metadata)> {
    let place = directory.open_path_no_symlinks(name).ok()?;
    let metadata = Metadata::of(&place).ok()?;
    if !metadata.is_file() || !is_storage(&place) {
        return None;
    }
    let file = reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    Some((file, metadata))
}

/// Files of these look regular, and are the kernel's: reading some of them acts, or tells the host's secrets (proc(5),
/// kmsg), since we have more rights than the guest. Numbers as in statfs(2).
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

/// Journal files of several directories, of which more may come.
#[derive(Debug, Default)]
pub struct Journals {
    /// Which file was found by which id, so that it is not opened again while it is the same.
    known: HashMap<(u64, u64), Id>,
    /// Those that are no journals we can read, and why that is worth a warning.
    unreadable: HashSet<(u64, u64)>,
    warnings: Vec<String>,
}

impl Journals {
    /// All journal files in `directories`.
    pub fn open(&mut self, directories: &[Root]) -> Journal {
        let mut journal = Journal::new(Vec::new());
        self.look(directories, &mut journal, None);
        journal
    }

    /// Looks for files that were not there before, and has `journal` take what comes after `last` in them. Says whether
    /// there were any.
    pub fn look(&mut self, directories: &[Root], journal: &mut Journal, last: Option<&Stamp>) -> bool {
        let mut new = false;
        for (key, file) in self.candidates(directories) {
            match JournalFile::open(Box::new(file)) {
                Ok(file) => {
                    self.known.insert(key, file.header().file_id);
                    journal.take(file, last);
                    new = true;
                }
                Err(fault) => {
                    // One that is being begun has no head yet: looked at again.
                    if !matches!(fault, crate::journal::Fault::Signature) && self.unreadable.insert(key) {
                        self.warnings.push(fault.to_string());
                    }
                }
            }
        }
        new
    }

    /// What could not be read, since this was asked last.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Files that are not known, the newest first.
    fn candidates(&self, directories: &[Root]) -> Vec<((u64, u64), File)> {
        let mut found = Vec::new();
        for directory in directories {
            for name in names(directory) {
                let bytes = name.as_bytes();
                // A tilde marks one that was not closed as it should have been.
                if !bytes.ends_with(b".journal") && !bytes.ends_with(b".journal~") {
                    continue;
                }
                let Ok(metadata) = directory.symlink_metadata(&name) else { continue };
                let stat = metadata.stat();
                let key = (stat.st_dev, stat.st_ino);
                if !self.known.contains_key(&key) && !self.unreadable.contains(&key) {
                    found.push((stat.st_mtime, key, directory, name));
                }
            }
        }
        found.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        found.truncate(FILES_MAX.saturating_sub(self.known.len()));
        let open = |(_, key, directory, name): (_, _, &Root, std::ffi::OsString)| {
            open_regular(directory, &name).map(|(file, _)| (key, File::from(file)))
        };
        found.into_iter().filter_map(open).collect()
    }
}
