//! Bytes from one thread to another, in a bounded number of buffers that go round.
//!
//! Who reads waits for whole buffers, and who writes for empty ones: a hiccup of one does not stop the other, and neither
//! runs away with the memory. Who reads may lend what is in a buffer to others: it comes back after the last of them.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::Context;
use crate::archive::shared::{Block, Lender, Shared};

/// How large a buffer is.
pub const BUFFER: usize = 256 << 10;

/// How many of them are full at most.
const BUFFERS: usize = 8;

/// How many there are: two are at the ends, and others are lent.
const ALL: usize = 24;

/// How often who waits looks whether it should still.
const LOOK: Duration = Duration::from_millis(50);

/// The two ends of a ring.
pub fn ring(context: &Context) -> (Writer, Reader) {
    let (full, arriving) = sync_channel(BUFFERS);
    let (buffers, used) = Buffers::new();
    let reader =
        Reader { context: context.clone(), arriving, used, current: Arc::default(), at: 0, ended: false };
    (Writer { full, buffers }, reader)
}

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// What the reader is told when the writer went without an end: it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what comes before this stopped")]
pub struct Stopped;

/// Buffers to fill, which come back when they were read.
#[derive(Debug)]
pub struct Buffers {
    empty: Receiver<Vec<u8>>,
    made: usize,
}

impl Buffers {
    /// None yet, and where they come back.
    pub fn new() -> (Self, Sender<Vec<u8>>) {
        let (used, empty) = channel();
        (Self { empty, made: 0 }, used)
    }

    /// One of [`BUFFER`] bytes. Waits for it, where there are as many as there may be.
    ///
    /// # Errors
    /// When none can come back any more.
    pub fn take(&mut self) -> Result<Vec<u8>, Gone> {
        let mut buffer = match self.empty.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if self.made < ALL => {
                self.made += 1;
                Vec::new()
            }
            Err(_) => self.empty.recv().map_err(|_| Gone)?,
        };
        buffer.resize(BUFFER, 0);
        Ok(buffer)
    }
}

/// Where bytes go in. Dropped before [`Writer::end`], the reader is told that what it has is not all.
#[derive(Debug)]
pub struct Writer {
    full: SyncSender<Vec<u8>>,
    buffers: Buffers,
}

impl Writer {
    /// A buffer of [`BUFFER`] bytes to fill.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn buffer(&mut self) -> Result<Vec<u8>, Gone> {
        self.buffers.take()
    }

    /// Hands on `bytes`, which are not none.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn send(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.full.send(bytes).map_err(|SendError(_)| Gone)
    }

    /// Says that this was all.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn end(self) -> Result<(), Gone> {
        // No buffer that is handed on is empty.
        self.send(Vec::new())
    }
}

/// Where bytes come out. A fault is [`Stopped`], or that of [`Context::check`].
#[derive(Debug)]
pub struct Reader {
    context: Context,
    arriving: Receiver<Vec<u8>>,
    used: Sender<Vec<u8>>,
    current: Arc<Block>,
    at: usize,
    ended: bool,
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.current.len() && !self.ended {
            self.context.check().map_err(io::Error::other)?;
            match self.arriving.recv_timeout(LOOK) {
                Ok(bytes) => {
                    self.ended = bytes.is_empty();
                    self.at = 0;
                    self.current = Arc::new(Block::new(bytes, self.used.clone()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other(Stopped)),
            }
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.current.len());
    }
}

impl Lender for Reader {
    fn lend(&mut self, most: usize) -> io::Result<Shared> {
        let length = self.fill_buf()?.len().min(most);
        let bytes = Shared::new(&self.current, self.at..self.at + length);
        self.consume(length);
        Ok(bytes)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_in_order() {
        let (mut writer, mut reader) = ring(&Context::silent());
        let thread = std::thread::spawn(move || {
            for number in 0..100_u8 {
                let mut buffer = writer.buffer()?;
                buffer.fill(number);
                buffer.truncate(1000 + usize::from(number));
                writer.send(buffer)?;
            }
            writer.end()
        });
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let expected: Vec<u8> =
            (0..100_u8).flat_map(|number| vec![number; 1000 + usize::from(number)]).collect();
        assert!(bytes == expected);
        assert_eq!(thread.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_writer_that_dies_is_no_end() {
        let (mut writer, mut reader) = ring(&Context::silent());
        let mut buffer = writer.buffer().unwrap();
        buffer.truncate(5);
        writer.send(buffer).unwrap();
        drop(writer);
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Stopped>()), "{error:?}");
    }

    #[test]
    fn a_reader_that_goes_frees_the_writer() {
        let (mut writer, reader) = ring(&Context::silent());
        let thread = std::thread::spawn(move || {
            loop {
                let buffer = writer.buffer()?;
                writer.send(buffer)?;
            }
        });
        drop(reader);
        let result: Result<(), Gone> = thread.join().unwrap();
        assert_eq!(result, Err(Gone));
    }

    #[test]
    fn who_waits_can_be_cancelled() {
        let context = Context::silent();
        let (_writer, mut reader) = ring(&context);
        context.cancel();
        let error = reader.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.to_string(), "cancelled");
    }
}
