//! Files with several names: the first one stands for all.

use std::collections::HashMap;

use rustix::fs::Stat;

use crate::archive::notes::{Notes, Reason};

/// How much memory the names of files with several links may take.
const LINKS_LIMIT: usize = 64 << 20;

/// The first names of files that have more than one.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By device and inode: the name in the stream, and how many more are to come.
    seen: HashMap<(u64, u64), (Vec<u8>, u64)>,
    size: usize,
}

impl Links {
    /// The name that the file was packed by before. Otherwise `name` is that from now on.
    pub(super) fn first_name(&mut self, stat: &Stat, name: &[u8], notes: &mut Notes) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some((first, left)) = self.seen.get_mut(&key) {
            *left = left.saturating_sub(1);
            let (first, left) = (first.clone(), *left);
            if left == 0 {
                self.forget(stat);
            }
            return Some(first);
        }
        let size = name.len() + size_of::<((u64, u64), (Vec<u8>, u64))>();
        if self.size + size > LINKS_LIMIT {
            notes.add(Reason::HardLink, name);
            return None;
        }
        self.size += size;
        #[allow(clippy::useless_conversion, reason = "the type of st_nlink differs between architectures")]
        self.seen.insert(key, (name.to_vec(), u64::from(stat.st_nlink) - 1));
        None
    }

    /// Forgets a file whose name leads to nothing after all, or has no more names.
    pub(super) fn forget(&mut self, stat: &Stat) {
        if let Some((name, _)) = self.seen.remove(&(stat.st_dev, stat.st_ino)) {
            self.size -= name.len() + size_of::<((u64, u64), (Vec<u8>, u64))>();
        }
    }
}
