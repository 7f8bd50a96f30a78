//! Connections that come in, and those that are made for them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::connection::{Connection, Pipes, Progress, Side, Stage};
use super::slots::{Slots, Token};
use super::{BREATH, Base, Target, kind};
use crate::sys::inet::{Transport, accept, connect, tune};
use crate::sys::stream_socket::connect_to;

/// How long a connection may take to be made. The machine is one hop away: more is a guest that drops what comes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// When to try again to connect to a Unix socket whose queue is full, and to have a pipe.
const RETRY: Duration = Duration::from_millis(20);

/// As long as it stays full each time is twice as long, up to this.
const LONGEST_RETRY: Duration = Duration::from_millis(320);

/// Connections that are accepted before others get their turn.
const AT_ONCE: usize = 64;

/// Changes only: see [`Side`].
const EDGES: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// All connections.
#[derive(Debug)]
pub(super) struct Streams {
    connections: Slots<Connection>,
    pipes: Pipes,
    /// Those that can go on at once.
    again: VecDeque<Token>,
    /// Those that are being made, and until when; in this order.
    connecting: VecDeque<(Instant, Token)>,
    /// Those that wait for a pipe, and when to look again.
    starved: Vec<Token>,
    look_at: Option<Instant>,
    /// Unix sockets whose queues are full.
    full: HashMap<PathBuf, Full>,
}

/// A Unix socket whose queue is full: the first one in ours is tried again for all.
#[derive(Debug)]
struct Full {
    /// Who waits for room in it.
    waiting: VecDeque<Token>,
    pause: Duration,
    /// When to try again.
    at: Instant,
}

impl Streams {
    /// For up to `most` connections.
    pub(super) fn new(most: usize) -> Self {
        Self {
            connections: Slots::new(kind::CLIENT),
            // Of three fds a connection one is for pipes, which have two.
            pipes: Pipes::new((most / 2).max(1)),
            again: VecDeque::new(),
            connecting: VecDeque::new(),
            starved: Vec::new(),
            look_at: None,
            full: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// When there is something to do though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.again.is_empty() {
            return Some(Instant::now());
        }
        let retries = self.full.values().map(|full| full.at).chain(self.look_at);
        retries.chain(self.connecting.front().map(|(until, _)| *until)).min()
    }

    /// Takes the connections that wait at a listener.
    pub(super) fn accept(&mut self, base: &mut Base, listener: Token, now: Instant) {
        for _ in 0..AT_ONCE {
            if self.connections.len() >= base.most {
                return base.pause(listener);
            }
            let Some(entry) = base.listeners.get(listener) else { return };
            match accept(&entry.socket) {
                Ok(Some((client, peer))) => {
                    tune(&client);
                    self.begin(base, listener, client, peer, now);
                }
                Ok(None) => return,
                Err(_) => {
                    base.breathe = Some(now + BREATH);
                    return base.pause(listener);
                }
            }
        }
    }

    fn begin(
        &mut self,
        base: &mut Base,
        listener: Token,
        client: OwnedFd,
        peer: Option<SocketAddr>,
        now: Instant,
    ) {
        let Some(entry) = base.listeners.get(listener) else { return };
        let stage = match &entry.to {
            Target::Unix(_) => Stage::Waiting,
            to => Stage::Connecting(to.addresses(peer, entry.offset).into()),
        };
        let token = self.connections.insert(Connection::new(listener, client, stage));
        let watched = self.connections.get(token).map(|made| base.watch(&made.client.socket, token, EDGES));
        if !matches!(watched, Some(Ok(()))) {
            return self.abort(token);
        }
        self.connecting.push_back((now + CONNECT_TIMEOUT, token));
        if let Some(Target::Unix(path)) = base.listeners.get(listener).map(|listener| &listener.to)
            && let Some(full) = self.full.get_mut(path)
        {
            return full.waiting.push_back(token);
        }
        self.connect_next(base, token, now);
    }

