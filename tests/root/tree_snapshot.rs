//! Everything that a copy must keep of a tree, in a form that can be compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use spinney::archive::sparse::Map;
use spinney::sys::attributes;

/// A tree as lines, by path.
pub type Snapshot = BTreeMap<PathBuf, String>;

/// Looks at all below `tree`, links not followed. Of directories the size is left out, which a file system chooses.
pub fn snapshot(tree: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    // The first name of each file with several.
    let mut names: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
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
            let mut file = File::open(&path).unwrap();
            let holes = Map::of(&file, metadata.size()).map(|map| map.pieces().to_vec());
            line += &format!(" size {} data {holes:?} contents {:x}", metadata.size(), contents(&mut file));
        }
        if metadata.is_dir() || metadata.is_file() {
            let file = File::open(&path).unwrap();
            let mut names = attributes::list(&file).unwrap();
            names.sort();
            for name in names {
                let value = attributes::get(&file, &name).unwrap();
                line += &format!(" {}={value:x?}", String::from_utf8_lossy(&name));
            }
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            // Whichever comes first by name stands for all.
            let key = (metadata.dev(), metadata.ino());
            let first = names.entry(key).or_insert_with(|| name.clone());
            if name.as_os_str().as_bytes() < first.as_os_str().as_bytes() {
                first.clone_from(&name);
            }
            line += &format!(" links {} of {}:{}", metadata.nlink(), key.0, key.1);
        }
        found.insert(name, line);
    }
    for ((device, inode), first) in names {
        for line in found.values_mut() {
            *line = line.replace(&format!(" of {device}:{inode}"), &format!(" of {first:?}"));
        }
    }
    found
}

fn contents(file: &mut File) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut buffer = Vec::with_capacity(1 << 20);
    loop {
        buffer.clear();
        // Whole blocks but for the last, since what is hashed at once counts.
        match file.by_ref().take(1 << 20).read_to_end(&mut buffer).unwrap() {
            0 => return hasher.finish(),
            _ => hasher.write(&buffer),
        }
    }
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
