//! Disks made for unit tests, byte by byte.

use super::content::FileSystem;
use super::guid::Guid;

/// A disk with a GPT.
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    sector: usize,
    entries: Vec<[u8; 128]>,
}

pub(super) const ROOT: Guid = Guid::constant("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
pub(super) const ROOT_VERITY: Guid = Guid::constant("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5");
pub(super) const ROOT_X86: Guid = Guid::constant("44479540-f297-41b2-9af7-d131d5f0458a");
pub(super) const ROOT_ARM64: Guid = Guid::constant("b921b045-1df0-41c3-af44-4c6f280d3fae");
pub(super) const USR: Guid = Guid::constant("8484680c-9521-48c6-9c11-b0720656f69e");
pub(super) const USR_ARM64: Guid = Guid::constant("b0e01050-ee5f-4390-949a-9101b17104e9");
pub(super) const HOME: Guid = Guid::constant("933ac7e1-2eb4-4f13-b844-0e14e2aef915");
pub(super) const VAR: Guid = Guid::constant("4d21b016-b534-45c2-a9fb-5c16e091fd2d");
pub(super) const TMP: Guid = Guid::constant("7ec6f557-3bc5-4aca-b293-16ef5df639d1");
pub(super) const ESP: Guid = Guid::constant("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
pub(super) const BOOT: Guid = Guid::constant("bc13c2ff-59e6-4262-a352-b275fd6f7172");
pub(super) const LINUX: Guid = Guid::constant("0fc63daf-8483-4772-8e79-3d69d8477de4");
pub(super) const OTHER: Guid = Guid::constant("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");

pub(super) const READ_ONLY: u64 = 1 << 60;
pub(super) const NO_AUTO: u64 = 1 << 63;
pub(super) const GROW: u64 = 1 << 59;

/// How long each partition is.
pub(super) const PARTITION: u64 = 128 << 10;

/// A superblock that says that `kind` takes `size` bytes, at the beginning of a partition.
pub(super) fn file_system(kind: FileSystem, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 70 << 10];
    let low = |number: u64| u32::try_from(number).unwrap().to_le_bytes();
    let mut put = |offset: usize, data: &[u8]| bytes[offset..offset + data.len()].copy_from_slice(data);
    match kind {
        FileSystem::Ext4 => {
            put(1024, &16_u32.to_le_bytes());
            put(1024 + 4, &low(size / 1024));
            put(1024 + 0x38, &0xEF53_u16.to_le_bytes());
        }
        FileSystem::Xfs => {
            put(0, b"XFSB");
            put(4, &4096_u32.to_be_bytes());
            put(8, &(size / 4096).to_be_bytes());
        }
        FileSystem::Btrfs => {
            put(0x1_0040, b"_BHRfS_M");
            put(0x1_0070, &size.to_le_bytes());
            put(0x1_0088, &1_u64.to_le_bytes());
        }
        FileSystem::Squashfs => {
            put(0, b"hsqs");
            put(28, &4_u16.to_le_bytes());
            put(40, &size.to_le_bytes());
        }
        FileSystem::Erofs => {
            put(1024, &0xE0F5_E1E2_u32.to_le_bytes());
            put(1024 + 12, &[12]);
            put(1024 + 36, &low(size / 4096));
        }
        FileSystem::F2fs => {
            put(1024, &0xF2F5_2010_u32.to_le_bytes());
            put(1024 + 36, &(size / 4096).to_le_bytes());
        }
        FileSystem::Vfat => {
            put(0, b"\xeb\x3c\x90mkfs.fat\x00\x02");
            put(54, b"FAT16   ");
            put(510, b"\x55\xaa");
        }
        FileSystem::Other(_) => put(0x8000, b"\x01CD001"),
    }
    bytes
}

/// Only the beginning of a partition, as a magic number has it.
pub(super) fn magic(magic: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.resize(4096, 0);
    bytes
}

impl Disk {
    /// A disk without partitions.
    pub(super) fn new(sector: usize) -> Self {
        Self { bytes: vec![0; 4 << 20], sector, entries: Vec::new() }
    }

    /// Adds a partition that holds `content`.
    pub(super) fn with(self, kind: Guid, label: &str, flags: u64, content: &[u8]) -> Self {
        let id = Guid([u8::try_from(self.entries.len()).unwrap() + 1; 16]);
        self.with_id(kind, id, label, flags, content)
    }

    /// The same, with an identifier.
    pub(super) fn with_id(mut self, kind: Guid, id: Guid, label: &str, flags: u64, content: &[u8]) -> Self {
        let offset = (1 << 20) + self.entries.len() as u64 * PARTITION;
        let (first, count) = (offset / self.sector as u64, PARTITION / self.sector as u64);
        let mut entry = [0; 128];
        // The conversion to the order of a GPT is its own inverse.
        entry[..16].copy_from_slice(&Guid::from_gpt(kind.0).0);
        entry[16..32].copy_from_slice(&Guid::from_gpt(id.0).0);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&(first + count - 1).to_le_bytes());
        entry[48..56].copy_from_slice(&flags.to_le_bytes());
        for (at, unit) in label.encode_utf16().enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        self.entries.push(entry);
        let offset = usize::try_from(offset).unwrap();
        self.bytes[offset..offset + content.len()].copy_from_slice(content);
        self
    }

    /// Both tables, and the protective MBR.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut table: Vec<u8> = self.entries.concat();
        table.resize(128 * 128, 0);
        let last = (self.bytes.len() / self.sector) as u64 - 1;
        let sectors = (table.len() / self.sector) as u64;
        for (at, other, entries) in [(1, last, 2), (last, 1, last - sectors)] {
            let header = header(at, other, entries, &table);
            let sector = self.sector;
            self.put(at * sector as u64, &header);
            self.put(entries * sector as u64, &table);
        }
        self.bytes[446 + 4] = 0xEE;
        self.put(446 + 8, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        self.put(510, b"\x55\xaa");
        self.bytes
    }

    fn put(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap();
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
    }
}

fn header(at: u64, other: u64, entries: u64, table: &[u8]) -> [u8; 92] {
    let mut header = [0; 92];
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    header[24..32].copy_from_slice(&at.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[72..80].copy_from_slice(&entries.to_le_bytes());
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc(table).to_le_bytes());
    sign(&mut header);
    header
}

/// Makes the checksum of a header right.
pub(super) fn sign(header: &mut [u8; 92]) {
    header[16..20].fill(0);
    let checksum = crc(header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A disk with an MBR: type, whether it is to boot from, and content of each partition.
pub(super) fn mbr(sector: usize, partitions: &[(u8, bool, Vec<u8>)]) -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    for (at, (kind, bootable, content)) in partitions.iter().enumerate() {
        let offset = (1 << 20) + at * usize::try_from(PARTITION).unwrap();
        let entry = &mut disk[446 + 16 * at..][..16];
        entry[0] = if *bootable { 0x80 } else { 0 };
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&u32::try_from(offset / sector).unwrap().to_le_bytes());
        let count = usize::try_from(PARTITION).unwrap() / sector;
        entry[12..16].copy_from_slice(&u32::try_from(count).unwrap().to_le_bytes());
        disk[offset..offset + content.len()].copy_from_slice(content);
    }
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk
}
