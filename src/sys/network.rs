//! Network namespaces, and the loopback interface in them.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::LinkNameSpaceType;

use super::files::open_at;
use super::{FdPath, SysResult, check, sys};

/// Brings `lo` of this network namespace up (netdevice(7), SIOCSIFFLAGS): the kernel gives it 127.0.0.1 and ::1.
pub fn loopback_up() -> SysResult<()> {
    let socket = sys(
        "socket",
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None),
        || "AF_INET, SOCK_DGRAM".to_owned(),
    )?;
    // SAFETY: ifreq is a struct of arrays, integers and pointers; all zero is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of a live ifreq, both set above.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    sys("ioctl", check(result.into()).map(drop), || "SIOCSIFFLAGS, lo, IFF_UP".to_owned())
}

/// Does `work` in the network namespace `namespace`, and comes back: sockets that it opens stay there, and /proc/sys/net is that
/// namespace's meanwhile. Only for a process of one thread.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over it. If there is no way back the process ends: all that it did from there on would be
/// done to the wrong network.
pub fn in_namespace<T>(namespace: impl AsFd, work: impl FnOnce() -> T) -> SysResult<T> {
    let home = open_at(CWD, "/proc/self/ns/net", OFlags::RDONLY, Mode::empty())?;
    join(&namespace)?;
    let result = work();
    match join(&home) {
        Ok(()) => Ok(result),
        Err(_) => std::process::abort(),
    }
}

fn join(namespace: impl AsFd) -> SysResult<()> {
    sys(
        "setns",
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)),
        || format!("{}, CLONE_NEWNET", FdPath::of(&namespace)),
    )
}
