//! What comes in, decompressed, to whoever makes something of it: all at once, and all or nothing.
//!
//! Three threads at most: one that gets and hashes the bytes (it belongs to the [`Incoming`]), one that decompresses them,
//! and the caller's, which parses and writes. Between them are a few buffers. However it goes wrong, the fault that was the
//! first cause is the one that is told: a download that broke off, not the archive that seems to end early because of it;
//! and a wrong checksum rather than the nonsense that the wrong bytes turned out to be.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::compression::Compression;
use super::decompress::Decoder;
use super::ring::{Buffers, Gone, Reader, Stopped, Writer, ring};
use super::{Context, Error, Event, Incoming, Proof};
use crate::archive::shared::{Block, Lender, Shared};

/// How much is still read of something that is damaged, to learn whether it is what was promised: a wrong checksum says more
/// than what it made of the archive.
const REST: u64 = 1 << 30;

/// How long a thread is waited for whose work nobody wants any more. It may be waiting for a server.
const PATIENCE: Duration = Duration::from_secs(2);

/// The decompressed bytes of something.
#[derive(Debug)]
pub struct Contents {
    name: String,
    compression: Compression,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Plain(Intake),
    Decoded { reader: Reader, thread: JoinHandle<Decoded> },
}

/// How decompressing ended.
#[derive(Debug)]
struct Decoded {
    intake: Option<Intake>,
    result: Result<(), Error>,
}

/// The fault of what comes in, if it had one.
type Fault = Arc<Mutex<Option<Error>>>;

/// Reads an [`Incoming`], and tells how much of it was read.
struct Intake {
    incoming: Box<dyn Incoming>,
    context: Context,
    fault: Fault,
    buffer: Arc<Block>,
    buffers: Buffers,
    used: Sender<Vec<u8>>,
    filled: usize,
    at: usize,
    total: u64,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Intake({}, {} bytes)", self.incoming.name(), self.total)
    }
}

impl Intake {
    fn read_some(&mut self) -> Result<usize, Error> {
        loop {
            self.context.check()?;
            let buffer = Arc::get_mut(&mut self.buffer).map(Block::bytes_mut);
            let room = buffer.and_then(|buffer| buffer.get_mut(self.filled..)).unwrap_or_default();
            match self.incoming.read(room) {
                Ok(count) => {
                    self.filled += count;
                    self.total += count as u64;
                    self.context.tell(Event::Moved(count as u64));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::of_reading(self.incoming.name(), error)),
            }
        }
    }

    fn fill(&mut self) -> Result<(), Error> {
        (self.filled, self.at) = (0, 0);
        // Some of it is lent.
        if Arc::get_mut(&mut self.buffer).is_none_or(|buffer| buffer.is_empty()) {
            // It is not gone: one of its ends is here.
            let buffer = self.buffers.take().unwrap_or_default();
            self.buffer = Arc::new(Block::new(buffer, self.used.clone()));
        }
        // What it is shows within the first few: those come at once, if there are so many.
        let enough = if self.total == 0 { self.buffer.len() } else { 1 };
        while self.filled < enough && self.read_some()? > 0 {}
        Ok(())
    }
}

impl BufRead for Intake {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.filled
            && let Err(error) = self.fill()
        {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            return Err(io::Error::other(Stopped));
        }
        Ok(self.buffer.get(self.at..self.filled).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.filled);
    }
}

impl Lender for Intake {
    fn lend(&mut self, most: usize) -> io::Result<Shared> {
        let length = self.fill_buf()?.len().min(most);
        let bytes = Shared::new(&self.buffer, self.at..self.at + length);
        self.consume(length);
        Ok(bytes)
    }
}

impl Read for Intake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Contents {
    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it comes.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// As much of the beginning as tells what it is, if there is so much; to be called before anything is read.
    ///
    /// # Errors
    /// As reading.
    pub fn start(&mut self) -> io::Result<&[u8]> {
        self.fill_buf()
    }
}

impl BufRead for Contents {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.source {
            Source::Plain(intake) => intake.fill_buf(),
            Source::Decoded { reader, .. } => reader.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match &mut self.source {
            Source::Plain(intake) => intake.consume(count),
            Source::Decoded { reader, .. } => reader.consume(count),
        }
    }
}

impl Lender for Contents {
    fn lend(&mut self, most: usize) -> io::Result<Shared> {
        match &mut self.source {
            Source::Plain(intake) => intake.lend(most),
            Source::Decoded { reader, .. } => reader.lend(most),
        }
    }
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Plain(intake) => intake.read(buffer),
            Source::Decoded { reader, .. } => reader.read(buffer),
        }
    }
}

