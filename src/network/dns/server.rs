//! The server's sockets and tables.
//!
//! | file | what it owns |
//! |---|---|
//! | `listeners` | the sockets at which it listens |
//! | `clients` | who asks: what is heard of them, and that they get their answers |

mod clients;
mod listeners;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::network::plan::NetworkPlan;
use crate::network::service::Service;
use crate::network::subnet::Subnet;
use crate::sys::SysResult;
use crate::sys::event_set::{EventFlags, EventSet};

use listeners::listen_at;

use super::connection::Connection;
use super::exchange::{Asked, Client, Exchange, Progress};
use super::host_servers::HostServers;
use super::known::{Surroundings, Verdict};
use super::message::{Answer, Code, Query, Unfit, returned, unfit_answer};
use super::neighbours::{Neighbours, neighbour};

/// Questions that others are asked at once: each has a socket or two.
const MOST_EXCHANGES: usize = 200;

/// Questions that wait for one of these to come to an end.
const MOST_WAITING: usize = 1024;

/// How long one waits: then its client has asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Datagrams and connections taken in one turn: the supervisor has else to do.
const AT_ONCE: usize = 64;

/// What a socket in the set is: the upper byte of its key.
const DATAGRAMS: u64 = 1 << 56;
const STREAMS: u64 = 2 << 56;
const CONNECTION: u64 = 3 << 56;
const EXCHANGE: u64 = 4 << 56;
const WHAT: u64 = 0xff << 56;

/// What a server is made of.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// The machine.
    pub machine: &'a str,
    /// Its network.
    pub plan: &'a NetworkPlan,
    /// Addresses of the host in it, where the server listens ([`NetworkPlan::own_name_servers`]).
    pub listen: &'a [IpAddr],
    /// The host's network namespace, the number of its inode.
    pub namespace: u64,
    /// Where supervisors tell of machines.
    pub machines: &'a Path,
    /// The host's `resolv.conf`.
    pub resolv_conf: &'a Path,
}

/// The name server of one machine.
#[derive(Debug)]
pub struct DnsServer {
    set: EventSet,
    port: u16,
    datagrams: Vec<OwnedFd>,
    streams: Vec<OwnedFd>,
    around: Surroundings,
    neighbours: Neighbours,
    upstream: HostServers,
    connections: HashMap<u64, Connection>,
    exchanges: HashMap<u64, Exchange>,
    waiting: VecDeque<(Instant, Asked)>,
    next_key: u64,
    /// Since when the questions of this while are counted, and how many there were.
    since: Instant,
    heard: u32,
    /// Until when nobody is heard.
    deaf_until: Option<Instant>,
    /// Until when nobody is accepted.
    closed_until: Option<Instant>,
    /// Connections of which a question has come to an end: they may have more.
    stirred: Vec<u64>,
}

impl DnsServer {
    /// Listens.
    ///
    /// # Errors
    /// When there is no port, or there are too many open files.
    pub fn open(config: &Config<'_>) -> SysResult<Self> {
        let set = EventSet::new()?;
        let (port, datagrams, streams) = listen_at(config.listen)?;
        for (listeners, kind) in [(&datagrams, DATAGRAMS), (&streams, STREAMS)] {
            for (key, listener) in (kind..).zip(listeners) {
                set.add(listener, key, EventFlags::IN)?;
            }
        }
        Ok(Self {
            set,
            port,
            datagrams,
            streams,
            around: surroundings(config),
            neighbours: Neighbours::new(config.machines, config.namespace),
            upstream: HostServers::new(&config.plan.upstream_dns, config.resolv_conf),
            connections: HashMap::new(),
            exchanges: HashMap::new(),
            waiting: VecDeque::new(),
            next_key: 0,
            since: Instant::now(),
            heard: 0,
            deaf_until: None,
            closed_until: None,
            stirred: Vec::new(),
        })
    }

    /// Its port, of UDP and of TCP, at each of the addresses; `None` where it could have none of them.
    pub fn port(&self) -> Option<u16> {
        (!self.datagrams.is_empty()).then_some(self.port)
    }

    fn new_key(&mut self, kind: u64) -> u64 {
        self.next_key = (self.next_key + 1) & !WHAT;
        kind | self.next_key
    }

