//! One journal file: its entries by number, their fields.

use std::collections::HashMap;

use super::arrays::{Arrays, OBJECT_HEADER};
use super::compression::decompress;
use super::entry::{Field, Id, Stamp};
use super::fault::Fault;
use super::header::{HEADER_KNOWN, Header};
use super::index::{self, Wanted};
use super::salvage::salvage;
use super::storage::{Blocks, ReadAt, le32, le64};

/// Types of objects.
const DATA: u8 = 1;
pub(super) const ENTRY: u8 = 3;

/// An entry before its items: the object's header, number, three stamps, hash.
const ENTRY_HEADER: u64 = 64;

/// A field before its contents, without and with 32-bit offsets.
const DATA_HEADER: u64 = 64;
const DATA_HEADER_COMPACT: u64 = 72;

/// A field is shown up to here. systemd-journald lets programs send up to 768 MiB.
const FIELD_MAX: usize = 8 << 20;

/// Fields of an entry: what systemd-journald takes (ENTRY_FIELD_COUNT_MAX).
const FIELDS_MAX: u64 = 1024;

/// Bytes of an entry's fields that are shown.
const ENTRY_MAX: usize = 32 << 20;

/// How much is kept of fields that several entries share, as most do. A field that is larger is read anew.
const KEPT_MAX: usize = 4 << 20;
const KEPT_FIELD_MAX: usize = 4096;

/// One journal file.
#[derive(Debug)]
pub struct JournalFile {
    blocks: Blocks,
    header: Header,
    arrays: Arrays,
    /// Offsets of the entries that no array names any more; they come after those that one does.
    salvaged: Vec<u64>,
    /// The entries that are looked at, where it is not all.
    chosen: Option<Vec<u64>>,
    kept: HashMap<u64, Field>,
    kept_bytes: usize,
}

impl JournalFile {
    /// Opens a journal file.
    ///
    /// # Errors
    /// When it is none, or one that we cannot read.
    pub fn open(storage: Box<dyn ReadAt>) -> Result<Self, Fault> {
        let blocks = Blocks::new(storage);
        let header = read_header(&blocks)?;
        let mut file = Self {
            blocks,
            header,
            arrays: Arrays::default(),
            salvaged: Vec::new(),
            chosen: None,
            kept: HashMap::new(),
            kept_bytes: 0,
        };
        if !file.arrays.follow(&mut file.blocks, &file.header) {
            let last = file.arrays.len().checked_sub(1);
            let known = last.and_then(|last| file.arrays.item(last, &mut file.blocks, &file.header));
            let missing = file.header.entries.saturating_sub(file.arrays.len());
            file.salvaged = salvage(&mut file.blocks, &file.header, known, missing);
            file.blocks.forget();
        }
        Ok(file)
    }

    /// Its head, as of the last look.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Looks whether the writer has gone on; says so.
    ///
    /// # Errors
    /// When it is no journal file any more.
    pub fn refresh(&mut self) -> Result<bool, Fault> {
        let header = read_header(&self.blocks)?;
        if header.file_id != self.header.file_id {
            return Err(Fault::Signature);
        }
        // The head says so before the array does, now and then: looked at again until both do.
        if header == self.header && self.all() == header.entries {
            return Ok(false);
        }
        let before = self.all();
        self.blocks.forget();
        self.header = header;
        self.arrays.follow(&mut self.blocks, &self.header);
        Ok(self.all() != before)
    }

    /// Gives back memory that only helps reading on.
    pub fn rest(&mut self) {
        self.blocks.forget();
        self.kept = HashMap::new();
        self.kept_bytes = 0;
    }

    /// Looks at no other entries from now on than those in which a field of `names` has a value that `wanted` takes, if the
    /// file's own lists tell which; numbers are theirs then. Only for a file that is not followed.
    pub fn choose(&mut self, names: &[&str], wanted: Wanted<'_>) {
        if let Ok(mut chosen) = self.listed(names, wanted) {
            chosen.extend(&self.salvaged);
            chosen.sort_unstable();
            chosen.dedup();
            self.chosen = Some(chosen);
        }
    }

    fn listed(&mut self, names: &[&str], wanted: Wanted<'_>) -> Result<Vec<u64>, Fault> {
        let mut found = Vec::new();
        let most = self.all().saturating_mul(u64::try_from(names.len()).unwrap_or(1));
        for name in names {
            for data in index::values(&mut self.blocks, &self.header, name)? {
                if self.field(data)?.as_ref().is_none_or(wanted) {
                    index::entries(&mut self.blocks, &self.header, data, &mut found, most)?;
                }
            }
        }
        Ok(found)
    }

    /// How many entries it has, damaged ones included.
    pub fn len(&self) -> u64 {
        match &self.chosen {
            Some(chosen) => u64::try_from(chosen.len()).unwrap_or(0),
            None => self.all(),
        }
    }

