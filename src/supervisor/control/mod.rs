//! The control socket: `control` in the machine's directory, a unix stream socket that speaks Varlink (<https://varlink.org>).
//!
//! Root and the supervisor's own user may connect: the socket has mode 0600, and who connects is asked of the kernel besides
//! (SO_PEERCRED). Its interfaces are `io.systemd.MachineInstance`, which systemd's own machine managers serve since version 261
//! and `machinectl` calls, and [`INTERFACE`] for what that lacks. Both describe themselves to `varlinkctl introspect`.
//!
//! The supervisor never waits for a client. Connections, bytes on their way in either direction, and fds are bounded; a client that
//! reads too slowly for what it has subscribed to is cut off. Nothing costs anything while nothing is said.
//!
//! | file | what it owns |
//! |---|---|
//! | `connection` | one client: bytes in, bytes out, what it waits for |
//! | `subscription` | who wants to hear which events, in which form |
//! | `methods` | what can be asked, a file a method |
//!
//! # Adding a method
//!
//! 1. A file `methods/NAME.rs` with a `METHOD`: its name, its description in the language of Varlink interfaces, and its function,
//!    which has the machine and its boot in a [`methods::Context`] and answers at once, with fds, or later.
//! 2. One line in the table of its interface in `methods/mod.rs`.
//!
//! `varlinkctl introspect` shows it, the unit tests hold its description to the grammar, and clients call it by
//! [`crate::machine::Control::call`].

mod connection;
pub(super) mod methods;
mod subscription;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde_json::{Map, Value};

use crate::sys::SysResult;
use crate::sys::stream_socket::{accept, listen_at, peer};
use crate::varlink::{Call, Fault, Reply};

use super::boot::now_in_microseconds;
use super::machine_event::{Happening, MachineEvent};
use connection::{Busy, Connection};
use subscription::Subscription;

/// The socket's name in the machine's directory.
pub const SOCKET: &str = "control";

/// Our own interface.
pub const INTERFACE: &str = "org.spinney.Machine";

/// The longest call that is taken: paths, names and numbers.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// Of connections. One more takes the place of the one that has been silent longest, if one waits for nothing.
const MAX_CONNECTIONS: usize = 64;

/// Who wait to be accepted; more are told to come again (EAGAIN).
const BACKLOG: i32 = 64;

/// Who is accepted in one turn.
const AT_ONCE: usize = 16;

/// How long nobody is accepted where there are no fds for it.
const REST: Duration = Duration::from_millis(100);

/// Events that are remembered for who comes later.
const MAX_PAST: usize = 64;

/// One connection among all of a supervisor's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionId(u64);

/// A call that came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) from: ConnectionId,
    pub(super) call: Call,
    pub(super) fds: Vec<OwnedFd>,
}

/// What a call is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    /// Results.
    Results(Map<String, Value>),
    /// Results, and fds which they name by index.
    WithFds(Map<String, Value>, Vec<OwnedFd>),
    /// By [`Control::finish`], when it is done.
    Later,
    /// First these results, then events.
    Events(Vec<Map<String, Value>>, Subscription),
}

/// The socket and its clients.
#[derive(Debug)]
pub(super) struct Control {
    listener: OwnedFd,
    connections: Vec<Connection>,
    next_id: u64,
    past: VecDeque<Happening>,
    /// Until when nobody is accepted.
    closed_until: Option<Instant>,
}

impl Control {
    /// Listens in the machine's `directory`.
    pub(super) fn open(directory: &OwnedFd) -> SysResult<Self> {
        let listener = listen_at(directory, SOCKET, 0o600, BACKLOG)?;
        Ok(Self { listener, connections: Vec::new(), next_id: 0, past: VecDeque::new(), closed_until: None })
    }

    /// Listens in `directory` too, where the socket's file was removed; who is connected stays so.
    pub(super) fn listen_again(&mut self, directory: &OwnedFd) -> SysResult<()> {
        self.listener = listen_at(directory, SOCKET, 0o600, BACKLOG)?;
        Ok(())
    }