    /// Answers a question, or asks others.
    fn asked(&mut self, message: &[u8], client: Client, now: Instant) {
        self.count(now);
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Unfit::Answer(code)) => return self.send(client, Some(&unfit_answer(message, code)), now),
            Err(Unfit::Nothing) => return self.send(client, None, now),
        };
        if query.has_unknown_edns() {
            return self.send(client, Some(&query.answer(message, &Answer::bad_version())), now);
        }
        let name = rustix::system::uname();
        let host_name = name.nodename().to_str().unwrap_or_default();
        let neighbours = &mut self.neighbours;
        match self.around.look_up(&query.question, host_name, &mut |wanted| neighbours.give(wanted, now)) {
            Verdict::Answer(answer) => self.send(client, Some(&query.answer(message, &answer)), now),
            Verdict::Forward => self.forward(Asked { client, message: message.to_vec(), query }, now),
        }
    }

    fn forward(&mut self, asked: Asked, now: Instant) {
        let same = |other: &Asked| other.client == asked.client && other.message == asked.message;
        let known = self.exchanges.values().map(|exchange| &exchange.asked);
        if matches!(asked.client, Client::Datagram(..))
            && known.chain(self.waiting.iter().map(|(_, asked)| asked)).any(same)
        {
            // Asked again for want of patience: the answer is on its way.
            return;
        }
        if self.exchanges.len() < MOST_EXCHANGES {
            self.begin(asked, now);
        } else if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back((now + PATIENCE, asked));
        } else {
            self.send(asked.client, None, now);
        }
    }

    fn begin(&mut self, asked: Asked, now: Instant) {
        let key = self.new_key(EXCHANGE);
        let tries = self.upstream.tries(now);
        let mut exchange = Exchange::new(asked, key, tries, now);
        let progress = exchange.advance(self.upstream.servers(), &self.set, now);
        self.exchanges.insert(key, exchange);
        self.went_on(key, progress, now);
    }

    /// Gives the client what has come of its question, if that is all.
    fn went_on(&mut self, key: u64, progress: Progress, now: Instant) {
        let Progress::Done(reply) = progress else { return };
        let Some(Exchange { asked, .. }) = self.exchanges.remove(&key) else { return };
        let limit = match asked.client {
            Client::Datagram(..) => asked.query.size(),
            Client::Stream(_) => usize::from(u16::MAX),
        };
        let reply = match reply {
            Some(reply) => returned(&reply, asked.query.id, &asked.message, limit),
            None => asked.query.answer(&asked.message, &Answer::code(Code::ServerFailure)),
        };
        self.send(asked.client, Some(&reply), now);
    }

    fn on_event(&mut self, key: u64, flags: EventFlags, now: Instant) {
        let index = usize::try_from(key & !WHAT).unwrap_or(usize::MAX);
        match key & WHAT {
            DATAGRAMS => self.take_datagrams(index, now),
            STREAMS => self.accept(index, now),
            CONNECTION if flags.intersects(EventFlags::ERR | EventFlags::HUP) => {
                self.connections.remove(&key);
            }
            CONNECTION => {
                if let Some(connection) = self.connections.get_mut(&key) {
                    connection.on_ready(now);
                }
                self.pump(key, now);
            }
            _ => {
                if let Some(exchange) = self.exchanges.get_mut(&key) {
                    let progress = exchange.on_ready(self.upstream.servers(), &self.set, now);
                    self.went_on(key, progress, now);
                }
            }
        }
    }

    fn deadlines(&mut self, now: Instant) {
        let late = |(key, exchange): (&u64, &Exchange)| (exchange.deadline() <= now).then_some(*key);
        let late: Vec<u64> = self.exchanges.iter().filter_map(late).collect();
        for key in late {
            if let Some(exchange) = self.exchanges.get_mut(&key) {
                let progress = exchange.late(self.upstream.servers(), &self.set, now);
                self.went_on(key, progress, now);
            }
        }
        self.connections.retain(|_, connection| !connection.is_over(now));
        while self.exchanges.len() < MOST_EXCHANGES {
            match self.waiting.pop_front() {
                Some((until, asked)) if until > now => self.begin(asked, now),
                Some((_, asked)) => self.send(asked.client, None, now),
                None => break,
            }
        }
    }
}

impl Service for DnsServer {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match self.deaf_until {
            Some(_) => Vec::new(),
            None => vec![(self.set.as_fd(), PollFlags::IN)],
        }
    }

    fn on_ready(&mut self, now: Instant) {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            self.await_clients(EventFlags::IN);
        }
        if self.deaf_until.is_some_and(|until| until <= now) {
            self.deaf_until = None;
        }
        if self.deaf_until.is_none() {
            for (key, flags) in self.set.ready::<AT_ONCE>() {
                self.on_event(key, flags, now);
            }
        }
        self.deadlines(now);
        for connection in std::mem::take(&mut self.stirred) {
            self.pump(connection, now);
        }
        // Those that were answered at once have been seen to.
        self.stirred.clear();
    }

    fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().map(Exchange::deadline);
        let connections = self.connections.values().filter_map(Connection::deadline);
        exchanges.chain(connections).chain(self.deaf_until).chain(self.closed_until).min()
    }
}

fn surroundings(config: &Config<'_>) -> Surroundings {
    let plan = config.plan;
    let own = neighbour(config.machine, plan);
    let given = plan.links.iter().filter_map(|link| link.addresses);
    let networks = given.flat_map(|of| {
        [
            of.v4.map(|family| Subnet::of(family.address.into(), family.prefix)),
            of.v6.map(|family| Subnet::of(family.address.into(), family.prefix)),
        ]
    });
    Surroundings {
        machine: config.machine.to_owned(),
        domain: plan.domain.clone(),
        addresses: own.map(|own| own.addresses).unwrap_or_default(),
        gateways: config.listen.to_vec(),
        networks: networks.flatten().collect(),
        hosts: plan.hosts.iter().map(|entry| (entry.name.clone(), entry.address)).collect(),
    }
}

#[cfg(test)]
mod tests;
