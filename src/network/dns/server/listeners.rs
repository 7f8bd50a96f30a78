//! The sockets at which the server listens.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::sys::inet::{Binding, Transport, listen, local_address};
use crate::sys::{SysError, SysResult};

/// How often a port is looked for that is free for UDP and TCP at all addresses.
const LOOKS: usize = 32;

/// Addresses may come later than the servers at them; 16 who wait to be accepted.
const BINDING: Binding = Binding { both_families: false, any_address: true, backlog: 16 };

/// Sockets for UDP and TCP at each of `addresses`, all at one port: rules name one.
pub(super) fn listen_at(addresses: &[IpAddr]) -> SysResult<(u16, Vec<OwnedFd>, Vec<OwnedFd>)> {
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
