//! What a disk or partition holds, by the magic numbers of its superblocks: pure, a few bounded reads, nothing believed.

use super::source::Source;

/// What a disk or partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A file system.
    FileSystem {
        /// Which.
        kind: FileSystem,
        /// How many bytes its superblock says that it takes; 0 where that is not known.
        size: u64,
        /// On how many devices it lies.
        devices: u64,
    },
    /// An encrypted partition.
    Luks,
    /// One encrypted by Windows.
    BitLocker,
    /// A physical volume of LVM.
    Lvm,
    /// A member of an md array.
    Raid,
    /// Swap space.
    Swap,
    /// Hashes of dm-verity.
    VerityHashes,
    /// Nothing that is known here.
    Unknown,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3 or ext4: one driver mounts all three.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// SquashFS 4.
    Squashfs,
    /// EROFS.
    Erofs,
    /// F2FS.
    F2fs,
    /// FAT.
    Vfat,
    /// One that no Linux distribution is installed to, by its name; none is mounted.
    Other(&'static str),
}

impl FileSystem {
    /// What the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::F2fs => "f2fs",
            Self::Vfat => "vfat",
            Self::Other(name) => name,
        }
    }

    /// Whether it can be written.
    pub fn is_writable(self) -> bool {
        !matches!(self, Self::Squashfs | Self::Erofs | Self::Other(_))
    }
}

impl Content {
    /// What `source` holds.
    pub fn of(source: &(impl Source + ?Sized)) -> Self {
        container(source).or_else(|| file_system(source)).or_else(|| swap(source)).unwrap_or(Self::Unknown)
    }
}

/// What wraps something else: looked for first, since an old file system may show below it.
fn container(source: &(impl Source + ?Sized)) -> Option<Content> {
    let start: [u8; 16] = source.array(0)?;
    // LUKS On-Disk Format Specification: the magic and a version, big endian.
    if start.starts_with(b"LUKS\xba\xbe") {
        return Some(Content::Luks);
    }
    if &start[3..11] == b"-FVE-FS-" {
        return Some(Content::BitLocker);
    }
    if start.starts_with(b"verity\0\0") {
        return Some(Content::VerityHashes);
    }
    // The label may be in any of the first four sectors (lvm2, lib/label/label.c).
    let lvm = |sector: u64| {
        source
            .array::<32>(sector * 512)
            .is_some_and(|label| label.starts_with(b"LABELONE") && &label[24..] == b"LVM2 001")
    };
    if (0..4).any(lvm) {
        return Some(Content::Lvm);
    }
    // Version 1.1 at the beginning, 1.2 at 4 KiB (md(4)). 1.0 lies at the end, over what can be read without it.
    let raid = |offset| source.array(offset) == Some(0xa92b_4efc_u32.to_le_bytes());
    (raid(0) || raid(4096)).then_some(Content::Raid)
}

fn file_system(source: &(impl Source + ?Sized)) -> Option<Content> {
    let one = |kind, size| Some(Content::FileSystem { kind, size, devices: 1 });
    let start: [u8; 512] = source.array(0)?;
    if start.starts_with(b"XFSB") {
        let size = u64::from(be32(&start, 4)).saturating_mul(be64(&start, 8));
        return one(FileSystem::Xfs, size);
    }
    if start.starts_with(b"hsqs") && le16(&start, 28) == 4 {
        return one(FileSystem::Squashfs, le64(&start, 40));
    }
    if let Some(superblock) = source.array::<512>(0x1_0000)
        && &superblock[0x40..0x48] == b"_BHRfS_M"
    {
        let (size, devices) = (le64(&superblock, 0x70), le64(&superblock, 0x88));
        return Some(Content::FileSystem { kind: FileSystem::Btrfs, size, devices });
    }
    if let Some(superblock) = source.array::<512>(1024) {
        if is_ext4(&superblock) {
            return one(FileSystem::Ext4, ext4_size(&superblock));
        }
        if le32(&superblock, 0) == 0xE0F5_E1E2 {
            let size = u64::from(le32(&superblock, 36)).checked_shl(u32::from(superblock[12]));
            return one(FileSystem::Erofs, size.unwrap_or(0));
        }
        if le32(&superblock, 0) == 0xF2F5_2010 {
            return one(FileSystem::F2fs, le64(&superblock, 36).saturating_mul(4096));
        }
        // HFS+ Volume Format (TN1150).
        if [b"H+".as_slice(), b"HX"].contains(&&superblock[..2]) {
            return one(FileSystem::Other("hfsplus"), 0);
        }
    }
    for (magic, name) in [(b"EXFAT   ", "exfat"), (b"NTFS    ", "ntfs")] {
        if &start[3..11] == magic {
            return one(FileSystem::Other(name), 0);
        }
    }
    if let Some(descriptor) = source.array::<6>(0x8000) {
        if &descriptor[1..] == b"CD001" {
            return one(FileSystem::Other("iso9660"), 0);
        }
        if &descriptor[1..] == b"BEA01" {
            return one(FileSystem::Other("udf"), 0);
        }
    }
    // bcachefs has a UUID for a magic number, in the superblock at 4 KiB.
    if source.array(4096 + 24) == Some(0xc685_73f6_4e1a_45ca_8265_f57f_48ba_6d81_u128.to_be_bytes()) {
        return one(FileSystem::Other("bcachefs"), 0);
    }
    is_fat(&start).then_some(Content::FileSystem { kind: FileSystem::Vfat, size: 0, devices: 1 })
}

