//! Others that are attached to the machine's console, over the control socket: each a stream socket, which gives what the guest writes
//! and takes keys.
//!
//! None of them is waited for. The kernel holds some 200 KiB for each that has not read yet, and here a little more; beyond that
//! output is skipped, and a line says how much. One that takes nothing at all for [`STALLED`] is cut off.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::buffer::Buffer;
use crate::sys::stream_socket::send_some;

/// At once.
const MAX_CLIENTS: usize = 16;

/// What is held of one's output, when its socket takes no more.
const PENDING_BYTES: usize = 16 << 10;

/// How long one may take nothing, while there is something for it.
const STALLED: Duration = Duration::from_secs(10);

/// They.
#[derive(Debug, Default)]
pub(super) struct Attached {
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    pending: Vec<u8>,
    /// How much was left out after what is pending.
    skipped: usize,
    /// Since when it has taken nothing, though there is something.
    stalled_since: Option<Instant>,
    /// It sends no more; it may still read.
    input_closed: bool,
    closed: bool,
}

impl Attached {
    /// Adds one that is given `first` before anything else; says whether there was room for it.
    pub(super) fn add(&mut self, socket: OwnedFd, first: Vec<u8>) -> bool {
        if self.clients.len() >= MAX_CLIENTS {
            return false;
        }
        let mut client = Client {
            socket,
            pending: first,
            skipped: 0,
            stalled_since: None,
            input_closed: false,
            closed: false,
        };
        client.flush(Instant::now());
        self.clients.push(client);
        true
    }

    /// Passes on what the guest wrote.
    pub(super) fn show(&mut self, bytes: &[u8], now: Instant) {
        for client in &mut self.clients {
            client.show(bytes, now);
        }
        self.drop_closed();
    }

    /// What to poll for. Keys are read only when the guest takes them.
    pub(super) fn interest(&self, takes_keys: bool) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(move |client| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, takes_keys && !client.input_closed);
            flags.set(PollFlags::OUT, !client.pending.is_empty());
            (client.socket.as_fd(), flags)
        })
    }

    /// When one must be cut off, if it does not read before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.stalled_since).min().map(|since| since + STALLED)
    }

    /// Reads keys into `to_guest` as far as there is room, and writes what is pending.
    pub(super) fn turn(&mut self, to_guest: &mut Buffer, now: Instant) {
        for client in &mut self.clients {
            client.flush(now);
            client.read(to_guest);
            client.closed |= client.is_gone();
            client.closed |= client.stalled_since.is_some_and(|since| now >= since + STALLED);
        }
        self.drop_closed();
    }

    fn drop_closed(&mut self) {
        self.clients.retain(|client| !client.closed);
    }
}

