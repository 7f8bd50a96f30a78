//! Datagrams with the address of ours that they were sent to, and answered from (IP_PKTINFO, IPV6_PKTINFO).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use crate::sys::{FdPath, SysError, SysResult, check, sys};

/// Has the datagrams of `socket` come with the address that they were sent to.
pub(super) fn tell_destinations(socket: &OwnedFd, address: SocketAddr) -> SysResult<()> {
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, which lives to the end of the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4),
        )
    };
    sys("setsockopt", check(result.into()).map(drop), || format!("{}, {level}, {option}", FdPath::of(socket)))
}

/// A datagram that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its length, of which the caller's buffer has as much as it has room for.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, and over which interface, where the socket tells.
    pub to: Option<(IpAddr, u32)>,
}

/// Room for the control data of one datagram, in words: a header of 16 bytes and an in6_pktinfo of 20, padded.
const CONTROL_WORDS: usize = 8;

/// Receives a datagram of a socket of [`super::listen`]; `None` when there is none.
///
/// # Errors
/// When the socket is broken; errors about datagrams sent before (ICMP) are not told.
pub fn receive_from(socket: &OwnedFd, buffer: &mut [u8]) -> SysResult<Option<Datagram>> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: sockaddr_storage is integers, for all of which zero is a value.
    let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut from).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of_val(&from)).unwrap_or(0);
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: header points at a name, one iovec over `buffer`, and `control`, each with its true size; all outlive the
    // call, and the kernel writes only inside them.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_TRUNC) };
    let Ok(length) = usize::try_from(result) else {
        let error = std::io::Error::last_os_error();
        return match Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)) {
            Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH => {
                Ok(None)
            }
            errno => Err(SysError::new("recvmsg", FdPath::of(socket).to_string(), errno)),
        };
    };
    // SAFETY: the kernel has written an address of this family's size into the storage, which is as large as any.
    let Some(from) = (unsafe { address_of(&from) }) else { return Ok(None) };
    let used = (header.msg_controllen as usize).min(size_of_val(&control));
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(used).collect();
    Ok(Some(Datagram { length, from, to: destination(&bytes) }))
}

/// The address in a storage that the kernel filled.
///
/// # Safety
/// For AF_INET and AF_INET6 the storage holds an address of that family.
unsafe fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = std::ptr::from_ref(storage);
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: promised by the caller; the storage is aligned for all families.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((address, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The first IP_PKTINFO or IPV6_PKTINFO among control messages: the address that a datagram was sent to.
fn destination(mut bytes: &[u8]) -> Option<(IpAddr, u32)> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    while bytes.len() >= HEADER {
        let length = usize::from_ne_bytes(*bytes.first_chunk()?);
        let level = i32::from_ne_bytes(*bytes.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*bytes.get(WORD + 4..)?.first_chunk()?);
        let data = bytes.get(HEADER..length)?;
        match (level, kind) {
            // struct in_pktinfo: index, the address to answer from, the address in the header.
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                let index = u32::from_ne_bytes(*data.first_chunk()?);
                return Some((IpAddr::from(*data.get(4..)?.first_chunk::<4>()?), index));
            }
            // struct in6_pktinfo: address, index.
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                let index = u32::from_ne_bytes(*data.get(16..)?.first_chunk()?);
                return Some((IpAddr::from(*data.first_chunk::<16>()?), index));
            }
            _ => bytes = bytes.get(length.next_multiple_of(WORD)..)?,
        }
    }
    None
}

/// Sends a datagram of a socket of [`super::listen`] to `to`, from the address `from` of ours. One that cannot be sent is lost, as
/// datagrams are.
pub fn send_from(socket: &OwnedFd, bytes: &[u8], to: SocketAddr, from: Option<(IpAddr, u32)>) {
    let (mut control, used) = source(from);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let (mut name, length) = storage_of(to);
    // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = length;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if used > 0 {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = used as _;
    }
    // SAFETY: header points at a name, one iovec over `bytes`, which is only read, and `control`, each with its true size;
    // all outlive the call.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
}

/// The control message that says from where to send, and how many bytes of it count.
fn source(from: Option<(IpAddr, u32)>) -> ([u64; CONTROL_WORDS], usize) {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    let mut bytes = [0_u8; CONTROL_WORDS * 8];
    let (level, kind, data) = match from {
        None => return ([0; CONTROL_WORDS], 0),
        Some((IpAddr::V4(address), _)) => {
            // struct in_pktinfo: index, the address to send from, the address in the header.
            (libc::SOL_IP, libc::IP_PKTINFO, [[0; 4], address.octets(), [0; 4]].concat())
        }
        Some((IpAddr::V6(address), index)) => {
            // struct in6_pktinfo. Only an address of a link means something different on each.
            let index = if address.is_unicast_link_local() { index } else { 0 };
            let data = [address.octets().as_slice(), &index.to_ne_bytes()].concat();
            (libc::SOL_IPV6, libc::IPV6_PKTINFO, data)
        }
    };
    let length = HEADER + data.len();
    let fields = length.to_ne_bytes().into_iter().chain(level.to_ne_bytes()).chain(kind.to_ne_bytes());
    bytes.iter_mut().zip(fields.chain(data)).for_each(|(to, from)| *to = from);
    let mut words = [0; CONTROL_WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.try_into().map_or(0, u64::from_ne_bytes);
    }
    (words, length.next_multiple_of(WORD))
}

/// `address` as the kernel has it, and its length.
fn storage_of(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: sockaddr_storage is integers, for all of which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let pointer = &raw mut storage;
    let length = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: a storage is as large and aligned as any address.
            unsafe { pointer.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::sa_family_t::try_from(libc::AF_INET6).unwrap_or(0),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { pointer.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, libc::socklen_t::try_from(length).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::{Binding, Transport, listen, local_address};
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_control_message_and_back() {
        for from in [
            (LOOPBACK, 0),
            (IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), 3),
            (IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]), 0),
        ] {
            let (words, used) = source(Some(from));
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take(used).collect();
            assert_eq!(destination(&bytes), Some(from), "{from:?}");
        }
        assert_eq!(source(None).1, 0);
        for broken in [&[][..], &[1; 7], &[0xff; 16], &[17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1]] {
            assert_eq!(destination(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn an_answer_comes_from_where_the_question_went() {
        let both = Binding { both_families: true, ..Binding::default() };
        let server = listen(Transport::Udp, (Ipv6Addr::UNSPECIFIED, 0).into(), both).expect("listen");
        let port = local_address(&server).expect("an address").port();
        let mut buffer = [0; 16];
        // 127.0.0.2: the kernel would answer from 127.0.0.1.
        for (client, to) in [("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")] {
            let client = UdpSocket::bind(client).expect("bind");
            let to: IpAddr = to.parse().expect("an address");
            client.send_to(b"question", (to, port)).expect("send");
            let datagram = loop {
                if let Some(datagram) = receive_from(&server, &mut buffer).expect("receive") {
                    break datagram;
                }
            };
            assert_eq!(&buffer[..datagram.length], b"question");
            assert_eq!(datagram.from.port(), client.local_addr().expect("address").port());
            assert_eq!(datagram.to.map(|(to, _)| to.to_canonical()), Some(to));
            send_from(&server, b"answer", datagram.from, datagram.to);
            let (length, from) = client.recv_from(&mut buffer).expect("receive");
            assert_eq!((&buffer[..length], from), (b"answer".as_slice(), SocketAddr::from((to, port))));
        }
        assert!(receive_from(&server, &mut buffer).expect("receive").is_none());
    }
}
