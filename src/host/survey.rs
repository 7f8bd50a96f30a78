//! What `spinney doctor` wants to know of the host beside [`super::Host`]: switches, budgets, places. Read, never changed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, StatVfsMountFlags};

use super::CgroupHierarchy;
use crate::sys::files::read_at;

/// procfs files read here.
const LIMIT: usize = 4 << 20;

/// A directory and the file system that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory that was asked for.
    pub path: PathBuf,
    /// It, or the nearest above it that is there.
    pub existing: PathBuf,
    /// Type of the file system, as mount(8) calls it.
    pub kind: String,
    /// Bytes that are free for us, and all bytes.
    pub free: u64,
    /// All bytes.
    pub size: u64,
    /// Free inodes, and how many there can be; 0 of 0 where there is no such bound.
    pub free_inodes: u64,
    /// All inodes.
    pub inodes: u64,
    /// It cannot be written.
    pub read_only: bool,
}

/// Who may do what with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// Owner.
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Switches and budgets of a host. A sysctl that it lacks is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Our effective user is root.
    pub root: bool,
    /// Types of file systems that the kernel has now: others may come with modules.
    pub file_systems: BTreeSet<String>,
    /// Controllers of cgroup v2.
    pub controllers: BTreeSet<String>,
    /// Controllers of v1 hierarchies.
    pub legacy_controllers: BTreeSet<String>,
    /// kernel.unprivileged_userns_clone (Debian's).
    pub unprivileged_clone: Option<u64>,
    /// user.max_user_namespaces.
    pub max_user_namespaces: Option<u64>,
    /// kernel.apparmor_restrict_unprivileged_userns (Ubuntu's).
    pub apparmor_restriction: Option<u64>,
    /// fs.inotify.max_user_instances.
    pub inotify_instances: Option<u64>,
    /// fs.inotify.max_user_watches.
    pub inotify_watches: Option<u64>,
    /// kernel.pid_max.
    pub pid_max: Option<u64>,
    /// kernel.pty.max.
    pub pty_max: Option<u64>,
    /// The kernel filters system calls (seccomp(2)).
    pub seccomp: bool,
    /// /proc tells the children of a process (CONFIG_PROC_CHILDREN).
    pub children: bool,
    /// Where things are kept.
    pub places: Vec<Place>,
    /// Of /var/lib/machines, where it is there.
    pub machines: Option<Permissions>,
}

impl Survey {
    /// Looks around: at `places`, and for the permissions of `machines`.
    pub fn probe(cgroups: &CgroupHierarchy, places: &[&str], machines: &str) -> Self {
        let read = |path: &str| {
            let data = read_at(CWD, path, LIMIT).unwrap_or_default();
            String::from_utf8_lossy(&data).into_owned()
        };
        let sysctl = |name: &str| read(&format!("/proc/sys/{name}")).trim().parse().ok();
        let mountinfo = read("/proc/self/mountinfo");
        let v2 = cgroups.mount_point.as_ref().map(|mount| mount.join("cgroup.controllers"));
        let v2 = v2.map(|path| read(&path.to_string_lossy())).unwrap_or_default();
        Self {
            root: rustix::process::geteuid().is_root(),
            file_systems: file_systems(&read("/proc/filesystems")),
            controllers: v2.split_ascii_whitespace().map(str::to_owned).collect(),
            legacy_controllers: legacy_controllers(&mountinfo),
            unprivileged_clone: sysctl("kernel/unprivileged_userns_clone"),
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            apparmor_restriction: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            inotify_instances: sysctl("fs/inotify/max_user_instances"),
            inotify_watches: sysctl("fs/inotify/max_user_watches"),
            pid_max: sysctl("kernel/pid_max"),
            pty_max: sysctl("kernel/pty/max"),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            children: Path::new("/proc/thread-self/children").exists(),
            places: places.iter().filter_map(|path| Place::probe(Path::new(path), &mountinfo)).collect(),
            machines: std::fs::metadata(machines)
                .ok()
                .map(|stat| Permissions { uid: stat.uid(), mode: stat.mode() & 0o7777 }),
        }
    }
}

impl Place {
    fn probe(path: &Path, mountinfo: &str) -> Option<Self> {
        let existing = path.ancestors().find(|path| path.is_dir())?;
        let stat = rustix::fs::statvfs(existing).ok()?;
        let device = std::fs::metadata(existing).ok()?.dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        Some(Self {
            path: path.to_owned(),
            existing: existing.to_owned(),
            kind: kind_of(mountinfo, &device).unwrap_or_else(|| "unknown".to_owned()),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_inodes: stat.f_favail,
            inodes: stat.f_files,
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }
}

/// The types in a /proc/filesystems text: the last word of each line.
fn file_systems(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_whitespace().next_back()).map(str::to_owned).collect()
}

/// The type of the file system with number `device`, by /proc/self/mountinfo. btrfs has numbers of its own for subvolumes,
/// which are not in there.
fn kind_of(mountinfo: &str, device: &str) -> Option<String> {
    mountinfo
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(device))
        .find_map(|line| line.split_once(" - ")?.1.split(' ').next())
        .map(str::to_owned)
}

/// The controllers that v1 hierarchies have, by the super options of their mounts.
fn legacy_controllers(mountinfo: &str) -> BTreeSet<String> {
    /// All that there were (cgroups(7)); other words are flags of the mount.
    const KNOWN: [&str; 13] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "net_cls",
        "blkio",
        "perf_event",
        "net_prio",
        "hugetlb",
        "pids",
        "rdma",
    ];
    mountinfo
        .lines()
        .filter_map(|line| line.split_once(" - ")?.1.strip_prefix("cgroup ")?.rsplit(' ').next())
        .flat_map(|options| options.split(','))
        .filter(|option| KNOWN.contains(option))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
33 22 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
34 22 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 22 0:32 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
36 22 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
37 22 0:34 / /run rw - tmpfs tmpfs rw
";

    #[test]
    fn mounts() {
        let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        assert_eq!(names(legacy_controllers(MOUNTS)), ["cpu", "cpuacct", "memory"]);
        assert_eq!(names(legacy_controllers("")), [""; 0]);
        assert_eq!(names(file_systems("nodev\tproc\n\text4\nnodev\toverlay\n")), ["ext4", "overlay", "proc"]);
        for (device, kind) in [("8:1", Some("ext4")), ("0:34", Some("tmpfs")), ("0:99", None)] {
            assert_eq!(kind_of(MOUNTS, device).as_deref(), kind, "{device}");
        }
    }

    #[test]
    fn a_place_that_is_not_there_is_looked_at_above() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::probe(&directory.path().join("not/there"), "").unwrap();
        assert_eq!(place.existing, directory.path());
        assert_eq!(place.kind, "unknown");
        assert!(place.size > 0);
    }
}
