//! A question that others are asked: sent to one server after another, each time from another port with another id (RFC 5452), until
//! one answers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::sys::SysResult;
use crate::sys::event_set::{EventFlags, EventSet};
use crate::sys::inet::{Transport, connect, receive, send_some};
use crate::sys::random;

use super::attempts::{Servers, Tries};
use super::message::{Query, Reply};

/// Sockets of one question that may be open: that of the server which is waited for, and of the one before it, whose answer may be
/// late.
const MOST_SOCKETS: usize = 2;

/// The longest message over TCP, with its length before it (RFC 1035, 4.2.2).
const STREAM_BYTES: usize = 2 + 0xffff;

/// The most that is taken over UDP: more than we say, for servers that do not listen.
const DATAGRAM_BYTES: usize = 4096;

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Over UDP, by way of this socket of ours.
    Datagram(usize, SocketAddr),
    /// Over TCP, by the connection with this key.
    Stream(u64),
}

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) message: Vec<u8>,
    pub(super) query: Query,
}

/// What has come of it so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    /// This message, or if all was in vain, perhaps none.
    Done(Option<Vec<u8>>),
}

/// What a socket has brought.
enum Heard {
    /// Nothing that counts so far.
    Nothing,
    Answer(Vec<u8>),
    /// The server cannot, and may have said so.
    Failure(Option<Vec<u8>>),
}

/// One question at one server.
#[derive(Debug)]
struct Try {
    server: SocketAddr,
    socket: OwnedFd,
    message: Vec<u8>,
    /// Over TCP, how many bytes are sent of it and its length, and what has come back.
    stream: Option<(usize, Vec<u8>)>,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) asked: Asked,
    /// By which the sockets are known in the set.
    key: u64,
    tries: Tries,
    /// The last of them is the one that is waited for.
    open: Vec<Try>,
    deadline: Instant,
    failure: Option<Vec<u8>>,
}

impl Exchange {
    /// One that was not begun.
    pub(super) fn new(asked: Asked, key: u64, tries: Tries, now: Instant) -> Self {
        Self { asked, key, tries, open: Vec::new(), deadline: now, failure: None }
    }

    /// When it is to be [`Exchange::advance`]d if nothing has come.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The server that is waited for did not answer in time: asks the next.
    pub(super) fn late(&mut self, servers: &mut Servers, set: &EventSet, now: Instant) -> Progress {
        if let Some(last) = self.open.last() {
            servers.avoid(last.server, now);
        }
        self.advance(servers, set, now)
    }

    /// Asks the next server.
    pub(super) fn advance(&mut self, servers: &mut Servers, set: &EventSet, now: Instant) -> Progress {
        while let Some((server, wait)) = self.tries.next_server() {
            match self.ask(server, set) {
                Ok(one) => {
                    if self.open.len() == MOST_SOCKETS {
                        self.open.remove(0);
                    }
                    self.open.push(one);
                    self.deadline = now + wait;
                    return Progress::Waiting;
                }
                // Too many open files are not its fault.
                Err(error) if error.ends_all() => {}
                Err(_) => servers.avoid(server, now),
            }
        }
        Progress::Done(self.failure.take())
    }

    fn ask(&self, server: SocketAddr, set: &EventSet) -> SysResult<Try> {
        let [high, low, ..] = random()?.to_ne_bytes();
        let message = self.asked.query.forwarded(&self.asked.message, u16::from_ne_bytes([high, low]));
        match self.asked.client {
            Client::Datagram(..) => {
                let socket = connect(Transport::Udp, server)?;
                send_some(&socket, &message)?;
                set.add(&socket, self.key, EventFlags::IN)?;
                Ok(Try { server, socket, message, stream: None })
            }
            Client::Stream(_) => {
                let socket = connect(Transport::Tcp, server)?;
                set.add(&socket, self.key, EventFlags::OUT)?;
                Ok(Try { server, socket, message, stream: Some((0, Vec::new())) })
            }
        }
    }

    /// Something came on one of its sockets.
    pub(super) fn on_ready(&mut self, servers: &mut Servers, set: &EventSet, now: Instant) -> Progress {
        for at in (0..self.open.len()).rev() {
            let Some(one) = self.open.get_mut(at) else { continue };
            let server = one.server;
            match one.hear(self.key, set) {
                Heard::Nothing => {}
                Heard::Answer(answer) => {
                    servers.trust(server);
                    return Progress::Done(Some(answer));
                }
                Heard::Failure(said) => {
                    let is_last = at + 1 == self.open.len();
                    match said {
                        Some(said) => {
                            self.tries.rule_out(server);
                            self.failure = Some(said);
                        }
                        None => servers.avoid(server, now),
                    }
                    self.open.remove(at);
                    if is_last && let Progress::Done(failure) = self.advance(servers, set, now) {
                        return Progress::Done(failure);
                    }
                }
            }
        }
        Progress::Waiting
    }
}

impl Try {
    fn hear(&mut self, key: u64, set: &EventSet) -> Heard {
        match self.stream {
            None => self.hear_datagrams(),
            Some(_) => self.hear_stream(key, set).unwrap_or(Heard::Failure(None)),
        }
    }

    /// Whatever comes that is not the answer is as if it had not come: who guesses may go on to.
    fn hear_datagrams(&self) -> Heard {
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            let length = match receive(&self.socket, &mut buffer) {
                Ok(Some(length)) => length,
                Ok(None) => return Heard::Nothing,
                // The host or its port is not there (ICMP).
                Err(_) => return Heard::Failure(None),
            };
            let reply = buffer.get(..length).unwrap_or_default();
            match Reply::of(&self.message, reply) {
                Reply::Foreign => {}
                Reply::Answer => return Heard::Answer(reply.to_vec()),
                Reply::Failure => return Heard::Failure(Some(reply.to_vec())),
            }
        }
    }

    /// `None` when the connection is of no use.
    fn hear_stream(&mut self, key: u64, set: &EventSet) -> Option<Heard> {
        let (sent, received) = self.stream.as_mut()?;
        let length = u16::try_from(self.message.len()).ok()?.to_be_bytes();
        let out = [&length, self.message.as_slice()].concat();
        while *sent < out.len() {
            match send_some(&self.socket, out.get(*sent..)?).ok()? {
                Some(more) => *sent += more,
                None => return Some(Heard::Nothing),
            }
            if *sent == out.len() {
                set.change(&self.socket, key, EventFlags::IN).ok()?;
            }
        }
        let mut chunk = [0; DATAGRAM_BYTES];
        loop {
            match receive(&self.socket, &mut chunk).ok()? {
                None => return Some(Heard::Nothing),
                Some(0) => return None,
                Some(length) => received.extend(chunk.get(..length)?),
            }
            let Some((length, rest)) = received.split_first_chunk::<2>() else { continue };
            if let Some(reply) = rest.get(..usize::from(u16::from_be_bytes(*length))) {
                return match Reply::of(&self.message, reply) {
                    Reply::Foreign => None,
                    Reply::Answer => Some(Heard::Answer(reply.to_vec())),
                    Reply::Failure => Some(Heard::Failure(Some(reply.to_vec()))),
                };
            }
            if received.len() > STREAM_BYTES {
                return None;
            }
        }
    }
}
