//! TCP and UDP sockets (tcp(7), udp(7), ip(7), ipv6(7)), in whichever network namespace they belong to.
//!
//! All of them are non-blocking and close-on-exec. A socket stays in the network namespace that it was made in, whoever
//! has it later (network_namespaces(7)).

mod datagram;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use super::{FdPath, SysError, SysResult, sys};

pub use datagram::{Datagram, receive_from, send_from};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Sockets that carry a stream or datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// When a peer that says nothing is asked whether it is still there, how often, and how many times (tcp(7), TCP_KEEPIDLE):
/// what is gone for good is noticed within a quarter of an hour, not within two hours.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(600), Duration::from_secs(30), 8);

fn socket(transport: Transport, address: SocketAddr) -> SysResult<OwnedFd> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let made = rustix::net::socket_with(family, kind, FLAGS, Some(protocol));
    sys("socket", made, || format!("{family:?}, {kind:?}, {protocol:?}"))
}

/// How [`listen`] binds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binding {
    /// `::` is all of IPv4 too (IPV6_V6ONLY off).
    pub both_families: bool,
    /// The address need not be there yet (IP_FREEBIND).
    pub any_address: bool,
    /// Connections that wait to be accepted.
    pub backlog: i32,
}

/// A socket bound to `address`; one of TCP listens.
///
/// # Errors
/// EADDRINUSE when somebody has it, EADDRNOTAVAIL when it is no address of ours, EAFNOSUPPORT where there is no IPv6.
pub fn listen(transport: Transport, address: SocketAddr, binding: Binding) -> SysResult<OwnedFd> {
    let socket = socket(transport, address)?;
    let option = |name: &'static str, result: rustix::io::Result<()>| {
        sys("setsockopt", result, || format!("{}, {name}", FdPath::of(&socket)))
    };
    if address.is_ipv6() {
        option("IPV6_V6ONLY", sockopt::set_ipv6_v6only(&socket, !binding.both_families))?;
    }
    if binding.any_address {
        option("IP_FREEBIND", sockopt::set_ip_freebind(&socket, true))?;
    }
    match transport {
        // Connections of a listener before us that are in TIME_WAIT do not hold the port; who listens does (socket(7)).
        Transport::Tcp => option("SO_REUSEADDR", sockopt::set_socket_reuseaddr(&socket, true))?,
        Transport::Udp => datagram::tell_destinations(&socket, address)?,
    }
    sys("bind", rustix::net::bind(&socket, &address), || format!("{transport:?}, {address}"))?;
    if transport == Transport::Tcp {
        sys("listen", rustix::net::listen(&socket, binding.backlog), || {
            format!("{address}, {}", binding.backlog)
        })?;
    }
    Ok(socket)
}

/// A socket that connects to `address`, or has that as the only peer of its datagrams. A connection of TCP may not be there
/// yet: the socket is writable when it is, or when it never will ([`rustix::net::sockopt::socket_error`]).
///
/// # Errors
/// When it is clear at once that there is no way.
pub fn connect(transport: Transport, address: SocketAddr) -> SysResult<OwnedFd> {
    let socket = socket(transport, address)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(SysError::new("connect", format!("{transport:?}, {address}"), errno)),
    }
    Ok(socket)
}

/// Makes `socket`, of a connection, send what it is given at once, and notice that its peer is gone for good.
pub fn tune(socket: impl AsFd) {
    let (idle, interval, count) = KEEP_ALIVE;
    // All of these are for comfort; a socket that has none of them still works.
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    let _ = sockopt::set_tcp_keepidle(&socket, idle);
    let _ = sockopt::set_tcp_keepintvl(&socket, interval);
    let _ = sockopt::set_tcp_keepcnt(&socket, count);
    let _ = sockopt::set_socket_keepalive(&socket, true);
}

/// Takes a connection that waits, and says from where it comes; `None` when none does, or it has gone again.
///
/// # Errors
/// EMFILE and its like: the bare errno, which the caller acts on.
pub fn accept(listener: impl AsFd) -> Result<Option<(OwnedFd, Option<SocketAddr>)>, Errno> {
    match rustix::net::acceptfrom_with(&listener, FLAGS) {
        Ok((socket, peer)) => Ok(Some((socket, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))),
        // Errors of the connection that waited, which accept(2) gives as its own.
        Err(
            Errno::AGAIN
            | Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH,
        ) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Where `socket` is bound.
///
/// # Errors
/// When it is none of IP.
pub fn local_address(socket: &impl AsFd) -> SysResult<SocketAddr> {
    let address = rustix::net::getsockname(socket).and_then(SocketAddr::try_from);
    sys("getsockname", address, || FdPath::of(socket).to_string())
}

/// What waits on a connected socket; `None` when nothing does. 0 bytes are the end of a stream.
///
/// # Errors
/// ECONNREFUSED, ECONNRESET and the like.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> SysResult<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())) {
        Ok((length, _)) => Ok(Some(length)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(SysError::new("recv", FdPath::of(socket).to_string(), errno)),
    }
}

/// Sends what there is room for now on a connected socket: says how much, `None` for nothing. A closed other end is EPIPE, never
/// SIGPIPE.
///
/// # Errors
/// EPIPE, ECONNREFUSED and the like.
pub fn send_some(socket: &impl AsFd, bytes: &[u8]) -> SysResult<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)) {
        Ok(sent) => Ok(Some(sent)),
        // Of a stream that still connects, the latter.
        Err(Errno::AGAIN | Errno::NOTCONN) => Ok(None),
        Err(errno) => {
            Err(SysError::new("send", format!("{}, {} bytes", FdPath::of(socket), bytes.len()), errno))
        }
    }
}

