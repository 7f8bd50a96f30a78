//! Network namespaces, and the loopback interface in them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::LinkNameSpaceType;

use super::files::{entries, open_at, open_directory, read_at};
use super::{FdPath, SysResult, check, sys};

mod identity;

pub use identity::{NamespaceId, is_shared_with, number};

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

/// The network namespace `id`, if there is still one that a process is in or that is bound to a file; found in the slow way, by
/// looking at all of these. Only for a process of one thread.
///
/// # Errors
/// When /proc cannot be read, EPERM without CAP_SYS_ADMIN over it.
pub fn open_by_id(id: NamespaceId) -> SysResult<Option<OwnedFd>> {
    match open_by_number(id.number)? {
        // One that has the number now need not be the one that had it.
        Some(namespace) if in_namespace(&namespace, NamespaceId::ours)??.is(id) => Ok(Some(namespace)),
        _ => Ok(None),
    }
}

fn open_by_number(number: u64) -> SysResult<Option<OwnedFd>> {
    let is_it = |path: &String| {
        let namespace = open_at(CWD, path, OFlags::RDONLY, Mode::empty()).ok()?;
        rustix::fs::fstat(&namespace).is_ok_and(|stat| stat.st_ino == number).then_some(namespace)
    };
    Ok(all()?.filter(|(other, _)| *other == number).find_map(|(_, path)| is_it(&path)))
}

/// The numbers of all network namespaces that a process is in or that are bound to a file.
///
/// # Errors
/// When /proc cannot be read.
pub fn numbers() -> SysResult<BTreeSet<u64>> {
    Ok(all()?.map(|(number, _)| number).collect())
}

/// Numbers of network namespaces, and where they can be opened: those of processes, and those of mounts.
fn all() -> SysResult<impl Iterator<Item = (u64, String)>> {
    let processes = open_directory(Path::new("/proc")).and_then(entries)?.into_iter();
    let processes = processes.filter_map(|(name, _)| name.into_string().ok());
    let processes = processes.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let of_processes = processes.filter_map(|pid| {
        // A link's text costs less than opening it.
        let path = format!("/proc/{pid}/ns/net");
        Some((number_in(std::fs::read_link(&path).ok()?.to_str()?)?, path))
    });
    /// Some hundred bytes for each mount.
    const LIMIT: usize = 16 << 20;
    let mounts = read_at(CWD, "/proc/self/mountinfo", LIMIT)?;
    let mounts = String::from_utf8_lossy(&mounts).into_owned();
    // Fields 4 and 5 are root and mount point (proc_pid_mountinfo(5)).
    let bound = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        Some((number_in(fields.next()?)?, fields.next()?.to_owned()))
    });
    let bound: Vec<_> = bound.collect();
    Ok(of_processes.chain(bound))
}

/// N of `net:[N]`.
fn number_in(text: &str) -> Option<u64> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Joins the network namespace `namespace` (setns(2)) for good.
///
/// # Errors
/// EINVAL where it is none, EPERM without CAP_SYS_ADMIN over it.
pub fn join(namespace: impl AsFd) -> SysResult<()> {
    sys(
        "setns",
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)),
        || format!("{}, CLONE_NEWNET", FdPath::of(&namespace)),
    )
}
