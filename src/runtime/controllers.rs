//! The machine's cgroups in v1 hierarchies, and writing limits into cgroups of both kinds.
//!
//! They are beside the guest's own cgroups, not above them: the guest gets cgroup v2, in which such a host has no controllers.
//! A guest that mounts a v1 hierarchy sees only its own cgroup there, whose files belong to the host's root.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{CgroupHierarchy, Controller};
use crate::sys::SysError;
use crate::sys::SysResult;
use crate::sys::files::{
    make_directory_at, open_directory, open_directory_at, read_at, remove_directory_at, while_parents_vanish,
    write_at,
};

use super::cgroup::{PARENT, remove_parent_if_empty};
use super::limit_plan::{Assignment, LegacyCgroup};

/// A limit that the kernel does not take.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {property}= to {text:?}")]
pub struct LimitError {
    /// The limit.
    pub property: &'static str,
    /// What was written.
    pub text: String,
    /// Why not.
    #[source]
    pub source: SysError,
}

impl LimitError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match (self.property, self.source.errno()) {
            (_, Errno::BUSY) => {
                "the machine uses more than that, and it cannot be taken back: spinney top shows how much"
            }
            ("AllowedCPUs" | "AllowedMemoryNodes", _) => "lscpu shows which CPUs and nodes this host has",
            ("NetPriority", Errno::NODEV) => "ip link shows the interfaces of this host",
            (_, Errno::NODEV | Errno::NXIO) => "lsblk shows the disks of this host",
            _ => "systemd.resource-control(5) says what it takes",
        }
    }
}

/// One machine's cgroups in v1 hierarchies.
#[derive(Debug, Default)]
pub struct Controllers {
    name: String,
    /// The unit's own, where the machine is in one: its limits are to hold.
    above: BTreeMap<Controller, PathBuf>,
    cgroups: Vec<Cgroup>,
}

#[derive(Debug)]
struct Cgroup {
    controller: Controller,
    path: PathBuf,
    fd: OwnedFd,
}

impl Controllers {
    /// None yet, of machine `name`: they will be below those that are `above`, of a unit, or else below the roots.
    pub fn new(name: &str, above: BTreeMap<Controller, PathBuf>) -> Self {
        Self { name: name.to_owned(), above, cgroups: Vec::new() }
    }

    /// Where those of `plan` begin: what [`remove`] is told.
    pub fn begins(&self, plan: &[LegacyCgroup]) -> Vec<PathBuf> {
        plan.iter().map(|wanted| self.begin(wanted)).collect()
    }

    fn begin(&self, wanted: &LegacyCgroup) -> PathBuf {
        match self.above.get(&wanted.controller) {
            Some(above) if !above.as_os_str().is_empty() => wanted.hierarchy.join(above),
            _ => wanted.hierarchy.clone(),
        }
    }

    /// Makes those of `plan` that are not there yet, and writes the limits. Gives what cannot be had, a line each.
    ///
    /// # Errors
    /// For a limit that the kernel refuses.
    pub fn apply(&mut self, plan: &[LegacyCgroup]) -> Result<Vec<String>, LimitError> {
        let mut warnings = Vec::new();
        for wanted in plan {
            match self.cgroup(wanted) {
                Ok(cgroup) => warnings.extend(write_limits(cgroup, &wanted.assignments)?),
                // A container whose cgroups are read-only. That nothing is counted is no news.
                Err(error) => warnings.extend(wanted.assignments.iter().map(|limit| {
                    let controller = wanted.controller.legacy_name();
                    format!(
                        "the controller {controller} cannot be used, {}= does nothing: {error}",
                        limit.property
                    )
                })),
            }
        }
        Ok(warnings)
    }

    fn cgroup(&mut self, wanted: &LegacyCgroup) -> SysResult<&OwnedFd> {
        let at = self.cgroups.iter().position(|cgroup| cgroup.controller == wanted.controller);
        let at = match at {
            Some(at) => at,
            None => {
                let begin = self.begin(wanted);
                let fd = while_parents_vanish(|| make(wanted.controller, &begin, &self.name))?;
                let path = begin.join(PARENT).join(&self.name);
                self.cgroups.push(Cgroup { controller: wanted.controller, path, fd });
                self.cgroups.len() - 1
            }
        };
        Ok(&self.cgroups[at].fd)
    }

