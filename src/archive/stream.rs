//! The bytes of an archive: pipes and files, with a way to be interrupted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::block::{CHUNK, at_most};
use super::error::{BadStream, Error};
use super::input::Input;
use super::output::Output;
use crate::sys::pipe::{splice, wait_for_any};
use crate::sys::{FdPath, SysError};

/// Data shorter than this is copied with the headers around it: fewer calls.
const WORTH_SPLICING: u64 = 64 << 10;

/// When to give up waiting for the other side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch<'a> {
    /// Readable, or hung up, when we are to stop.
    pub cancel: Option<BorrowedFd<'a>>,
    /// How long nothing may move; `None` for ever.
    pub patience: Option<Duration>,
}

impl Watch<'_> {
    /// Waits until `fd` is ready for `events`.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Stalled`].
    pub fn wait(&self, fd: impl AsFd, events: PollFlags) -> Result<(), Error> {
        let failed = |source| Error::System { action: "wait for", path: "the stream".to_owned(), source };
        let fd = fd.as_fd();
        loop {
            let (ready, cancelled) = match self.cancel {
                Some(cancel) => {
                    let [ready, cancelled] =
                        wait_for_any([(fd, events), (cancel, PollFlags::IN)], self.patience)
                            .map_err(failed)?;
                    (ready, cancelled)
                }
                None => (wait_for_any([(fd, events)], self.patience).map_err(failed)? == [true], false),
            };
            match (ready, cancelled, self.patience) {
                (_, true, _) => return Err(Error::Interrupted),
                (true, false, _) => return Ok(()),
                // A signal woke us, one that means nothing to us.
                (false, false, None) => {}
                (false, false, Some(patience)) => return Err(Error::Stalled(patience)),
            }
        }
    }

    /// Whether anything but readiness can end a wait.
    fn is_needed(&self) -> bool {
        self.cancel.is_some() || self.patience.is_some()
    }
}

/// Told how many bytes of files have moved.
pub type Moved<'a> = Box<dyn FnMut(u64) + 'a>;

/// Where an archive is written to.
pub struct Sink<'a> {
    fd: OwnedFd,
    watch: Watch<'a>,
    buffer: Vec<u8>,
    splices: bool,
    moved: Moved<'a>,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sink({})", FdPath::of(&self.fd))
    }
}

impl<'a> Sink<'a> {
    /// Writes to `fd`.
    pub fn new(fd: OwnedFd, watch: Watch<'a>, moved: Moved<'a>) -> Self {
        Self { fd, watch, buffer: Vec::with_capacity(CHUNK), splices: true, moved }
    }

