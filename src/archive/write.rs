//! Members as bytes: ustar headers, with an extended header (POSIX pax) before each that needs one, sparse files in GNU
//! tar's format 1.0, attributes as star and GNU tar name them (SCHILY.xattr.*, SCHILY.acl.*). Owners are numbers alone: the
//! names of one side mean nothing on the other.

use tar::{EntryType, Header};

use super::acl;
use super::block::BLOCK;
use super::entry::{ACL_ACCESS, ACL_DEFAULT, Entry, HEADER_LIMIT, Kind, Time};
use super::error::Error;
use super::output::Output;
use super::pax;

/// The largest number of seven and of eleven octal digits, as ustar has for ids and for sizes and times.
const ID_LIMIT: u32 = 0o7_777_777;
const SIZE_LIMIT: u64 = 0o77_777_777_777;

/// What was left out of a header that would be too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct LeftOut(pub bool);

/// Writes the headers of `entry`. Of a file its data follows: with a map the text of that first (see
/// [`super::sparse::Map::to_text`]), each padded to blocks.
///
/// # Errors
/// When the sink fails.
pub fn header(sink: &mut impl Output, entry: &Entry) -> Result<LeftOut, Error> {
    let (records, left_out) = extended(entry);
    if !records.is_empty() {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        put(&mut header.as_old_mut().name, b"pax-header");
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_cksum();
        sink.write(header.as_bytes())?;
        sink.write(&records)?;
        sink.pad(records.len() as u64)?;
    }
    sink.write(plain(entry).as_bytes())?;
    Ok(left_out)
}

/// Writes the end of an archive.
///
/// # Errors
/// When the sink fails.
pub fn end(sink: &mut impl Output) -> Result<(), Error> {
    sink.write(&[0; 2 * BLOCK])?;
    sink.flush()
}

/// How much data follows the header.
fn stored_size(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File { size, map: None } => *size,
        Kind::File { size, map: Some(map) } => {
            (map.to_text(*size).len() as u64).next_multiple_of(BLOCK as u64) + map.data()
        }
        _ => 0,
    }
}

fn plain(entry: &Entry) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(match &entry.kind {
        Kind::File { .. } => EntryType::Regular,
        Kind::HardLink { .. } => EntryType::Link,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink { .. } => EntryType::Symlink,
        Kind::Fifo => EntryType::Fifo,
        Kind::Device { is_block: true, .. } => EntryType::Block,
        Kind::Device { is_block: false, .. } => EntryType::Char,
        Kind::Unknown => EntryType::new(b'?'),
    });
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.min(ID_LIMIT).into());
    header.set_gid(entry.gid.min(ID_LIMIT).into());
    header.set_size(stored_size(entry).min(SIZE_LIMIT));
    header.set_mtime(u64::try_from(entry.modified.seconds).unwrap_or(0).min(SIZE_LIMIT));
    if let (Kind::Device { major, minor, .. }, Some(ustar)) = (&entry.kind, header.as_ustar_mut()) {
        // The kernel's are of 12 and 20 bits, for which there is room.
        ustar.set_device_major((*major).min(ID_LIMIT));
        ustar.set_device_minor((*minor).min(ID_LIMIT));
    }
    let old = header.as_old_mut();
    if matches!(entry.kind, Kind::Directory) && entry.path.len() < old.name.len() {
        put(&mut old.name, &[entry.path.as_slice(), b"/"].concat());
    } else {
        put(&mut old.name, &entry.path);
    }
    if let Kind::HardLink { target } | Kind::Symlink { target } = &entry.kind {
        put(&mut old.linkname, target);
    }
    header.set_cksum();
    header
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = field.len().min(text.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn extended(entry: &Entry) -> (Vec<u8>, LeftOut) {
    let mut records = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| pax::append(&mut records, key, value);
    let old = Header::new_old();
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let link = match &entry.kind {
        Kind::HardLink { target } | Kind::Symlink { target } => target.as_slice(),
        _ => b"",
    };
    if !is_text(&entry.path) || !is_text(link) {
        // Otherwise all text is UTF-8 (POSIX pax), and bsdtar refuses what is not.
        record(b"hdrcharset", b"BINARY");
    }
    if entry.path.len() > old.as_old().name.len() || !entry.path.is_ascii() {
        record(b"path", &entry.path);
    }
    if let Kind::HardLink { target } | Kind::Symlink { target } = &entry.kind
        && (target.len() > old.as_old().linkname.len() || !target.is_ascii())
    {
        record(b"linkpath", target);
    }
    let size = stored_size(entry);
    if size > SIZE_LIMIT {
        record(b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", entry.uid), (b"gid", entry.gid)] {
        if id > ID_LIMIT {
            record(key, id.to_string().as_bytes());
        }
    }
    let Time { seconds, nanoseconds } = entry.modified;
    if nanoseconds != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= SIZE_LIMIT) {
        record(b"mtime", pax::time_to_text(entry.modified).as_bytes());
    }
    if let Some(accessed) = entry.accessed {
        record(b"atime", pax::time_to_text(accessed).as_bytes());
    }
    if let Kind::File { size, map: Some(_) } = &entry.kind {
        record(b"GNU.sparse.major", b"1");
        record(b"GNU.sparse.minor", b"0");
        record(b"GNU.sparse.name", &entry.path);
        record(b"GNU.sparse.realsize", size.to_string().as_bytes());
    }
    let mut left_out = false;
    for (name, value) in &entry.attributes {
        if (records.len() + name.len() + value.len()) as u64 > HEADER_LIMIT / 2 {
            left_out = true;
            continue;
        }
        let acl = |key: &[u8], records: &mut Vec<u8>| match acl::to_text(value) {
            Some(text) => {
                pax::append(records, key, text.as_bytes());
                false
            }
            None => true,
        };
        left_out |= match name.as_slice() {
            ACL_ACCESS => acl(b"SCHILY.acl.access", &mut records),
            ACL_DEFAULT => acl(b"SCHILY.acl.default", &mut records),
            name => {
                pax::append(&mut records, &attribute_key(name), value);
                false
            }
        };
    }
    (records, LeftOut(left_out))
}

/// The key of an attribute: it ends at the first `=`, so that one is written as GNU tar does.
fn attribute_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend(b"%3D"),
            b'%' => key.extend(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}
