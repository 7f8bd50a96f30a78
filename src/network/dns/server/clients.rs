//! Who asks: the machine and the host alone are heard, over UDP and TCP, and neither more than its share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{AT_ONCE, CONNECTION, DnsServer, STREAMS};
use crate::network::dns::connection::Connection;
use crate::network::dns::exchange::Client;
use crate::network::dns::message::UDP_SIZE;
use crate::sys::event_set::EventFlags;
use crate::sys::inet::{accept, receive_from, send_from};

/// Clients over TCP.
pub(super) const MOST_CONNECTIONS: usize = 32;

/// The longest question over UDP that is passed on; what is longer is nobody's.
pub(super) const QUESTION_BYTES: usize = UDP_SIZE;

/// Questions in a while; the rest of it nobody is heard. A guest that asks and asks takes no more of the host than this.
pub(super) const BURST: u32 = 1024;
pub(super) const WHILE: Duration = Duration::from_millis(100);

/// How long nobody is accepted where there are no fds for it.
pub(super) const REST: Duration = Duration::from_millis(100);

impl DnsServer {
    /// Whether this is the machine, or the host itself. Others get no answer, and so nobody gets one who has not asked: an address of
    /// the machine's network is not believed from elsewhere.
    fn is_client(&self, address: SocketAddr) -> bool {
        let address = address.ip();
        self.around.addresses.contains(&address) || self.around.gateways.contains(&address)
    }

    pub(super) fn take_datagrams(&mut self, listener: usize, now: Instant) {
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

    pub(super) fn accept(&mut self, listener: usize, now: Instant) {
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
    pub(super) fn close(&mut self, now: Instant) {
        self.closed_until = Some(now + REST);
        self.await_clients(EventFlags::empty());
    }

    pub(super) fn await_clients(&self, flags: EventFlags) {
        for (key, listener) in (STREAMS..).zip(&self.streams) {
            // It is in the set.
            let _ = self.set.change(listener, key, flags);
        }
    }

    /// Counts one question more.
    pub(super) fn count(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= WHILE {
            (self.since, self.heard) = (now, 0);
        }
        self.heard += 1;
        if self.heard >= BURST {
            self.deaf_until = Some(self.since + WHILE);
        }
    }

    /// Takes the questions that have come whole on a connection, and waits for what it wants now.
    pub(super) fn pump(&mut self, key: u64, now: Instant) {
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

    /// Sends a client its answer; without one, its question is given up.
    pub(super) fn send(&mut self, client: Client, message: Option<&[u8]>, now: Instant) {
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
}