/// Lets `consume` have what `incoming` is, decompressed, then verifies it. What `consume` did not read is passed over; what
/// it made must go unless this ends well.
///
/// # Errors
/// The first cause, whoever met it.
pub fn flow<T>(
    incoming: Box<dyn Incoming>,
    context: &Context,
    consume: impl FnOnce(&mut Contents) -> Result<T, Error>,
) -> Result<(T, Proof), Error> {
    let fault = Fault::default();
    let mut contents = open(incoming, &fault, context)?;
    let consumed = consume(&mut contents).and_then(|value| pass_over_rest(&mut contents).map(|()| value));
    let (intake, decoded) = end(contents.source, consumed.is_ok());
    context.check()?;
    if let Some(fault) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(fault);
    }
    let outcome = match (consumed, decoded) {
        (_, Err(damage)) => Err(damage),
        (Err(error), Ok(())) if !error.is_damage() => return Err(error),
        (consumed, Ok(())) => consumed,
    };
    match (outcome, intake) {
        (Ok(value), Some(intake)) => Ok((value, intake.incoming.verify()?)),
        (Err(damage), Some(intake)) if intake.rest_is_small() => match intake.incoming.verify() {
            Err(lie) => Err(lie),
            Ok(_) => Err(damage),
        },
        (Err(damage), _) => Err(damage),
        // Not met: who decompresses gives it back.
        (Ok(_), None) => Err(Error::Cancelled),
    }
}

impl Intake {
    fn rest_is_small(&self) -> bool {
        self.incoming.length().is_none_or(|length| length.saturating_sub(self.total) <= REST)
    }
}

fn open(incoming: Box<dyn Incoming>, fault: &Fault, context: &Context) -> Result<Contents, Error> {
    let name = incoming.name().to_owned();
    let (buffers, used) = Buffers::new();
    let intake = Intake {
        incoming,
        context: context.clone(),
        fault: Arc::clone(fault),
        buffer: Arc::default(),
        buffers,
        used,
        filled: 0,
        at: 0,
        total: 0,
    };
    let opened = Decoder::new(&name, intake).map_err(|error| {
        let first = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| Error::of_reading(&name, error))
    })?;
    let compression = opened.format();
    let source = if compression == Compression::None {
        match opened.into_inner() {
            Some(intake) => Source::Plain(intake),
            None => return Err(Error::Cancelled),
        }
    } else {
        let (writer, reader) = ring(context);
        let (source, called) = (opened, name.clone());
        let thread = std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn(move || decode(source, writer, &called))
            .map_err(|source| Error::Read { name: name.clone(), source })?;
        Source::Decoded { reader, thread }
    };
    Ok(Contents { name, compression, source })
}

/// Decompresses until there is no more, or nobody wants more.
fn decode(mut decoder: Decoder<Intake>, writer: Writer, name: &str) -> Decoded {
    let result = decode_all(&mut decoder, writer).or_else(|error| {
        // What stopped the intake it has told itself.
        let told = error.get_ref().is_some_and(|inner| inner.is::<Stopped>());
        if told { Ok(()) } else { Err(Error::of_reading(name, error)) }
    });
    Decoded { intake: decoder.into_inner(), result }
}

fn decode_all(decoder: &mut Decoder<Intake>, mut writer: Writer) -> io::Result<()> {
    loop {
        let Ok(mut buffer) = writer.buffer() else { return Ok(()) };
        let mut filled = 0;
        while filled < buffer.len() {
            match decoder.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        let sent = if filled > 0 { writer.send(buffer) } else { return writer.end().or(Ok(())) };
        if sent == Err(Gone) {
            return Ok(());
        }
    }
}

/// To its end: only there do checksums of its own lie.
fn pass_over_rest(contents: &mut Contents) -> Result<(), Error> {
    if matches!(contents.source, Source::Plain(_)) {
        return Ok(());
    }
    loop {
        let count = match contents.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(bytes) => bytes.len(),
            Err(error) => return Err(Error::of_reading(&contents.name, error)),
        };
        contents.consume(count);
    }
}

/// Stops who decompresses, if that is not over.
fn end(source: Source, whole: bool) -> (Option<Intake>, Result<(), Error>) {
    let (reader, thread) = match source {
        Source::Plain(intake) => return (Some(intake), Ok(())),
        Source::Decoded { reader, thread } => (reader, thread),
    };
    drop(reader);
    let deadline = Instant::now() + PATIENCE;
    while !whole && !thread.is_finished() {
        if Instant::now() > deadline {
            // It ends when its server does, or with the process.
            return (None, Ok(()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    match thread.join() {
        Ok(Decoded { intake, result }) => (intake, result),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests;
