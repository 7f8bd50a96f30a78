//! The machine's cgroups: an outer one that holds the limits, and in it the guest's own, delegated
//! (<https://systemd.io/CGROUP_DELEGATION>, cgroups(7)).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::unit_cgroup;
use crate::host::{CgroupHierarchy, CgroupMode};
use crate::sys::files::{
    change_owner, change_owner_at, entries, make_directory_at, open_directory, open_directory_at, read_at,
    remove_directory_at, while_parents_vanish, write_at,
};
use crate::sys::mount::{FsContext, MountAttributes};
use crate::sys::{SysError, SysResult};

/// Below the root of the hierarchy: all machines of a host without systemd.
pub(super) const PARENT: &str = "spinney";

/// In a machine's cgroup: the guest's root.
pub(super) const PAYLOAD: &str = "payload";

/// In a machine's cgroup: processes that joined it and find no place in the guest's.
const LEAF: &str = "joined";

/// Files that the owner of a delegated cgroup writes, where /sys/kernel/cgroup/delegate does not say
/// (Documentation/admin-guide/cgroup-v2.rst, "Delegation"; that file is there since Linux 4.15).
const DELEGATED: &str =
    "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\nmemory.oom.group\nmemory.reclaim\n";

/// No cgroup for a machine.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel has none.
    #[error("this kernel has no cgroup v2, and no init of today boots without")]
    Missing,
    /// A call failed.
    #[error("cannot make cgroup {name:?}")]
    Make {
        /// Of the machine.
        name: String,
        /// Why.
        #[source]
        source: SysError,
    },
}

/// The cgroup v2 hierarchy, opened.
#[derive(Debug)]
pub struct Hierarchy {
    root: OwnedFd,
}

/// One machine's cgroups.
#[derive(Debug)]
pub struct MachineCgroup {
    /// Of the outer one, below the root of the hierarchy.
    path: PathBuf,
    owner: u32,
    outer: OwnedFd,
    payload: OwnedFd,
}

impl Hierarchy {
    /// Opens the hierarchy of `host`. On a legacy host it is mounted for us alone: detached, seen by nobody.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] where the kernel has no cgroup v2.
    pub fn open(host: &CgroupHierarchy) -> Result<Self, CgroupError> {
        let failed = |source| CgroupError::Make { name: PARENT.to_owned(), source };
        let root = match (&host.mount_point, host.mode) {
            (Some(path), _) => open_directory(path).map_err(failed)?,
            (None, CgroupMode::Missing) => return Err(CgroupError::Missing),
            (None, _) => mount_unified().map_err(failed)?,
        };
        Ok(Self { root })
    }

    /// Makes the cgroups of machine `name`; the inner one belongs to `owner`.
    ///
    /// # Errors
    /// When one cannot be made or handed over.
    pub fn create(&self, name: &str, owner: u32) -> Result<MachineCgroup, CgroupError> {
        let make = || {
            let parent = make_directory_at(&self.root, PARENT, 0o755)?;
            enable_controllers(&self.root)?;
            MachineCgroup::make(&parent, Path::new("/").join(PARENT).join(name), owner)
        };
        while_parents_vanish(make).map_err(|source| CgroupError::Make { name: name.to_owned(), source })
    }

    /// Opens the cgroup `path`, which begins at the root of the hierarchy with a slash, as /proc/PID/cgroup says it.
    ///
    /// # Errors
    /// ENOENT when it is gone.
    pub fn find(&self, path: &Path) -> SysResult<OwnedFd> {
        open_directory_at(&self.root, path.strip_prefix("/").unwrap_or(path))
    }

    /// A leaf in a machine's outer cgroup, beside `payload`, the guest's own: for processes that join a guest whose
    /// cgroups take none. It goes with the machine, or by [`Hierarchy::remove_leaf`].
    ///
    /// # Errors
    /// ENOENT when the machine is gone.
    pub fn make_leaf(&self, payload: &Path) -> SysResult<OwnedFd> {
        make_directory_at(self.find(outer_of(payload))?, LEAF, 0o755)
    }

