//! What a machine uses of the host, as the kernel counts it: cgroup v2, v1 controllers beside it, /proc/PID/net/dev.
//!
//! Needs no privileges. What is not counted here, since the host has no controller for it or the machine was not thought
//! worth one, is `None`. Parsers take text.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use serde::Serialize;

use super::process_tree::{ProcessTree, directory_of};
use crate::host::Controller;
use crate::supervisor::state::State;
use crate::sys::files::read_at;
use crate::sys::network::is_shared_with;

mod parse;

/// All that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// Memory, page cache included.
    pub memory: Option<Memory>,
    /// Time on CPUs since its start.
    pub cpu: Option<Cpu>,
    /// What it reads from disks and writes to them.
    pub io: Option<Io>,
    /// Its processes and threads.
    pub tasks: Option<Tasks>,
    /// What its network interfaces, loopback excepted, have carried; `None` on the host's network.
    pub network: Option<Network>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// Now.
    pub current: u64,
    /// The most it was.
    pub peak: Option<u64>,
    /// Swap.
    pub swap: Option<u64>,
    /// Its limit; `None` is none.
    pub max: Option<u64>,
}

/// Time on CPUs in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// In all.
    pub microseconds: u64,
}

/// Input and output of disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Io {
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub written_bytes: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tasks {
    /// Now.
    pub current: u64,
    /// Their limit; `None` is none.
    pub max: Option<u64>,
}

/// Bytes and packets of network interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Packets that came in.
    pub received_packets: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// Packets that went out.
    pub sent_packets: u64,
}

/// Enough for any of these files; /proc/PID/net/dev is the guest's to make long.
const LIMIT: usize = 1 << 20;

/// A cgroup's directory, there or not.
struct Counters(Option<PathBuf>);

impl Counters {
    fn text(&self, file: &str) -> Option<String> {
        read(&self.0.as_ref()?.join(file))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }
}

fn read(path: &Path) -> Option<String> {
    read_at(CWD, path, LIMIT).ok().map(|data| String::from_utf8_lossy(&data).into_owned())
}

impl Usage {
    /// Looks at what the machine whose state this is uses. Of one that has ended nothing is known.
    pub fn of(state: &State) -> Self {
        let guest = directory_of(&state.cgroup);
        let unified = Counters(guest.as_ref().and_then(|path| path.parent()).map(Path::to_path_buf));
        let legacy = |controller: Controller| {
            Counters(state.legacy_controllers.get(controller.legacy_name()).cloned())
        };
        Self {
            memory: memory(&unified).or_else(|| legacy_memory(&legacy(Controller::Memory))),
            cpu: cpu(&unified, &legacy(Controller::Cpuacct)),
            io: io(&unified, &legacy(Controller::Io)),
            tasks: tasks(&unified)
                .or_else(|| tasks(&legacy(Controller::Pids)))
                .or_else(|| processes(guest.as_deref()?)),
            network: network(state.leader),
        }
    }
}

fn memory(cgroup: &Counters) -> Option<Memory> {
    Some(Memory {
        current: cgroup.number("memory.current")?,
        peak: cgroup.number("memory.peak"),
        swap: cgroup.number("memory.swap.current"),
        // "max" is no number.
        max: cgroup.number("memory.max"),
    })
}

fn legacy_memory(cgroup: &Counters) -> Option<Memory> {
    let current = cgroup.number("memory.usage_in_bytes")?;
    let statistics = cgroup.text("memory.stat").unwrap_or_default();
    Some(Memory {
        current,
        peak: cgroup.number("memory.max_usage_in_bytes"),
        swap: parse::field(&statistics, "total_swap"),
        max: cgroup.number("memory.limit_in_bytes").filter(|max| !parse::is_unlimited(*max)),
    })
}

/// v2 counts it without a controller.
fn cpu(unified: &Counters, legacy: &Counters) -> Option<Cpu> {
    let statistics = unified.text("cpu.stat");
    let microseconds = statistics.and_then(|text| parse::field(&text, "usage_usec"));
    let microseconds = microseconds.or_else(|| Some(legacy.number("cpuacct.usage")? / 1000))?;
    Some(Cpu { microseconds })
}

fn io(unified: &Counters, legacy: &Counters) -> Option<Io> {
    if let Some(text) = unified.text("io.stat") {
        return Some(parse::io(&text));
    }
    legacy.text("blkio.throttle.io_service_bytes_recursive").map(|text| parse::legacy_io(&text))
}

fn tasks(cgroup: &Counters) -> Option<Tasks> {
    Some(Tasks { current: cgroup.number("pids.current")?, max: cgroup.number("pids.max") })
}

/// Where no controller counts: processes, at least.
fn processes(guest: &Path) -> Option<Tasks> {
    let count = ProcessTree::of(guest).ok()?.count;
    Some(Tasks { current: u64::try_from(count).ok()?, max: None })
}

fn network(leader: i32) -> Option<Network> {
    if is_shared_with(leader) != Some(false) {
        return None;
    }
    read(&PathBuf::from(format!("/proc/{leader}/net/dev"))).map(|text| parse::network(&text))
}
