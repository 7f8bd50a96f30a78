//! The processes of a machine by cgroup, as the kernel lists them: cgroup.procs in the guest's cgroup and below.
//!
//! Names only, from /proc/PID/comm: they come from the kernel's memory, where a command line is read from the process's,
//! which can make its reader wait for ever. A guest makes as many cgroups and processes as it is let, and gives them the
//! names it likes: what is kept is bounded, and safe to print.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType};
use serde::Serialize;

use crate::host::CgroupHierarchy;
use crate::supervisor::printable;
use crate::sys::SysResult;
use crate::sys::files::{entries, open_directory, open_directory_at, read_at};

/// How many processes are kept, how many cgroups, and how deep these may lie: a whole systemd session is six deep.
const MOST_PROCESSES: usize = 200;
const MOST_CGROUPS: usize = 400;
const DEEPEST: usize = 16;

/// A pid takes at most eight bytes there; so much holds more than are kept.
const PROCS_LIMIT: usize = 256 << 10;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its pid on the host.
    pub pid: i32,
    /// The name of its program, cut to 15 bytes (proc_pid_comm(5)).
    pub name: String,
}

/// A cgroup with what runs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CgroupNode {
    /// Its last part; empty for the topmost.
    pub name: String,
    /// By pid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// By name; those without any process are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<CgroupNode>,
}

/// All processes of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessTree {
    /// The guest's cgroup.
    pub root: CgroupNode,
    /// How many were counted, which may be more than are kept.
    pub count: usize,
}

/// What is left of the bounds.
struct Left {
    processes: usize,
    cgroups: usize,
}

/// Where the v2 cgroup `path`, as a state file has it, is on this host; `None` where the hierarchy is mounted nowhere.
pub fn directory_of(path: &str) -> Option<PathBuf> {
    Some(CgroupHierarchy::at_usual_place()?.mount_point?.join(path.trim_start_matches('/')))
}

impl ProcessTree {
    /// Reads the cgroup at `directory`. What cannot be read (it ended meanwhile, or was closed to others by the guest) is
    /// left out.
    ///
    /// # Errors
    /// When `directory` itself cannot be opened.
    pub fn of(directory: &Path) -> SysResult<Self> {
        let root = open_directory(directory)?;
        let mut left = Left { processes: MOST_PROCESSES, cgroups: MOST_CGROUPS };
        let mut count = 0;
        let root = look(&root, String::new(), 0, &mut left, &mut count);
        Ok(Self { root, count })
    }
}

fn look(directory: &OwnedFd, name: String, depth: usize, left: &mut Left, count: &mut usize) -> CgroupNode {
    let procs = read_at(directory, "cgroup.procs", PROCS_LIMIT).unwrap_or_default();
    let pids = pids(&String::from_utf8_lossy(&procs));
    *count += pids.len();
    let kept = pids.len().min(left.processes);
    left.processes -= kept;
    let processes = pids.into_iter().take(kept).filter_map(process).collect();
    let mut node = CgroupNode { name, processes, children: Vec::new() };
    if depth == DEEPEST {
        return node;
    }
    let mut names: Vec<_> = entries(directory).unwrap_or_default();
    names.retain(|(_, kind)| *kind == FileType::Directory);
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (entry, _) in names {
        if left.cgroups == 0 {
            break;
        }
        left.cgroups -= 1;
        let Ok(below) = open_directory_at(directory, &entry) else { continue };
        let child = look(&below, printable::line(entry.as_encoded_bytes()), depth + 1, left, count);
        if !(child.processes.is_empty() && child.children.is_empty()) {
            node.children.push(child);
        }
    }
    node
}

/// The pids of a cgroup.procs text, sorted: the kernel does not, and may name one twice (cgroups(7)). 0 stands for a process
/// that this PID namespace does not see.
fn pids(text: &str) -> Vec<i32> {
    let mut pids: Vec<i32> =
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn process(pid: i32) -> Option<Process> {
    let name = read_at(CWD, format!("/proc/{pid}/comm"), 64).ok()?;
    Some(Process { pid, name: printable::line(name.trim_ascii_end()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_of_a_cgroup() {
        for (text, expected) in [("", vec![]), ("12\n3\n12\n", vec![3, 12]), ("0\n7\nx\n-1\n", vec![7])] {
            assert_eq!(pids(text), expected, "{text:?}");
        }
    }

    #[test]
    fn processes_by_cgroup() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let add = |path: &str, procs: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cgroup.procs"), procs).unwrap();
        };
        add("", "");
        add("empty/below", "");
        add("b.slice/\u{1b}[31mred", &format!("{own}\n"));
        add("a.scope", &format!("0\n{own}\n4194400\n"));
        let tree = ProcessTree::of(directory.path()).unwrap();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let process = Process { pid: own.try_into().unwrap(), name: comm.trim_end().to_owned() };
        let node = |name: &str, processes: &[Process], children: &[CgroupNode]| CgroupNode {
            name: name.to_owned(),
            processes: processes.to_vec(),
            children: children.to_vec(),
        };
        let processes = [process];
        // One that is gone by now is counted and has no name.
        assert_eq!(tree.count, 3);
        let red = node("red", &processes, &[]);
        assert_eq!(
            tree.root,
            node("", &[], &[node("a.scope", &processes, &[]), node("b.slice", &[], &[red])])
        );
    }

    #[test]
    fn bounds() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let mut path = directory.path().to_owned();
        for _ in 0..DEEPEST + 4 {
            path.push("deeper");
        }
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("cgroup.procs"), format!("{own}\n")).unwrap();
        for number in 0..MOST_CGROUPS + 10 {
            let path = directory.path().join(format!("many-{number:04}"));
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("cgroup.procs"), format!("{own}\n")).unwrap();
        }
        let tree = ProcessTree::of(directory.path()).unwrap();
        assert!(tree.root.children.iter().all(|child| child.name != "deeper"), "too deep");
        assert_eq!(
            tree.root.children.iter().map(|child| child.processes.len()).sum::<usize>(),
            MOST_PROCESSES
        );
    }
}
