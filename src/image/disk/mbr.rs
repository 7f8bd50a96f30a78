//! Partition tables of the PC's master boot record: a pure function over the bytes of a disk, which are hostile.

use super::content::le32;
use super::source::Source;

/// Most logical partitions: each has a sector of its own that names the next, for ever if it likes.
const MAX_LOGICAL: u32 = 60;

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrEntry {
    /// Its number, from 1; logical ones from 5.
    pub number: u32,
    /// Its type.
    pub kind: u8,
    /// It is marked as the one to boot from.
    pub bootable: bool,
    /// Its first sector.
    pub first: u32,
    /// How many sectors it has.
    pub count: u32,
}

/// Types of partitions that hold others.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// That of the one partition that keeps old tools off a GPT.
pub const PROTECTIVE: u8 = 0xEE;

/// Reads the table of `disk`; `None` if it has none.
pub fn read(disk: &(impl Source + ?Sized), sector: u32) -> Option<Vec<MbrEntry>> {
    let primary = table(disk, 0)?;
    let mut entries: Vec<MbrEntry> =
        (1..).zip(primary).map(|(number, entry)| MbrEntry { number, ..entry }).filter(is_used).collect();
    if let Some(extended) = entries.iter().find(|entry| EXTENDED.contains(&entry.kind)).copied() {
        logical(disk, sector, extended, &mut entries);
    }
    entries.retain(|entry| !EXTENDED.contains(&entry.kind));
    Some(entries)
}

/// The chain of tables in the partition `extended`: each has one partition, by its own sector, and the next table, by the
/// first one's.
fn logical(disk: &(impl Source + ?Sized), sector: u32, extended: MbrEntry, entries: &mut Vec<MbrEntry>) {
    let mut at = extended.first;
    for number in 5..5 + MAX_LOGICAL {
        let Some(table) = table(disk, u64::from(at) * u64::from(sector)) else { return };
        let [entry, next, ..] = table;
        if is_used(&entry) && !EXTENDED.contains(&entry.kind) {
            let Some(first) = at.checked_add(entry.first) else { return };
            entries.push(MbrEntry { number, first, ..entry });
        }
        match extended.first.checked_add(next.first) {
            Some(next_at) if EXTENDED.contains(&next.kind) && next_at > at => at = next_at,
            _ => return,
        }
    }
}

fn is_used(entry: &MbrEntry) -> bool {
    entry.kind != 0 && entry.count != 0
}

/// The four entries of the table at `offset`.
fn table(disk: &(impl Source + ?Sized), offset: u64) -> Option<[MbrEntry; 4]> {
    let sector: [u8; 512] = disk.array(offset)?;
    let (entries, _) = sector[446..510].as_chunks::<16>();
    // A boot sector of another kind ends with the same mark, and has code here.
    let marks = entries.iter().all(|entry| matches!(entry[0], 0 | 0x80));
    if sector[510..] != [0x55, 0xAA] || !marks {
        return None;
    }
    let entries: [[u8; 16]; 4] = entries.try_into().ok()?;
    Some(entries.map(|entry| MbrEntry {
        number: 0,
        kind: entry[4],
        bootable: entry[0] == 0x80,
        first: le32(&entry, 8),
        count: le32(&entry, 12),
    }))
}
