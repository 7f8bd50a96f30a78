//! Netlink sockets (netlink(7)): what is asked goes out as bytes, and what the kernel says to it comes back.
//!
//! rtnetlink and nfnetlink do what they are asked before sendmsg(2) returns, and go on with a dump at each receive: when there
//! is nothing more to receive, all has been said. So nobody waits here, and no answer is lost among later ones.

mod message;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

pub use message::{
    ACKNOWLEDGE, APPEND, CREATE, DUMP, EXCLUSIVE, HEADER, Message, REPLACE, REQUEST, Requests, attribute,
    attributes, messages, nested,
};

use super::{FdPath, SysError, SysResult, check, sys};

/// NETLINK_ROUTE: links, addresses, routes.
pub const ROUTE: u32 = 0;
/// NETLINK_NETFILTER: nftables, conntrack.
pub const NETFILTER: u32 = 12;

/// What a socket's receive buffer holds: an acknowledgement takes some hundred bytes of it, and a batch may have thousands.
/// Memory is taken as it is used.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The largest part of a dump that kernels send (NLMSG_GOODSIZE is a page, 32 KiB for who has room), and more.
const CHUNK: usize = 64 << 10;

/// A netlink socket of the network namespace that it was opened in, whichever its process is in later.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    protocol: u32,
    sequence: u32,
    /// An exchange failed before all of it was received.
    left: bool,
}

/// What the kernel did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which message of those that were sent.
    pub index: usize,
    /// Why.
    pub errno: Errno,
    /// The kernel's own words, where it has some (extended acknowledgements, Linux 4.12).
    pub text: Option<String>,
}

/// What the kernel says to messages.
#[derive(Debug, Default)]
pub struct Answers {
    /// What was asked for, in order.
    pub messages: Vec<Message>,
    /// What was not done. rtnetlink does the others all the same; a batch of nftables is done whole or not at all.
    pub refusals: Vec<Refusal>,
    /// Things changed while they were listed: another try may be better (NLM_F_DUMP_INTR).
    pub interrupted: bool,
}

