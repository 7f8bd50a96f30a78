//! The journal files of a machine.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use crate::guest::log_files::{is_overlay, journal_names, open_stored};
use crate::journal::{Fault, Id, Journal, JournalFile, Stamp};
use crate::sys::in_root::Root;

/// So many files are read, the newest: each is open all the while.
const FILES_MAX: usize = 400;

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
                    if !matches!(fault, Fault::Signature) && self.unreadable.insert(key) {
                        self.warnings.push(fault.to_string());
                    }
                }
            }
        }
        new
    }

    /// Has `journal` leave out the files that are in `directories` no more, and gives them back.
    pub fn prune(&mut self, directories: &[Root], journal: &mut Journal) {
        let there: HashSet<(u64, u64)> = directories
            .iter()
            .flat_map(|directory| {
                let stats = journal_names(directory).into_iter();
                stats.filter_map(|name| directory.symlink_metadata(name).ok())
            })
            .map(|metadata| (metadata.stat().st_dev, metadata.stat().st_ino))
            .collect();
        self.known.retain(|key, _| there.contains(key));
        let kept: HashSet<Id> = self.known.values().copied().collect();
        journal.retain(|id| kept.contains(id));
    }

    /// What could not be read, since this was asked last.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Files that are not known, the newest first. One that is being written may have been copied to an upper layer since
    /// it was opened: it looks the same, and must be opened again.
    fn candidates(&self, directories: &[Root]) -> Vec<((u64, u64), File)> {
        let mut found = Vec::new();
        for directory in directories {
            let moves = is_overlay(directory);
            for name in journal_names(directory) {
                let Ok(metadata) = directory.symlink_metadata(&name) else { continue };
                let stat = metadata.stat();
                let key = (stat.st_dev, stat.st_ino);
                let archived = name.as_bytes().contains(&b'@');
                let known = self.known.contains_key(&key) && (archived || !moves);
                if !known && !self.unreadable.contains(&key) {
                    found.push((stat.st_mtime, key, directory, name));
                }
            }
        }
        found.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        found.truncate(FILES_MAX);
        let open = |(_, key, directory, name): (_, _, &Root, std::ffi::OsString)| {
            open_stored(directory, &name).map(|(file, _)| (key, File::from(file)))
        };
        found.into_iter().filter_map(open).collect()
    }
}
