//! A client over TCP (RFC 7766): several questions at once, answers as they come, either side may stop talking first.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::sys::event_set::EventFlags;
use crate::sys::inet::{receive, send_some};

/// Questions on their way of one connection: no more are read meanwhile.
const MOST_PENDING: usize = 16;

/// A question is not longer, with all that EDNS may add to it.
const QUESTION_BYTES: usize = 4096;

/// What may wait to be sent. A client that lets more gather does not read.
const OUT_BYTES: usize = 256 << 10;

/// How long a connection may be silent, either way (RFC 7766, 6.2.3: of the order of seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    received: Vec<u8>,
    out: Vec<u8>,
    pending: usize,
    /// No more will come.
    ended: bool,
    broken: bool,
    pub(super) last_used: Instant,
    /// What it is in the set for.
    pub(super) flags: EventFlags,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, now: Instant) -> Self {
        Self {
            socket,
            received: Vec::new(),
            out: Vec::new(),
            pending: 0,
            ended: false,
            broken: false,
            last_used: now,
            flags: EventFlags::IN,
        }
    }

    /// Reads and sends what can be.
    pub(super) fn on_ready(&mut self, now: Instant) {
        self.flush(now);
        if self.ended || self.broken || self.pending >= MOST_PENDING {
            return;
        }
        let mut chunk = [0; QUESTION_BYTES];
        match receive(&self.socket, &mut chunk) {
            Ok(Some(0)) => self.ended = true,
            Ok(Some(length)) => {
                self.last_used = now;
                self.received.extend(chunk.get(..length).unwrap_or_default());
            }
            Ok(None) => {}
            Err(_) => self.broken = true,
        }
    }

    /// The next whole question, which is pending until it is answered or given up.
    pub(super) fn next_question(&mut self) -> Option<Vec<u8>> {
        if self.pending >= MOST_PENDING || self.broken {
            return None;
        }
        let (length, rest) = self.received.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > QUESTION_BYTES {
            self.broken = true;
            return None;
        }
        let question = rest.get(..length)?.to_vec();
        self.received.drain(..2 + length);
        self.pending += 1;
        Some(question)
    }

    /// Answers a question, or gives it up.
    pub(super) fn answer(&mut self, message: Option<&[u8]>, now: Instant) {
        self.pending = self.pending.saturating_sub(1);
        let Some(message) = message else { return };
        let Ok(length) = u16::try_from(message.len()) else { return };
        self.out.extend(length.to_be_bytes());
        self.out.extend(message);
        self.flush(now);
        self.broken |= self.out.len() > OUT_BYTES;
    }

    fn flush(&mut self, now: Instant) {
        while !self.out.is_empty() && !self.broken {
            match send_some(&self.socket, &self.out) {
                Ok(Some(sent)) => {
                    self.out.drain(..sent);
                    self.last_used = now;
                }
                Ok(None) => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// What to wait for.
    pub(super) fn wanted(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, !self.ended && self.pending < MOST_PENDING);
        wanted.set(EventFlags::OUT, !self.out.is_empty());
        wanted
    }

    /// When it is closed for being silent. Questions on their way come to an end by themselves.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.pending == 0 || !self.out.is_empty()).then(|| self.last_used + SILENCE)
    }

    /// Whether it waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.pending == 0 && self.out.is_empty()
    }

    /// Whether it is to be closed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.broken
            || (self.ended && self.is_idle())
            || self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn connection() -> (Connection, UnixStream, Instant) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("non-blocking");
        let now = Instant::now();
        (Connection::new(ours.into(), now), theirs, now)
    }

    #[test]
    fn questions_come_in_pieces_and_several_at_once() {
        let (mut connection, mut client, now) = connection();
        for piece in [&b"\0"[..], b"\x03ab", b"c\0\x01x\0\0\0\x02y"] {
            client.write_all(piece).expect("write");
            connection.on_ready(now);
        }
        let questions: Vec<Vec<u8>> = std::iter::from_fn(|| connection.next_question()).collect();
        assert_eq!(questions, [b"abc".to_vec(), b"x".to_vec(), Vec::new()]);
        connection.answer(Some(b"yes"), now);
        connection.answer(None, now);
        let mut buffer = [0; 16];
        let length = client.read(&mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"\0\x03yes");
        assert!(!connection.is_idle());
        connection.answer(None, now);
        assert!(connection.is_idle() && !connection.is_over(now) && connection.is_over(now + SILENCE));
    }

    #[test]
    fn a_client_that_has_said_all_is_answered() {
        let (mut connection, mut client, now) = connection();
        client.write_all(b"\0\x01x").expect("write");
        client.shutdown(std::net::Shutdown::Write).expect("shutdown");
        connection.on_ready(now);
        connection.on_ready(now);
        assert_eq!(connection.next_question(), Some(b"x".to_vec()));
        assert!(!connection.is_over(now));
        connection.answer(Some(b"y"), now);
        assert!(connection.is_over(now));
        drop(connection);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("read");
        assert_eq!(answer, b"\0\x01y");
    }

    #[test]
    fn bounds() {
        let (mut connection, mut client, now) = connection();
        client.write_all(&b"\0\x01x".repeat(40)).expect("write");
        connection.on_ready(now);
        assert_eq!(std::iter::from_fn(|| connection.next_question()).count(), MOST_PENDING);
        assert_eq!(connection.wanted(), EventFlags::empty());
        connection.answer(None, now);
        assert_eq!((connection.wanted(), connection.next_question().is_some()), (EventFlags::IN, true));
        for _ in 0..10 {
            connection.answer(Some(&[0; 60_000]), now);
        }
        assert!(connection.is_over(now), "who does not read");
        let (mut connection, mut client, now) = self::connection();
        client.write_all(b"\xff\xffx").expect("write");
        connection.on_ready(now);
        assert_eq!(connection.next_question(), None);
        assert!(connection.is_over(now), "a question that is none");
    }
}
