//! Where an archive goes: anything that takes bytes.

use std::io::Write;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::block::{BLOCK, CHUNK, at_most};
use super::error::Error;

/// Takes bytes, one after another.
pub trait Output {
    /// Writes `bytes`, sooner or later.
    ///
    /// # Errors
    /// [`Error::Gone`] when nobody reads, [`Error::Output`] what else went wrong.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Writes what is held back.
    ///
    /// # Errors
    /// As [`Output::write`].
    fn flush(&mut self) -> Result<(), Error>;

    /// Writes `length` bytes of `file` from `offset` on. Gives how many there were; the rest is zeros.
    ///
    /// # Errors
    /// As [`Output::write`]. A file that cannot be read is as if it ended there.
    fn write_file(&mut self, file: impl AsFd, offset: u64, length: u64) -> Result<u64, Error>;

    /// Writes zeros up to the next block after data of `length`.
    ///
    /// # Errors
    /// As [`Output::write`].
    fn pad(&mut self, length: u64) -> Result<(), Error> {
        let missing = length.next_multiple_of(BLOCK as u64) - length;
        self.write(&[0; BLOCK][..at_most(missing, BLOCK)])
    }
}

/// An archive to any writer.
#[derive(Debug)]
pub struct ToWriter<W> {
    writer: W,
    buffer: Vec<u8>,
    filled: usize,
}

impl<W: Write> ToWriter<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, buffer: vec![0; CHUNK], filled: 0 }
    }

    fn send(&mut self) -> Result<(), Error> {
        let filled = std::mem::take(&mut self.filled);
        self.writer.write_all(&self.buffer[..filled]).map_err(Error::Output)
    }

    /// Room in the buffer, some of it at least.
    fn room(&mut self) -> Result<&mut [u8], Error> {
        if self.filled == self.buffer.len() {
            self.send()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }
}

impl<W: Write> Output for ToWriter<W> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let length = room.len().min(bytes.len());
            room[..length].copy_from_slice(&bytes[..length]);
            self.filled += length;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.send()?;
        self.writer.flush().map_err(Error::Output)
    }

    fn write_file(&mut self, file: impl AsFd, offset: u64, length: u64) -> Result<u64, Error> {
        let mut done = 0;
        while done < length {
            let room = self.room()?;
            let wanted = at_most(length - done, room.len());
            match rustix::io::pread(&file, &mut room[..wanted], offset + done) {
                Ok(0) => break,
                Ok(count) => {
                    self.filled += count;
                    done += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let mut missing = length - done;
        while missing > 0 {
            let room = self.room()?;
            let count = at_most(missing, room.len());
            room[..count].fill(0);
            self.filled += count;
            missing -= count as u64;
        }
        Ok(done)
    }
}
