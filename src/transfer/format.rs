//! What a file is, by its bytes and never by its name.

use crate::image::disk::content::{Content, FileSystem};
use crate::image::disk::facts::has_table;
use crate::image::disk::foreign::Foreign;
use crate::image::disk::source::Source;

/// How much of the beginning of a file [`detect`] wants: the superblock of btrfs lies behind the first 64 KiB.
pub const PREFIX: usize = 68 << 10;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Compressed by gzip.
    Gzip,
    /// Compressed by xz.
    Xz,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by bzip2.
    Bzip2,
    /// An archive of tar.
    Tar,
    /// A disk of QEMU: [`super::qcow2`] reads it.
    Qcow2,
    /// A raw disk, with a partition table or a file system.
    Raw,
    /// What is not taken, by its name: `a zip archive`.
    Refused(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// What `source` is: a file, or at least [`PREFIX`] bytes of it if it has so many.
pub fn detect(source: &(impl Source + ?Sized)) -> Format {
    match Foreign::of(source) {
        Some(Foreign::Gzip) => Format::Gzip,
        Some(Foreign::Xz) => Format::Xz,
        Some(Foreign::Zstd) => Format::Zstd,
        Some(Foreign::Bzip2) => Format::Bzip2,
        Some(Foreign::Tar) => Format::Tar,
        Some(Foreign::Qcow2) => Format::Qcow2,
        Some(Foreign::Other(name)) => Format::Refused(name),
        None => disk(source),
    }
}

fn disk(source: &(impl Source + ?Sized)) -> Format {
    match Content::of(source) {
        Content::FileSystem { kind: FileSystem::Other("iso9660" | "udf"), .. } => {
            Format::Refused("an ISO image")
        }
        Content::Unknown if !has_table(source) => Format::Unknown,
        // Whatever it holds: what cannot be booted is said when it is.
        _ => Format::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let at = |offset: usize, magic: &[u8]| {
            let mut bytes = vec![0; PREFIX];
            bytes[offset..offset + magic.len()].copy_from_slice(magic);
            bytes
        };
        let rows: [(&str, Vec<u8>, Format); 15] = [
            ("gzip", at(0, b"\x1f\x8b\x08"), Format::Gzip),
            ("xz", at(0, b"\xfd7zXZ\0"), Format::Xz),
            ("zstd", at(0, b"\x28\xb5\x2f\xfd"), Format::Zstd),
            ("bzip2", at(0, b"BZh9"), Format::Bzip2),
            ("qcow2", at(0, b"QFI\xfb\0\0\0\x02"), Format::Qcow2),
            ("zip", at(0, b"PK\x03\x04"), Format::Refused("a zip archive")),
            ("iso", at(0x8000, b"\x01CD001"), Format::Refused("an ISO image")),
            ("GPT", at(512, b"EFI PART"), Format::Raw),
            ("GPT in large sectors", at(4096, b"EFI PART"), Format::Raw),
            ("xfs", at(0, b"XFSB"), Format::Raw),
            ("btrfs", at(0x1_0040, b"_BHRfS_M"), Format::Raw),
            ("encrypted", at(0, b"LUKS\xba\xbe"), Format::Raw),
            ("an MBR without partitions", at(510, b"\x55\xaa"), Format::Unknown),
            ("zeroes", at(0, b""), Format::Unknown),
            ("text", b"<!doctype html>".to_vec(), Format::Unknown),
        ];
        for (name, bytes, format) in rows {
            assert_eq!(detect(bytes.as_slice()), format, "{name}");
        }
        let mut mbr = at(510, b"\x55\xaa");
        mbr[446 + 4] = 0x83;
        mbr[446 + 12] = 1;
        assert_eq!(detect(mbr.as_slice()), Format::Raw);
    }
}
