//! The service: a socket on the host's end of the machine's link, and what is answered there.

use std::cell::OnceCell;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::frame::{self, Asked, Ends};
use super::{Facts, filter, router, v4, v6};
use crate::network::plan::{LinkKind, NetworkPlan};
use crate::network::service::{Links, Service};
use crate::sys::SysError;
use crate::sys::packet_socket::PacketSocket;

/// Frames that are answered in a row, and how long nothing is heard after them: a guest that asks and asks takes no more of the host
/// than this.
const BURST: u32 = 16;
const REST: Duration = Duration::from_millis(200);
/// A frame of Ethernet; nobody asks in longer ones.
const LONGEST_FRAME: usize = 1514;
/// A guest that listens to advertisements hears one in time before the last is over; to others nothing is sent.
const AGAIN: Duration = Duration::from_secs(router::LIFETIME as u64 / 3);
/// All nodes of a link (RFC 4291, 2.7.1), and its Ethernet address (RFC 2464, 7).
const ALL_NODES: ([u8; 6], Ipv6Addr) = ([0x33, 0x33, 0, 0, 0, 1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// The server of one machine.
#[derive(Debug)]
pub struct AddressServer {
    facts: Facts,
    socket: Option<PacketSocket>,
    /// Which of the machine's links it is.
    link: usize,
    /// The host's interface that is the machine's router: a bridge, or its end of the pair. On a network of somebody's it is theirs to
    /// say who is.
    router: Option<String>,
    warnings: Vec<String>,
    /// The router's link-local address, which is what routes lead to, as it was in this burst.
    router_address: OnceCell<Option<Ipv6Addr>>,
    /// Of this burst.
    answered: u32,
    last: Instant,
    deaf_until: Option<Instant>,
    advertise_at: Option<Instant>,
}

impl AddressServer {
    /// Of the machine with this network and host name; `None` where it has no addresses of us, or no link whose other end is on
    /// the host. That it cannot be made is a warning.
    pub fn of(plan: &NetworkPlan, hostname: &str, links: &Links<'_>) -> Option<Self> {
        let facts = Facts::of(plan, hostname)?;
        let (position, link) = plan.links.iter().enumerate().find(|(_, link)| link.addresses.is_some())?;
        let router = match &link.kind {
            LinkKind::Zone(zone) => Some(zone.bridge().to_string()),
            LinkKind::Veth => link.host.as_ref().map(ToString::to_string),
            LinkKind::Bridge(_) => None,
            _ => return None,
        };
        let mut server = Self {
            facts,
            socket: None,
            link: position,
            router,
            warnings: Vec::new(),
            router_address: OnceCell::new(),
            answered: 0,
            last: Instant::now(),
            deaf_until: None,
            advertise_at: None,
        };
        server.links_made(links);
        Some(server)
    }

    /// Answers what has come, at most a burst of it; says whether there may be more.
    fn serve(&mut self, now: Instant) -> bool {
        let Some(socket) = &self.socket else { return false };
        let Ok(own) = socket.hardware_address() else { return false };
        let mut buffer = [0; LONGEST_FRAME];
        while self.answered < BURST {
            // An error is that the link is down or gone; it is told once, and either it comes up again or a new one is made.
            let Ok(Some(length)) = socket.receive(&mut buffer) else { return false };
            self.answered += 1;
            self.last = now;
            let asked = buffer.get(..length).and_then(|frame| frame::read(frame, self.facts.mac));
            if let Some(asked) = asked
                && let Some(frame) = self.answer(&asked, own)
            {
                // What is lost is asked for again.
                let _ = socket.send(&frame);
                if matches!(asked, Asked::Router(_)) {
                    self.advertise_at = Some(now + AGAIN);
                }
            }
        }
        true
    }

    /// The frame that answers. Its sender is our end of the link, whoever the router is: nothing is learnt from that.
    fn answer(&self, asked: &Asked<'_>, own: [u8; 6]) -> Option<Vec<u8>> {
        match asked {
            Asked::V4(message) => {
                let answer = v4::answer(&v4::Request::read(message)?, &self.facts)?;
                frame::dhcp_v4(
                    &Ends { from: (own, answer.server), to: (answer.to_mac, answer.to) },
                    &answer.message,
                )
            }
            Asked::V6(from, message) => {
                let answer = v6::answer(&v6::Request::read(message)?, &self.facts, own)?;
                frame::dhcp_v6(
                    &Ends { from: (own, self.router_address()?), to: (self.facts.mac, *from) },
                    &answer,
                )
            }
            Asked::Router(from) => {
                self.advertisement(own, from.map_or(ALL_NODES, |from| (self.facts.mac, from)))
            }
        }
    }

    fn advertisement(&self, own: [u8; 6], to: ([u8; 6], Ipv6Addr)) -> Option<Vec<u8>> {
        let message = router::advertisement(&self.facts)?;
        frame::icmp_v6(&Ends { from: (own, self.router_address()?), to }, message)
    }

    /// Looked up for each burst: whoever manages the host may change it.
    fn router_address(&self) -> Option<Ipv6Addr> {
        let router = self.router.as_ref()?;
        *self.router_address.get_or_init(|| {
            let addresses = std::fs::read_to_string("/proc/self/net/if_inet6").ok()?;
            link_local(&addresses, router)
        })
    }
}

/// The link-local address of `interface` in /proc/net/if_inet6: address, index, length of the prefix, scope, flags, name.
pub(super) fn link_local(addresses: &str, interface: &str) -> Option<Ipv6Addr> {
    addresses.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok().map(Ipv6Addr::from)?;
        (fields.last() == Some(interface) && address.is_unicast_link_local()).then_some(address)
    })
}

impl Service for AddressServer {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match (&self.socket, self.deaf_until) {
            (Some(socket), None) => vec![(socket.as_fd(), PollFlags::IN)],
            _ => Vec::new(),
        }
    }

    fn on_ready(&mut self, now: Instant) {
        if self.deaf_until.is_some_and(|until| until <= now) {
            self.deaf_until = None;
        }
        if now.saturating_duration_since(self.last) >= REST {
            (self.answered, self.router_address) = (0, OnceCell::new());
        }
        if self.advertise_at.is_some_and(|at| at <= now) {
            self.advertise_at = Some(now + AGAIN);
            if let Some(socket) = &self.socket
                && let Ok(own) = socket.hardware_address()
                && let Some(frame) = self.advertisement(own, ALL_NODES)
            {
                let _ = socket.send(&frame);
            }
        }
        if self.deaf_until.is_none() && self.serve(now) {
            self.deaf_until = Some(now + REST);
        }
    }

    fn links_made(&mut self, links: &Links<'_>) {
        let index = links.host.get(self.link).copied().filter(|index| *index != 0);
        (self.socket, self.advertise_at, self.deaf_until) = (None, None, None);
        // 0 would be all interfaces of the host (packet(7)).
        let opened = index
            .ok_or_else(|| SysError::new("bind", "AF_PACKET, no interface", Errno::NODEV))
            .and_then(|index| PacketSocket::open(index, &filter::program(self.facts.mac)));
        match opened {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self
                .warnings
                .push(format!("the machine gets no answers by DHCP: {}", crate::sys::in_words(&error))),
        }
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn deadline(&self) -> Option<Instant> {
        // What there is to tell is asked for at the loop's next turn, which is to come now.
        let told = (!self.warnings.is_empty()).then_some(self.last);
        [told, self.deaf_until, self.advertise_at].into_iter().flatten().min()
    }
}
