//! Which cgroups a process that joins a machine goes into.
//!
//! The v2 cgroup of PID 1 itself: a guest's root cgroup has children with controllers, and such a one holds no processes
//! (the "no internal process" rule). Where a guest has it so that its PID 1's takes none either, a leaf beside the guest's
//! own: the machine's limits hold there as well. Each v1 cgroup that holds limits of the machine.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::host::{CgroupHierarchy, Host};
use crate::machine::{Error, Leader, MachineHandle};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::legacy_cgroup;
use crate::sys::files::{open_directory, read_at, write_at};
use crate::sys::{SysError, SysResult};

/// Cgroups of one machine.
#[derive(Debug)]
pub(super) struct Place {
    /// The guest's own cgroup.
    payload: PathBuf,
    hierarchy: Hierarchy,
    /// Where PID 1 is, if that is in the guest's own cgroup.
    own: Option<OwnedFd>,
    /// In v1 hierarchies.
    legacy: Vec<OwnedFd>,
    made_leaf: bool,
}

impl Place {
    /// Finds the cgroups of `machine`.
    ///
    /// # Errors
    /// [`Error::Paused`] where nothing that is put there would run.
    pub(super) fn find(machine: &MachineHandle, leader: &Leader) -> Result<Self, Error> {
        let failed = || Error::system("find the machine's cgroup");
        let host = match CgroupHierarchy::at_usual_place() {
            Some(host) => host,
            None => Host::probe().map_err(failed())?.cgroup,
        };
        let hierarchy = Hierarchy::open(&host).map_err(|error| Error::Cgroup { source: Box::new(error) })?;
        let payload = Path::new(&machine.state().cgroup);
        if is_frozen(&hierarchy, payload) {
            return Err(Error::Paused { name: machine.name().to_string() });
        }
        let listed = read_at(CWD, format!("/proc/{}/cgroup", leader.pid.as_raw_nonzero()), 1 << 16);
        let listed = listed.map_err(failed())?;
        let listed = String::from_utf8_lossy(&listed);
        let own = below(&listed, UNIFIED, payload)
            // What is cloned into one that the guest has frozen does not even get to join the machine.
            .filter(|path| !is_frozen_below(&hierarchy, payload, path))
            .and_then(|path| hierarchy.find(&path).ok());
        let controllers = machine.state().legacy_controllers.values().map(|path| open_directory(path));
        // Where the guest's systemd is too old for v2.
        let named = below(&listed, NAMED, payload).map(|path| legacy_cgroup::find(&path));
        Ok(Self {
            payload: payload.to_owned(),
            hierarchy,
            own,
            legacy: controllers.chain(named).collect::<SysResult<_>>().map_err(failed())?,
            made_leaf: false,
        })
    }

    /// The v2 cgroup to clone into.
    pub(super) fn unified(&self) -> Option<&OwnedFd> {
        self.own.as_ref()
    }

    /// Takes the leaf instead.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn fall_back(&mut self) -> SysResult<()> {
        self.own = Some(self.hierarchy.make_leaf(&self.payload)?);
        self.made_leaf = true;
        Ok(())
    }

    /// Goes into the v1 cgroups, all that we clone from here on with us. For a process of one thread.
    ///
    /// By `tasks`, not by `cgroup.procs`: a thread that moves itself alone does without the lock over all forks and exits,
    /// for which the kernel waits a whole grace period (cgroup_procs_write_start() in kernel/cgroup/cgroup.c, Linux
    /// 5.12), tens of milliseconds on a busy host.
    ///
    /// # Errors
    /// When a limit forbids it.
    pub(super) fn enter_legacy(&self) -> SysResult<()> {
        self.legacy.iter().try_for_each(|cgroup| write_at(cgroup, "tasks", b"0"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.made_leaf {
            // It goes with the machine at the latest.
            let _ = self.hierarchy.remove_leaf(&self.payload);
        }
    }
}

/// Whether a clone into `cgroup` says that it takes no processes, or that it is gone.
pub(super) fn takes_none(error: &SysError) -> bool {
    use rustix::io::Errno;
    matches!(error.errno(), Errno::BUSY | Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT)
}

/// Whether the machine's processes are stopped, or about to be (cgroup-v2.rst, cgroup.freeze).
fn is_frozen(hierarchy: &Hierarchy, payload: &Path) -> bool {
    [payload.parent().unwrap_or(payload), payload].into_iter().any(|path| freezes(hierarchy, path))
}

/// Whether a cgroup of the guest's own, from `path` up to its root, stops what is in it.
fn is_frozen_below(hierarchy: &Hierarchy, payload: &Path, path: &Path) -> bool {
    path.ancestors().take_while(|above| *above != payload).any(|above| freezes(hierarchy, above))
}

fn freezes(hierarchy: &Hierarchy, path: &Path) -> bool {
    let read = hierarchy.find(path).and_then(|cgroup| read_at(cgroup, "cgroup.freeze", 16));
    read.is_ok_and(|text| text.starts_with(b"1"))
}

/// Of a line of /proc/PID/cgroup (cgroups(7)), what stands between the hierarchy's number and the path.
const UNIFIED: &str = ":";
const NAMED: &str = ":name=systemd:";

/// The path in that hierarchy, if it is at or below `payload`.
fn below(listed: &str, hierarchy: &str, payload: &Path) -> Option<PathBuf> {
    let path = listed.lines().find_map(|line| {
        let (number, rest) = line.split_at_checked(line.find(':')?)?;
        // The number of v2 is 0, and it has no name.
        if (number == "0") == (hierarchy == UNIFIED) { rest.strip_prefix(hierarchy) } else { None }
    })?;
    let path = Path::new(path.strip_prefix(':').unwrap_or(path));
    let below = path.strip_prefix(payload).ok()?;
    let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaders_cgroup_counts_below_the_payload_only() {
        let payload = Path::new("/spinney/web/payload");
        let table = [
            ("0::/spinney/web/payload\n", Some("/spinney/web/payload")),
            ("4:memory:/x\n0::/spinney/web/payload/init.scope\n", Some("/spinney/web/payload/init.scope")),
            ("0::/spinney/web/payload/../../other\n", None),
            ("0::/spinney/web/payload2\n", None),
            ("0::/spinney/other/payload\n", None),
            ("0::/../x\n", None),
            ("0::/\n", None),
            ("4:memory:/spinney/web/payload\n", None),
            ("", None),
        ];
        for (listed, expected) in table {
            assert_eq!(below(listed, UNIFIED, payload), expected.map(PathBuf::from), "{listed:?}");
        }
        let both = "9:name=systemd:/spinney/web/payload/x\n4:memory:/y\n0::/spinney/web/payload/z\n";
        assert_eq!(below(both, NAMED, payload), Some("/spinney/web/payload/x".into()));
        assert_eq!(below(both, UNIFIED, payload), Some("/spinney/web/payload/z".into()));
        assert_eq!(below("9:name=systemd:/\n", NAMED, payload), None);
    }
}
