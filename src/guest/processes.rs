//! The children of a machine's PID 1, as the host's /proc shows them.
//!
//! Names and states only: these come from the kernel's own memory. A command line (/proc/PID/cmdline) is read from the
//! process's, and a hostile guest can make that read wait for ever by mapping a file of its own FUSE server there.

use std::fs;
use std::io;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid on the host.
    pub pid: u32,
    /// The name of its program, cut to 15 bytes (proc_pid_comm(5)); of a script, the script's name.
    pub name: String,
    /// Its state (proc_pid_stat(5)): `R` running, `S` sleeping, `D` in I/O, `Z` ended but not waited for.
    pub state: char,
}

/// PID 1 and its children at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// PID 1.
    pub leader: Process,
    /// Its children: what it started, and what was orphaned.
    pub children: Vec<Process>,
}

impl Processes {
    /// Looks at the guest whose PID 1 is `leader` on the host. A child that ends meanwhile is left out.
    pub fn of(leader: u32) -> io::Result<Self> {
        // The leader's state is taken first. If it slept then and a child is not in the list, it did not start that child
        // before it slept: the order in which evidence has to be read.
        let process = Process::of(leader)?;
        let children = fs::read_to_string(format!("/proc/{leader}/task/{leader}/children"))?;
        let children = children
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter_map(|pid| Process::of(pid).ok())
            .collect();
        Ok(Self { leader: process, children })
    }
}

impl Process {
    fn of(pid: u32) -> io::Result<Self> {
        // The name is any bytes that the guest likes.
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        parse_stat(&String::from_utf8_lossy(&stat)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether its name is that of the program `path`.
    pub fn is_named(&self, path: &str) -> bool {
        const COMM: usize = 15;
        let name = path.rsplit('/').next().unwrap_or(path);
        name.get(..COMM).unwrap_or(name) == self.name
    }
}

/// `pid (name) state ...`, where the name may hold parentheses and spaces.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    Some(Process { pid: pid.parse().ok()?, name: name.to_owned(), state: rest.chars().next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats() {
        let table = [
            ("12 (rc) S 1 12", Some((12, "rc", 'S'))),
            ("7 (a) R (b c)) Z 1", Some((7, "a) R (b c)", 'Z'))),
            ("7 () R 1", Some((7, "", 'R'))),
            ("x (a) R 1", None),
            ("7 (a)", None),
            ("", None),
        ];
        for (stat, expected) in table {
            let expected = expected.map(|(pid, name, state)| Process { pid, name: name.to_owned(), state });
            assert_eq!(parse_stat(stat), expected, "{stat:?}");
        }
    }

    #[test]
    fn names() {
        let process = |name: &str| Process { pid: 2, name: name.to_owned(), state: 'S' };
        assert!(process("rcS").is_named("/etc/init.d/rcS"));
        assert!(process("a-very-long-nam").is_named("/sbin/a-very-long-name"));
        assert!(!process("rc").is_named("/etc/init.d/rcS"));
    }

    #[test]
    fn our_own_children_are_seen() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // `children` lists those of one thread, and a test runs on its own.
        let own = std::fs::read_link("/proc/thread-self").unwrap();
        let thread: u32 = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let pid = child.id();
        let path = format!("/proc/{}/task/{thread}/children", std::process::id());
        let listed = std::fs::read_to_string(path).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed.split_whitespace().any(|listed| listed == pid.to_string()));
        assert_eq!(Processes::of(std::process::id()).unwrap().leader.pid, std::process::id());
    }
}