impl Client {
    fn show(&mut self, bytes: &[u8], now: Instant) {
        self.flush(now);
        if self.skipped > 0 || self.pending.len() + bytes.len() > PENDING_BYTES {
            self.skipped += bytes.len();
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.flush(now);
    }

    fn flush(&mut self, now: Instant) {
        while !self.pending.is_empty() && !self.closed {
            match send_some(&self.socket, &self.pending, &[]) {
                Ok(Some(sent)) => {
                    self.pending.drain(..sent.min(self.pending.len()));
                    self.stalled_since = None;
                }
                Ok(None) => {
                    self.stalled_since.get_or_insert(now);
                    return;
                }
                Err(_) => self.closed = true,
            }
            if self.pending.is_empty() && self.skipped > 0 {
                let skipped = std::mem::take(&mut self.skipped);
                self.pending = format!("\r\n[{skipped} bytes of output were skipped]\r\n").into_bytes();
            }
        }
        // What a burst had grown it to.
        self.pending.shrink_to(0);
    }

    /// Whether the other side has closed altogether, which poll reports without end.
    fn is_gone(&self) -> bool {
        // Nothing is sent, but EPIPE says that nothing could be.
        send_some(&self.socket, &[], &[]).is_err()
    }

    fn read(&mut self, to_guest: &mut Buffer) {
        if self.input_closed || self.closed || !to_guest.has_room() {
            return;
        }
        let room = to_guest.room() - Buffer::RESERVE;
        let space = &mut to_guest.space()[..room];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut *space, flags)) {
            // Perhaps for writing only, as by `echo reboot | spinney attach web`.
            Ok((0, _)) => self.input_closed = true,
            Ok((length, _)) => to_guest.added(length),
            Err(Errno::AGAIN) => {}
            Err(_) => self.closed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::stream_socket::stream_pair;

    fn client(attached: &mut Attached, first: &[u8]) -> UnixStream {
        let (ours, theirs) = stream_pair().expect("pair");
        assert!(attached.add(ours, first.to_vec()));
        theirs.into()
    }

    #[test]
    fn all_see_and_all_type() {
        let (mut attached, mut to_guest, now) = (Attached::default(), Buffer::new(), Instant::now());
        let (mut one, mut two) = (client(&mut attached, b"before "), client(&mut attached, b""));
        attached.show(b"login: ", now);
        let mut buffer = [0; 64];
        let length = one.read(&mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"before login: ");
        let length = two.read(&mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"login: ");
        one.write_all(b"ro").expect("write");
        attached.turn(&mut to_guest, now);
        two.write_all(b"ot").expect("write");
        attached.turn(&mut to_guest, now);
        assert_eq!(to_guest.filled(), b"root");
        drop(one);
        attached.turn(&mut to_guest, now);
        assert_eq!((attached.clients.len(), attached.deadline()), (1, None));
    }

    #[test]
    fn the_end_of_input_is_not_the_end_of_output() {
        let (mut attached, mut to_guest, now) = (Attached::default(), Buffer::new(), Instant::now());
        let mut one = client(&mut attached, b"");
        one.write_all(b"last").expect("write");
        one.shutdown(std::net::Shutdown::Write).expect("shutdown");
        attached.turn(&mut to_guest, now);
        attached.turn(&mut to_guest, now);
        assert_eq!(to_guest.filled(), b"last");
        assert!(attached.interest(true).all(|(_, flags)| flags.is_empty()));
        attached.show(b"answer", now);
        let mut buffer = [0; 64];
        let length = one.read(&mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"answer");
    }

    #[test]
    fn keys_wait_for_room() {
        let (mut attached, mut to_guest, now) = (Attached::default(), Buffer::new(), Instant::now());
        let mut one = client(&mut attached, b"");
        one.write_all(&[b'k'; Buffer::BYTES * 2]).expect("write");
        attached.turn(&mut to_guest, now);
        attached.turn(&mut to_guest, now);
        assert_eq!(to_guest.filled().len(), Buffer::BYTES - Buffer::RESERVE);
    }

    #[test]
    fn who_reads_slowly_misses_some_and_who_does_not_read_is_cut_off() {
        let (mut attached, mut to_guest, start) = (Attached::default(), Buffer::new(), Instant::now());
        let mut slow = client(&mut attached, b"");
        let (mut shown, chunk) = (0, [b'.'; 4096]);
        while attached.clients[0].skipped == 0 {
            attached.show(&chunk, start);
            shown += chunk.len();
        }
        assert_eq!(attached.deadline(), Some(start + STALLED));
        assert!(attached.clients[0].pending.len() <= PENDING_BYTES);
        // It reads again, in time.
        slow.set_nonblocking(true).expect("non-blocking");
        let later = start + STALLED - Duration::from_millis(1);
        let (mut read, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            attached.turn(&mut to_guest, later);
            match slow.read(&mut buffer) {
                Ok(length) => read.extend_from_slice(&buffer[..length]),
                Err(_) => break,
            }
        }
        let notice = format!("\r\n[{} bytes of output were skipped]\r\n", chunk.len());
        assert!(read.ends_with(notice.as_bytes()));
        assert_eq!(read.len(), shown - chunk.len() + notice.len());
        assert_eq!(attached.deadline(), None);
        // It never does.
        while attached.deadline().is_none() {
            attached.show(&chunk, later);
        }
        attached.turn(&mut to_guest, later + STALLED);
        assert_eq!(attached.clients.len(), 0);
    }

    #[test]
    fn there_is_a_limit() {
        let mut attached = Attached::default();
        let clients: Vec<UnixStream> = (0..MAX_CLIENTS).map(|_| client(&mut attached, b"")).collect();
        let (ours, _theirs) = stream_pair().expect("pair");
        assert!(!attached.add(ours, Vec::new()));
        drop(clients);
        attached.turn(&mut Buffer::new(), Instant::now());
        let (ours, _theirs) = stream_pair().expect("pair");
        assert!(attached.add(ours, Vec::new()));
    }
}
