//! Where an archive comes from: anything that gives bytes.

use std::io::{BufRead, ErrorKind};

use super::block::{BLOCK, at_most};
use super::error::{BadStream, Error};
use super::shared::{Lender, Shared};

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

/// An archive from any reader: what that has ready goes where it belongs, with no buffer between.
#[derive(Debug)]
pub struct FromReader<R> {
    reader: R,
    /// How much of what it has ready was given, and is consumed when more is asked for.
    given: usize,
}

impl<R: BufRead> FromReader<R> {
    /// Reads `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, given: 0 }
    }
}

impl<R: Lender> FromReader<R> {
    /// The next bytes, `most` at most, where they came in.
    ///
    /// # Errors
    /// [`BadStream::Truncated`] when there are none.
    pub fn lend(&mut self, most: usize) -> Result<Shared, Error> {
        self.reader.consume(std::mem::take(&mut self.given));
        loop {
            match self.reader.lend(most) {
                Ok(bytes) if bytes.is_empty() => return Err(BadStream::Truncated.into()),
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error)),
            }
        }
    }
}

impl<R: BufRead> Input for FromReader<R> {
    fn some(&mut self, most: u64) -> Result<&[u8], Error> {
        self.reader.consume(std::mem::take(&mut self.given));
        while let Err(error) = self.reader.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(Error::Input(error));
            }
        }
        // It is there: this reads no more.
        let ready = self.reader.fill_buf().map_err(Error::Input)?;
        self.given = at_most(most, ready.len());
        Ok(&ready[..self.given])
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

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
            let mut input = FromReader::new(BufReader::with_capacity(300_000, Drops(&all, portion)));
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
            let error = FromReader::new(&all[..length]).block().unwrap_err();
            assert_eq!(error.to_string(), "the tar stream ends in the middle");
        }
    }
}
