//! Archives by hand, for tests: headers as nobody writes them.

use std::fs;
use std::path::Path;

use tar::{EntryType, Header};

use super::pax;

/// A member by hand: type, name, link, data.
pub(super) fn member(kind: u8, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o644);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(1_000_000_000);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A file by hand.
pub(super) fn file(name: &str, data: &str) -> Vec<u8> {
    member(b'0', name, "", data.as_bytes())
}

/// An extended header by hand.
pub(super) fn extended(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|(key, value)| pax::append(&mut bytes, key.as_bytes(), value));
    member(b'x', "x", "", &bytes)
}

/// Members and the end of an archive.
pub(super) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.extend([0; 1024]);
    bytes
}

/// All paths below `directory`, sorted, links with their targets.
pub(super) fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let shown = entry.path().strip_prefix(directory).unwrap().display().to_string();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => {
                    left.push(entry.path());
                    found.push(shown + "/");
                }
                kind if kind.is_symlink() => {
                    found.push(format!("{shown} -> {}", fs::read_link(entry.path()).unwrap().display()));
                }
                _ => found.push(shown),
            }
        }
    }
    found.sort();
    found
}