impl Socket {
    /// Opens a socket of `protocol`, [`ROUTE`] or [`NETFILTER`]. The kernel puts its words to what it refuses.
    ///
    /// # Errors
    /// EPROTONOSUPPORT where the kernel has no such protocol.
    pub fn open(protocol: u32) -> SysResult<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let number = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, number);
        let fd =
            sys("socket", fd, || format!("AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC|SOCK_NONBLOCK, {protocol}"))?;
        let socket = Self { fd, protocol, sequence: 0, left: false };
        // Older kernels have neither: their refusals say less, and quote all that was sent.
        let _ = socket.set(libc::NETLINK_EXT_ACK, 1);
        let _ = socket.set(libc::NETLINK_CAP_ACK, 1);
        // Past net.core.rmem_max with CAP_NET_ADMIN; without, as far as that goes.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket.fd, RECEIVE_BUFFER)
            .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket.fd, RECEIVE_BUFFER));
        if protocol == NETFILTER {
            // A batch is one message to the socket.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket.fd, RECEIVE_BUFFER);
        }
        Ok(socket)
    }

    /// Has what is said to the multicast group `group` (RTNLGRP_LINK, NFNLGRP_NFTABLES, ...) sent to this socket too, for
    /// [`Socket::receive`]. One that asks things should be another.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN for groups of nfnetlink.
    pub fn join(&self, group: u32) -> SysResult<()> {
        // A socket without a port of its own, as it is before it has sent anything, is left out: the kernel takes it for the sender
        // of what nobody sent (do_one_broadcast()).
        let address = rustix::net::netlink::SocketAddrNetlink::new(0, 0);
        match rustix::net::bind(&self.fd, &address) {
            // It has one already: this is not its first group, or it has sent something.
            Err(Errno::INVAL) => {}
            bound => sys("bind", bound, || format!("{}, AF_NETLINK", self.shown()))?,
        }
        let group = i32::try_from(group).unwrap_or(i32::MAX);
        self.set(libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Sends `messages` in one go and gives what the kernel says to them. Their headers say length, kind and flags; sequence
    /// numbers are given here. With [`ACKNOWLEDGE`] in its flags a message is answered for in any case.
    ///
    /// # Errors
    /// When they cannot be sent, or what is said is more than the socket holds (ENOBUFS). Refusals are none.
    pub fn exchange(&mut self, messages: &[u8]) -> SysResult<Answers> {
        // What was left of an earlier exchange that failed.
        while self.left && self.receive()?.is_some_and(|left| !left.is_empty()) {}
        self.left = true;
        let describe = || format!("{}, {} bytes", self.shown(), messages.len());
        let first = self.sequence.wrapping_add(1);
        let (bytes, count, last_acknowledged) = message::number(messages, first)
            .ok_or_else(|| SysError::new("sendto", describe(), Errno::INVAL))?;
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &bytes, SendFlags::empty()));
        sys("sendto", sent, describe)?;
        self.sequence = self.sequence.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        let mut answers = Answers::default();
        let mut acknowledged = last_acknowledged.is_none();
        while let Some(received) = self.receive()? {
            for message in received {
                let index = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if index >= count {
                    continue;
                }
                answers.interrupted |= message.flags & message::INTERRUPTED != 0;
                match message.outcome() {
                    None => answers.messages.push(message),
                    Some((None, _)) => acknowledged |= last_acknowledged == Some(index),
                    Some((Some(errno), text)) => answers.refusals.push(Refusal { index, errno, text }),
                }
            }
        }
        self.left = false;
        match acknowledged || !answers.refusals.is_empty() {
            true => Ok(answers),
            false => Err(SysError::new("recvfrom", format!("{}: no answer", self.shown()), Errno::TIMEDOUT)),
        }
    }

    /// As [`Socket::exchange`], where whatever is refused is an error, the first one: `asked` says what message N asked for.
    ///
    /// # Errors
    /// With the errno of the first refusal.
    pub fn request(&mut self, messages: &[u8], asked: impl Fn(usize) -> String) -> SysResult<Vec<Message>> {
        let answers = self.exchange(messages)?;
        match answers.refusals.first() {
            None => Ok(answers.messages),
            Some(refusal) => Err(self.error(refusal, &asked(refusal.index))),
        }
    }

    /// Does what `requests` ask for; each is acknowledged.
    ///
    /// # Errors
    /// The first refusal.
    pub fn carry_out(&mut self, requests: &Requests) -> SysResult<Vec<Message>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.request(requests.bytes(), |index| requests.asked(index).to_owned())
    }

    /// What `request`, a message with [`DUMP`] in its flags, lists. It is asked again if things changed meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses; ENOBUFS when the list is longer than a socket holds.
    pub fn dump(&mut self, request: &[u8], asked: &str) -> SysResult<Vec<Message>> {
        /// A list that changes each time is as good as any.
        const TRIES: usize = 8;
        let mut answers = self.exchange(request)?;
        for _ in 1..TRIES {
            if !answers.interrupted {
                break;
            }
            answers = self.exchange(request)?;
        }
        match answers.refusals.first() {
            None => Ok(answers.messages),
            Some(refusal) => Err(self.error(refusal, asked)),
        }
    }

    /// `refusal` as the error of a call: `rtnetlink(RTM_NEWLINK "ve-web": "Device name taken"): File exists`.
    pub fn error(&self, refusal: &Refusal, asked: &str) -> SysError {
        let call = match self.protocol {
            ROUTE => "rtnetlink",
            NETFILTER => "nfnetlink",
            _ => "netlink",
        };
        let text = refusal.text.as_ref().map(|text| format!(": {text:?}")).unwrap_or_default();
        SysError::new(call, format!("{asked}{text}"), refusal.errno)
    }

    /// The messages that are there now; `None` if there are none.
    ///
    /// # Errors
    /// ENOBUFS when some were lost since they came faster than they were received: whoever watches looks at all again.
    pub fn receive(&self) -> SysResult<Option<Vec<Message>>> {
        // Not zeroed before: of memory that nobody writes to the kernel gives us none.
        let mut buffer = Vec::with_capacity(CHUNK);
        // With MSG_TRUNC the length is that of the whole, whatever the buffer took.
        let flags = RecvFlags::TRUNC;
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, spare_capacity(&mut buffer), flags));
        match received {
            Ok((_, length)) if length > buffer.len() => {
                Err(SysError::new("recvfrom", format!("{}, {length} bytes", self.shown()), Errno::MSGSIZE))
            }
            Ok(_) => Ok(Some(messages(&buffer))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(SysError::new("recvfrom", self.shown(), errno)),
        }
    }

    /// Reads what has come to a socket that has [joined](Self::join) groups, for `each`. Says whether it is all: where some was
    /// lost or is left there, everything has to be looked at.
    pub fn drain(&self, mut each: impl FnMut(&Message)) -> bool {
        /// As many reads at a time: who changes things without an end does not keep us from all else.
        const READS: usize = 4096;
        let mut all = true;
        for _ in 0..READS {
            match self.receive() {
                Ok(None) => return all,
                Ok(Some(messages)) => messages.iter().for_each(&mut each),
                Err(_) => all = false,
            }
        }
        false
    }

    fn set(&self, option: libc::c_int, value: libc::c_int) -> SysResult<()> {
        let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
        // SAFETY: the option is an int, which lives across the call and whose size is passed; the fd is borrowed for its
        // length.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const value).cast(), size)
        };
        sys("setsockopt", check(result.into()).map(drop), || {
            format!("{}, SOL_NETLINK, {option}, {value}", self.shown())
        })
    }

    fn shown(&self) -> String {
        FdPath::of(&self.fd).to_string()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RTM_GETLINK and an ifinfomsg for the interface `index`.
    fn get_link(index: u8, flags: u16) -> Requests {
        const RTM_GETLINK: u16 = 18;
        let mut requests = Requests::default();
        let mut body = [0; 16];
        body[4] = index;
        requests.push(RTM_GETLINK, flags, &body, format!("RTM_GETLINK {index}"));
        requests
    }

    #[test]
    fn answers_and_refusals() {
        let mut socket = Socket::open(ROUTE).unwrap();
        let found = socket.carry_out(&get_link(1, 0)).unwrap();
        assert_eq!(found.len(), 1);
        let name = attributes(found[0].body.get(16..).unwrap()).find(|(kind, _)| *kind == 3);
        assert_eq!(name, Some((3, b"lo\0".as_slice())));
        let error = socket.carry_out(&get_link(0, 0)).unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL);
        assert!(error.to_string().starts_with("rtnetlink(RTM_GETLINK 0"), "{error}");
        let all = socket.dump(get_link(0, DUMP).bytes(), "RTM_GETLINK").unwrap();
        assert!(all.iter().any(|link| link.body.get(4) == Some(&1)), "{all:?}");
        // Bytes that are no messages are not sent.
        assert_eq!(socket.exchange(&[1, 0, 0]).unwrap_err().errno(), Errno::INVAL);
        assert!(socket.receive().unwrap().is_none());
    }
}
