//! Unix sockets that carry fds and credentials with their messages (unix(7), cmsg(3)).
//!
//! Receiving is our own, on recvmsg(2): rustix keeps the sender's pid in a type that has no zero, and zero is what the
//! kernel says for a sender outside our pid namespace. Every received fd is owned from the first moment, close-on-exec,
//! so that what the caller does not keep is closed.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::{FdPath, SysError, SysResult, sys};

/// The most fds that the kernel takes in one message (SCM_MAX_FD, include/net/scm.h).
pub const MAX_FDS: usize = 253;

/// Room for one message's control data, in 8-byte words: credentials (a header of 16 bytes and 12 of data, padded) and
/// the most fds. Words, since control messages start at multiples of their header's alignment.
const CONTROL_WORDS: usize = (16 + 16 + 16 + MAX_FDS * 4).div_ceil(8);

/// Who sent a message, as the kernel vouches for it (SCM_CREDENTIALS), in our own namespaces' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 if it has no number in our pid namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A received message: its bytes are in the caller's buffer.
#[derive(Debug, Default)]
pub struct Message {
    /// How many bytes of the buffer are the message. 0 on a connected SOCK_SEQPACKET socket is the end.
    pub length: usize,
    /// The fds that came with it.
    pub fds: Vec<OwnedFd>,
    /// The sender; only on sockets with SO_PASSCRED.
    pub credentials: Option<Credentials>,
    /// The message was longer than the buffer, and its rest is lost (MSG_TRUNC).
    pub truncated: bool,
    /// Fds were lost, as when our fd limit is reached (MSG_CTRUNC).
    pub fds_lost: bool,
}

/// A datagram socket that is not bound yet, non-blocking, whose messages carry their sender's credentials. SO_PASSCRED
/// comes before bind: messages queued without it would say pid 0.
pub fn notify_socket() -> SysResult<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let socket = sys("socket", socket, || "AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK".to_owned())?;
    sys("setsockopt", rustix::net::sockopt::set_socket_passcred(&socket, true), || {
        format!("{}, SOL_SOCKET, SO_PASSCRED, 1", FdPath::of(&socket))
    })?;
    Ok(socket)
}

/// Binds `socket` at `name` in the directory behind `directory`, which may be in no mount namespace of ours: bind(2) has
/// no *at form, so the path goes through our own fd's link in /proc.
pub fn bind_at(socket: &impl AsFd, directory: &impl AsFd, name: &str) -> SysResult<()> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    let result = SocketAddrUnix::new(&path).and_then(|address| rustix::net::bind(socket, &address));
    sys("bind", result, || format!("{}, {}/{name}", FdPath::of(socket), FdPath::of(directory)))
}

/// Two connected sockets that keep message boundaries (SOCK_SEQPACKET), blocking.
pub fn message_pair() -> SysResult<(OwnedFd, OwnedFd)> {
    let pair =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    sys("socketpair", pair, || "AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0".to_owned())
}

/// Sends one message with `fds`. A closed other end is EPIPE, never SIGPIPE.
pub fn send(socket: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> SysResult<()> {
    let describe = || format!("{}, {} bytes, {} fds", FdPath::of(socket), bytes.len(), fds.len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(SysError::new("sendmsg", describe(), Errno::INVAL));
    }
    let parts = [IoSlice::new(bytes)];
    let sent =
        rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL));
    match sys("sendmsg", sent, describe)? {
        sent if sent == bytes.len() => Ok(()),
        // Message sockets take all or nothing.
        _ => Err(SysError::new("sendmsg", describe(), Errno::MSGSIZE)),
    }
}

/// Sends one message if the other end has room for it now.
///
/// # Errors
/// EAGAIN where it has not; EPIPE, never SIGPIPE, when it is closed.
pub fn send_at_once(socket: &impl AsFd, bytes: &[u8]) -> SysResult<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, flags));
    sys("send", sent.map(drop), || format!("{}, {} bytes, MSG_DONTWAIT", FdPath::of(socket), bytes.len()))
}

/// Receives one message into `buffer`. `None` if there is none and the socket is non-blocking.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> SysResult<Option<Message>> {
    let capacity = buffer.len();
    let mut control = [0_u64; CONTROL_WORDS];
    let mut parts = [IoSliceMut::new(buffer)];
    // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSliceMut has the layout of iovec by its documentation.
    header.msg_iov = parts.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let length = loop {
        // SAFETY: header points at one iovec over `buffer` and at `control`, each with its true size; all three outlive
        // the call, and the kernel writes only inside them.
        let result =
            unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(result) {
            Ok(length) => break length,
            Err(_) => match last_errno() {
                Errno::INTR => {}
                Errno::AGAIN => return Ok(None),
                errno => {
                    let arguments = format!("{}, {capacity} bytes, MSG_CMSG_CLOEXEC", FdPath::of(socket));
                    return Err(SysError::new("recvmsg", arguments, errno));
                }
            },
        }
    };
    let used = (header.msg_controllen as usize).min(size_of_val(&control));
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(used).collect();
    let parsed = parse_control(&bytes);
    Ok(Some(Message {
        length,
        // SAFETY: the kernel has just put these fds in our table for this message; nobody else knows them.
        fds: parsed.fds.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect(),
        credentials: parsed.credentials,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        fds_lost: header.msg_flags & libc::MSG_CTRUNC != 0,
    }))
}

fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Control {
    fds: Vec<i32>,
    credentials: Option<Credentials>,
}

/// Reads control messages as the kernel lays them out: length (with header) as a word, level, type, data, padded to a
/// word.
fn parse_control(mut bytes: &[u8]) -> Control {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    let mut control = Control::default();
    while bytes.len() >= HEADER {
        let (Some(length), Some(level), Some(kind)) =
            (read_word(bytes), read_i32(bytes, WORD), read_i32(bytes, WORD + 4))
        else {
            break;
        };
        if length < HEADER || length > bytes.len() {
            break;
        }
        let data = &bytes[HEADER..length];
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                control.fds.extend((0..data.len() / 4).filter_map(|index| read_i32(data, index * 4)));
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                if let (Some(pid), Some(uid), Some(gid)) =
                    (read_i32(data, 0), read_i32(data, 4), read_i32(data, 8))
                {
                    control.credentials =
                        Some(Credentials { pid, uid: uid.cast_unsigned(), gid: gid.cast_unsigned() });
                }
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(WORD)..).unwrap_or_default();
    }
    control
}

fn read_word(bytes: &[u8]) -> Option<usize> {
    Some(usize::from_ne_bytes(*bytes.first_chunk()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn cmsg(length: usize, level: i32, kind: i32, data: &[i32]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data.iter().flat_map(|number| number.to_ne_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn control_data() {
        let (socket, rights, credentials) = (libc::SOL_SOCKET, libc::SCM_RIGHTS, libc::SCM_CREDENTIALS);
        let who = Some(Credentials { pid: 0, uid: 7, gid: 8 });
        let table: &[(&str, Vec<u8>, Control)] = &[
            ("nothing", vec![], Control::default()),
            ("half a header", vec![0; 9], Control::default()),
            ("length below the header's", cmsg(3, socket, rights, &[5]), Control::default()),
            ("length beyond the data", cmsg(4096, socket, rights, &[5]), Control::default()),
            ("fds", cmsg(28, socket, rights, &[5, 6, 7]), Control { fds: vec![5, 6, 7], credentials: None }),
            ("part of an fd", cmsg(22, socket, rights, &[5, 6]), Control { fds: vec![5], credentials: None }),
            ("pid 0", cmsg(28, socket, credentials, &[0, 7, 8]), Control { fds: vec![], credentials: who }),
            (
                "both, and one that is unknown",
                [
                    cmsg(28, socket, credentials, &[0, 7, 8]),
                    cmsg(20, socket, 99, &[1]),
                    cmsg(20, socket, rights, &[9]),
                ]
                .concat(),
                Control { fds: vec![9], credentials: who },
            ),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(parse_control(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn messages_carry_bytes_and_fds() {
        let (ours, theirs) = message_pair().expect("pair");
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        send(&ours, b"take this", &[writer.as_fd()]).expect("send");
        drop(writer);
        let mut buffer = [0; 64];
        let message = receive(&theirs, &mut buffer).expect("receive").expect("a message");
        assert_eq!(&buffer[..message.length], b"take this");
        assert_eq!((message.fds.len(), message.truncated, message.fds_lost), (1, false, false));
        rustix::io::write(&message.fds[0], b"through the fd").expect("write");
        drop(message);
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).expect("read to the end");
        assert_eq!(text, "through the fd");
        drop(ours);
        assert_eq!(receive(&theirs, &mut buffer).expect("end").expect("end").length, 0);
    }

    #[test]
    fn the_most_fds_fit_and_one_more_does_not() {
        let (ours, theirs) = message_pair().expect("pair");
        let null = std::fs::File::open("/dev/null").expect("open");
        send(&ours, b"x", &[null.as_fd(); MAX_FDS]).expect("send");
        let message = receive(&theirs, &mut [0; 8]).expect("receive").expect("a message");
        assert_eq!((message.fds.len(), message.fds_lost), (MAX_FDS, false));
        let error = send(&ours, b"x", &[null.as_fd(); MAX_FDS + 1]).expect_err("too many");
        assert_eq!(error.errno(), Errno::INVAL);
    }

    #[test]
    fn datagrams_say_who_sent_them_and_whether_they_were_cut() {
        let directory = tempfile::tempdir().expect("tempdir");
        let handle = std::fs::File::open(directory.path()).expect("open");
        let socket = notify_socket().expect("socket");
        bind_at(&socket, &handle, "notify").expect("bind");
        assert!(receive(&socket, &mut [0; 8]).expect("receive").is_none());
        let sender = std::os::unix::net::UnixDatagram::unbound().expect("unbound");
        sender.send_to(b"READY=1 and more", directory.path().join("notify")).expect("send");
        let mut buffer = [0; 7];
        let message = receive(&socket, &mut buffer).expect("receive").expect("a message");
        assert_eq!((&buffer, message.truncated), (b"READY=1", true));
        let who = message.credentials.expect("credentials");
        assert_eq!(who.pid, std::process::id().cast_signed());
        assert_eq!(who.uid, rustix::process::getuid().as_raw());
    }
}
