//! Where an archive comes from: anything that gives bytes.

use std::io::{ErrorKind, Read};

use super::error::{BadStream, Error};
use super::stream::{BLOCK, CHUNK, at_most};

/// Bytes, one after another.
pub trait Input {
    /// Some of the next `most` bytes; none at the end.
    ///
    /// # Errors
    /// When nothing can be read.
    fn some(&mut self, most: u64) -> Result<&[u8], Error>;

    /// Fills `into`.
    ///
    /// # Errors
    /// [`BadStream::Truncated`] when there is less.
    fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            let bytes = self.some(into.len() as u64)?;
            if bytes.is_empty() {
                return Err(BadStream::Truncated.into());
            }
            let (filled, rest) = into.split_at_mut(bytes.len());
            filled.copy_from_slice(bytes);
            into = rest;
        }
        Ok(())
    }

    /// Reads a block; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`BadStream::Truncated`] when it ends within the block.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let first = self.some(BLOCK as u64)?;
        let length = first.len();
        if length == 0 {
            return Ok(None);
        }
        block[..length].copy_from_slice(first);
        self.fill(&mut block[length..])?;
        Ok(Some(block))
    }

    /// Reads `length` bytes, which the caller has bounded.
    ///
    /// # Errors
    /// [`BadStream::Truncated`].
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Passes over `length` bytes.
    ///
    /// # Errors
    /// [`BadStream::Truncated`].
    fn skip(&mut self, mut length: u64) -> Result<(), Error> {
        while length > 0 {
            match self.some(length)?.len() as u64 {
                0 => return Err(BadStream::Truncated.into()),
                passed => length -= passed,
            }
        }
        Ok(())
    }

    /// Passes over what fills the last block of data of `length`.
    ///
    /// # Errors
    /// [`BadStream::Truncated`].
    fn skip_padding(&mut self, length: u64) -> Result<(), Error> {
        let in_last = length % BLOCK as u64;
        if in_last == 0 { Ok(()) } else { self.skip(BLOCK as u64 - in_last) }
    }

    /// Passes over the rest, at most `limit` bytes: who writes it is not to be cut off over some zeros.
    fn drain(&mut self, limit: u64) {
        let mut left = limit;
        while left > 0 {
            match self.some(left) {
                Ok(bytes) if !bytes.is_empty() => left -= bytes.len() as u64,
                _ => break,
            }
        }
    }
}

/// An archive from any reader.
#[derive(Debug)]
pub struct FromReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of `buffer` was read, and not taken yet.
    pending: std::ops::Range<usize>,
}

impl<R: Read> FromReader<R> {
    /// Reads `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; CHUNK], pending: 0..0 }
    }
}

fn read(reader: &mut impl Read, into: &mut [u8]) -> Result<usize, Error> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map_err(Error::Input),
        }
    }
}

impl<R: Read> Input for FromReader<R> {
    fn some(&mut self, most: u64) -> Result<&[u8], Error> {
        if self.pending.is_empty() {
            self.pending = 0..read(&mut self.reader, &mut self.buffer)?;
        }
        let start = self.pending.start;
        self.pending.start += at_most(most, self.pending.len());
        Ok(&self.buffer[start..self.pending.start])
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        let there = self.pending.len().min(into.len());
        let (mut filled, start) = (there, self.pending.start);
        into[..there].copy_from_slice(&self.buffer[start..start + there]);
        self.pending.start += there;
        while filled < into.len() {
            let rest = &mut into[filled..];
            // Much goes where it belongs at once; for a little there is more to come.
            let count = if rest.len() >= CHUNK / 4 {
                read(&mut self.reader, rest)?
            } else {
                let bytes = self.some(rest.len() as u64)?;
                rest[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            };
            if count == 0 {
                return Err(BadStream::Truncated.into());
            }
            filled += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.min(into.len()).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn bytes_come_in_order_whatever_the_portions() {
        let all: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        for portion in [1, 511, 513, 100_000, 1 << 20] {
            let mut input = FromReader::new(Drops(&all, portion));
            assert_eq!(input.block().unwrap().unwrap(), all[..BLOCK]);
            input.skip(100).unwrap();
            assert_eq!(input.bytes(700_000).unwrap(), all[612..700_612]);
            assert_eq!(input.bytes(3).unwrap(), all[700_612..700_615]);
            input.skip_padding(513).unwrap();
            assert_eq!(input.block().unwrap().unwrap(), all[701_126..701_638]);
            input.drain(1 << 30);
            assert_eq!(input.block().unwrap(), None);
        }
        for length in [1, 511] {
            let error = FromReader::new(Drops(&all[..length], 512)).block().unwrap_err();
            assert_eq!(error.to_string(), "the tar stream ends in the middle");
        }
    }
}