    /// Moves our own thread, the only one of the process, into all of them.
    ///
    /// `tasks` and not `cgroup.procs`: a thread that moves itself need not wait until no process of the host forks, which
    /// takes up to 20 ms (cgroup_procs_write_start() in kernel/cgroup).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> SysResult<()> {
        self.cgroups.iter().try_for_each(|cgroup| write_at(&cgroup.fd, "tasks", b"0"))
    }

    /// Moves all processes `of` a cgroup of v2 into those of `controllers`, which were made after them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_in(&self, controllers: &[Controller], of: &OwnedFd) -> SysResult<()> {
        /// A process that is forked while we look is caught by the next look: its parent is where we put it, unless it
        /// was forked before.
        const LOOKS: u32 = 16;
        let mut known = BTreeSet::new();
        for _ in 0..LOOKS {
            let mut now = Vec::new();
            super::cgroup::collect_processes(of, &mut now)?;
            let new: Vec<_> = now.iter().filter(|pid| !known.contains(*pid)).copied().collect();
            if new.is_empty() {
                break;
            }
            for cgroup in self.cgroups.iter().filter(|cgroup| controllers.contains(&cgroup.controller)) {
                for pid in &new {
                    match write_at(&cgroup.fd, "cgroup.procs", pid.to_string().as_bytes()) {
                        // It has ended.
                        Err(error) if error.errno() == Errno::SRCH => {}
                        moved => moved?,
                    }
                }
            }
            known = now.into_iter().collect();
        }
        Ok(())
    }

    /// The cgroup of `controller`.
    pub fn get(&self, controller: Controller) -> Option<&OwnedFd> {
        self.cgroups.iter().find(|cgroup| cgroup.controller == controller).map(|cgroup| &cgroup.fd)
    }

    /// All of them: the controller, and the absolute path on the host.
    pub fn paths(&self) -> impl Iterator<Item = (Controller, &Path)> {
        self.cgroups.iter().map(|cgroup| (cgroup.controller, cgroup.path.as_path()))
    }
}

fn make(controller: Controller, begin: &Path, name: &str) -> SysResult<OwnedFd> {
    let root = open_directory(begin)?;
    let parent = make_directory_at(&root, PARENT, 0o755)?;
    if controller != Controller::Cpuset {
        return make_directory_at(&parent, name, 0o755);
    }
    // A new cpuset has no CPUs and no memory, and lets nobody in (cpuset(7)).
    inherit_cpuset(&root, &parent)?;
    let cgroup = make_directory_at(&parent, name, 0o755)?;
    inherit_cpuset(&parent, &cgroup)?;
    Ok(cgroup)
}

fn inherit_cpuset(parent: &OwnedFd, child: &OwnedFd) -> SysResult<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read_at(child, file, 4096)?.trim_ascii().is_empty() {
            write_at(child, file, read_at(parent, file, 4096)?.trim_ascii())?;
        }
    }
    Ok(())
}

/// Writes limits into a cgroup. Gives those whose file this kernel does not have, a line each.
///
/// # Errors
/// For a limit that the kernel refuses.
pub fn write_limits(cgroup: &OwnedFd, assignments: &[Assignment]) -> Result<Vec<String>, LimitError> {
    let refused = |limit: &Assignment, source| LimitError {
        property: limit.property,
        text: limit.text.clone(),
        source,
    };
    let mut warnings = Vec::new();
    let mut later = Vec::new();
    for limit in assignments {
        match write_limit(cgroup, limit) {
            Ok(true) => {}
            Ok(false) => {
                warnings.push(format!("this kernel has no {}: {}= does nothing", limit.file, limit.property))
            }
            // v1 wants its limit of memory and swap never below that of memory: which comes first depends on what was.
            Err(error) if error.errno() == Errno::INVAL => later.push(limit),
            Err(error) => return Err(refused(limit, error)),
        }
    }
    for limit in later {
        write_limit(cgroup, limit).map_err(|error| refused(limit, error))?;
    }
    Ok(warnings)
}

