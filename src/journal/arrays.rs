//! The chain of arrays that numbers the entries of a file.
//!
//! Each array is larger than the one before, so that a chain is short and an entry is found by its number at once. Arrays
//! are only ever appended to a file: a chain that goes back is damaged, and cannot be a circle.

use super::fault::Fault;
use super::header::Header;
use super::storage::{Blocks, le32, le64};

/// An object's type and size.
pub(super) const OBJECT_HEADER: u64 = 16;

/// Type of an array of entries.
const ENTRY_ARRAY: u8 = 6;

/// An array before its items: the object's header, the offset of the next array.
const ARRAY_HEADER: u64 = 24;

/// No writer makes a chain of this length: each array doubles the one before.
const CHAIN_MAX: usize = 1 << 12;

/// One array.
#[derive(Debug, Clone, Copy)]
struct Array {
    offset: u64,
    /// Number of its first entry.
    first: u64,
    /// Room in it.
    room: u64,
}

/// The chain, as far as it has been followed.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    chain: Vec<Array>,
    entries: u64,
}

impl Arrays {
    /// Follows the chain to its end; says whether it holds all that `header` counts.
    pub(super) fn follow(&mut self, blocks: &mut Blocks, header: &Header) -> bool {
        // What is wrong with the chain ends it there: what comes before can be read.
        let _ = self.append(blocks, header);
        let room = self.room();
        self.entries = header.entries.min(room);
        if self.entries > 0 && self.item(self.entries - 1, blocks, header).is_none_or(|offset| offset == 0) {
            self.entries = self.filled(blocks, header);
        }
        header.entries <= room
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.entries
    }

    /// The offset of the entry `number`; 0 or `None` where none is written.
    pub(super) fn item(&self, number: u64, blocks: &mut Blocks, header: &Header) -> Option<u64> {
        let after = self.chain.partition_point(|array| array.first <= number);
        let array = self.chain.get(after.checked_sub(1)?)?;
        let width = width(header);
        let index = number.checked_sub(array.first).filter(|index| *index < array.room)?;
        let at = array.offset.checked_add(ARRAY_HEADER)?.checked_add(index.checked_mul(width)?)?;
        match width {
            4 => Some(le32(&blocks.array::<4>(at, "array").ok()?, 0).into()),
            _ => Some(le64(&blocks.array::<8>(at, "array").ok()?, 0)),
        }
    }

    fn room(&self) -> u64 {
        self.chain.last().map_or(0, |last| last.first.saturating_add(last.room))
    }

    fn append(&mut self, blocks: &mut Blocks, header: &Header) -> Result<(), Fault> {
        let size = blocks.size()?;
        let mut next = match self.chain.last() {
            None => header.entry_array,
            Some(last) => le64(&blocks.array::<8>(last.offset + OBJECT_HEADER, "array")?, 0),
        };
        while next != 0 && self.room() < header.entries && self.chain.len() < CHAIN_MAX {
            let damaged = || Fault::damaged("array", next);
            let before = self.chain.last().map_or(header.header_size - 1, |last| last.offset);
            if next <= before || next % 8 != 0 {
                return Err(damaged());
            }
            let head = blocks.array::<24>(next, "array")?;
            if head[0] != ENTRY_ARRAY {
                return Err(damaged());
            }
            // One that was cut off holds what is left of it.
            let length = le64(&head, 8).min(size.saturating_sub(next));
            let room = length.checked_sub(ARRAY_HEADER).ok_or_else(damaged)? / width(header);
            self.chain.push(Array { offset: next, first: self.room(), room });
            next = le64(&head, 16);
        }
        Ok(())
    }

    /// How many items are written: they are filled in order, and a file in use, or one that was cut short, ends in zeroes.
    fn filled(&self, blocks: &mut Blocks, header: &Header) -> u64 {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.item(middle, blocks, header) {
                Some(offset) if offset != 0 => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}

/// Bytes of an item.
fn width(header: &Header) -> u64 {
    if header.compact { 4 } else { 8 }
}
