//! UDP: a session for each client that has sent something, with a socket of its own, so that answers find back.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::slots::{Slots, Token};
use super::{Base, Target, kind};
use crate::sys::inet::{Datagram, Transport, connect, receive_from, send_from};

/// How long a session lives that nothing was sent in either way: as the kernel forgets such flows
/// (nf_conntrack_udp_timeout_stream).
const IDLE: Duration = Duration::from_secs(120);

/// Sessions of all listeners of a machine; one more takes the place of the one that has been silent longest. Each is an fd.
const MOST_SESSIONS: usize = 2048;

/// Datagrams of one socket before the others' turn.
const AT_ONCE: usize = 64;

/// The longest there is.
const DATAGRAM_BYTES: usize = 65_535;

/// Who sent something, to which of our addresses, by which listener.
type Key = (Token, SocketAddr, Option<(IpAddr, u32)>);

#[derive(Debug)]
struct Session {
    key: Key,
    socket: OwnedFd,
    last_used: Instant,
    /// Addresses to try next, should nobody listen at this one, and what was sent first; none once there was an answer.
    others: Option<(VecDeque<SocketAddr>, Vec<u8>)>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Datagrams {
    sessions: Slots<Session>,
    by_client: HashMap<Key, Token>,
    /// When to look for sessions that are idle.
    look_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new() -> Self {
        Self {
            sessions: Slots::new(kind::SESSION),
            by_client: HashMap::new(),
            look_at: None,
            buffer: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// When there is something to do though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Passes on what has come in at a listener.
    pub(super) fn arrived(&mut self, base: &mut Base, listener: Token, now: Instant) {
        self.buffer.resize(DATAGRAM_BYTES, 0);
        for _ in 0..AT_ONCE {
            let Some(entry) = base.listeners.get(listener) else { return };
            match receive_from(&entry.socket, &mut self.buffer) {
                Ok(Some(datagram)) => self.pass_on(base, listener, datagram, now),
                // One that is broken for good would be reported on without end; one more error is not that.
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn pass_on(&mut self, base: &mut Base, listener: Token, datagram: Datagram, now: Instant) {
        let key = (listener, datagram.from, datagram.to);
        let (token, new) = match self.by_client.get(&key) {
            Some(token) => (*token, false),
            None => match self.begin(base, key, now) {
                Some(token) => (token, true),
                None => return,
            },
        };
        let Some(session) = self.sessions.get_mut(token) else { return };
        let bytes = self.buffer.get(..datagram.length).unwrap_or_default();
        session.last_used = now;
        if new && let Some((_, first)) = &mut session.others {
            *first = bytes.to_vec();
        }
        // The error may be that of a datagram before.
        if rustix::net::send(&session.socket, bytes, SendFlags::NOSIGNAL) == Err(Errno::CONNREFUSED) {
            let _ = rustix::net::send(&session.socket, bytes, SendFlags::NOSIGNAL);
        }
    }

    fn begin(&mut self, base: &mut Base, key: Key, now: Instant) -> Option<Token> {
        let listener = base.listeners.get(key.0)?;
        if matches!(listener.to, Target::Unix(_)) {
            return None;
        }
        let mut addresses: VecDeque<SocketAddr> = listener.to.addresses(Some(key.1), listener.offset).into();
        let socket = connect_first(&mut addresses)?;
        if self.sessions.len() >= MOST_SESSIONS.min(base.most) {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
            let oldest = oldest.map(|(token, _)| token)?;
            self.end(oldest);
        }
        let others = (!addresses.is_empty()).then(|| (addresses, Vec::new()));
        let token = self.sessions.insert(Session { key, socket, last_used: now, others });
        let watched = self.sessions.get(token).map(|made| base.watch(&made.socket, token, EventFlags::IN));
        if !matches!(watched, Some(Ok(()))) {
            self.sessions.remove(token);
            return None;
        }
        self.by_client.insert(key, token);
        self.look_at.get_or_insert(now + IDLE);
        Some(token)
    }

    /// Passes answers back.
    pub(super) fn answered(&mut self, base: &mut Base, token: Token, now: Instant) {
        self.buffer.resize(DATAGRAM_BYTES, 0);
        for _ in 0..AT_ONCE {
            let Some(session) = self.sessions.get_mut(token) else { return };
            match rustix::net::recv(&session.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    session.last_used = now;
                    session.others = None;
                    let (listener, client, local) = session.key;
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    if let Some(listener) = base.listeners.get(listener) {
                        send_from(&listener.socket, bytes, client, local);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                // Nobody is there: the client's next datagram may find somebody, and this one another address.
                Err(_) => return self.try_next(base, token),
            }
        }
    }

    fn try_next(&mut self, base: &mut Base, token: Token) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        let Some((addresses, first)) = &mut session.others else { return };
        let Some(socket) = connect_first(addresses) else {
            session.others = None;
            return;
        };
        if base.watch(&socket, token, EventFlags::IN).is_ok() {
            let _ = rustix::net::send(&socket, first, SendFlags::NOSIGNAL);
            session.socket = socket;
        }
    }

    /// Ends sessions that were idle for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        for token in self.sessions.tokens(|session| session.last_used + IDLE <= now) {
            self.end(token);
        }
        self.look_at = self.sessions.iter().map(|(_, session)| session.last_used + IDLE).min();
        if self.look_at.is_none() {
            self.buffer = Vec::new();
        }
    }

    fn end(&mut self, token: Token) {
        if let Some(session) = self.sessions.remove(token) {
            self.by_client.remove(&session.key);
        }
    }

    /// Ends those that came in by `listener`.
    pub(super) fn drop_those_of(&mut self, listener: Token) {
        for token in self.sessions.tokens(|session| session.key.0 == listener) {
            self.end(token);
        }
    }

    /// Ends all.
    pub(super) fn drop_all(&mut self) {
        for token in self.sessions.tokens(|_| true) {
            self.end(token);
        }
    }
}

/// Connects to the first of `addresses` that there is a way to, and takes those up to it out.
fn connect_first(addresses: &mut VecDeque<SocketAddr>) -> Option<OwnedFd> {
    std::iter::from_fn(|| addresses.pop_front()).find_map(|address| connect(Transport::Udp, address).ok())
}
