//! The servers that are asked for what is not ours: those of the host, as its `resolv.conf` has them at this moment, or those that the
//! user gave the machine (`--dns=`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::CWD;

use crate::sys::files::read_at;
use crate::sys::inet::interface_index;

use super::attempts::{Servers, Tries};
use super::resolv_conf::ResolvConf;

/// The host's.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// glibc has no limit; nobody has more.
const LIMIT: usize = 64 << 10;

/// Tells one version of the file from the next, whether it was replaced, written anew, or its link leads elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: i64,
    changed: (i64, u64),
}

/// Whom to ask.
#[derive(Debug)]
pub struct HostServers {
    /// `None`: they are given.
    file: Option<PathBuf>,
    /// As it was last, if it was there; `None` before the first look.
    stamp: Option<Option<Stamp>>,
    servers: Servers,
}

impl HostServers {
    /// Those that are `given`, or if none are, those that `file` names, whenever somebody asks.
    pub fn new(given: &[IpAddr], file: &Path) -> Self {
        let mut servers = Servers::default();
        if given.is_empty() {
            return Self { file: Some(file.to_owned()), stamp: None, servers };
        }
        servers.set(ResolvConf::of_servers(given));
        Self { file: None, stamp: None, servers }
    }

    /// The tries that a new question has.
    pub fn tries(&mut self, now: Instant) -> Tries {
        self.follow();
        self.servers.tries(now)
    }

    /// What is known of them.
    pub fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    /// Reads the file if it is another than last time: a stat(2) for a question, and nothing while nobody asks.
    fn follow(&mut self) {
        let Some(file) = &self.file else { return };
        let stamp = rustix::fs::stat(file).ok().map(|stat| Stamp {
            file: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        });
        if self.stamp == Some(stamp) {
            return;
        }
        self.stamp = Some(stamp);
        // One that is not there is as an empty one. Who wrote half of it writes once more, with another time.
        let text = read_at(CWD, file, LIMIT).unwrap_or_default();
        let index = |name: &str| interface_index(name).ok();
        self.servers.set(ResolvConf::parse(&String::from_utf8_lossy(&text), index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(servers: &mut HostServers) -> Option<String> {
        let mut tries = servers.tries(Instant::now());
        tries.next_server().map(|(server, _)| server.to_string())
    }

    #[test]
    fn the_file_is_followed() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let file = temporary.path().join("resolv.conf");
        let mut servers = HostServers::new(&[], &file);
        assert_eq!(first(&mut servers).as_deref(), Some("127.0.0.1:53"));
        std::fs::write(&file, "nameserver 192.0.2.1\n").expect("write");
        assert_eq!(first(&mut servers).as_deref(), Some("192.0.2.1:53"));
        std::fs::write(temporary.path().join("other"), "nameserver 192.0.2.2\n").expect("write");
        std::fs::rename(temporary.path().join("other"), &file).expect("rename");
        assert_eq!(first(&mut servers).as_deref(), Some("192.0.2.2:53"));
        std::fs::write(temporary.path().join("third"), "nameserver 192.0.2.3\n").expect("write");
        std::fs::remove_file(&file).expect("remove");
        std::os::unix::fs::symlink("third", &file).expect("symlink");
        assert_eq!(first(&mut servers).as_deref(), Some("192.0.2.3:53"));
        std::fs::remove_file(&file).expect("remove");
        assert_eq!(first(&mut servers).as_deref(), Some("127.0.0.1:53"));
        let mut given = HostServers::new(&[IpAddr::from([192, 0, 2, 9])], &file);
        assert_eq!(first(&mut given).as_deref(), Some("192.0.2.9:53"));
    }
}