    /// Moves data without looking at it; `None` where that cannot be.
    fn splice_file(&mut self, file: &impl AsFd, at: &mut u64, end: u64) -> Result<Option<u64>, Error> {
        loop {
            if self.watch.is_needed() {
                self.watch.wait(&self.fd, PollFlags::OUT)?;
            }
            let length = at_most(end - *at, CHUNK);
            match splice((file, Some(at)), (&self.fd, None), length, !self.watch.is_needed()) {
                Ok(count) => return Ok(Some(count as u64)),
                Err(Errno::AGAIN) => self.watch.wait(&self.fd, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(Error::Gone),
                Err(Errno::INVAL) => return Ok(None),
                // The file's own fault is found by reading it.
                Err(_) => return Ok(None),
            }
        }
    }

    fn write_now(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.watch.is_needed() {
                self.watch.wait(&self.fd, PollFlags::OUT)?;
            }
            match rustix::io::write(&self.fd, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => self.watch.wait(&self.fd, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(Error::Gone),
                Err(errno) => {
                    let source = SysError::new("write", FdPath::of(&self.fd).to_string(), errno);
                    return Err(Error::System { action: "write", path: "the stream".to_owned(), source });
                }
            }
        }
        Ok(())
    }
}

impl Output for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > CHUNK {
            self.flush()?;
        }
        if bytes.len() >= CHUNK {
            return self.write_now(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write_now(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    fn write_file(&mut self, file: impl AsFd, offset: u64, length: u64) -> Result<u64, Error> {
        let (mut at, end) = (offset, offset + length);
        while at < end && self.splices && end - at >= WORTH_SPLICING {
            self.flush()?;
            match self.splice_file(&file, &mut at, end)? {
                Some(0) => break,
                Some(count) => (self.moved)(count),
                None => self.splices = false,
            }
        }
        let mut chunk = vec![0; at_most(end - at, CHUNK)];
        while at < end {
            let wanted = at_most(end - at, chunk.len());
            match rustix::io::pread(&file, &mut chunk[..wanted], at) {
                Ok(0) => break,
                Ok(count) => {
                    self.write(&chunk[..count])?;
                    at += count as u64;
                    (self.moved)(count as u64);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let there = at - offset;
        chunk.fill(0);
        while at < end {
            let count = at_most(end - at, chunk.len());
            self.write(&chunk[..count])?;
            at += count as u64;
        }
        Ok(there)
    }
}

/// Where an archive is read from.
pub struct Source<'a> {
    fd: OwnedFd,
    watch: Watch<'a>,
    buffer: Vec<u8>,
    /// What of `buffer` was read from `fd`, and not by us yet.
    pending: std::ops::Range<usize>,
    splices: bool,
    moved: Moved<'a>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", FdPath::of(&self.fd))
    }
}

impl<'a> Source<'a> {
    /// Reads from `fd`.
    pub fn new(fd: OwnedFd, watch: Watch<'a>, moved: Moved<'a>) -> Self {
        Self { fd, watch, buffer: vec![0; CHUNK], pending: 0..0, splices: true, moved }
    }

    /// Writes the next `length` bytes to `file` at `offset`.
    ///
    /// # Errors
    /// [`BadStream::Truncated`], or the write's own.
    pub fn to_file(&mut self, file: impl AsFd, offset: u64, length: u64) -> Result<(), ToFile> {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            if self.pending.is_empty() && self.splices && end - at >= WORTH_SPLICING {
                match self.splice_to(&file, &mut at, end)? {
                    Some(count) => (self.moved)(count),
                    None => self.splices = false,
                }
                continue;
            }
            let bytes = self.some(end - at)?;
            if bytes.is_empty() {
                return Err(Error::from(BadStream::Truncated).into());
            }
            let (mut written, count) = (0, bytes.len());
            while written < count {
                match rustix::io::pwrite(&file, &bytes[written..], at + written as u64) {
                    Ok(0) => return Err(ToFile::File(Errno::NOSPC)),
                    Ok(length) => written += length,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(ToFile::File(errno)),
                }
            }
            at += count as u64;
            (self.moved)(count as u64);
        }
        Ok(())
    }

    fn splice_to(&mut self, file: &impl AsFd, at: &mut u64, end: u64) -> Result<Option<u64>, ToFile> {
        loop {
            if self.watch.is_needed() {
                self.watch.wait(&self.fd, PollFlags::IN)?;
            }
            let length = at_most(end - *at, CHUNK);
            match splice((&self.fd, None), (file, Some(at)), length, !self.watch.is_needed()) {
                Ok(0) => return Err(Error::from(BadStream::Truncated).into()),
                Ok(count) => return Ok(Some(count as u64)),
                Err(Errno::AGAIN) => self.watch.wait(&self.fd, PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(ToFile::File(errno)),
            }
        }
    }

    fn read(&mut self) -> Result<usize, Error> {
        loop {
            if self.watch.is_needed() {
                self.watch.wait(&self.fd, PollFlags::IN)?;
            }
            match rustix::io::read(&self.fd, &mut self.buffer[..]) {
                Ok(count) => {
                    self.pending = 0..count;
                    return Ok(count);
                }
                Err(Errno::AGAIN) => self.watch.wait(&self.fd, PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let source = SysError::new("read", FdPath::of(&self.fd).to_string(), errno);
                    return Err(Error::System { action: "read", path: "the stream".to_owned(), source });
                }
            }
        }
    }
}

impl Input for Source<'_> {
    fn some(&mut self, most: u64) -> Result<&[u8], Error> {
        if self.pending.is_empty() {
            self.read()?;
        }
        let start = self.pending.start;
        self.pending.start += at_most(most, self.pending.len());
        Ok(&self.buffer[start..self.pending.start])
    }
}

/// Why data of a stream did not come to a file.
#[derive(Debug)]
pub enum ToFile {
    /// The stream.
    Stream(Error),
    /// The file.
    File(Errno),
}

impl From<Error> for ToFile {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}