/// The index of the interface `name`, as scopes of link-local addresses have it.
///
/// # Errors
/// ENODEV when there is none.
pub fn interface_index(name: &str) -> SysResult<u32> {
    let socket =
        sys("socket", rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None), || {
            "AF_INET, SOCK_DGRAM".to_owned()
        })?;
    sys("ioctl", rustix::net::netdevice::name_to_index(&socket, name), || format!("SIOCGIFINDEX, {name:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn a_port_is_held_in_both_families() {
        let both = Binding { both_families: true, backlog: 1, ..Binding::default() };
        let holder = listen(Transport::Tcp, (Ipv6Addr::UNSPECIFIED, 0).into(), both).expect("listen");
        let port = local_address(&holder).expect("an address").port();
        for address in ["0.0.0.0", "127.0.0.1", "::", "::1"] {
            let address: IpAddr = address.parse().expect("an address");
            let one = Binding { backlog: 1, ..Binding::default() };
            let error = listen(Transport::Tcp, (address, port).into(), one).expect_err("taken");
            assert_eq!(error.errno(), Errno::ADDRINUSE, "{address}");
        }
        let connection = connect(Transport::Tcp, (LOOPBACK, port).into()).expect("connect");
        let accepted = loop {
            if let Some(accepted) = accept(&holder).expect("accept") {
                break accepted;
            }
        };
        assert_eq!(
            accepted.1.map(|peer| peer.port()),
            Some(local_address(&connection).expect("an address").port())
        );
        tune(&connection);
        assert!(sockopt::tcp_nodelay(&connection).expect("an option"));
        assert!(sockopt::socket_keepalive(&connection).expect("an option"));
        drop(holder);
    }

    #[test]
    fn datagrams() {
        let server = listen(Transport::Udp, at("127.0.0.1:0"), Binding::default()).expect("bind");
        let address = local_address(&server).expect("address");
        let client = connect(Transport::Udp, address).expect("connect");
        let mut buffer = [0; 4];
        assert_eq!(receive_from(&server, &mut buffer).expect("nothing"), None);
        assert_eq!(send_some(&client, b"longer").expect("send"), Some(6));
        let from = local_address(&client).expect("address");
        let datagram = receive_from(&server, &mut buffer).expect("receive").expect("a datagram");
        assert_eq!((datagram.length, datagram.from, &buffer), (6, from, b"long"));
        send_from(&server, b"yes", from, None);
        assert_eq!(receive(&client, &mut buffer).expect("a datagram"), Some(3));
        drop(server);
        assert_eq!(send_some(&client, b"?").expect("send"), Some(1));
        assert_eq!(receive(&client, &mut buffer).expect_err("nobody").errno(), Errno::CONNREFUSED);
        // An address that no interface has, and one of another family.
        for free in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let any = Binding { any_address: true, backlog: 1, ..Binding::default() };
            listen(Transport::Udp, at(free), any).expect("bind freely");
            listen(Transport::Tcp, at(free), any).expect("bind freely");
        }
    }

    #[test]
    fn streams() {
        let one = Binding { backlog: 4, ..Binding::default() };
        let listener = listen(Transport::Tcp, at("127.0.0.1:0"), one).expect("listen");
        assert!(accept(&listener).expect("accept").is_none());
        let address = local_address(&listener).expect("address");
        let client = connect(Transport::Tcp, address).expect("connect");
        let (server, from) = accept(&listener).expect("accept").expect("a connection");
        assert_eq!(from, Some(local_address(&client).expect("address")));
        assert_eq!(send_some(&client, b"hello").expect("send"), Some(5));
        let mut buffer = [0; 8];
        assert_eq!(receive(&server, &mut buffer).expect("receive"), Some(5));
        assert_eq!(receive(&server, &mut buffer).expect("receive"), None);
        drop(client);
        assert_eq!(receive(&server, &mut buffer).expect("the end"), Some(0));
        drop(listener);
        // Refused at once or later, as the kernel likes.
        if let Ok(socket) = connect(Transport::Tcp, address) {
            assert!(receive(&socket, &mut buffer).is_err());
        }
    }

    #[test]
    fn interfaces() {
        assert_eq!(interface_index("lo").expect("lo"), 1);
        assert_eq!(interface_index("none-such").expect_err("none").errno(), Errno::NODEV);
    }
}
