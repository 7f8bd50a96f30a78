//! The header of a qcow2 file.

use super::Fault;
use crate::image::disk::source::Source;

/// Largest first table, as QEMU has it (QCOW_MAX_L1_SIZE of block/qcow2.h): a disk of 2 EiB.
const MAX_FIRST_TABLE: u64 = 32 << 20;

/// Longest disk that a file can be.
const MAX_LENGTH: u64 = i64::MAX as u64;

// Incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// By deflate, without a header.
    Deflate,
    /// By zstd.
    Zstd,
}

/// What of a header is needed to read the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// How long the disk is, in bytes.
    pub length: u64,
    /// The logarithm of the size of a cluster.
    pub cluster_bits: u32,
    /// Where the first table lies.
    pub first_table: u64,
    /// How many entries it has that the disk needs.
    pub first_entries: u64,
    /// How clusters are compressed.
    pub compression: Compression,
}

impl Header {
    /// Reads that of `source`.
    ///
    /// # Errors
    /// What it has that is not read.
    pub fn read(source: &(impl Source + ?Sized)) -> Result<Self, Fault> {
        let bytes: [u8; 72] = source.array(0).ok_or(Fault::NoQcow2)?;
        if !bytes.starts_with(b"QFI\xfb") {
            return Err(Fault::NoQcow2);
        }
        let version = be32(&bytes, 4);
        if !matches!(version, 2 | 3) {
            return Err(Fault::Version(version));
        }
        let compression = if version == 3 { features(source)? } else { Compression::Deflate };
        if be64(&bytes, 8) != 0 {
            return Err(Fault::BackingFile);
        }
        if be32(&bytes, 32) != 0 {
            return Err(Fault::Encrypted);
        }
        let cluster_bits = be32(&bytes, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(Fault::Header("the size of clusters"));
        }
        let length = be64(&bytes, 24);
        if length > MAX_LENGTH {
            return Err(Fault::Header("the size of the disk"));
        }
        // An entry of the first table stands for a table of a cluster, whose entries, of 8 bytes, stand for one each.
        let first_entries = length.div_ceil(1 << (2 * cluster_bits - 3));
        if first_entries * 8 > MAX_FIRST_TABLE || u64::from(be32(&bytes, 36)) < first_entries {
            return Err(Fault::Header("the size of its first table"));
        }
        let first_table = be64(&bytes, 40);
        if !first_table.is_multiple_of(1 << cluster_bits) {
            return Err(Fault::Header("the place of its first table"));
        }
        Ok(Self { version, length, cluster_bits, first_table, first_entries, compression })
    }

    /// The size of a cluster.
    pub fn cluster_size(&self) -> usize {
        1 << self.cluster_bits
    }
}

/// The features of version 3.
fn features(source: &(impl Source + ?Sized)) -> Result<Compression, Fault> {
    let bytes: [u8; 104] = source.array(0).ok_or(Fault::Truncated)?;
    let features = be64(&bytes, 72);
    if features & EXTERNAL_DATA != 0 {
        return Err(Fault::ExternalData);
    }
    if features & CORRUPT != 0 {
        return Err(Fault::MarkedCorrupt);
    }
    // Of a dirty one the counts of references may be wrong, which nobody needs to read it.
    let unknown = features & !(DIRTY | COMPRESSION);
    if unknown != 0 {
        return Err(Fault::Features(unknown));
    }
    let kind = match be32(&bytes, 100) {
        length if length > 104 => source.array::<1>(104).ok_or(Fault::Truncated)?[0],
        _ => 0,
    };
    match (kind, features & COMPRESSION != 0) {
        (0, false) => Ok(Compression::Deflate),
        (1, true) => Ok(Compression::Zstd),
        (kind, _) => Err(Fault::Compression(kind)),
    }
}

fn be32(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

pub(super) fn be64(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
