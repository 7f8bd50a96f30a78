//! What a supervisor tells its proxy: one message each of JSON on a socket that keeps them apart (SOCK_SEQPACKET), with the
//! sockets that it is about. That the proxy has ended is the end of the channel.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::network::Protocol;
use crate::sys::socket::MAX_FDS;

/// Sockets that come with one message, at most.
pub(super) const MOST_FDS: usize = MAX_FDS;

/// The longest message: a path of 4 KiB, each of its bytes escaped.
pub(super) const MESSAGE_BYTES: usize = 32 << 10;

/// What the proxy says when it has carried out [`Order::Stop`]: the ports are free.
pub(super) const STOPPED: u8 = b'.';

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Serves the sockets that come with this, each by the port after the last one's.
    Serve {
        /// What they are called together.
        group: u32,
        /// Whether they listen, or take datagrams.
        protocol: Protocol,
        /// Where what comes in goes to.
        to: Target,
    },
    /// Closes the sockets of this group, and all that came in by them. Answered by [`STOPPED`].
    Stop {
        /// Which.
        group: u32,
    },
    /// Ends all that came in; the machine's network is another one now.
    Reset,
}

/// Where something leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Target {
    /// A port at one of these addresses, the first one that has somebody listen; those of the client's own family come first.
    Inet(Vec<IpAddr>, u16),
    /// A stream socket of the file system.
    Unix(PathBuf),
}

impl Target {
    /// The addresses to try, in this order, for a client of `peer`, by the socket with this `offset` in its group.
    pub(super) fn addresses(&self, peer: Option<SocketAddr>, offset: u16) -> Vec<SocketAddr> {
        let Self::Inet(addresses, port) = self else { return Vec::new() };
        let v4 = peer.is_none_or(|peer| peer.ip().to_canonical().is_ipv4());
        let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.iter().partition(|address| address.is_ipv4() == v4);
        let port = port.wrapping_add(offset);
        first.into_iter().chain(second).map(|address| SocketAddr::new(address, port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_own_family_comes_first() {
        let target = Target::Inet(vec!["10.213.0.2".parse().unwrap(), "fd00::2".parse().unwrap()], 80);
        let rows = [
            (Some("192.0.2.7:999"), 0, "10.213.0.2:80, [fd00::2]:80"),
            (Some("[::ffff:192.0.2.7]:999"), 2, "10.213.0.2:82, [fd00::2]:82"),
            (Some("[::1]:999"), 0, "[fd00::2]:80, 10.213.0.2:80"),
            (None, 0, "10.213.0.2:80, [fd00::2]:80"),
        ];
        for (peer, offset, expected) in rows {
            let addresses = target.addresses(peer.map(|peer| peer.parse().unwrap()), offset);
            let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            assert_eq!(text.join(", "), expected, "{peer:?}");
        }
        assert_eq!(Target::Unix("/run/x".into()).addresses(None, 0), []);
    }
}
