//! The server's sockets and tables.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::network::plan::NetworkPlan;
use crate::network::service::Service;
use crate::network::subnet::Subnet;
use crate::sys::event_set::{EventFlags, EventSet};
use crate::sys::inet::{Binding, Transport, accept, listen, local_address, receive_from, send_from};
use crate::sys::{SysError, SysResult};

use super::connection::Connection;
use super::exchange::{Asked, Client, Exchange, Progress};
use super::host_servers::HostServers;
use super::known::{Surroundings, Verdict};
use super::message::{Answer, Code, Query, UDP_SIZE, Unfit, returned, unfit_answer};
use super::neighbours::{Neighbours, neighbour};

/// Questions that others are asked at once: each has a socket or two.
const MOST_EXCHANGES: usize = 200;

/// Questions that wait for one of these to come to an end.
const MOST_WAITING: usize = 1024;

/// How long one waits: then its client has asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients over TCP.
const MOST_CONNECTIONS: usize = 32;

/// The longest question over UDP that is passed on; what is longer is nobody's.
const QUESTION_BYTES: usize = UDP_SIZE;

/// Datagrams and connections taken in one turn: the supervisor has else to do.
const AT_ONCE: usize = 64;

/// Questions in a while; the rest of it nobody is heard. A guest that asks and asks takes no more of the host than this.
const BURST: u32 = 1024;
const WHILE: Duration = Duration::from_millis(100);

/// How long nobody is accepted where there are no fds for it.
const REST: Duration = Duration::from_millis(100);

/// How often a port is looked for that is free for UDP and TCP at all addresses.
const LOOKS: usize = 32;

/// Addresses may come later than the servers at them; 16 who wait to be accepted.
const BINDING: Binding = Binding { both_families: false, any_address: true, backlog: 16 };

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

    /// Whether this is the machine, or the host itself. Others get no answer, and so nobody gets one who has not asked: an address of
    /// the machine's network is not believed from elsewhere.
    fn is_client(&self, address: SocketAddr) -> bool {
        let address = address.ip();
        self.around.addresses.contains(&address) || self.around.gateways.contains(&address)
    }

    fn take_datagrams(&mut self, listener: usize, now: Instant) {
        let mut buffer = [0; QUESTION_BYTES];
        for _ in 0..AT_ONCE {
            if self.deaf_until.is_some() {
                return;
            }
            let Some(socket) = self.datagrams.get(listener) else { return };
            match receive_from(socket, &mut buffer) {
                Ok(Some(datagram)) if self.is_client(datagram.from) => {
                    if let Some(message) = buffer.get(..datagram.length) {
                        self.asked(message, Client::Datagram(listener, datagram.from), now);
                    }
                }
                // Somebody else.
                Ok(Some(_)) | Err(_) => self.count(now),
                Ok(None) => return,
            }
        }
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        for _ in 0..AT_ONCE {
            let Some(stream) = self.streams.get(listener) else { return };
            let (socket, from) = match accept(stream) {
                Ok(Some((socket, Some(from)))) => (socket, from),
                Ok(Some((_, None))) => continue,
                Ok(None) => return,
                // Who waits is there still, and would be reported on and on.
                Err(_) => return self.close(now),
            };
            if !self.is_client(from) {
                continue;
            }
            if self.connections.len() >= MOST_CONNECTIONS {
                let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
                let Some(oldest) = idle.min_by_key(|(_, connection)| connection.last_used) else { continue };
                let oldest = *oldest.0;
                self.connections.remove(&oldest);
            }
            let key = self.new_key(CONNECTION);
            if self.set.add(&socket, key, EventFlags::IN).is_ok() {
                self.connections.insert(key, Connection::new(socket, now));
            }
        }
    }

    /// Accepts nobody for a while.
    fn close(&mut self, now: Instant) {
        self.closed_until = Some(now + REST);
        self.await_clients(EventFlags::empty());
    }

    fn await_clients(&self, flags: EventFlags) {
        for (key, listener) in (STREAMS..).zip(&self.streams) {
            // It is in the set.
            let _ = self.set.change(listener, key, flags);
        }
    }

    /// Counts one question more.
    fn count(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= WHILE {
            (self.since, self.heard) = (now, 0);
        }
        self.heard += 1;
        if self.heard >= BURST {
            self.deaf_until = Some(self.since + WHILE);
        }
    }

    fn new_key(&mut self, kind: u64) -> u64 {
        self.next_key = (self.next_key + 1) & !WHAT;
        kind | self.next_key
    }

    /// Takes the questions that have come whole on a connection, and waits for what it wants now.
    fn pump(&mut self, key: u64, now: Instant) {
        while let Some(question) = self.connections.get_mut(&key).and_then(Connection::next_question) {
            self.asked(&question, Client::Stream(key), now);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let wanted = connection.wanted();
        if wanted != connection.flags {
            connection.flags = wanted;
            // It is in the set; what could fail is to be noticed by its silence.
            let _ = self.set.change(&connection.socket, key, wanted);
        }
        if connection.is_over(now) {
            self.connections.remove(&key);
        }
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

    /// Sends a client its answer; without one, its question is given up.
    fn send(&mut self, client: Client, message: Option<&[u8]>, now: Instant) {
        match client {
            Client::Datagram(listener, to) => {
                if let (Some(socket), Some(message)) = (self.datagrams.get(listener), message) {
                    // What there is no room for is lost, as any datagram may be.
                    send_from(socket, message, to, None);
                }
            }
            Client::Stream(connection) => {
                if let Some(found) = self.connections.get_mut(&connection) {
                    found.answer(message, now);
                    self.stirred.push(connection);
                }
            }
        }
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

/// Sockets for UDP and TCP at each of `addresses`, all at one port: rules name one.
fn listen_at(addresses: &[IpAddr]) -> SysResult<(u16, Vec<OwnedFd>, Vec<OwnedFd>)> {
    let mut last = None;
    for _ in 0..LOOKS {
        match try_listen_at(addresses) {
            Err(error) if error.errno() == Errno::ADDRINUSE => last = Some(error),
            result => return result,
        }
    }
    Err(last.unwrap_or_else(|| SysError::new("bind", "a port for the name server", Errno::ADDRINUSE)))
}

fn try_listen_at(addresses: &[IpAddr]) -> SysResult<(u16, Vec<OwnedFd>, Vec<OwnedFd>)> {
    let (mut port, mut datagrams, mut streams) = (0, Vec::new(), Vec::new());
    for address in addresses {
        let datagram = match listen(Transport::Udp, SocketAddr::new(*address, port), BINDING) {
            // A host without IPv6.
            Err(error) if matches!(error.errno(), Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => continue,
            datagram => datagram?,
        };
        port = local_address(&datagram)?.port();
        streams.push(listen(Transport::Tcp, SocketAddr::new(*address, port), BINDING)?);
        datagrams.push(datagram);
    }
    Ok((port, datagrams, streams))
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
