//! GUID partition tables (UEFI Specification, chapter 5): a pure function over the bytes of a disk, which are hostile.
//!
//! Our own, since it is short and has to be bounded: the crates that read tables (gptman, gpt) take counts and sizes from
//! the header as they are, and bring a decoder each. The checksum is the one of gzip, which flate2 has.

use super::content::{le16, le32, le64};
use super::guid::Guid;
use super::source::Source;

const SIGNATURE: &[u8; 8] = b"EFI PART";

/// Length of a header without what later revisions may add.
const HEADER: usize = 92;

/// Most entries: tools make 128; nobody was seen to need more than a few hundred.
const MAX_ENTRIES: u32 = 1024;

/// Largest entry: they have 128 bytes, and may double as revisions come.
const MAX_ENTRY: u32 = 1024;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// The size of a logical sector, in bytes.
    pub sector: u32,
    /// The identifier of the disk.
    pub disk: Guid,
    /// Its partitions, as they are numbered.
    pub entries: Vec<GptEntry>,
    /// The primary table was damaged; this is the backup at the end of the disk.
    pub from_backup: bool,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptEntry {
    /// Its number, from 1.
    pub number: u32,
    /// Its type.
    pub kind: Guid,
    /// Its own identifier.
    pub id: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its last sector.
    pub last: u64,
    /// Its flags.
    pub flags: u64,
    /// Its label.
    pub label: String,
}

/// Why a table is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GptFault {
    /// There is no header.
    #[error("it has no header")]
    NoHeader,
    /// The header is not what its checksum is of.
    #[error("the checksum of its header is wrong")]
    HeaderChecksum,
    /// The entries are not what the header's checksum is of.
    #[error("the checksum of its entries is wrong")]
    EntriesChecksum,
    /// The entries lie beyond the end of the disk.
    #[error("its entries lie beyond the end of the disk")]
    BeyondEnd,
    /// A revision that is not known.
    #[error("its revision is unknown")]
    Revision,
    /// A number in the header that no tool writes.
    #[error("its header has sizes that no tool writes")]
    Sizes,
}

/// Reads the table of `disk` whose logical sectors have `sector` bytes: the primary one, or the backup where that one is
/// damaged.
///
/// # Errors
/// What is wrong with the primary table, where the backup is no better.
pub fn read(disk: &(impl Source + ?Sized), sector: u32) -> Result<Gpt, GptFault> {
    let primary = match read_at(disk, sector, 1) {
        Ok(gpt) => return Ok(gpt),
        Err(fault) => fault,
    };
    // Nothing of a damaged header says where the backup is: by the specification, in the last sector.
    let last = (disk.length() / u64::from(sector)).checked_sub(1).filter(|last| *last > 1);
    match last.and_then(|last| read_at(disk, sector, last).ok()) {
        Some(gpt) => Ok(Gpt { from_backup: true, ..gpt }),
        None => Err(primary),
    }
}

/// Whether the primary header is there, whole or damaged.
pub fn has_signature(disk: &(impl Source + ?Sized), sector: u32) -> bool {
    disk.array(u64::from(sector)).is_some_and(|signature| &signature == SIGNATURE)
}

fn read_at(disk: &(impl Source + ?Sized), sector: u32, at: u64) -> Result<Gpt, GptFault> {
    let size = sector as usize;
    let mut header = vec![0; size];
    let offset = at.checked_mul(u64::from(sector)).ok_or(GptFault::NoHeader)?;
    disk.read(offset, &mut header).map_err(|_| GptFault::NoHeader)?;
    if !header.starts_with(SIGNATURE) {
        return Err(GptFault::NoHeader);
    }
    let length = le32(&header, 12) as usize;
    if !(HEADER..=size).contains(&length) {
        return Err(GptFault::Sizes);
    }
    let checksum = le32(&header, 16);
    header[16..20].fill(0);
    if crc32(&header[..length]) != checksum || le64(&header, 24) != at {
        return Err(GptFault::HeaderChecksum);
    }
    if le16(&header, 10) != 1 {
        return Err(GptFault::Revision);
    }
    let (count, entry) = (le32(&header, 80), le32(&header, 84));
    if count > MAX_ENTRIES || !(128..=MAX_ENTRY).contains(&entry) || !entry.is_power_of_two() {
        return Err(GptFault::Sizes);
    }
    let mut entries = vec![0; (count * entry) as usize];
    let offset = le64(&header, 72).checked_mul(u64::from(sector)).ok_or(GptFault::BeyondEnd)?;
    disk.read(offset, &mut entries).map_err(|_| GptFault::BeyondEnd)?;
    if crc32(&entries) != le32(&header, 88) {
        return Err(GptFault::EntriesChecksum);
    }
    let entries =
        (1..).zip(entries.chunks_exact(entry as usize)).filter_map(|(number, bytes)| parse(number, bytes));
    Ok(Gpt { sector, disk: guid(&header, 56), entries: entries.collect(), from_backup: false })
}

/// An entry that is used.
fn parse(number: u32, bytes: &[u8]) -> Option<GptEntry> {
    let kind = guid(bytes, 0);
    if kind.is_zero() {
        return None;
    }
    let units = bytes.get(56..128)?.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let label = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(GptEntry {
        number,
        kind,
        id: guid(bytes, 16),
        first: le64(bytes, 32),
        last: le64(bytes, 40),
        flags: le64(bytes, 48),
        label,
    })
}

fn guid(bytes: &[u8], offset: usize) -> Guid {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(Guid::default(), |bytes| Guid::from_gpt(*bytes))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
