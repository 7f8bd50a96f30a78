//! Tables of partitions: whole, damaged, hostile.

use super::content::{Content, FileSystem};
use super::facts::{self, Layout, TableKind};
use super::fixtures::*;
use super::gpt::{self, GptFault};
use super::partition_kind::PartitionKind;
use super::source::Source;
use crate::guest::architecture::Architecture;

fn ext4() -> Vec<u8> {
    file_system(FileSystem::Ext4, PARTITION)
}

fn disk(sector: usize) -> Vec<u8> {
    Disk::new(sector)
        .with(ESP, "EFI system partition", 0, &file_system(FileSystem::Vfat, 0))
        .with(ROOT, "root ä", READ_ONLY | GROW, &ext4())
        .finish()
}

#[test]
fn gpt_in_sectors_of_any_size() {
    for sector in [512_u16, 1024, 2048, 4096] {
        let disk = disk(sector.into());
        let Layout::Table(table) = facts::read(disk.as_slice()).layout else { panic!("{sector}") };
        assert_eq!(
            (table.kind, table.sector),
            (TableKind::Gpt { from_backup: false }, u32::from(sector)),
            "{sector}"
        );
        let [esp, root] = table.partitions.as_slice() else { panic!("{:?}", table.partitions) };
        assert_eq!((esp.number, esp.kind, esp.read_only), (1, PartitionKind::Esp, false));
        assert_eq!((root.number, root.kind), (2, PartitionKind::Root(Architecture::X86_64)));
        assert_eq!((root.offset, root.length), ((1 << 20) + PARTITION, PARTITION));
        assert_eq!(
            (root.label.as_str(), root.read_only, root.grow, root.no_auto),
            ("root ä", true, true, false)
        );
        let content = Content::FileSystem { kind: FileSystem::Ext4, size: PARTITION, devices: 1 };
        assert_eq!(root.content, content);
    }
}

