//! Entries of a file whose chain of arrays is broken, as when a host lost power: found by walking the file.

use super::arrays::OBJECT_HEADER;
use super::file::{ENTRY, entry_at};
use super::header::Header;
use super::storage::{Blocks, le64};

/// Objects that are looked at: what a file of the largest usual size (128 MiB) may have.
const OBJECTS_MAX: usize = 1 << 21;

/// The highest type of an object (a tag).
const TYPES: u8 = 7;

/// Offsets of at most `missing` entries after `known`, the last that an array names.
pub(super) fn salvage(blocks: &mut Blocks, header: &Header, known: Option<u64>, missing: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut at = known.unwrap_or(header.header_size);
    for _ in 0..OBJECTS_MAX {
        let Ok(head) = blocks.array::<16>(at, "object") else { break };
        let size = le64(&head, 8);
        if size < OBJECT_HEADER || head[0] > TYPES {
            break;
        }
        let new = known.is_none_or(|known| at > known);
        if new && head[0] == ENTRY && entry_at(blocks, header, at).is_ok() {
            found.push(at);
            if u64::try_from(found.len()).unwrap_or(u64::MAX) >= missing {
                break;
            }
        }
        // The next one, on a multiple of eight.
        let Some(next) = size.checked_next_multiple_of(8).and_then(|size| at.checked_add(size)) else {
            break;
        };
        at = next;
    }
    found
}
