//! Bytes of a file at an offset, through a small cache of blocks.
//!
//! Files are read and not mapped: one that its owner cuts short under our hands is then an error and not a SIGBUS.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::fault::Fault;

/// One pread(2). An entry's own data lie together, so that a few KiB serve most of it.
const BLOCK: usize = 16 << 10;

/// How many blocks of a file are kept: 2 MiB, which is what its writer is at and some of what it refers to.
const BLOCKS: usize = 128;

/// What can be read at any offset.
pub trait ReadAt {
    /// Reads into `buffer` from `offset` on; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Its size now.
    ///
    /// # Errors
    /// Those of fstat(2).
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match FileExt::read_at(self, room, at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.len()).unwrap_or(u64::MAX))
    }
}

/// A file with the blocks of it that were read last.
pub(super) struct Blocks {
    storage: Box<dyn ReadAt>,
    kept: Vec<Option<Block>>,
}

struct Block {
    number: u64,
    bytes: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(storage: Box<dyn ReadAt>) -> Self {
        Self { storage, kept: Vec::new() }
    }

    pub(super) fn size(&self) -> Result<u64, Fault> {
        Ok(self.storage.size()?)
    }

    /// Forgets what was read: the writer may have gone on.
    pub(super) fn forget(&mut self) {
        self.kept = Vec::new();
    }

    /// Reads at `offset` from the file itself.
    pub(super) fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        Ok(self.storage.read_at(offset, buffer)?)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`Fault::Damaged`] with `what` when the file ends before.
    pub(super) fn read(
        &mut self,
        mut offset: u64,
        mut buffer: &mut [u8],
        what: &'static str,
    ) -> Result<(), Fault> {
        let start = offset;
        if buffer.len() > BLOCK {
            let count = self.storage.read_at(offset, buffer)?;
            return if count == buffer.len() { Ok(()) } else { Err(Fault::damaged(what, start)) };
        }
        while !buffer.is_empty() {
            let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
            let bytes = self.block(offset / block)?;
            let within = usize::try_from(offset % block).unwrap_or(usize::MAX);
            let from = bytes.get(within..).unwrap_or_default();
            let count = from.len().min(buffer.len());
            if count == 0 {
                return Err(Fault::damaged(what, start));
            }
            let (to, rest) = buffer.split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            buffer = rest;
            offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Reads `N` bytes at `offset`.
    pub(super) fn array<const N: usize>(
        &mut self,
        offset: u64,
        what: &'static str,
    ) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes, what)?;
        Ok(bytes)
    }

    fn block(&mut self, number: u64) -> Result<&[u8], Fault> {
        let slots = u64::try_from(BLOCKS).unwrap_or(1);
        let slot = usize::try_from(number % slots).unwrap_or(0);
        if self.kept.is_empty() {
            self.kept.resize_with(BLOCKS, || None);
        }
        let storage = &self.storage;
        let Some(kept) = self.kept.get_mut(slot) else { return Ok(&[]) };
        if kept.as_ref().is_none_or(|block| block.number != number) {
            let mut bytes = kept.take().map(|block| block.bytes).unwrap_or_default();
            bytes.resize(BLOCK, 0);
            let offset = number.saturating_mul(u64::try_from(BLOCK).unwrap_or(u64::MAX));
            let count = storage.read_at(offset, &mut bytes)?;
            bytes.truncate(count);
            *kept = Some(Block { number, bytes });
        }
        Ok(kept.as_ref().map(|block| block.bytes.as_slice()).unwrap_or_default())
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

/// The little-endian number at `at` of `bytes`; 0 where there is none.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u64::from_le_bytes(*number))
}

/// The same of four bytes.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_blocks_and_to_the_end() {
        let bytes: Vec<u8> = (0..BLOCK * 3 + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut blocks = Blocks::new(Box::new(bytes.clone()));
        for (offset, length) in [(0, 10), (BLOCK - 3, 7), (5, BLOCK), (1, BLOCK * 3), (BLOCK * 3, 5)] {
            let mut buffer = vec![0; length];
            blocks.read(u64::try_from(offset).unwrap(), &mut buffer, "thing").unwrap();
            assert_eq!(buffer, bytes[offset..offset + length], "{offset} {length}");
        }
        for (offset, length) in [(BLOCK * 3, 6), (BLOCK * 4, 1), (0, BLOCK * 4), (usize::MAX, 9)] {
            let mut buffer = vec![0; length];
            let fault = blocks.read(u64::try_from(offset).unwrap(), &mut buffer, "thing").unwrap_err();
            assert_eq!(fault.to_string(), format!("a damaged thing at offset {offset}"), "{length}");
        }
    }
}
