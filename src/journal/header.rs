//! The head of a journal file.

use super::entry::Id;
use super::fault::Fault;
use super::storage::{le32, le64};

/// What a journal file begins with.
const SIGNATURE: &[u8; 8] = b"LPKSHHRH";

/// The head as the first versions of systemd wrote it, without `n_data` and what followed.
pub(super) const HEADER_MINIMUM: usize = 208;

/// The head as far as we know it: up to `n_arrays`; what came later only makes writing faster.
pub(super) const HEADER_KNOWN: usize = 240;

/// Incompatible flags that we can read: xz, lz4, keyed hash, zstd, compact.
const READABLE: u32 = 0b1_1111;

/// Offsets of entries and fields are 32 bits wide (systemd 252).
const COMPACT: u32 = 1 << 4;

/// What a reader needs of a file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The file, wherever it is moved.
    pub file_id: Id,
    /// The machine that wrote it.
    pub machine_id: Id,
    /// Whose sequence numbers its entries have.
    pub seqnum_id: Id,
    /// Where its objects begin.
    pub header_size: u64,
    /// How far they go, from there.
    pub arena_size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The first array of entries, 0 for none.
    pub entry_array: u64,
    /// The table of names of fields: offset and size.
    pub field_table: (u64, u64),
    /// Sequence number of the newest entry.
    pub tail_seqnum: u64,
    /// When that was written, in microseconds since 1970.
    pub tail_realtime: u64,
    /// 32-bit offsets.
    pub compact: bool,
}

impl Header {
    /// Reads a head; `bytes` is the beginning of the file, of which [`HEADER_KNOWN`] bytes count.
    ///
    /// # Errors
    /// When it is none that we can read.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() < HEADER_MINIMUM || !bytes.starts_with(SIGNATURE) {
            return Err(Fault::Signature);
        }
        let flags = le32(bytes, 12);
        if flags & !READABLE != 0 {
            return Err(Fault::Newer(flags));
        }
        let header_size = le64(bytes, 88);
        if header_size < u64::try_from(HEADER_MINIMUM).unwrap_or(0) || !header_size.is_multiple_of(8) {
            return Err(Fault::damaged("head", 88));
        }
        Ok(Self {
            file_id: Id::at(bytes, 24),
            machine_id: Id::at(bytes, 40),
            seqnum_id: Id::at(bytes, 72),
            header_size,
            arena_size: le64(bytes, 96),
            entries: le64(bytes, 152),
            entry_array: le64(bytes, 176),
            field_table: (le64(bytes, 120), le64(bytes, 128)),
            tail_seqnum: le64(bytes, 160),
            tail_realtime: le64(bytes, 192),
            compact: flags & COMPACT != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(flags: u32, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_KNOWN];
        bytes[..8].copy_from_slice(SIGNATURE);
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[88..96].copy_from_slice(&size.to_le_bytes());
        bytes[152..160].copy_from_slice(&7_u64.to_le_bytes());
        bytes
    }

    #[test]
    fn heads() {
        type Row<'a> = (&'a str, Vec<u8>, Result<(u64, bool), &'a str>);
        let rows: &[Row<'_>] = &[
            ("old", head(0, 208), Ok((7, false))),
            ("compact", head(0b1_1100, 272), Ok((7, true))),
            ("newer", head(1 << 5, 272), Err("a journal file of a newer format (incompatible flags 0x20)")),
            ("size", head(0, 200), Err("a damaged head at offset 88")),
            ("odd size", head(0, 273), Err("a damaged head at offset 88")),
            ("short", head(0, 272)[..207].to_vec(), Err("not a journal file")),
            ("text", b"Nov 22 00:00:00 x y: z\n".repeat(20), Err("not a journal file")),
            ("empty", Vec::new(), Err("not a journal file")),
        ];
        for (name, bytes, expected) in rows {
            let header = Header::parse(bytes).map(|header| (header.entries, header.compact));
            assert_eq!(header.map_err(|fault| fault.to_string()), expected.map_err(str::to_owned), "{name}");
        }
    }
}
