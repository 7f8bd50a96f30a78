//! Which cgroup v1 controllers this host has mounted, and where (cgroups(7)).

use std::path::{Path, PathBuf};

/// A controller of resources, by its use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as in cgroups(7)")]
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Cpuset,
    Pids,
    Io,
    NetCls,
    NetPrio,
}

impl Controller {
    /// All of them, with their names in v1 and in v2; v2 accounts for CPUs by itself and tags no packets.
    const NAMES: [(Self, &'static str, Option<&'static str>); 8] = [
        (Self::Memory, "memory", Some("memory")),
        (Self::Cpu, "cpu", Some("cpu")),
        (Self::Cpuacct, "cpuacct", None),
        (Self::Cpuset, "cpuset", Some("cpuset")),
        (Self::Pids, "pids", Some("pids")),
        (Self::Io, "blkio", Some("io")),
        (Self::NetCls, "net_cls", None),
        (Self::NetPrio, "net_prio", None),
    ];

    fn row(self) -> (&'static str, Option<&'static str>) {
        Self::NAMES
            .iter()
            .find(|(controller, ..)| *controller == self)
            .map_or(("", None), |(_, v1, v2)| (v1, *v2))
    }

    /// Its name in v1.
    pub fn legacy_name(self) -> &'static str {
        self.row().0
    }

    /// Its name in v2, where it is there.
    pub fn unified_name(self) -> Option<&'static str> {
        self.row().1
    }
}

/// A v1 controller and the hierarchy that it is in; several can be in one.
pub type Mounted = (Controller, PathBuf);

/// Where everyone mounts v1 controllers, each under its own name; one that shares a hierarchy has a symlink there.
const USUAL_PLACE: &str = "/sys/fs/cgroup";

/// The v1 controllers that are at their usual places. A call for each, where mountinfo can take milliseconds.
pub(super) fn at_usual_places() -> Vec<Mounted> {
    Controller::NAMES
        .into_iter()
        .map(|(controller, name, _)| (controller, Path::new(USUAL_PLACE).join(name)))
        .filter(|(_, path)| {
            rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == libc::CGROUP_SUPER_MAGIC)
        })
        .collect()
}

/// The controllers that `options`, those of a v1 hierarchy, name.
pub fn in_options(options: &str) -> impl Iterator<Item = Controller> + '_ {
    options.split(',').filter_map(|option| {
        Controller::NAMES.iter().find(|(_, name, _)| *name == option).map(|(controller, ..)| *controller)
    })
}