    fn all(&self) -> u64 {
        self.arrays.len().saturating_add(u64::try_from(self.salvaged.len()).unwrap_or(0))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset of entry `number`, and when it was written.
    ///
    /// # Errors
    /// When it is damaged: others need not be.
    pub fn stamp(&mut self, number: u64) -> Result<(u64, Stamp), Fault> {
        let of =
            |list: &[u64], index: u64| usize::try_from(index).ok().and_then(|index| list.get(index).copied());
        let offset = match (&self.chosen, number.checked_sub(self.arrays.len())) {
            (Some(chosen), _) => of(chosen, number),
            (None, None) => self.arrays.item(number, &mut self.blocks, &self.header),
            (None, Some(index)) => of(&self.salvaged, index),
        };
        let offset = offset.unwrap_or(0);
        let (head, _) = self.entry(offset)?;
        let stamp = Stamp {
            seqnum_id: self.header.seqnum_id,
            seqnum: le64(&head, 16),
            realtime: le64(&head, 24),
            monotonic: le64(&head, 32),
            boot_id: Id::at(&head, 40),
            xor_hash: le64(&head, 56),
        };
        Ok((offset, stamp))
    }

    /// The fields of the entry at `offset`. Those that are damaged are left out.
    ///
    /// # Errors
    /// When the entry itself is damaged.
    pub fn fields(&mut self, offset: u64) -> Result<Vec<Field>, Fault> {
        let (_, size) = self.entry(offset)?;
        // The item's offset; without 32-bit offsets a hash follows it.
        let width = if self.header.compact { 4 } else { 16 };
        let count = ((size - ENTRY_HEADER) / width).min(FIELDS_MAX);
        let mut items = vec![0; usize::try_from(count * width).unwrap_or(0)];
        self.blocks.read(offset + ENTRY_HEADER, &mut items, "entry")?;
        let mut fields = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut bytes = 0;
        for item in items.chunks_exact(usize::try_from(width).unwrap_or(16)) {
            let at = if self.header.compact { le32(item, 0).into() } else { le64(item, 0) };
            let Ok(Some(field)) = self.field(at) else { continue };
            bytes += field.size();
            if bytes > ENTRY_MAX {
                break;
            }
            fields.push(field);
        }
        Ok(fields)
    }

    /// The field at `offset`; `None` where its contents are not to be made out.
    fn field(&mut self, offset: u64) -> Result<Option<Field>, Fault> {
        if let Some(field) = self.kept.get(&offset) {
            return Ok(Some(field.clone()));
        }
        let damaged = || Fault::damaged("field", offset);
        if offset < self.header.header_size || !offset.is_multiple_of(8) {
            return Err(damaged());
        }
        let head = self.blocks.array::<64>(offset, "field")?;
        let before = if self.header.compact { DATA_HEADER_COMPACT } else { DATA_HEADER };
        let length = le64(&head, 8).checked_sub(before).ok_or_else(damaged)?;
        if head[0] != DATA {
            return Err(damaged());
        }
        // One byte more than is shown tells that there is more; what is compressed is no larger than its contents.
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(FIELD_MAX + 1);
        let mut bytes = vec![0; wanted];
        let start = offset.checked_add(before).ok_or_else(damaged)?;
        self.blocks.read(start, &mut bytes, "field")?;
        let Some((bytes, cut)) = decompress(head[1], bytes, FIELD_MAX) else { return Ok(None) };
        let field = Field::new(&bytes, cut);
        if let Some(field) = &field
            && le64(&head, 56) > 1
            && field.size() <= KEPT_FIELD_MAX
        {
            self.kept_bytes += field.size();
            if self.kept_bytes > KEPT_MAX {
                self.kept.clear();
                self.kept_bytes = field.size();
            }
            self.kept.insert(offset, field.clone());
        }
        Ok(field)
    }

    /// The head of the entry at `offset`, and its size.
    fn entry(&mut self, offset: u64) -> Result<([u8; 64], u64), Fault> {
        entry_at(&mut self.blocks, &self.header, offset)
    }
}

/// The head of the entry at `offset`, and its size.
pub(super) fn entry_at(blocks: &mut Blocks, header: &Header, offset: u64) -> Result<([u8; 64], u64), Fault> {
    let damaged = || Fault::damaged("entry", offset);
    if offset < header.header_size || !offset.is_multiple_of(8) {
        return Err(damaged());
    }
    let head = blocks.array::<64>(offset, "entry")?;
    let size = le64(&head, 8);
    // Number and time of day are never 0 in what was really written.
    if head[0] != ENTRY || size < ENTRY_HEADER || le64(&head, 16) == 0 || le64(&head, 24) == 0 {
        return Err(damaged());
    }
    Ok((head, size))
}

fn read_header(blocks: &Blocks) -> Result<Header, Fault> {
    let mut bytes = [0; HEADER_KNOWN];
    let count = blocks.read_now(0, &mut bytes)?;
    Header::parse(bytes.get(..count).unwrap_or_default())
}

const _: () = assert!(OBJECT_HEADER < ENTRY_HEADER);