/// What is written where.
type Writes<'a> = &'a [(usize, &'a [u8])];

#[test]
fn damaged_gpt() {
    // What is written where, and what comes of it: from which copy it is read, or why it is not.
    let whole = disk(512);
    let end = whole.len();
    let rows: [(&str, Writes<'_>, Result<bool, GptFault>); 9] = [
        ("nothing", &[], Ok(false)),
        ("backup", &[(end - 512, b"x")], Ok(false)),
        ("header", &[(512 + 40, b"x")], Ok(true)),
        ("header wiped", &[(512, &[0; 512])], Ok(true)),
        ("entries", &[(1024 + 3, b"x")], Ok(true)),
        ("both headers", &[(512 + 40, b"x"), (end - 512 + 40, b"x")], Err(GptFault::HeaderChecksum)),
        ("both entries", &[(1024 + 3, b"x"), (end - 33 * 512, b"x")], Err(GptFault::EntriesChecksum)),
        ("header, and no backup", &[(512 + 40, b"x"), (end - 512, &[0; 512])], Err(GptFault::HeaderChecksum)),
        ("both wiped", &[(512, &[0; 512]), (end - 512, &[0; 512])], Err(GptFault::NoHeader)),
    ];
    for (name, writes, expected) in rows {
        let mut disk = whole.clone();
        for (offset, data) in writes {
            disk[*offset..offset + data.len()].copy_from_slice(data);
        }
        let found = match facts::read(disk.as_slice()).layout {
            Layout::Table(table) if table.partitions.len() == 2 => match table.kind {
                TableKind::Gpt { from_backup } => Ok(from_backup),
                TableKind::Mbr => panic!("{name}: an MBR"),
            },
            Layout::Damaged(fault) => Err(fault),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn hostile_headers() {
    // A number of the header, its bytes, and why it is refused although its checksum is right.
    let rows: [(&str, usize, &[u8], GptFault); 8] = [
        ("4 billion entries", 80, &[0xff; 4], GptFault::Sizes),
        ("entries of 4 GiB", 84, &[0xff; 4], GptFault::Sizes),
        ("entries of 0 bytes", 84, &[0; 4], GptFault::Sizes),
        ("entries of 129 bytes", 84, &[129, 0, 0, 0], GptFault::Sizes),
        ("entries at the end of time", 72, &[0xff; 8], GptFault::BeyondEnd),
        ("entries behind the disk", 72, &[0, 0, 1, 0, 0, 0, 0, 0], GptFault::BeyondEnd),
        ("revision 2", 8, &[0, 0, 2, 0], GptFault::Revision),
        ("somewhere else", 24, &[7, 0, 0, 0, 0, 0, 0, 0], GptFault::HeaderChecksum),
    ];
    for (name, offset, data, fault) in rows {
        let mut disk = disk(512);
        let end = disk.len();
        disk[end - 512..].fill(0);
        let header: &mut [u8; 92] = disk[512..].first_chunk_mut().unwrap();
        header[offset..offset + data.len()].copy_from_slice(data);
        sign(header);
        assert_eq!(gpt::read(disk.as_slice(), 512), Err(fault), "{name}");
    }
    let mut disk = disk(512);
    disk[512 + 12..512 + 16].copy_from_slice(&513_u32.to_le_bytes());
    let end = disk.len();
    disk[end - 512..].fill(0);
    assert_eq!(gpt::read(disk.as_slice(), 512), Err(GptFault::Sizes), "a header longer than its sector");
}

#[test]
fn partitions_that_end_before_they_begin_have_no_length() {
    let mut disk = disk(512);
    let end = disk.len();
    disk[end - 512..].fill(0);
    disk[1024 + 40..1024 + 48].fill(0);
    let entries = &disk[1024..1024 + 128 * 128];
    let mut crc = flate2::Crc::new();
    crc.update(entries);
    let sum = crc.sum();
    let header: &mut [u8; 92] = disk[512..].first_chunk_mut().unwrap();
    header[88..92].copy_from_slice(&sum.to_le_bytes());
    sign(header);
    let Layout::Table(table) = facts::read(disk.as_slice()).layout else { panic!() };
    assert_eq!((table.partitions[0].length, table.partitions[0].content), (0, Content::Unknown));
}

#[test]
fn mbr_tables() {
    for sector in [512, 4096] {
        let disk = mbr(sector, &[(0x82, false, Vec::new()), (0x83, true, ext4()), (0x07, false, Vec::new())]);
        let Layout::Table(table) = facts::read(disk.as_slice()).layout else { panic!("{sector}") };
        assert_eq!((table.kind, table.sector as usize), (TableKind::Mbr, sector));
        let rows: Vec<_> =
            table.partitions.iter().map(|one| (one.number, one.kind, one.bootable, one.offset)).collect();
        let at = |number: u64| (1 << 20) + number * PARTITION;
        let expected = [
            (1, PartitionKind::Swap, false, at(0)),
            (2, PartitionKind::Linux, true, at(1)),
            (3, PartitionKind::Other, false, at(2)),
        ];
        assert_eq!(rows, expected, "{sector}");
    }
}

#[test]
fn logical_partitions() {
    // An extended partition at sector 2048, with two partitions in it, each after a table of its own.
    let mut disk = mbr(512, &[(0x83, false, ext4())]);
    let entry = |kind: u8, first: u32, count: u32| {
        let mut entry = [0; 16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
        entry
    };
    disk[446 + 16..446 + 32].copy_from_slice(&entry(0x05, 3000, 4000));
    let mut table = |at: usize, one: [u8; 16], next: [u8; 16]| {
        disk[at * 512 + 446..][..16].copy_from_slice(&one);
        disk[at * 512 + 462..][..16].copy_from_slice(&next);
        disk[at * 512 + 510..][..2].copy_from_slice(b"\x55\xaa");
    };
    table(3000, entry(0x83, 8, 100), entry(0x05, 1000, 500));
    // The second one leads back to the first: a loop.
    table(4000, entry(0x83, 8, 100), entry(0x05, 0, 500));
    let Layout::Table(table) = facts::read(disk.as_slice()).layout else { panic!() };
    let rows: Vec<_> =
        table.partitions.iter().map(|one| (one.number, one.offset / 512, one.length / 512)).collect();
    assert_eq!(rows, [(1, 2048, 256), (5, 3008, 100), (6, 4008, 100)]);
}

#[test]
fn an_old_gpt_below_a_new_mbr_is_not_read() {
    let mut disk = disk(512);
    let new = mbr(512, &[(0x83, true, ext4())]);
    disk[..512].copy_from_slice(&new[..512]);
    let Layout::Table(table) = facts::read(disk.as_slice()).layout else { panic!() };
    assert_eq!((table.kind, table.partitions.len()), (TableKind::Mbr, 1));
}

#[test]
fn what_is_on_a_disk_without_a_table() {
    for kind in [
        FileSystem::Ext4,
        FileSystem::Xfs,
        FileSystem::Btrfs,
        FileSystem::Squashfs,
        FileSystem::Erofs,
        FileSystem::F2fs,
    ] {
        let bytes = file_system(kind, 1 << 20);
        let content = Content::FileSystem { kind, size: 1 << 20, devices: 1 };
        assert_eq!(facts::read(bytes.as_slice()).layout, Layout::Bare(content));
    }
    let rows: [(&[u8], usize, Content); 8] = [
        (b"LUKS\xba\xbe\0\x02", 0, Content::Luks),
        (b"-FVE-FS-", 3, Content::BitLocker),
        (b"verity\0\0", 0, Content::VerityHashes),
        (b"LABELONE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001", 512, Content::Lvm),
        (&0xa92b_4efc_u32.to_le_bytes(), 4096, Content::Raid),
        (b"SWAPSPACE2", 4086, Content::Swap),
        (b"SWAPSPACE2", 65526, Content::Swap),
        (b"", 0, Content::Unknown),
    ];
    for (magic, offset, content) in rows {
        let mut disk = vec![0; 128 << 10];
        disk[offset..offset + magic.len()].copy_from_slice(magic);
        assert_eq!(facts::read(disk.as_slice()).layout, Layout::Bare(content), "{content:?}");
    }
    // Two bytes are no ext4.
    let mut random = vec![0; 4096];
    random[1024 + 0x38..][..2].copy_from_slice(&0xEF53_u16.to_le_bytes());
    assert_eq!(Content::of(random.as_slice()), Content::Unknown);
}

#[test]
fn short_files() {
    for length in [0, 1, 3, 15, 16, 511, 512, 513, 1023, 1500, 4095, 5000] {
        let bytes = vec![0; length];
        assert_eq!(facts::read(bytes.as_slice()).layout, Layout::Bare(Content::Unknown), "{length}");
    }
    let whole = disk(512);
    for length in (0..2048).chain([whole.len() - 1]) {
        // None of them is read beyond its end.
        let cut = &whole[..length];
        let _ = facts::read(cut);
        assert_eq!(cut.length(), length as u64);
    }
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn change_of_a_disk_is_read_or_refused(
            writes in proptest::collection::vec((0_usize..20480, any::<u8>()), 1..40),
            resigned in any::<bool>(),
        ) {
            let mut disk = disk(512);
            for (offset, byte) in writes {
                disk[offset] = byte;
            }
            if resigned {
                sign(disk[512..].first_chunk_mut().unwrap());
            }
            let facts = facts::read(disk.as_slice());
            let _ = crate::image::disk::plan::plan(&facts, crate::image::disk::plan::Wish::default());
        }
    }
}
