//! Moves bytes between a stream of ours and a pipe of a command's, for a poll loop to drive. Nothing here waits.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::supervisor::stream::{Stream, Transfer};
use crate::sys::tty;

/// What a pipe takes at once (pipe(7)).
const BYTES: usize = 64 << 10;

/// At the end of the command at most so much is passed on of what it wrote: its children may write without end.
const DRAIN_BYTES: usize = 16 << 20;

/// One direction.
#[derive(Debug)]
pub(super) struct Pump {
    /// `None` after its end.
    from: Option<Stream>,
    /// `None` when nobody reads it, or all has been said.
    to: Option<Stream>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    from_user: bool,
}

impl Pump {
    /// What the user types.
    pub(super) fn from_user(from: Stream, to: Stream) -> Self {
        Self::new(from, to, true)
    }

    /// What the command says.
    pub(super) fn to_user(from: Stream, to: Stream) -> Self {
        Self::new(from, to, false)
    }

    fn new(from: Stream, to: Stream, from_user: bool) -> Self {
        let buffer = vec![0; BYTES].into_boxed_slice();
        Self { from: Some(from), to: Some(to), buffer, start: 0, end: 0, from_user }
    }

    /// What to poll for now.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match (&self.from, &self.to) {
            (_, Some(to)) if self.start < self.end => Some((to.as_fd(), PollFlags::OUT)),
            (Some(from), Some(_)) if !self.must_wait() => Some((from.as_fd(), PollFlags::IN)),
            _ => None,
        }
    }

    /// Whether the terminal is somebody else's now: reading it would stop us.
    pub(super) fn must_wait(&self) -> bool {
        self.from_user && self.from.as_ref().is_some_and(tty::is_background)
    }

    /// Moves what can be moved; says how much was read.
    pub(super) fn turn(&mut self) -> usize {
        self.write();
        let mut moved = 0;
        if self.start == self.end && self.to.is_some() && !self.must_wait() {
            moved = self.read();
            self.write();
        }
        moved
    }

    /// Passes on what is there, after the end of whoever wrote it. A user who reads slowly is waited for until `stop`.
    pub(super) fn drain(&mut self, stop: impl Fn() -> bool) {
        const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut passed = 0;
        while !self.from_user && passed < DRAIN_BYTES {
            let moved = self.turn();
            passed += moved;
            match self.interest() {
                Some((to, PollFlags::OUT)) => {
                    let polled = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], Some(&MOMENT));
                    if polled.is_err() || stop() {
                        break;
                    }
                }
                _ if moved == 0 => break,
                _ => {}
            }
        }
    }

    fn read(&mut self) -> usize {
        match self.from.as_ref().map(|from| from.read(&mut self.buffer)) {
            Some(Transfer::Bytes(length)) => {
                (self.start, self.end) = (0, length);
                length
            }
            // A terminal that was taken from us meanwhile says EIO too.
            Some(Transfer::End(Some(rustix::io::Errno::IO))) if self.must_wait() => 0,
            Some(Transfer::End(_)) => {
                self.from = None;
                self.to = None;
                0
            }
            Some(Transfer::Later) | None => 0,
        }
    }

    fn write(&mut self) {
        while let (true, Some(to)) = (self.start < self.end, &self.to) {
            match to.write(self.buffer.get(self.start..self.end).unwrap_or_default()) {
                Transfer::Bytes(length) => self.start += length,
                Transfer::Later => break,
                // Nobody reads any more: the writer is to hear of it as well.
                Transfer::End(_) => {
                    self.from = None;
                    self.to = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::stream::Direction;

    #[test]
    fn all_of_it_arrives_and_then_the_end() {
        let (input, writer) = rustix::pipe::pipe().unwrap();
        let (reader, output) = rustix::pipe::pipe().unwrap();
        let mut pump = Pump::from_user(
            Stream::open(input.as_fd(), Direction::Input).unwrap(),
            Stream::open(output.as_fd(), Direction::Output).unwrap(),
        );
        drop((input, output));
        assert_eq!(pump.interest().map(|(_, flags)| flags), Some(PollFlags::IN));
        rustix::io::write(&writer, b"hello").unwrap();
        assert_eq!(pump.turn(), 5);
        drop(writer);
        assert_eq!(pump.turn(), 0);
        assert!(pump.interest().is_none());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(reader), &mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_writer_hears_that_nobody_reads() {
        let (input, writer) = rustix::pipe::pipe().unwrap();
        let (reader, output) = rustix::pipe::pipe().unwrap();
        let mut pump = Pump::to_user(
            Stream::open(input.as_fd(), Direction::Input).unwrap(),
            Stream::open(output.as_fd(), Direction::Output).unwrap(),
        );
        drop((input, output, reader));
        rustix::io::write(&writer, b"hello").unwrap();
        pump.turn();
        assert_eq!(rustix::io::write(&writer, b"more"), Err(rustix::io::Errno::PIPE));
    }
}
