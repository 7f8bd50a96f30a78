//! Where the cgroup hierarchies of this host are (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).

use std::path::PathBuf;

use super::controllers::{self, Controller, Mounted};

/// How a host mounts its cgroup hierarchies, in systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// v2 alone.
    Unified,
    /// v1 controllers, and v2 beside them.
    Hybrid,
    /// v1 alone: v2 is in the kernel but mounted nowhere.
    Legacy,
    /// The kernel has no cgroup v2.
    Missing,
}

/// This host's cgroup v2 hierarchy, and what is in v1 instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupHierarchy {
    /// How it is mounted.
    pub mode: CgroupMode,
    /// Where; `None` unless unified or hybrid.
    pub mount_point: Option<PathBuf>,
    /// The controllers that v1 has: v2 has them not.
    pub legacy: Vec<Mounted>,
}

/// Where systemd mounts v2, alone and beside v1 (<https://systemd.io/CGROUP_DELEGATION>); everyone else does as it does.
const USUAL_PLACES: [(&str, CgroupMode); 2] =
    [("/sys/fs/cgroup", CgroupMode::Unified), ("/sys/fs/cgroup/unified", CgroupMode::Hybrid)];

impl CgroupHierarchy {
    /// The hierarchy at its usual place, if it is there. Two calls, where the mounts of a host that is busy with containers
    /// take the kernel milliseconds to list.
    pub fn at_usual_place() -> Option<Self> {
        USUAL_PLACES.into_iter().find_map(|(path, mode)| {
            let there = rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == libc::CGROUP2_SUPER_MAGIC);
            let legacy = || match mode {
                CgroupMode::Unified => Vec::new(),
                _ => controllers::at_usual_places(),
            };
            there.then(|| Self { mode, mount_point: Some(PathBuf::from(path)), legacy: legacy() })
        })
    }

    /// The v1 hierarchy that `controller` is in.
    pub fn legacy(&self, controller: Controller) -> Option<&PathBuf> {
        self.legacy.iter().find(|(mounted, _)| *mounted == controller).map(|(_, path)| path)
    }

    /// Reads /proc/self/mountinfo (proc_pid_mountinfo(5)) and /proc/filesystems (proc_filesystems(5)).
    pub fn parse(mountinfo: &str, filesystems: &str) -> Self {
        let mut v1 = false;
        let mut v2 = None;
        let mut legacy: Vec<Mounted> = Vec::new();
        for line in mountinfo.lines() {
            let Some((mount, superblock)) = line.split_once(" - ") else { continue };
            let place = || mount.split(' ').nth(4).map(unescape);
            match superblock.split(' ').next() {
                Some("cgroup") => {
                    v1 = true;
                    let options = superblock.split(' ').nth(2).unwrap_or_default();
                    for controller in controllers::in_options(options) {
                        if !legacy.iter().any(|(known, _)| *known == controller) {
                            legacy.extend(place().map(|path| (controller, PathBuf::from(path))));
                        }
                    }
                }
                // The first one is the system's; later ones are somebody's own.
                Some("cgroup2") if v2.is_none() => v2 = place(),
                _ => {}
            }
        }
        let in_kernel =
            filesystems.lines().any(|line| line.split_whitespace().next_back() == Some("cgroup2"));
        let mode = match (&v2, v1) {
            (Some(_), false) => CgroupMode::Unified,
            (Some(_), true) => CgroupMode::Hybrid,
            (None, _) if in_kernel => CgroupMode::Legacy,
            (None, _) => CgroupMode::Missing,
        };
        Self { mode, mount_point: v2.map(PathBuf::from), legacy }
    }
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "34 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n";
    const V2_HYBRID: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const V2_PURE: &str = "25 23 0:22 / /sys/fs/cgroup rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate\n";
    const KERNEL: &str = "nodev\tcgroup\nnodev\tcgroup2\n\text4\n";

    #[test]
    fn modes() {
        let table = [
            ("pure", V2_PURE.to_owned(), KERNEL, CgroupMode::Unified, Some("/sys/fs/cgroup")),
            (
                "hybrid",
                format!("{V1}{V2_HYBRID}"),
                KERNEL,
                CgroupMode::Hybrid,
                Some("/sys/fs/cgroup/unified"),
            ),
            ("legacy", V1.to_owned(), KERNEL, CgroupMode::Legacy, None),
            ("none", V1.to_owned(), "nodev\tcgroup\n", CgroupMode::Missing, None),
            ("two", format!("{V2_PURE}{V2_HYBRID}"), KERNEL, CgroupMode::Unified, Some("/sys/fs/cgroup")),
        ];
        for (name, mountinfo, filesystems, mode, mount_point) in table {
            let legacy = match mode {
                CgroupMode::Unified => Vec::new(),
                _ => vec![(Controller::Cpuset, PathBuf::from("/sys/fs/cgroup/cpuset"))],
            };
            let expected = CgroupHierarchy { mode, mount_point: mount_point.map(PathBuf::from), legacy };
            assert_eq!(CgroupHierarchy::parse(&mountinfo, filesystems), expected, "{name}");
        }
    }

    #[test]
    fn v1_controllers() {
        let text = "1 0 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    2 0 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
                    3 0 0:31 / /mnt/blkio rw - cgroup cgroup rw,blkio\n\
                    4 0 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let cgroup = CgroupHierarchy::parse(text, KERNEL);
        let place = |controller| cgroup.legacy(controller).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(place(Controller::Cpu).as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(place(Controller::Cpuacct).as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(place(Controller::Io).as_deref(), Some("/sys/fs/cgroup/blkio"));
        assert_eq!(place(Controller::Memory), None);
        assert_eq!(cgroup.legacy.len(), 3);
    }

    #[test]
    fn escapes_of_mount_points() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    }
}
