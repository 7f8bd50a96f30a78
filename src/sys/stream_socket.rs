//! Connections over unix stream sockets (unix(7)): to listen, to connect, and to send what can be sent at this moment.
//!
//! All of them are non-blocking and close-on-exec. Receiving is [`super::socket::receive`]'s.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::files::change_mode;
use super::socket::{Credentials, bind_at};
use super::{FdPath, SysError, SysResult, check, sys};

/// The most fds that [`send_some`] takes; what we speak passes one or two.
pub const MAX_FDS_SENT: usize = 16;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn stream_socket() -> SysResult<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
    sys("socket", socket, || "AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK".to_owned())
}

/// Listens at `name` in `directory`, which may be in no mount namespace of ours. Connecting takes write permission by
/// `mode` (unix(7)), which the socket has from its first moment: bind(2) takes it from the unbound socket's own.
///
/// # Errors
/// EADDRINUSE when the name is taken.
pub fn listen_at(directory: &impl AsFd, name: &str, mode: u32, backlog: i32) -> SysResult<OwnedFd> {
    let socket = stream_socket()?;
    change_mode(&socket, mode)?;
    bind_at(&socket, directory, name)?;
    sys("listen", rustix::net::listen(&socket, backlog), || format!("{}, {backlog}", FdPath::of(&socket)))?;
    Ok(socket)
}

/// Connects to the socket `name` in `directory`.
///
/// # Errors
/// ENOENT and ECONNREFUSED when nobody listens there, EACCES when we may not, EAGAIN when too many wait to be accepted.
pub fn connect_at(directory: &impl AsFd, name: &str) -> SysResult<OwnedFd> {
    let socket = stream_socket()?;
    // connect(2) has no *at form; and a path of any length fits by way of the fd.
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    let connected = SocketAddrUnix::new(&path).and_then(|address| rustix::net::connect(&socket, &address));
    sys("connect", connected, || format!("{}/{name}", FdPath::of(directory)))?;
    Ok(socket)
}

/// Connects to the socket `path`, by the rules of this process.
///
/// # Errors
/// As [`connect_at`].
pub fn connect_to(path: &Path) -> SysResult<OwnedFd> {
    let socket = stream_socket()?;
    let connected = SocketAddrUnix::new(path).and_then(|address| rustix::net::connect(&socket, &address));
    sys("connect", connected, || format!("{path:?}"))?;
    Ok(socket)
}

/// Two sockets that are connected with each other.
pub fn stream_pair() -> SysResult<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
    sys("socketpair", pair, || "AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK".to_owned())
}

/// Takes a connection that waits; `None` when none does, or it has gone again.
pub fn accept(listener: &impl AsFd) -> SysResult<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, FLAGS) {
        Ok(connection) => Ok(Some(connection)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(SysError::new("accept4", FdPath::of(listener).to_string(), errno)),
    }
}

/// Who connected (SO_PEERCRED), in our own namespaces' numbers: its ids at the time of connect(2).
pub fn peer(socket: &impl AsFd) -> SysResult<Credentials> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: both pointers are to live values, and `length` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    sys("getsockopt", check(result.into()), || format!("{}, SOL_SOCKET, SO_PEERCRED", FdPath::of(socket)))?;
    Ok(Credentials { pid: peer.pid, uid: peer.uid, gid: peer.gid })
}

/// The process that connected, as a pidfd (SO_PEERPIDFD, Linux 6.5).
///
/// # Errors
/// ENOPROTOOPT before that; ESRCH when it is gone and reaped.
pub fn peer_process(socket: &impl AsFd) -> SysResult<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77; // asm-generic/socket.h
    let mut pidfd: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: both pointers are to live values, and `length` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut length,
        )
    };
    let describe = || format!("{}, SOL_SOCKET, SO_PEERPIDFD", FdPath::of(socket));
    sys("getsockopt", check(result.into()), describe)?;
    // SAFETY: the call has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// The path that `socket` is bound to.
///
/// # Errors
/// EINVAL for one that has none.
pub fn local_path(socket: &impl AsFd) -> SysResult<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let describe = || FdPath::of(socket).to_string();
    let address = sys("getsockname", rustix::net::getsockname(socket), describe)?;
    let address = SocketAddrUnix::try_from(address).ok();
    let path = address.as_ref().and_then(SocketAddrUnix::path).map(std::borrow::Cow::into_owned);
    match path {
        Some(path) => Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()))),
        None => Err(SysError::new("getsockname", describe(), Errno::INVAL)),
    }
}

/// Sends what the other side's buffer takes of `bytes` at this moment, with `fds` at the first byte: says how much, `None`
/// for nothing. A closed other end is EPIPE, never SIGPIPE.
pub fn send_some(socket: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> SysResult<Option<usize>> {
    let describe = || format!("{}, {} bytes, {} fds", FdPath::of(socket), bytes.len(), fds.len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(SysError::new("sendmsg", describe(), Errno::INVAL));
    }
    let (parts, flags) = ([IoSlice::new(bytes)], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    match rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, flags)) {
        Ok(sent) => Ok(Some(sent)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(SysError::new("sendmsg", describe(), errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::socket::receive;
    use super::*;

    #[test]
    fn connections_are_made_by_directory_and_name() {
        let temporary = tempfile::tempdir().expect("tempdir");
        // sun_path has 108 bytes (unix(7)).
        let long = temporary.path().join("x".repeat(120));
        std::fs::create_dir(&long).expect("mkdir");
        let directory = std::fs::File::open(&long).expect("open");
        let refused = connect_at(&directory, "control").expect_err("nobody");
        assert_eq!(refused.errno(), Errno::NOENT);
        let listener = listen_at(&directory, "control", 0o600, 8).expect("listen");
        let mode = std::fs::metadata(long.join("control")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(accept(&listener).expect("accept").is_none());
        let ours = connect_at(&directory, "control").expect("connect");
        let theirs = accept(&listener).expect("accept").expect("a connection");
        assert_eq!(
            peer(&theirs).expect("peer"),
            Credentials {
                pid: std::process::id().cast_signed(),
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw()
            }
        );
        let null = std::fs::File::open("/dev/null").expect("open");
        assert_eq!(send_some(&ours, b"hello", &[null.as_fd()]).expect("send"), Some(5));
        let mut buffer = [0; 16];
        let message = receive(&theirs, &mut buffer).expect("receive").expect("a message");
        assert_eq!((&buffer[..message.length], message.fds.len()), (b"hello".as_slice(), 1));
        assert!(receive(&theirs, &mut buffer).expect("receive").is_none());
        drop(ours);
        assert_eq!(receive(&theirs, &mut buffer).expect("receive").expect("the end").length, 0);
        assert_eq!(listen_at(&directory, "control", 0o600, 8).expect_err("taken").errno(), Errno::ADDRINUSE);
    }

    #[test]
    fn what_is_not_read_is_not_taken() {
        let (ours, theirs) = stream_pair().expect("pair");
        let mut sent = 0;
        while let Some(length) = send_some(&ours, &[0; 4096], &[]).expect("send") {
            sent += length;
        }
        assert!(sent > 4096);
        drop(theirs);
        assert_eq!(send_some(&ours, b"x", &[]).expect_err("closed").errno(), Errno::PIPE);
    }
}