/// Whether the kernel has a file for it.
fn write_limit(cgroup: &OwnedFd, limit: &Assignment) -> SysResult<bool> {
    let or = limit.or.as_ref().map(|(file, text)| (*file, text.as_str()));
    let mut there = false;
    for (file, text) in std::iter::once((limit.file, limit.text.as_str())).chain(or) {
        match write_at(cgroup, file, text.as_bytes()) {
            // EOPNOTSUPP: of a disk whose scheduler has no weights.
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::OPNOTSUPP) => {}
            written => {
                written?;
                there = true;
            }
        }
    }
    Ok(there)
}

/// Removes what is left of the cgroups of machine `name` below where they begin. Its processes are dead, or about to be.
///
/// # Errors
/// When one will not go.
pub fn remove(begins: &[PathBuf], name: &str) -> SysResult<()> {
    let mut result = Ok(());
    for begin in begins {
        result = result.and(remove_from(begin, name));
    }
    result
}

fn remove_from(begin: &Path, name: &str) -> SysResult<()> {
    /// v1 has no cgroup.kill and tells of no emptiness. By now v2 has seen all processes dead; this is for one that
    /// somebody has put here.
    const LOOKS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(10);
    let parent = match open_directory(begin)
        .and_then(|root| open_directory_at(&root, PARENT).map(|parent| (root, parent)))
    {
        Ok((root, parent)) => {
            let mut looks = 0;
            loop {
                match remove_directory_at(&parent, Path::new(name)) {
                    Err(error) if error.errno() == Errno::BUSY && looks < LOOKS => {
                        if looks > 0 {
                            kill_all(&parent, name);
                        }
                        looks += 1;
                        std::thread::sleep(PAUSE);
                    }
                    Err(error) if error.errno() != Errno::NOENT => return Err(error),
                    _ => break,
                }
            }
            root
        }
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    remove_parent_if_empty(&parent)
}

fn kill_all(parent: &OwnedFd, name: &str) {
    let processes = read_at(parent, Path::new(name).join("cgroup.procs"), 1 << 20).unwrap_or_default();
    for pid in
        String::from_utf8_lossy(&processes).lines().filter_map(|line| Pid::from_raw(line.parse().ok()?))
    {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The v1 hierarchies of a host.
pub fn of(host: &CgroupHierarchy) -> Vec<PathBuf> {
    host.legacy.iter().map(|(_, path)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;

    /// As root on a host with v1 controllers.
    #[test]
    fn made_limited_and_removed() {
        let hierarchy = PathBuf::from("/sys/fs/cgroup/pids");
        if !hierarchy.join("tasks").exists() || !rustix::process::geteuid().is_root() {
            println!("skipped: needs root and the v1 controller pids");
            return;
        }
        let name = format!("limits-unit-{}", std::process::id());
        let plan = |text: &str| {
            let limit =
                Assignment { property: "TasksMax", file: "pids.max", text: text.to_owned(), or: None };
            let none = Assignment { property: "IOWeight", file: "no.such", text: "1".to_owned(), or: None };
            let hierarchy = hierarchy.clone();
            [LegacyCgroup { controller: Controller::Pids, hierarchy, assignments: vec![limit, none] }]
        };
        let mut controllers = Controllers::new(&name, BTreeMap::new());
        assert_eq!(
            controllers.apply(&plan("7")).unwrap(),
            ["this kernel has no no.such: IOWeight= does nothing"]
        );
        let path = hierarchy.join(PARENT).join(&name);
        assert_eq!(controllers.paths().collect::<Vec<_>>(), [(Controller::Pids, path.as_path())]);
        assert_eq!(read_at(CWD, path.join("pids.max"), 64).unwrap(), b"7\n");
        let error = controllers.apply(&plan("x")).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.source.errno()),
            ("cannot set TasksMax= to \"x\"", Errno::INVAL)
        );
        for _ in 0..2 {
            remove(&controllers.begins(&plan("")), &name).unwrap();
            assert!(!path.exists());
        }
    }
}
