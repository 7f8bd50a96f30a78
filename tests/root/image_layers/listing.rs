//! A tree as it looks from within, in a form that can be compared: what overlayfs promises to keep.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One file. Times are left out: two trees get them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Contents of a file, target of a link, numbers of a device.
    pub substance: Vec<u8>,
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// The first name of the same file.
    pub link_of: Option<PathBuf>,
}

pub type Listing = BTreeMap<PathBuf, Entry>;

/// All below `tree`; the root itself has an empty path.
pub fn listing(tree: &Path) -> Listing {
    let mut found = Listing::new();
    let mut links: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut paths = vec![tree.to_owned()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            let mut inner: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            inner.sort();
            paths.extend(inner);
        }
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(tree).unwrap().to_owned();
        let mut entry = entry(&path);
        let metadata = fs::symlink_metadata(&path).unwrap();
        if entry.kind != "directory" {
            let first = links.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone());
            entry.link_of = (*first != name).then(|| first.clone());
        }
        found.insert(name, entry);
    }
    found
}

pub fn entry(path: &Path) -> Entry {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let (word, substance) = if kind.is_dir() {
        ("directory", Vec::new())
    } else if kind.is_symlink() {
        ("symlink", fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
    } else if kind.is_file() {
        ("file", fs::read(path).unwrap())
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else {
        let word = if kind.is_block_device() { "block-device" } else { "character-device" };
        (word, metadata.rdev().to_le_bytes().to_vec())
    };
    // Links have no permissions of their own.
    let mode = if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
    let owner = (metadata.uid(), metadata.gid());
    Entry { kind: word, mode, owner, substance, attributes: attributes(path), link_of: None }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = Vec::with_capacity(1 << 16);
    let _ = rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names));
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = Vec::with_capacity(1 << 16);
            let _ = rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value));
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// What differs, a line each.
pub fn unequal(expected: &Listing, found: &Listing) -> Vec<String> {
    let names = expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    differing.map(|name| format!("{name:?}: {:?} is {:?}", expected.get(name), found.get(name))).collect()
}

/// What `spinney diff --json --files` should say, as `letter path: what,what`.
pub fn expected_diff(old: &Listing, new: &Listing) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, now) in new {
        match old.get(path) {
            None => lines.push(format!("added /{}:", path.display())),
            Some(before) => {
                let mut what = Vec::new();
                if before.kind != now.kind {
                    what.push("type".to_owned());
                } else if before.substance != now.substance {
                    what.push(match now.kind {
                        "file" => "content".to_owned(),
                        "symlink" => "target".to_owned(),
                        _ => "device".to_owned(),
                    });
                }
                if before.mode != now.mode && now.kind != "symlink" {
                    what.push("mode".to_owned());
                }
                if before.owner != now.owner {
                    what.push("owner".to_owned());
                }
                let names = before.attributes.keys().chain(now.attributes.keys());
                for name in names.collect::<std::collections::BTreeSet<_>>() {
                    if before.attributes.get(name) != now.attributes.get(name) {
                        what.push(name.clone());
                    }
                }
                if !what.is_empty() {
                    lines.push(format!("changed /{}: {}", path.display(), what.join(",")));
                }
            }
        }
    }
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        // What is in a directory goes with it, and what was in one that is none any more with its change.
        let above = path.ancestors().skip(1);
        let hidden =
            above.clone().any(|parent| new.get(parent).is_none_or(|entry| entry.kind != "directory"));
        if !hidden {
            lines.push(format!("deleted /{}:", path.display()));
        }
    }
    lines.sort();
    lines
}

/// What `spinney diff --json --files` says, in the same form.
pub fn told_diff(json: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = value["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let details = file["details"].as_array().cloned().unwrap_or_default();
            let what = details.iter().map(|detail| match detail["what"].as_str() {
                Some("attribute") => text(&detail["name"]),
                _ => text(&detail["what"]),
            });
            let what = what.collect::<Vec<_>>().join(",");
            format!("{} {}: {what}", text(&file["change"]), text(&file["path"])).trim_end().to_owned()
        })
        .collect();
    lines.sort();
    lines
}
