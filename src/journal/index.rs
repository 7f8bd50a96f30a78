//! Entries by a field's value, without looking at the others.
//!
//! Each name of a field has an object that lists its values, and each value one that lists its entries: what one unit
//! logged is found in a journal of a million entries by looking at some hundred objects. It takes no hash: the table of
//! names is small enough to be read whole. Lists of a file go one way only, so that none is a circle.

use super::arrays::Arrays;
use super::entry::Field;
use super::fault::Fault;
use super::header::Header;
use super::storage::{Blocks, le64};

/// Type of the object of a field's name.
const FIELD: u8 = 2;

/// That object before the name: the object's header, hash, two offsets.
const FIELD_HEADER: u64 = 40;

/// Buckets of the table of names: systemd-journald makes 1023.
const BUCKETS_MAX: u64 = 1 << 14;

/// Names, and values of a name, that are looked at: beyond that the entries themselves are.
const OBJECTS_MAX: usize = 1 << 16;

/// The longest name that is looked for.
const NAME_MAX: usize = 64;

/// Offsets of data objects that hold a value of the field `name`, in no order.
pub(super) fn values(blocks: &mut Blocks, header: &Header, name: &str) -> Result<Vec<u64>, Fault> {
    let mut found = Vec::new();
    let Some(mut at) = first_value(blocks, header, name)? else { return Ok(found) };
    while at != 0 {
        found.push(at);
        let next = le64(&blocks.array::<64>(at, "field")?, 32);
        // The newest is put before the others.
        if next >= at || found.len() > OBJECTS_MAX {
            return Err(Fault::damaged("list of values", at));
        }
        at = next;
    }
    Ok(found)
}

/// The first of the values of `name`.
fn first_value(blocks: &mut Blocks, header: &Header, name: &str) -> Result<Option<u64>, Fault> {
    let (table, size) = header.field_table;
    let buckets = size / 16;
    if buckets > BUCKETS_MAX {
        return Err(Fault::damaged("table of names", table));
    }
    let mut objects = 0;
    for bucket in 0..buckets {
        let mut at = le64(&blocks.array::<8>(table.saturating_add(bucket * 16), "table of names")?, 0);
        while at != 0 {
            let damaged = || Fault::damaged("name of a field", at);
            let head = blocks.array::<40>(at, "name of a field")?;
            let length = le64(&head, 8).checked_sub(FIELD_HEADER).ok_or_else(damaged)?;
            if head[0] != FIELD {
                return Err(damaged());
            }
            if length == u64::try_from(name.len()).unwrap_or(0) && name.len() <= NAME_MAX {
                let mut bytes = vec![0; name.len()];
                blocks.read(at + FIELD_HEADER, &mut bytes, "name of a field")?;
                if bytes == name.as_bytes() {
                    return Ok(Some(le64(&head, 32)));
                }
            }
            let next = le64(&head, 24);
            objects += 1;
            // The newest is put behind the others.
            if (next != 0 && next <= at) || objects > OBJECTS_MAX {
                return Err(damaged());
            }
            at = next;
        }
    }
    Ok(None)
}

/// Adds the offsets of the entries that have the value at `data` to `found`, which may grow to `most`: lists that claim
/// more lie.
pub(super) fn entries(
    blocks: &mut Blocks,
    header: &Header,
    data: u64,
    found: &mut Vec<u64>,
    most: u64,
) -> Result<(), Fault> {
    let head = blocks.array::<64>(data, "field")?;
    let count = le64(&head, 56);
    if count == 0 {
        return Ok(());
    }
    if count > most.saturating_sub(u64::try_from(found.len()).unwrap_or(u64::MAX)) {
        return Err(Fault::damaged("list of entries", data));
    }
    // The first has its place here, the others in a chain as that of all entries.
    found.push(le64(&head, 40));
    let chain = Header { entry_array: le64(&head, 48), entries: count - 1, ..*header };
    let mut arrays = Arrays::default();
    if !arrays.follow(blocks, &chain) {
        return Err(Fault::damaged("list of entries", data));
    }
    for number in 0..arrays.len() {
        found.push(
            arrays.item(number, blocks, &chain).ok_or_else(|| Fault::damaged("list of entries", data))?,
        );
    }
    Ok(())
}

/// Which values of a field are looked for.
pub type Wanted<'a> = &'a dyn Fn(&Field) -> bool;
