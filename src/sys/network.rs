//! The loopback interface; more of netlink comes with the network room.

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{SysResult, check, sys};

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
