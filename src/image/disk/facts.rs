//! What is on a disk: its table, its partitions, what each holds. A pure function over bytes that are hostile.

use super::content::Content;
use super::foreign::Foreign;
use super::gpt::{self, Gpt, GptEntry, GptFault};
use super::guid::Guid;
use super::mbr::{self, MbrEntry};
use super::partition_kind::PartitionKind;
use super::source::{Part, Source};

/// Sizes of logical sectors, the likeliest first: disks have 512 or 4096; libblkid knows those between, too.
const SECTORS: [u32; 4] = [512, 4096, 2048, 1024];

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// How long it is, in bytes.
    pub length: u64,
    /// What it is divided into.
    pub layout: Layout,
}

/// What a disk is divided into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Nothing: all of it is one thing.
    Bare(Content),
    /// Partitions.
    Table(Table),
    /// Partitions, and the GPT that names them cannot be read.
    Damaged(GptFault),
    /// It is no raw disk.
    Foreign(Foreign),
}

/// A table of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which kind of table.
    pub kind: TableKind,
    /// The size of a logical sector.
    pub sector: u32,
    /// The partitions.
    pub partitions: Vec<Partition>,
}

/// A kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A GPT.
    Gpt {
        /// Its primary copy is damaged.
        from_backup: bool,
    },
    /// The table of a master boot record.
    Mbr,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// What it is for.
    pub kind: PartitionKind,
    /// Its own identifier; zero in an MBR.
    pub id: Guid,
    /// Its label; empty in an MBR.
    pub label: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is; 0 if it ends before it begins.
    pub length: u64,
    /// It is not to be written to (GPT).
    pub read_only: bool,
    /// It is not to be found by itself (GPT).
    pub no_auto: bool,
    /// Its file system is to grow to its size (GPT).
    pub grow: bool,
    /// It is marked as the one to boot from (MBR).
    pub bootable: bool,
    /// What it holds.
    pub content: Content,
}

/// Whether `disk`, or the beginning of one, has a table of partitions.
pub fn has_table(disk: &(impl Source + ?Sized)) -> bool {
    SECTORS.iter().any(|sector| gpt::has_signature(disk, *sector))
        || mbr::read(disk, SECTORS[0]).is_some_and(|entries| !entries.is_empty())
}

/// Reads what is on `disk`.
pub fn read(disk: &(impl Source + ?Sized)) -> Facts {
    Facts { length: disk.length(), layout: layout(disk) }
}

fn layout(disk: &(impl Source + ?Sized)) -> Layout {
    if let Some(foreign) = Foreign::of(disk) {
        return Layout::Foreign(foreign);
    }
    // Before tables: a disk may have been one of partitions before it got a file system, and a FAT looks like an MBR.
    let content = Content::of(disk);
    if content != Content::Unknown {
        return Layout::Bare(content);
    }
    let mbr = mbr::read(disk, SECTORS[0]);
    let protective = |entries: &Vec<MbrEntry>| entries.iter().any(|entry| entry.kind == mbr::PROTECTIVE);
    // An MBR of its own means that a GPT is from before (UEFI Specification 5.2.3).
    if mbr.as_ref().is_none_or(|entries| entries.is_empty() || protective(entries)) {
        match gpt(disk, mbr.as_ref().is_some_and(protective)) {
            Some(Ok(gpt)) => return Layout::Table(of_gpt(disk, &gpt)),
            Some(Err(fault)) => return Layout::Damaged(fault),
            None => {}
        }
    }
    match mbr {
        Some(entries) if !entries.is_empty() => Layout::Table(of_mbr(disk, &entries)),
        _ => Layout::Bare(Content::Unknown),
    }
}

/// The GPT, with whatever sectors; `None` if there is no sign of one.
fn gpt(disk: &(impl Source + ?Sized), protected: bool) -> Option<Result<Gpt, GptFault>> {
    let mut fault = None;
    let signed = SECTORS.into_iter().filter(|sector| gpt::has_signature(disk, *sector));
    // Where the primary header is wiped out, the backup may be at the end, in sectors of any size.
    let wiped = SECTORS.into_iter().filter(|_| protected);
    for sector in signed.chain(wiped) {
        match gpt::read(disk, sector) {
            Ok(gpt) => return Some(Ok(gpt)),
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    fault.map(Err)
}

fn of_gpt(disk: &(impl Source + ?Sized), gpt: &Gpt) -> Table {
    // Flags of the Discoverable Partitions Specification; for the ESP, the one of UEFI that hides it.
    const GROW: u64 = 1 << 59;
    const READ_ONLY: u64 = 1 << 60;
    const NO_AUTO: u64 = 1 << 63;
    const NO_BLOCK_IO: u64 = 1 << 1;
    let partition = |entry: &GptEntry| {
        let kind = PartitionKind::of(entry.kind);
        let hidden = if kind == PartitionKind::Esp { NO_BLOCK_IO } else { NO_AUTO };
        let count = entry.last.checked_sub(entry.first).map_or(0, |count| count.saturating_add(1));
        let (offset, length) = bytes(entry.first, count, gpt.sector);
        Partition {
            number: entry.number,
            kind,
            id: entry.id,
            label: entry.label.clone(),
            offset,
            length,
            read_only: entry.flags & READ_ONLY != 0,
            no_auto: entry.flags & hidden != 0,
            grow: entry.flags & GROW != 0,
            bootable: false,
            content: content(disk, kind, offset, length),
        }
    };
    Table {
        kind: TableKind::Gpt { from_backup: gpt.from_backup },
        sector: gpt.sector,
        partitions: gpt.entries.iter().map(partition).collect(),
    }
}

/// The partitions of an MBR, which says nothing of the size of sectors: they are those with which something known is in a
/// partition.
fn of_mbr(disk: &(impl Source + ?Sized), entries: &[MbrEntry]) -> Table {
    let usual = with_sectors(disk, entries, SECTORS[0]);
    let known =
        |table: &Table| table.partitions.iter().any(|partition| partition.content != Content::Unknown);
    if known(&usual) {
        return usual;
    }
    // Logical partitions are found by the size of sectors as well.
    let large = mbr::read(disk, SECTORS[1]).map(|entries| with_sectors(disk, &entries, SECTORS[1]));
    large.filter(known).unwrap_or(usual)
}

fn with_sectors(disk: &(impl Source + ?Sized), entries: &[MbrEntry], sector: u32) -> Table {
    let partition = |entry: &MbrEntry| {
        let kind = PartitionKind::of_mbr(entry.kind);
        let (offset, length) = bytes(entry.first.into(), entry.count.into(), sector);
        Partition {
            number: entry.number,
            kind,
            id: Guid::default(),
            label: String::new(),
            offset,
            length,
            read_only: false,
            no_auto: false,
            grow: false,
            bootable: entry.bootable,
            content: content(disk, kind, offset, length),
        }
    };
    Table { kind: TableKind::Mbr, sector, partitions: entries.iter().map(partition).collect() }
}

fn bytes(first: u64, count: u64, sector: u32) -> (u64, u64) {
    (first.saturating_mul(sector.into()), count.saturating_mul(sector.into()))
}

/// What a partition holds, where that is of interest.
fn content(disk: &(impl Source + ?Sized), kind: PartitionKind, offset: u64, length: u64) -> Content {
    match kind {
        PartitionKind::Other | PartitionKind::Swap => Content::Unknown,
        _ => Content::of(&Part { of: disk, offset, length }),
    }
}