    /// What to poll for, in an order that [`Control::turn`] expects.
    pub(super) fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let connections = self.connections.iter().map(|connection| connection.interest());
        let accepts = if self.closed_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
        std::iter::once((self.listener.as_fd(), accepts)).chain(connections)
    }

    /// When [`Control::turn`] is to be called though nobody has said anything.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.closed_until
    }

    /// Reads, writes and accepts what poll has reported, in the order of [`Control::interest`]; gives the calls that came in.
    pub(super) fn turn(&mut self, ready: &[PollFlags]) -> Vec<Incoming> {
        let now = Instant::now();
        let mut incoming = Vec::new();
        let mut flags = ready.iter();
        let accepts = flags.next().is_some_and(|flags| !flags.is_empty());
        for (connection, flags) in self.connections.iter_mut().zip(flags) {
            if !flags.is_empty() {
                connection.turn(*flags, now);
            }
            // One at a time: the next waits until this one is answered.
            incoming.extend(connection.next_call());
        }
        self.drop_closed();
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
        }
        if accepts {
            self.accept(now);
        }
        incoming
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, to: ConnectionId, call: &Call, answer: Result<Answer, Fault>) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == to) else {
            return;
        };
        connection.busy = Busy::No;
        if call.oneway {
            return;
        }
        match answer {
            Err(fault) => connection.send(&Reply::failed(fault), Vec::new()),
            Ok(Answer::Results(results)) => connection.send(&Reply::of(results), Vec::new()),
            Ok(Answer::WithFds(results, fds)) => connection.send(&Reply::of(results), fds),
            Ok(Answer::Later) => connection.busy = Busy::Waiting,
            Ok(Answer::Events(first, subscription)) => {
                for results in first {
                    connection.send(&Reply { continues: true, ..Reply::of(results) }, Vec::new());
                }
                connection.busy = Busy::Subscribed(subscription);
            }
        }
    }

    /// Answers calls that were to be answered later, if their clients are still there.
    pub(super) fn finish(&mut self, to: &[ConnectionId], answer: &Result<Map<String, Value>, Fault>) {
        for connection in &mut self.connections {
            if to.contains(&connection.id) && matches!(connection.busy, Busy::Waiting) {
                connection.busy = Busy::No;
                let reply = answer.clone().map_or_else(Reply::failed, Reply::of);
                connection.send(&reply, Vec::new());
            }
        }
    }

    /// Whether a client has said more than was dealt with, or is to be dropped: then the loop must not wait.
    pub(super) fn has_work(&self) -> bool {
        self.connections.iter().any(|connection| connection.closed || connection.has_call())
    }

    /// Tells everyone who wants to hear of it.
    pub(super) fn publish(&mut self, event: MachineEvent) {
        let happening = Happening { time: now_in_microseconds(), event };
        let last = matches!(happening.event, MachineEvent::Ended { .. });
        for connection in &mut self.connections {
            let Busy::Subscribed(subscription) = &connection.busy else { continue };
            let results = subscription.results(&happening);
            if let Some(results) = results {
                connection.send(&Reply { continues: !last, ..Reply::of(results) }, Vec::new());
            }
        }
        // Those that this has closed stay until the next turn: poll may just have reported on all of them, in their order.
        // Texts that change all the time would push out everything else.
        if !matches!(happening.event, MachineEvent::Status { .. }) {
            if self.past.len() == MAX_PAST {
                // What a guest says without end pushes out what it said, and not what happened to the machine.
                let words = self.past.iter().position(|happening| happening.event.is_word_of_guest());
                self.past.remove(words.unwrap_or(0));
            }
            self.past.push_back(happening);
        }
    }

    /// What has happened so far, the oldest first, as far as it is remembered.
    pub(super) fn past(&self) -> impl Iterator<Item = &Happening> {
        self.past.iter()
    }

    fn drop_closed(&mut self) {
        self.connections.retain(|connection| !connection.closed);
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            let socket = match accept(&self.listener) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                // Fds ran out: who waits is there still, and would be reported on and on.
                Err(_) => {
                    self.closed_until = Some(now + REST);
                    return;
                }
            };
            if !peer(&socket).is_ok_and(|peer| may_control(peer.uid)) {
                continue;
            }
            if self.connections.len() >= MAX_CONNECTIONS {
                let idle = self.connections.iter().enumerate().filter(|(_, connection)| connection.is_idle());
                let Some((oldest, _)) = idle.min_by_key(|(_, connection)| connection.last_used) else {
                    continue;
                };
                self.connections.swap_remove(oldest);
            }
            let id = ConnectionId(self.next_id);
            self.next_id += 1;
            self.connections.push(Connection::new(id, socket, now));
        }
    }
}

/// Root, and whoever the supervisor runs as.
fn may_control(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
