//! Which network namespace is which.
//!
//! The inode number of one is given to another once it is gone; its cookie is not, before the next boot. What is written down
//! about one is under both; older versions wrote the number alone, and their machines may run still.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

use crate::sys::files::{make_directories, open_directory, while_parents_vanish};
use crate::sys::{FdPath, SysError, SysResult, check, sys};

/// A network namespace, told from all others since the host's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct NamespaceId {
    /// The number of the inode that /proc/PID/ns/net leads to.
    pub number: u64,
    /// SO_NETNS_COOKIE (Linux 5.14); 0 where it is not known.
    pub cookie: u64,
}

/// As it is written down: where there is no cookie the number alone, as versions before there were any have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Both {
        number: u64,
        #[serde(default)]
        cookie: u64,
    },
}

impl From<Written> for NamespaceId {
    fn from(written: Written) -> Self {
        match written {
            Written::Number(number) => Self { number, cookie: 0 },
            Written::Both { number, cookie } => Self { number, cookie },
        }
    }
}

impl From<NamespaceId> for Written {
    fn from(id: NamespaceId) -> Self {
        match id {
            NamespaceId { number, cookie: 0 } => Self::Number(number),
            NamespaceId { number, cookie } => Self::Both { number, cookie },
        }
    }
}

/// As a file name: the numbers that are known.
impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cookie {
            0 => write!(f, "{}", self.number),
            cookie => write!(f, "{}-{cookie}", self.number),
        }
    }
}

impl std::str::FromStr for NamespaceId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, cookie) = text.split_once('-').unwrap_or((text, "0"));
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

    /// Whether both are the same one, as far as is known.
    pub fn is(self, other: Self) -> bool {
        let known = self.cookie != 0 && other.cookie != 0;
        self.number == other.number && (!known || self.cookie == other.cookie)
    }

    /// Where in `directory` that is which is kept of it. What an older version has begun under the number alone is gone on with there
    /// until it is empty: its machines have to find it.
    pub fn directory_in(self, directory: &Path) -> PathBuf {
        let older = directory.join(self.number.to_string());
        if older.is_dir() { older } else { directory.join(self.to_string()) }
    }

    /// Opens [`Self::directory_in`], made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_directory_in(self, directory: &Path, mode: u32) -> SysResult<(PathBuf, OwnedFd)> {
        while_parents_vanish(|| {
            let path = self.directory_in(directory);
            // One of an older version that has gone since is not to come again.
            let opened = match path == directory.join(self.to_string()) {
                true => make_directories(&path, mode)?,
                false => open_directory(&path)?,
            };
            Ok((path, opened))
        })
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
            ("4026532178", Some(NamespaceId { number: 4_026_532_178, cookie: 0 })),
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
    fn as_json_of_all_versions() {
        for (text, expected) in [
            ("7", NamespaceId { number: 7, cookie: 0 }),
            (r#"{"number":7,"cookie":8}"#, NamespaceId { number: 7, cookie: 8 }),
        ] {
            assert_eq!(serde_json::from_str::<NamespaceId>(text).unwrap(), expected, "{text}");
            assert_eq!(serde_json::to_string(&expected).unwrap(), text);
        }
        let without: NamespaceId = serde_json::from_str(r#"{"number":7}"#).unwrap();
        assert_eq!(without, NamespaceId { number: 7, cookie: 0 });
    }

    #[test]
    fn the_same_as_far_as_is_known() {
        let id = |number, cookie| NamespaceId { number, cookie };
        for (one, other, expected) in [
            (id(7, 8), id(7, 8), true),
            (id(7, 8), id(7, 9), false),
            (id(7, 8), id(7, 0), true),
            (id(7, 0), id(7, 9), true),
            (id(7, 8), id(6, 8), false),
            (id(7, 0), id(6, 0), false),
        ] {
            assert_eq!(one.is(other), expected, "{one} {other}");
        }
    }

    #[test]
    fn what_an_older_version_has_begun_is_gone_on_with() {
        let temporary = tempfile::tempdir().unwrap();
        let id = NamespaceId { number: 7, cookie: 8 };
        let made = || id.make_directory_in(temporary.path(), 0o700).unwrap().0;
        assert_eq!(made(), temporary.path().join("7-8"));
        std::fs::create_dir(temporary.path().join("7")).unwrap();
        assert_eq!(made(), temporary.path().join("7"));
        assert_eq!(id.directory_in(temporary.path()), temporary.path().join("7"));
        std::fs::remove_dir(temporary.path().join("7")).unwrap();
        assert_eq!(made(), temporary.path().join("7-8"));
    }

    #[test]
    fn ours_stays_the_same() {
        assert_eq!(NamespaceId::ours().expect("ours"), NamespaceId::ours().expect("ours"));
        assert_eq!(is_shared_with(i32::try_from(std::process::id()).expect("a pid")), Some(true));
        assert_eq!(is_shared_with(0), None);
    }
}
