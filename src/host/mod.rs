//! What this host can do, probed once.
//!
//! This is the only room that looks around; the others are told, so that a plan for a host we do not have is a unit
//! test. It changes nothing.

mod cgroup;
mod controllers;
pub mod devices;
mod kernel;
pub mod limits;
mod survey;
pub mod systemd;
mod users;

use std::path::Path;

use crate::sys::SysResult;
use crate::sys::files::read_at;

pub use cgroup::{CgroupHierarchy, CgroupMode};
pub use controllers::{Controller, Mounted, in_options};
pub use kernel::KernelVersion;
pub use survey::{Permissions, Place, Survey};
pub use users::{IdOwners, IdRange};

/// Facts about this host and about what our process may do on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Where cgroup v2 is.
    pub cgroup: CgroupHierarchy,
    /// Our effective capabilities, bit n for capability n (capabilities(7)).
    pub capabilities: u64,
    /// Our bounding set.
    pub bounding: u64,
    /// Time namespaces can be made (time_namespaces(7), Linux 5.6).
    pub time_namespaces: bool,
    /// SELinux is on.
    pub selinux: bool,
    /// The largest RLIMIT_NOFILE anyone may set (proc_sys_fs(5), nr_open).
    pub nr_open: u64,
    /// Hard limits of our own process by RLIMIT_* number.
    pub hard_limits: [u64; RESOURCES],
    /// `NAME=value` lines of the host's os-release(5), for `container_host_*`.
    pub os_release: String,
    /// Optional device nodes that are there: names below /dev.
    pub devices: Vec<&'static str>,
    /// The target of the host's /etc/localtime, if it is a symlink.
    pub localtime: Option<String>,
    /// The host's machine-id(5), in hex; empty if it has none.
    pub machine_id: String,
}

/// Number of RLIMIT_* resources (getrlimit(2)).
pub const RESOURCES: usize = 16;

/// Device nodes that a guest gets if the host has them (systemd-nspawn gives the same two).
const OPTIONAL_DEVICES: [&str; 2] = ["fuse", "net/tun"];

/// proc files read here are at most a few KiB; mountinfo of a busy container host can be a few hundred.
const PROC_FILE_LIMIT: usize = 4 << 20;

impl Host {
    /// Looks at this host.
    ///
    /// # Errors
    /// When /proc cannot be read: nothing works without it.
    pub fn probe() -> SysResult<Self> {
        let read = |path: &str| -> SysResult<String> {
            let data = read_at(rustix::fs::CWD, path, PROC_FILE_LIMIT)?;
            Ok(String::from_utf8_lossy(&data).into_owned())
        };
        let optional = |path: &str| read(path).unwrap_or_default();
        let status = read("/proc/self/status")?;
        let release = rustix::system::uname();
        Ok(Self {
            kernel: KernelVersion::parse(&release.release().to_string_lossy()),
            cgroup: match CgroupHierarchy::at_usual_place() {
                Some(hierarchy) => hierarchy,
                None => {
                    CgroupHierarchy::parse(&read("/proc/self/mountinfo")?, &optional("/proc/filesystems"))
                }
            },
            capabilities: kernel::capability_mask(&status, "CapEff:"),
            bounding: kernel::capability_mask(&status, "CapBnd:"),
            time_namespaces: Path::new("/proc/self/ns/time_for_children").exists()
                && optional("/proc/sys/user/max_time_namespaces").trim() != "0",
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            nr_open: optional("/proc/sys/fs/nr_open").trim().parse().unwrap_or(kernel::DEFAULT_NR_OPEN),
            hard_limits: kernel::hard_limits(),
            os_release: read("/etc/os-release").or_else(|_| read("/usr/lib/os-release")).unwrap_or_default(),
            devices: OPTIONAL_DEVICES
                .into_iter()
                .filter(|name| Path::new("/dev").join(name).exists())
                .collect(),
            localtime: std::fs::read_link("/etc/localtime")
                .ok()
                .map(|target| target.to_string_lossy().into_owned()),
            machine_id: optional("/etc/machine-id").trim().to_owned(),
        })
    }
}
