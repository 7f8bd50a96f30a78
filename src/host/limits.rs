//! What limits are measured by: the host's memory, its tasks, its disks. Looked at only for machines that have some.

use std::path::PathBuf;

use rustix::fs::CWD;

use super::cgroup::CgroupHierarchy;
use super::devices::disk;
use crate::settings::Limits;
use crate::sys::SysError;
use crate::sys::files::read_at;

/// The whole of which a limit is a share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wholes {
    /// Bytes of memory.
    pub memory: u64,
    /// Tasks that the kernel can have.
    pub tasks: u64,
    /// The disks that limits name: the path given, and the disk's numbers.
    pub disks: Vec<(PathBuf, (u32, u32))>,
    /// The controllers of v2 at the root of the hierarchy.
    pub unified: Vec<String>,
}

/// A disk that a limit names and that cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("no disk can be limited by {device:?}")]
pub struct DiskError {
    /// As it was given.
    pub device: PathBuf,
    /// Why.
    #[source]
    pub source: SysError,
}

impl Wholes {
    /// Looks for what `limits` needs; for none, at nothing.
    ///
    /// # Errors
    /// For a disk that is none.
    pub fn probe(limits: &Limits, cgroup: &CgroupHierarchy) -> Result<Self, DiskError> {
        if limits.is_empty() {
            return Ok(Self::default());
        }
        let read = |path: PathBuf| {
            read_at(CWD, path, 1 << 16)
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .unwrap_or_default()
        };
        let number = |path: &str| read(path.into()).trim().parse::<u64>().unwrap_or(u64::MAX);
        let controllers = cgroup.mount_point.as_ref().map(|path| read(path.join("cgroup.controllers")));
        let disks = limits.block_devices().map(|device| match disk(device) {
            Ok(numbers) => Ok((device.clone(), numbers)),
            Err(source) => Err(DiskError { device: device.clone(), source }),
        });
        Ok(Self {
            memory: total_memory(&read("/proc/meminfo".into())),
            tasks: number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max")),
            disks: disks.collect::<Result<_, _>>()?,
            unified: controllers.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        })
    }
}

/// MemTotal of a /proc/meminfo text (proc_meminfo(5)), in bytes.
fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory() {
        for (text, expected) in [
            ("MemTotal:       24689232 kB\nMemFree: 1 kB\n", 24_689_232 * 1024),
            ("", u64::MAX),
            ("MemTotal: x kB\n", u64::MAX),
        ] {
            assert_eq!(total_memory(text), expected, "{text}");
        }
    }
}