/// Whether this is the boot sector of a FAT file system: that of a partition table ends with the same mark, but has code
/// where the names and sizes would be.
fn is_fat(start: &[u8; 512]) -> bool {
    let name = [&start[54..62], &start[82..90]]
        .iter()
        .any(|name| [b"FAT12   ", b"FAT16   ", b"FAT32   "].iter().any(|fat| name == &fat.as_slice()));
    let sector = le16(start, 11);
    name && start[510..] == [0x55, 0xAA] && matches!(sector, 512 | 1024 | 2048 | 4096)
}

/// The magic number alone is two bytes, which random data has too.
fn is_ext4(superblock: &[u8; 512]) -> bool {
    let (inodes, blocks) = (le32(superblock, 0), le32(superblock, 4));
    let (block_size, revision) = (le32(superblock, 0x18), le32(superblock, 0x4C));
    le16(superblock, 0x38) == 0xEF53 && inodes != 0 && blocks != 0 && block_size <= 6 && revision <= 1
}

/// Blocks and their size (ext4(5) and Documentation/filesystems/ext4/super.rst).
fn ext4_size(superblock: &[u8; 512]) -> u64 {
    const INCOMPAT_64BIT: u32 = 0x80;
    let wide = le32(superblock, 0x60) & INCOMPAT_64BIT != 0;
    let high = if wide { u64::from(le32(superblock, 0x150)) << 32 } else { 0 };
    let blocks = u64::from(le32(superblock, 4)) | high;
    1024_u64.checked_shl(le32(superblock, 0x18)).unwrap_or(0).saturating_mul(blocks)
}

/// The mark lies at the end of the first page, of whatever size pages are.
fn swap(source: &(impl Source + ?Sized)) -> Option<Content> {
    let marked = |page: u64| {
        source.array::<10>(page - 10).is_some_and(|mark| [*b"SWAPSPACE2", *b"SWAP-SPACE"].contains(&mark))
    };
    [4096, 8192, 16384, 65536].into_iter().any(marked).then_some(Content::Swap)
}

/// The number at `offset`, little endian; 0 beyond the end, as the others.
pub(super) fn le16(bytes: &[u8], offset: usize) -> u16 {
    number(bytes, offset).map_or(0, u16::from_le_bytes)
}

/// 32 bits, little endian.
pub(super) fn le32(bytes: &[u8], offset: usize) -> u32 {
    number(bytes, offset).map_or(0, u32::from_le_bytes)
}

/// 64 bits, little endian.
pub(super) fn le64(bytes: &[u8], offset: usize) -> u64 {
    number(bytes, offset).map_or(0, u64::from_le_bytes)
}

fn be32(bytes: &[u8], offset: usize) -> u32 {
    number(bytes, offset).map_or(0, u32::from_be_bytes)
}

fn be64(bytes: &[u8], offset: usize) -> u64 {
    number(bytes, offset).map_or(0, u64::from_be_bytes)
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}
