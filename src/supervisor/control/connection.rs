//! One client of the control socket.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;

use crate::sys::socket::receive;
use crate::sys::stream_socket::send_some;
use crate::varlink::{Call, Frames, Reply};

use super::subscription::Subscription;
use super::{ConnectionId, Incoming, MESSAGE_BYTES};

/// What may wait to be sent, besides what the kernel's buffer of the socket holds. A client that lets more gather does not read.
const OUT_BYTES: usize = 256 << 10;

/// Fds that may come with one message.
const MAX_FDS: usize = 8;

/// Bytes read at once.
const CHUNK: usize = 8 << 10;

/// What a connection is about.
#[derive(Debug)]
pub(super) enum Busy {
    /// Nothing: a call may come.
    No,
    /// A call is being answered.
    Waiting,
    /// Events go to it until one side has enough.
    Subscribed(Subscription),
}

/// Its state.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) busy: Busy,
    pub(super) last_used: Instant,
    /// It is over and to be dropped.
    pub(super) closed: bool,
    socket: OwnedFd,
    frames: Frames,
    /// A whole message that came while another was being answered.
    next: Option<Vec<u8>>,
    /// They came with the message that is being read.
    fds: Vec<OwnedFd>,
    out: VecDeque<Outgoing>,
    out_bytes: usize,
}

/// A message on its way out.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// A client that has said nothing yet.
    pub(super) fn new(id: ConnectionId, socket: OwnedFd, now: Instant) -> Self {
        Self {
            id,
            busy: Busy::No,
            last_used: now,
            closed: false,
            socket,
            frames: Frames::new(MESSAGE_BYTES),
            next: None,
            fds: Vec::new(),
            out: VecDeque::new(),
            out_bytes: 0,
        }
    }

    /// Whether it may make place for another.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.busy, Busy::No)
    }

    /// What to poll for. While a call is being answered nothing more is read; poll reports a hang-up all the same.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.is_idle() && self.next.is_none());
        flags.set(PollFlags::OUT, !self.out.is_empty());
        (self.socket.as_fd(), flags)
    }

    /// Reads and writes what poll has reported.
    pub(super) fn turn(&mut self, ready: PollFlags, now: Instant) {
        self.last_used = now;
        if ready.intersects(PollFlags::OUT) {
            self.flush();
        }
        if ready.intersects(PollFlags::IN) && self.is_idle() {
            self.read();
        } else if ready.intersects(PollFlags::HUP | PollFlags::ERR) && !self.has_call() {
            // What it has still said is done, though nobody hears the answer.
            self.closed = true;
        }
    }

    /// The next call, if one is there and none is being answered. What is no call ends the connection.
    pub(super) fn next_call(&mut self) -> Option<Incoming> {
        if !self.is_idle() || self.closed {
            return None;
        }
        let message = self.next.take()?;
        self.advance();
        let fds = std::mem::take(&mut self.fds);
        match Call::parse(&message) {
            Ok(call) => {
                self.busy = Busy::Waiting;
                Some(Incoming { from: self.id, call, fds })
            }
            Err(_) => {
                self.closed = true;
                None
            }
        }
    }

    /// Whether a whole call waits to be taken.
    pub(super) fn has_call(&self) -> bool {
        self.is_idle() && self.next.is_some()
    }

    /// Sends a reply, as soon as the client takes it; nothing on a connection that is over.
    pub(super) fn send(&mut self, reply: &Reply, fds: Vec<OwnedFd>) {
        if self.closed {
            return;
        }
        let bytes = reply.to_message();
        self.out_bytes += bytes.len();
        self.out.push_back(Outgoing { bytes, sent: 0, fds });
        self.flush();
        if self.out_bytes > OUT_BYTES {
            self.closed = true;
        }
    }

    fn read(&mut self) {
        let mut chunk = [0; CHUNK];
        match receive(&self.socket, &mut chunk) {
            Ok(Some(message)) if message.length > 0 => {
                self.fds.extend(message.fds);
                self.frames.extend(&chunk[..message.length]);
                self.advance();
                self.closed |= message.fds_lost || self.fds.len() > MAX_FDS;
            }
            Ok(None) => {}
            // The end, or an error.
            Ok(Some(_)) | Err(_) => self.closed = true,
        }
    }

    fn advance(&mut self) {
        if self.next.is_none() {
            match self.frames.next() {
                Ok(message) => self.next = message,
                Err(_) => self.closed = true,
            }
        }
    }

    fn flush(&mut self) {
        while let Some(first) = self.out.front_mut() {
            let rest = first.bytes.get(first.sent..).unwrap_or_default();
            let fds: Vec<BorrowedFd<'_>> = first.fds.iter().map(AsFd::as_fd).collect();
            match send_some(&self.socket, rest, &fds) {
                Ok(Some(sent)) => {
                    first.sent += sent;
                    self.out_bytes = self.out_bytes.saturating_sub(sent);
                    // They went with the first byte.
                    first.fds.clear();
                    if first.sent >= first.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}