    /// Goes on to the next address that could be the server's; with none left, the client is told.
    fn connect_next(&mut self, base: &mut Base, token: Token, now: Instant) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let listener = connection.listener;
        let made = match &mut connection.stage {
            Stage::Open => return,
            Stage::Connecting(addresses) => std::iter::from_fn(|| addresses.pop_front())
                .find_map(|address| connect(Transport::Tcp, address).ok())
                .ok_or(Errno::CONNREFUSED),
            Stage::Waiting => match base.listeners.get(listener).map(|listener| &listener.to) {
                Some(Target::Unix(path)) => connect_to(path).map_err(|error| error.errno()),
                _ => Err(Errno::CONNREFUSED),
            },
        };
        match made {
            Ok(socket) => {
                tune(&socket);
                let watched = base.watch(&socket, token.of_kind(kind::SERVER), EDGES);
                // A Unix socket is connected at once, and writable: that is the next event.
                if matches!(connection.stage, Stage::Waiting) {
                    connection.stage = Stage::Connecting(VecDeque::new());
                }
                connection.server = Some(Side::new(socket));
                if watched.is_err() {
                    self.abort(token);
                }
            }
            Err(Errno::AGAIN) => {
                let Some(Target::Unix(path)) = base.listeners.get(listener).map(|listener| &listener.to)
                else {
                    return self.abort(token);
                };
                let new = || Full { waiting: VecDeque::new(), pause: RETRY, at: now + RETRY };
                // Whoever is tried again is the first one.
                self.full.entry(path.clone()).or_insert_with(new).waiting.push_front(token);
            }
            Err(_) => self.abort(token),
        }
    }

    /// Something has changed about one of a connection's sockets.
    pub(super) fn ready(&mut self, base: &mut Base, token: Token, flags: EventFlags) {
        let is_client = token.kind == kind::CLIENT;
        let token = token.of_kind(kind::CLIENT);
        let Some(connection) = self.connections.get_mut(token) else { return };
        let side = if is_client { Some(&mut connection.client) } else { connection.server.as_mut() };
        let Some(side) = side else { return };
        side.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP);
        side.writable |= flags.contains(EventFlags::OUT);
        let failed = flags.contains(EventFlags::ERR);
        match (&connection.stage, is_client) {
            (Stage::Connecting(_), false) => {
                let connected = sockopt::socket_error(&side.socket);
                if !failed && matches!(connected, Ok(Ok(()))) {
                    if side.writable {
                        connection.stage = Stage::Open;
                        self.pump(token);
                    }
                } else {
                    connection.server = None;
                    self.connect_next(base, token, Instant::now());
                }
            }
            (_, _) if failed => self.abort(token),
            (Stage::Open, _) => self.pump(token),
            _ => {}
        }
    }

    fn pump(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        match connection.pump(&mut self.pipes) {
            Progress::Blocked => {}
            Progress::More if connection.queued => {}
            Progress::More => {
                connection.queued = true;
                self.again.push_back(token);
            }
            Progress::Starved if connection.queued => {}
            Progress::Starved => {
                connection.queued = true;
                self.starved.push(token);
                self.look_at.get_or_insert_with(|| Instant::now() + RETRY);
            }
            Progress::Done => drop(self.connections.remove(token)),
            Progress::Broken => self.abort(token),
        }
    }

    /// Goes on with what was not done for fairness, and with what has taken too long.
    pub(super) fn go_on(&mut self, base: &mut Base, now: Instant) {
        let mut again = std::mem::take(&mut self.again);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            again.extend(std::mem::take(&mut self.starved));
        }
        for token in again {
            if let Some(connection) = self.connections.get_mut(token) {
                connection.queued = false;
            }
            self.pump(token);
        }
        while let Some((until, token)) = self.connecting.front().copied() {
            let connecting = |connection: &Connection| !matches!(connection.stage, Stage::Open);
            match self.connections.get(token).is_some_and(connecting) {
                true if until > now => break,
                true => self.abort(token),
                false => {}
            }
            self.connecting.pop_front();
        }
        let due: Vec<PathBuf> =
            self.full.iter().filter(|(_, full)| full.at <= now).map(|(path, _)| path.clone()).collect();
        for path in due {
            self.try_again(base, &path, now);
        }
    }

    /// Connects those that wait for room in the queue of a Unix socket, until it is full again.
    fn try_again(&mut self, base: &mut Base, path: &Path, now: Instant) {
        let Some(mut full) = self.full.remove(path) else { return };
        full.waiting.retain(|token| self.connections.get(*token).is_some());
        for tried in 0..AT_ONCE {
            let Some(token) = full.waiting.pop_front() else { return };
            self.connect_next(base, token, now);
            if let Some(again) = self.full.remove(path) {
                full.waiting.extend(again.waiting);
                full.waiting.rotate_right(1);
                full.pause = if tried == 0 { (full.pause * 2).min(LONGEST_RETRY) } else { RETRY };
                full.at = now + full.pause;
                self.full.insert(path.to_owned(), full);
                return;
            }
        }
        if !full.waiting.is_empty() {
            full.at = now;
            self.full.insert(path.to_owned(), full);
        }
    }

    fn abort(&mut self, token: Token) {
        if let Some(connection) = self.connections.remove(token) {
            connection.abort();
        }
    }

    /// Ends those that came in by `listener`.
    pub(super) fn drop_those_of(&mut self, listener: Token) {
        for token in self.connections.tokens(|connection| connection.listener == listener) {
            self.abort(token);
        }
    }

    /// Ends all.
    pub(super) fn drop_all(&mut self) {
        for token in self.connections.tokens(|_| true) {
            self.abort(token);
        }
    }
}
