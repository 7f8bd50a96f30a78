//! Which network namespace is which.
//!
//! The inode number of one is given to another once it is gone; its cookie is not, before the next boot. What is written down
//! about one is under both.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

use crate::sys::{FdPath, SysError, SysResult, check, sys};

/// A network namespace, told from all others since the host's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceId {
    /// The number of the inode that /proc/PID/ns/net leads to.
    pub number: u64,
    /// SO_NETNS_COOKIE (Linux 5.14); 0 where the kernel has none.
    #[serde(default)]
    pub cookie: u64,
}

/// As a file name: the two numbers.
impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.cookie)
    }
}

impl std::str::FromStr for NamespaceId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, cookie) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self { number: number.parse()?, cookie: cookie.parse()? })
    }
}

impl NamespaceId {
    /// That of the namespace that we are in.
    ///
    /// # Errors
    /// Without /proc.
    pub fn ours() -> SysResult<Self> {
        Ok(Self { number: number()?, cookie: cookie()? })
    }
}

/// The inode number of the network namespace that our thread is in.
///
/// # Errors
/// Without /proc.
pub fn number() -> SysResult<u64> {
    let path = "/proc/thread-self/ns/net";
    sys("stat", rustix::fs::stat(path), || path.to_owned()).map(|stat| stat.st_ino)
}

/// The cookie of the network namespace that our thread is in; 0 where the kernel has none.
fn cookie() -> SysResult<u64> {
    let flags = SocketFlags::CLOEXEC;
    let socket = sys("socket", socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None), || {
        "AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC".to_owned()
    })?;
    cookie_of(&socket)
}

fn cookie_of(socket: &impl AsFd) -> SysResult<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes, the true size of `cookie`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match check(result.into()) {
        Ok(_) => Ok(cookie),
        Err(Errno::NOPROTOOPT) => Ok(0),
        Err(errno) => {
            Err(SysError::new("getsockopt", format!("{}, SO_NETNS_COOKIE", FdPath::of(socket)), errno))
        }
    }
}

/// Whether `process` has the network namespace that our thread has; `None` where we may not know. Not everyone may look at the
/// namespaces of others, but each namespace has files of its own in /proc, with numbers of their own.
pub fn is_shared_with(process: i32) -> Option<bool> {
    let number = |path: String| rustix::fs::stat(path).ok().map(|file| file.st_ino);
    ["ns/net", "net/dev"].iter().find_map(|file| {
        let its = number(format!("/proc/{process}/{file}"))?;
        Some(its == number(format!("/proc/thread-self/{file}"))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text_and_back() {
        for (text, expected) in [
            ("4026532178-17", Some(NamespaceId { number: 4_026_532_178, cookie: 17 })),
            ("4026532178", None),
            ("rules", None),
            ("1-2-3", None),
            ("", None),
        ] {
            let parsed: Option<NamespaceId> = text.parse().ok();
            assert_eq!(parsed, expected, "{text:?}");
            assert!(parsed.is_none_or(|id| id.to_string() == text));
        }
    }

    #[test]
    fn ours_stays_the_same() {
        assert_eq!(NamespaceId::ours().expect("ours"), NamespaceId::ours().expect("ours"));
        assert_eq!(is_shared_with(i32::try_from(std::process::id()).expect("a pid")), Some(true));
        assert_eq!(is_shared_with(0), None);
    }
}