    /// Removes the leaf if nobody is in it.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn remove_leaf(&self, payload: &Path) -> SysResult<()> {
        match self.find(outer_of(payload)).and_then(|outer| remove_directory_at(outer, LEAF)) {
            Err(error) if matches!(error.errno(), Errno::BUSY | Errno::NOTEMPTY | Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Whether processes are in the cgroups of machine `name`: those of its own, or in a service or a scope of ours.
    pub fn is_populated(&self, name: &str) -> bool {
        let places = unit_cgroup::usual_places(name).into_iter().chain([Path::new(PARENT).join(name)]);
        places.into_iter().any(|outer| {
            let events = read_at(&self.root, outer.join("cgroup.events"), 4096).unwrap_or_default();
            events.split(|byte| *byte == b'\n').any(|line| line == b"populated 1")
        })
    }

    /// Removes what is left of the cgroups of machine `name`, killing what runs in them.
    ///
    /// # Errors
    /// When a process will not go, or a directory cannot be removed.
    pub fn remove(&self, name: &str) -> SysResult<()> {
        match open_directory_at(&self.root, PARENT) {
            Ok(parent) => {
                kill_and_remove(&parent, Path::new(name))?;
                remove_parent_if_empty(&self.root)
            }
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes what is left of the cgroups of machine `name` in a unit, killing what runs in them. The unit's own are systemd's, and
    /// others in it another machine's.
    ///
    /// # Errors
    /// When a process will not go, or a directory cannot be removed.
    pub fn remove_from_unit(&self, unit: &Path, name: &str) -> SysResult<()> {
        self.remove_child(unit, &unit_cgroup::outer(name))
    }

    /// As [`Hierarchy::remove_from_unit`], of a machine that an older version has started, whose cgroup bears no name.
    ///
    /// # Errors
    /// When a process will not go, or a directory cannot be removed.
    pub fn remove_only_one(&self, unit: &Path) -> SysResult<()> {
        self.remove_child(unit, Path::new(unit_cgroup::ONLY_ONE))
    }

    fn remove_child(&self, unit: &Path, child: &Path) -> SysResult<()> {
        match self.find(unit) {
            Ok(unit) => kill_and_remove(&unit, child),
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl MachineCgroup {
    /// Makes the outer cgroup `path` in `parent`, which has its name already, and the guest's own in it.
    pub(super) fn make(parent: &OwnedFd, path: PathBuf, owner: u32) -> SysResult<Self> {
        enable_controllers(parent)?;
        let outer = make_directory_at(parent, path.file_name().unwrap_or_default(), 0o755)?;
        enable_controllers(&outer)?;
        let payload = make_payload(&outer, owner)?;
        Ok(Self { path, owner, outer, payload })
    }

    /// The guest's root cgroup.
    pub fn payload(&self) -> &OwnedFd {
        &self.payload
    }

    /// The outer one, which the guest cannot change.
    pub fn outer(&self) -> &OwnedFd {
        &self.outer
    }

    /// The path of the guest's, from the root of the hierarchy.
    pub fn path(&self) -> PathBuf {
        self.path.join(PAYLOAD)
    }

    /// Makes the inner one anew, for the next boot: the last guest's own cgroups are in it, and the controllers that it
    /// enabled for them would let no process into it ("no internal process" rule).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn renew(&mut self) -> SysResult<()> {
        kill_and_remove(&self.outer, Path::new(PAYLOAD))?;
        self.payload = make_payload(&self.outer, self.owner)?;
        Ok(())
    }
}

/// The outer cgroup around a guest's own.
fn outer_of(payload: &Path) -> &Path {
    payload.parent().unwrap_or(payload)
}

/// The guest's own cgroup, handed over to `owner`.
fn make_payload(outer: &OwnedFd, owner: u32) -> SysResult<OwnedFd> {
    let payload = make_directory_at(outer, PAYLOAD, 0o755)?;
    let delegated = read_at(rustix::fs::CWD, "/sys/kernel/cgroup/delegate", 4096);
    let delegated =
        delegated.map_or_else(|_| DELEGATED.to_owned(), |text| String::from_utf8_lossy(&text).into_owned());
    change_owner(&payload, owner, owner)?;
    for file in delegated.lines() {
        match change_owner_at(&payload, file, owner, owner) {
            // Files of controllers that are off here.
            Err(error) if error.errno() == Errno::NOENT => {}
            other => other?,
        }
    }
    Ok(payload)
}

/// The v2 hierarchy of a host that mounts none, with the options that systemd gives it (cgroups(7), kernel's cgroup-v2.rst,
/// "Mounting"): a guest's cgroup namespace is then a boundary of delegation.
fn mount_unified() -> SysResult<OwnedFd> {
    FsContext::new("cgroup2")?.flag("nsdelegate")?.flag("memory_recursiveprot").and_then(mount_detached)
}

/// The root directory of a hierarchy that is mounted nowhere; open fds keep it.
pub(super) fn mount_detached(context: FsContext) -> SysResult<OwnedFd> {
    let flags = MountAttributes::MOUNT_ATTR_NOSUID
        | MountAttributes::MOUNT_ATTR_NODEV
        | MountAttributes::MOUNT_ATTR_NOEXEC;
    open_directory_at(context.mount(flags)?, ".")
}

/// Lets the children of `cgroup` have all controllers that it has.
///
/// A cgroup that holds processes may not (EBUSY, the "no internal process" rule): in a CI container, whose processes
/// sit in what it sees as the root, the machine then goes without controllers.
fn enable_controllers(cgroup: &OwnedFd) -> SysResult<()> {
    let available = read_at(cgroup, "cgroup.controllers", 4096)?;
    let enabled = read_at(cgroup, "cgroup.subtree_control", 4096)?;
    let (available, enabled) = (String::from_utf8_lossy(&available), String::from_utf8_lossy(&enabled));
    for controller in available.split_whitespace() {
        if enabled.split_whitespace().any(|name| name == controller) {
            continue;
        }
        // One at a time: a controller that cannot be had (cpu with real-time processes about) takes no other along.
        match write_at(cgroup, "cgroup.subtree_control", format!("+{controller}").as_bytes()) {
            Err(error)
                if !matches!(error.errno(), Errno::BUSY | Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Kills all processes of `cgroup` (cgroup.kill, Linux 5.14) and waits until it is empty, or gone: a scope's that is empty is
/// systemd's to remove, who may be quicker.
fn kill(cgroup: &OwnedFd) -> SysResult<()> {
    match kill_all(cgroup) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV) => Ok(()),
        done => done,
    }
}

fn kill_all(cgroup: &OwnedFd) -> SysResult<()> {
    loop {
        let events = open_at_read(cgroup, "cgroup.events")?;
        let text = crate::sys::files::read_all(&events, 4096)?;
        if !String::from_utf8_lossy(&text).lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        write_at(cgroup, "cgroup.kill", b"1")?;
        wait_for_change(&events)?;
    }
}

fn open_at_read(directory: &OwnedFd, name: &str) -> SysResult<OwnedFd> {
    crate::sys::files::open_at(directory, name, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
}

/// Waits for cgroup.events to change (it raises POLLPRI), or for a moment: a process in uninterruptible sleep dies
/// without an event of its own.
fn wait_for_change(events: &OwnedFd) -> SysResult<()> {
    const MOMENT: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut polled = [rustix::event::PollFd::new(events, rustix::event::PollFlags::PRI)];
    match rustix::event::poll(&mut polled, Some(&MOMENT)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SysError::new("poll", "cgroup.events", errno)),
    }
}

/// Empties and removes the cgroup `name` with its children, depth first: a guest leaves its own behind.
fn kill_and_remove(parent: &OwnedFd, name: &Path) -> SysResult<()> {
    let cgroup = match open_directory_at(parent, name) {
        Ok(cgroup) => cgroup,
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    kill(&cgroup)?;
    remove_children(&cgroup)?;
    remove_directory_at(parent, name)
}

/// Adds the processes of `cgroup` and of those below it to `processes`.
///
/// # Errors
/// When one cannot be read; one that is gone has none.
pub(super) fn collect_processes(cgroup: &OwnedFd, processes: &mut Vec<i32>) -> SysResult<()> {
    /// A machine with a million processes has other troubles.
    const LIMIT: usize = 8 << 20;
    match read_at(cgroup, "cgroup.procs", LIMIT) {
        Ok(text) => {
            processes
                .extend(String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        // EOPNOTSUPP: a cgroup of threads, whose processes are listed above it (cgroup-v2.rst, "Threads").
        Err(error) if matches!(error.errno(), Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    for (name, kind) in entries(cgroup)? {
        if kind == rustix::fs::FileType::Directory {
            match open_directory_at(cgroup, &name) {
                Ok(child) => collect_processes(&child, processes)?,
                Err(error) if error.errno() == Errno::NOENT => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

pub(super) fn remove_children(cgroup: &OwnedFd) -> SysResult<()> {
    for (name, kind) in entries(cgroup)? {
        if kind == rustix::fs::FileType::Directory {
            match remove_directory_at(cgroup, &name) {
                Err(error) if matches!(error.errno(), Errno::BUSY | Errno::NOTEMPTY) => {
                    remove_children(&open_directory_at(cgroup, &name)?)?;
                    remove_directory_at(cgroup, &name)?;
                }
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Another machine's start or end may be about the same directory at this moment.
pub(super) fn remove_parent_if_empty(root: &OwnedFd) -> SysResult<()> {
    match remove_directory_at(root, PARENT) {
        Err(error) if !matches!(error.errno(), Errno::BUSY | Errno::NOTEMPTY) => Err(error),
        _ => Ok(()),
    }
}
