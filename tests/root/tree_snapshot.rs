//! Everything that a copy must keep of a tree, in a form that can be compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use spinney::archive::sparse::Map;
use spinney::sys::attributes;

/// A tree as lines, by path.
pub type Snapshot = BTreeMap<PathBuf, String>;

/// Looks at all below `tree`, links not followed. Of directories the size is left out, which a file system chooses.
pub fn snapshot(tree: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    // The names of each file with several.
    let mut names: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(tree).unwrap().to_owned();
        let mut line = format!(
            "{:o} {}:{} {}.{:09}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_symlink() {
            line += &format!(" -> {:?}", fs::read_link(&path).unwrap());
        } else if metadata.is_file() {
            let file = File::open(&path).unwrap();
            let size = metadata.size();
            let holes = Map::of(&file, size).map(|map| map.pieces().to_vec());
            let contents = contents(&file, holes.as_deref().unwrap_or(&[(0, size)]));
            line += &format!(" size {size} data {holes:?} contents {contents}");
        }
        if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
            line += &format!(" device {:#x}", metadata.rdev());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        let mut attributes_there = attributes::list_of_place(&place).unwrap();
        attributes_there.sort();
        for name in attributes_there {
            let value = attributes::get_of_place(&place, &name).unwrap();
            line += &format!(" {}={value:x?}", String::from_utf8_lossy(&name));
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            names.entry((metadata.dev(), metadata.ino())).or_default().push(name.clone());
            line += &format!(" links {}", metadata.nlink());
        }
        found.insert(name, line);
    }
    for group in names.into_values() {
        // Whichever comes first by name stands for all.
        let first = group.iter().min_by_key(|path| path.as_os_str().as_bytes()).unwrap();
        for name in &group {
            *found.get_mut(name).unwrap() += &format!(" of {first:?}");
        }
    }
    found
}

/// A digest of the data, holes left out: where these are is told beside it.
fn contents(file: &File, pieces: &[(u64, u64)]) -> String {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for (offset, length) in pieces {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let count = file.read_at(&mut buffer[..wanted], at).unwrap();
            assert!(count > 0, "a file that ends before its size");
            digest.update(&buffer[..count]);
            at += count as u64;
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What differs between two trees, one line each.
pub fn differences(expected: &Snapshot, found: &Snapshot) -> Vec<String> {
    let paths = expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
    let mut lines = Vec::new();
    for path in paths {
        match (expected.get(path), found.get(path)) {
            (Some(expected), Some(found)) if expected == found => {}
            (expected, found) => lines.push(format!("{path:?}\n  - {expected:?}\n  + {found:?}")),
        }
    }
    lines
}
