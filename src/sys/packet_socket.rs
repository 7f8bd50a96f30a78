//! Frames of one interface, below all protocols (packet(7)): seen before a bridge or a firewall has them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::seccomp::SockFilter;
use super::{FdPath, SysError, SysResult, check, sys};

/// ETH_P_ALL in network byte order: other taps are asked after a bridge has taken the frame (netdevice handlers in
/// net/core/dev.c).
const ALL: u16 = 0x0003_u16.to_be();

/// SO_RCVBUF: a few frames. What comes while nobody reads is lost, as on any wire.
const BUFFER: libc::c_int = 32 << 10;

/// A socket for the frames that come in on one interface and that a filter passes. Non-blocking.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// `struct sock_fprog` (linux/filter.h).
#[repr(C)]
struct Program {
    len: u16,
    filter: *const SockFilter,
}

impl PacketSocket {
    /// Opens one on the interface with this index in our network namespace. `filter` sees whole Ethernet frames. What the host itself
    /// sends there is not looked at, and costs nothing (PACKET_IGNORE_OUTGOING, Linux 4.20; on older kernels the filter has to
    /// throw it away).
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV where there is no such interface.
    pub fn open(interface: u32, filter: &[SockFilter]) -> SysResult<Self> {
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: nothing is heard before the filter is there.
        // SAFETY: three integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        let fd = sys("socket", check(fd.into()), || "AF_PACKET, SOCK_RAW".to_owned())?;
        // SAFETY: the kernel has just made this fd for us; nobody else knows it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) });
        let arguments = |what: &str| format!("{}, {what}", FdPath::of(&socket.0));
        let len = u16::try_from(filter.len())
            .map_err(|_| SysError::new("setsockopt", arguments("SO_ATTACH_FILTER"), Errno::INVAL))?;
        let program = Program { len, filter: filter.as_ptr() };
        sys("setsockopt", socket.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program), || {
            arguments("SO_ATTACH_FILTER")
        })?;
        sys("setsockopt", socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &BUFFER), || arguments("SO_RCVBUF"))?;
        let _ = socket.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32);
        socket.bind(interface)?;
        Ok(socket)
    }

    /// Opens one that hears all that is sent and received on the interface with this index, in our network namespace.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn tap(interface: u32) -> SysResult<Self> {
        /// Some milliseconds of a fast link: whoever writes frames down is slower than who sends them.
        const TAP_BUFFER: libc::c_int = 16 << 20;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: three integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        let fd = sys("socket", check(fd.into()), || "AF_PACKET, SOCK_RAW".to_owned())?;
        // SAFETY: the kernel has just made this fd for us; nobody else knows it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) });
        // Beyond rmem_max for whoever has CAP_NET_ADMIN; with less it loses more.
        let _ = socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &TAP_BUFFER);
        socket.bind(interface)?;
        Ok(socket)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> Result<(), Errno> {
        let size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: the kernel reads `size` bytes of `value`, which lives to the end of the call. The only pointer in any value is
        // that of `Program`, to instructions that its caller holds.
        let result = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size)
        };
        check(result.into()).map(drop)
    }

    fn bind(&self, interface: u32) -> SysResult<()> {
        let index = i32::try_from(interface).unwrap_or(-1);
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(0),
            sll_protocol: ALL,
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        // SAFETY: the kernel reads `size` bytes of `address`, which lives to the end of the call.
        let result = unsafe { libc::bind(self.0.as_raw_fd(), std::ptr::from_ref(&address).cast(), size) };
        sys("bind", check(result.into()).map(drop), || {
            format!("{}, AF_PACKET, ETH_P_ALL, interface {index}", FdPath::of(&self.0))
        })
    }

    /// The interface's own hardware address.
    ///
    /// # Errors
    /// EBADF and the like, which cannot be.
    pub fn hardware_address(&self) -> SysResult<[u8; 6]> {
        // SAFETY: sockaddr_ll is made of integers; all zero is a valid value of it.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        // SAFETY: the kernel writes at most `size` bytes of `address`, and how many to `size`; both are ours alone.
        let result = unsafe {
            libc::getsockname(self.0.as_raw_fd(), std::ptr::from_mut(&mut address).cast(), &raw mut size)
        };
        sys("getsockname", check(result.into()), || FdPath::of(&self.0).to_string())?;
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        Ok([a, b, c, d, e, f])
    }

    /// The next frame that has come, if any: its length; what is longer than `buffer` is cut.
    ///
    /// # Errors
    /// ENETDOWN when the interface is down or gone.
    pub fn receive(&self, buffer: &mut [u8]) -> SysResult<Option<usize>> {
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)) {
            Ok((length, _)) => Ok(Some(length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(SysError::new("recv", FdPath::of(&self.0).to_string(), errno)),
        }
    }

    /// The next frame that has come, if any: how much of it is in `buffer`, and how long it was.
    ///
    /// # Errors
    /// As [`PacketSocket::receive`].
    pub fn receive_whole(&self, buffer: &mut [u8]) -> SysResult<Option<(usize, usize)>> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, flags)) {
            Ok((kept, length)) => Ok(Some((kept.min(length), length))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(SysError::new("recv", FdPath::of(&self.0).to_string(), errno)),
        }
    }

    /// Sends a whole frame. What the interface has no room for is lost.
    ///
    /// # Errors
    /// ENETDOWN, ENXIO when the interface is down or gone, ENOBUFS.
    pub fn send(&self, frame: &[u8]) -> SysResult<()> {
        let sent = rustix::net::send(&self.0, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        sys("send", sent.map(drop), || format!("{}, {} bytes", FdPath::of(&self.0), frame.len()))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
