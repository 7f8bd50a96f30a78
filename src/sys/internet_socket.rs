//! UDP and TCP sockets (ip(7), ipv6(7)): all of them non-blocking and close-on-exec.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, getsockname, listen,
    recvfrom, socket_with, sockopt,
};

use super::{FdPath, SysError, SysResult, sys};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn socket(address: SocketAddr, kind: SocketType) -> SysResult<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    sys("socket", socket_with(family, kind, FLAGS, None), || {
        format!("{family:?}, {kind:?}|SOCK_CLOEXEC|SOCK_NONBLOCK")
    })
}

/// A socket that is bound to `address`, which an interface may get later (IP_FREEBIND).
fn bound(address: SocketAddr, kind: SocketType) -> SysResult<OwnedFd> {
    let socket = socket(address, kind)?;
    let free = match address.ip() {
        IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true),
        IpAddr::V6(_) => {
            sockopt::set_ipv6_v6only(&socket, true).and_then(|()| sockopt::set_ipv6_freebind(&socket, true))
        }
    };
    sys("setsockopt", free, || format!("{}, IP_FREEBIND, 1", FdPath::of(&socket)))?;
    sys("bind", bind(&socket, &address), || format!("{}, {address}", FdPath::of(&socket)))?;
    Ok(socket)
}

/// Takes datagrams at `address`; port 0 is one of the kernel's choice.
///
/// # Errors
/// EADDRINUSE.
pub fn datagram_listener(address: SocketAddr) -> SysResult<OwnedFd> {
    bound(address, SocketType::DGRAM)
}

/// Takes connections at `address`.
///
/// # Errors
/// EADDRINUSE.
pub fn stream_listener(address: SocketAddr, backlog: i32) -> SysResult<OwnedFd> {
    let listener = bound(address, SocketType::STREAM)?;
    sys("listen", listen(&listener, backlog), || format!("{}, {backlog}", FdPath::of(&listener)))?;
    Ok(listener)
}

/// Where `socket` is bound.
///
/// # Errors
/// When it is none of IP.
pub fn local_address(socket: &impl AsFd) -> SysResult<SocketAddr> {
    let address = getsockname(socket).and_then(SocketAddr::try_from);
    sys("getsockname", address, || FdPath::of(socket).to_string())
}

/// A socket at a port of the kernel's choice that talks with `server` alone: the kernel drops what comes from elsewhere.
///
/// # Errors
/// ENETUNREACH and the like where there is no route.
pub fn datagram_to(server: SocketAddr) -> SysResult<OwnedFd> {
    let socket = socket(server, SocketType::DGRAM)?;
    sys("connect", connect(&socket, &server), || format!("{}, {server}", FdPath::of(&socket)))?;
    Ok(socket)
}

/// A socket that begins to connect with `server`: writable once that has come to an end.
///
/// # Errors
/// What is known at once, as ENETUNREACH.
pub fn stream_to(server: SocketAddr) -> SysResult<OwnedFd> {
    let socket = socket(server, SocketType::STREAM)?;
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(SysError::new("connect", format!("{}, {server}", FdPath::of(&socket)), errno)),
    }
}

/// Takes a connection that waits, with who made it; `None` when none does, or it has gone again.
///
/// # Errors
/// EMFILE and the like.
pub fn accept_from(listener: &impl AsFd) -> SysResult<Option<(OwnedFd, SocketAddr)>> {
    match rustix::net::acceptfrom_with(listener, FLAGS) {
        Ok((connection, address)) => {
            Ok(address.and_then(|address| SocketAddr::try_from(address).ok()).map(|from| (connection, from)))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(SysError::new("accept4", FdPath::of(listener).to_string(), errno)),
    }
}

/// A datagram that waits, with its sender; `None` when none does. One that is longer than `buffer` has its true length.
///
/// # Errors
/// ECONNREFUSED and the like, of what was sent before.
pub fn receive_from(socket: &impl AsFd, buffer: &mut [u8]) -> SysResult<Option<(usize, SocketAddr)>> {
    let received = rustix::io::retry_on_intr(|| recvfrom(socket, &mut *buffer, RecvFlags::TRUNC));
    match received {
        Ok((_, length, from)) => {
            Ok(from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| (length, from)))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(SysError::new("recvfrom", FdPath::of(socket).to_string(), errno)),
    }
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

/// Sends a datagram, if there is room for it now: UDP promises no more.
///
/// # Errors
/// EAGAIN, ENETUNREACH and the like.
pub fn send_to(socket: &impl AsFd, bytes: &[u8], to: SocketAddr) -> SysResult<()> {
    let sent = rustix::io::retry_on_intr(|| rustix::net::sendto(socket, bytes, SendFlags::NOSIGNAL, &to));
    sys("sendto", sent.map(drop), || format!("{}, {} bytes, {to}", FdPath::of(socket), bytes.len()))
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
    let socket = sys("socket", socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None), || {
        "AF_INET, SOCK_DGRAM".to_owned()
    })?;
    sys("ioctl", rustix::net::netdevice::name_to_index(&socket, name), || format!("SIOCGIFINDEX, {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn datagrams() {
        let server = datagram_listener(loopback(0)).expect("bind");
        let at = local_address(&server).expect("address");
        let client = datagram_to(at).expect("connect");
        let mut buffer = [0; 4];
        assert_eq!(receive_from(&server, &mut buffer).expect("nothing"), None);
        assert_eq!(send_some(&client, b"longer").expect("send"), Some(6));
        let from = local_address(&client).expect("address");
        assert_eq!(receive_from(&server, &mut buffer).expect("a datagram"), Some((6, from)));
        assert_eq!(&buffer, b"long");
        send_to(&server, b"yes", from).expect("send");
        assert_eq!(receive(&client, &mut buffer).expect("a datagram"), Some(3));
        drop(server);
        assert_eq!(send_some(&client, b"?").expect("send"), Some(1));
        assert_eq!(receive(&client, &mut buffer).expect_err("nobody").errno(), Errno::CONNREFUSED);
        // An address that no interface has, and one of another family.
        for free in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            datagram_listener(free.parse().expect("address")).expect("bind freely");
        }
    }

    #[test]
    fn streams() {
        let listener = stream_listener(loopback(0), 4).expect("listen");
        assert!(accept_from(&listener).expect("accept").is_none());
        let client = stream_to(local_address(&listener).expect("address")).expect("connect");
        let (server, from) = accept_from(&listener).expect("accept").expect("a connection");
        assert_eq!(from, local_address(&client).expect("address"));
        assert_eq!(send_some(&client, b"hello").expect("send"), Some(5));
        let mut buffer = [0; 8];
        assert_eq!(receive(&server, &mut buffer).expect("receive"), Some(5));
        assert_eq!(receive(&server, &mut buffer).expect("receive"), None);
        drop(client);
        assert_eq!(receive(&server, &mut buffer).expect("the end"), Some(0));
        let gone = local_address(&listener).expect("address");
        drop(listener);
        // Refused at once or later, as the kernel likes.
        if let Ok(socket) = stream_to(gone) {
            assert!(receive(&socket, &mut buffer).is_err());
        }
    }

    #[test]
    fn interfaces() {
        assert_eq!(interface_index("lo").expect("lo"), 1);
        assert_eq!(interface_index("none-such").expect_err("none").errno(), Errno::NODEV);
    }
}
