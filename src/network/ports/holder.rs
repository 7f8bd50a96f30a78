//! Who has a port: found out after the kernel has said that somebody has.
//!
//! /proc/net/{tcp,tcp6,udp,udp6} (proc_net(5)) tell the socket, /proc/PID/fd whose it is, as far as we may look. Slow, and so only
//! for a message.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::CWD;

use crate::settings::MachineName;
use crate::settings::network::Protocol;
use crate::sys::files::read_at;

use super::proxy::PERSONALITY;

/// Who has a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It leads to this machine.
    Machine(String),
    /// A program of the host, by its name and pid.
    Program(String, i32),
    /// Somebody: of another user, or gone since.
    Somebody,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => write!(f, "leads to machine {name:?} already"),
            Self::Program(name, pid) => write!(f, "is in use by {name:?}, process {pid}"),
            Self::Somebody => f.write_str("is in use"),
        }
    }
}

/// A table of sockets longer than this is not read to its end: some 100,000 of them.
const TABLE_BYTES: usize = 16 << 20;

/// Sockets that hold a port: those that listen, and all of UDP that have no peer.
const HOLDING: [&str; 2] = ["0A", "07"];

/// Who has one of the `count` ports from `first` on, and which; `None` when nobody has.
pub(super) fn find(protocol: Protocol, first: u16, count: u16) -> Option<(u16, Holder)> {
    let (port, inode) = inode(protocol, first, count)?;
    Some((port, owner(inode)))
}

/// Which of these ports is held, and the socket that does.
fn inode(protocol: Protocol, first: u16, count: u16) -> Option<(u16, u64)> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Protocol::Udp => ["/proc/self/net/udp", "/proc/self/net/udp6"],
    };
    tables.into_iter().find_map(|path| {
        let table = read_at(CWD, path, TABLE_BYTES).ok()?;
        in_table(&String::from_utf8_lossy(&table), first, count)
    })
}

/// The proxy of machine `name` that has this port.
pub(super) fn proxy(protocol: Protocol, port: u16, name: &str) -> Option<i32> {
    let inode = inode(protocol, port, 1)?.1;
    holders(inode).find_map(|(pid, machine)| (machine.as_deref() == Some(name)).then_some(pid))
}

/// The first socket of a table that has one of these ports, and its inode number.
fn in_table(table: &str, first: u16, count: u16) -> Option<(u16, u64)> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let within = port.checked_sub(first).is_some_and(|offset| offset < count);
        (within && HOLDING.contains(&state)).then_some((port, inode))
    })
}

/// Whose the socket `inode` is.
fn owner(inode: u64) -> Holder {
    let mut holder = Holder::Somebody;
    for (pid, machine) in holders(inode) {
        if let Some(machine) = machine {
            // The supervisor has it too: it is the proxy that says whose.
            return Holder::Machine(machine);
        }
        if holder == Holder::Somebody {
            let name = read_at(CWD, Path::new("/proc").join(pid.to_string()).join("comm"), 4096);
            let name = name.unwrap_or_default();
            holder = Holder::Program(String::from_utf8_lossy(name.trim_ascii_end()).into_owned(), pid);
        }
    }
    holder
}

/// Processes that have the socket `inode`, as far as we may look; with the machine that one is the proxy of.
fn holders(inode: u64) -> impl Iterator<Item = (i32, Option<String>)> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(move |pid| {
        let process = Path::new("/proc").join(pid.to_string());
        let has = |path: &Path| {
            std::fs::read_link(path).is_ok_and(|target| target.as_os_str() == OsStr::new(&wanted))
        };
        let mut fds = std::fs::read_dir(process.join("fd")).ok()?.flatten();
        fds.any(|fd| has(&fd.path()))
            .then(|| (pid, machine_of(&read_at(CWD, process.join("cmdline"), 4096).unwrap_or_default())))
    })
}

/// The machine that a process with this command line is the proxy of.
fn machine_of(command_line: &[u8]) -> Option<String> {
    let mut words = command_line.split(|byte| *byte == 0);
    let called = words.next().is_some_and(|word| OsStr::from_bytes(word) == PERSONALITY);
    let name = std::str::from_utf8(words.next()?).ok()?.parse::<MachineName>().ok()?;
    called.then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 4713 2 0000000000000000 0
   3: broken
";

    #[test]
    fn tables() {
        let rows = [
            ("who listens", 8080, 1, Some((8080, 4711))),
            ("a connection holds nothing", 8081, 1, None),
            ("UDP", 53, 1, Some((53, 4713))),
            ("a range", 1, 65_535, Some((8080, 4711))),
            ("before it", 8079, 1, None),
            ("at its end", 8000, 81, Some((8080, 4711))),
        ];
        for (name, first, count, expected) in rows {
            assert_eq!(in_table(TABLE, first, count), expected, "{name}");
        }
    }

    #[test]
    fn we_find_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some((found, Holder::Program(_, pid))) = find(Protocol::Tcp, port, 1) else {
            panic!("{:?}", find(Protocol::Tcp, port, 1));
        };
        assert_eq!((found, pid), (port, std::process::id().cast_signed()));
    }

    #[test]
    fn proxies_by_their_command_line() {
        let rows: [(&[u8], _); 5] = [
            (b"spinney-ports\0web\0", Some("web")),
            (b"spinney-ports\0", None),
            (b"spinney-ports\0we\x1bb\0", None),
            (b"spinney\0web\0", None),
            (b"", None),
        ];
        for (line, expected) in rows {
            assert_eq!(machine_of(line).as_deref(), expected, "{line:?}");
        }
    }
}
