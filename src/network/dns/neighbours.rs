//! The machines of this host's network, from what their supervisors tell of them in /run: read when somebody asks, and a file again
//! only when it is another one. So nothing is watched (a hundred supervisors would use up root's budget of inotify instances), and an
//! idle machine costs nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use serde::Deserialize;

use crate::network::plan::{LinkKind, NetworkPlan};
use crate::settings::MachineName;
use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::process::start_time;

use super::known::{Neighbour, Wanted};

/// What a supervisor tells of its machine's network, in the machine's directory.
const NETWORK: &str = "network";

/// Its state, which names the supervisor.
const STATE: &str = "state";

/// More machines are not looked at: addresses of a zone end sooner.
const MOST: usize = 16 << 10;

/// A file of more bytes is none of ours.
const LIMIT: usize = 256 << 10;

/// How long a look at all of them is good for.
const FRESH: Duration = Duration::from_millis(100);

/// What of it concerns us.
#[derive(Debug, Deserialize)]
struct Told {
    /// The host's network namespace, its inode number.
    namespace: u64,
    plan: NetworkPlan,
}

/// Who told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Supervisor {
    /// Its pid.
    supervisor: i32,
    /// When it was started, in clock ticks since the host's boot.
    supervisor_started: u64,
}

impl Supervisor {
    /// Whether it is there: a process of this number that was started at another time is somebody else's.
    fn is_alive(self) -> bool {
        start_time(self.supervisor).is_ok_and(|at| at == self.supervisor_started)
    }
}

/// Tells one version of a file from the next: supervisors replace it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    changed: (i64, u64),
    size: i64,
}

/// What was read of a machine.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    neighbour: Option<Neighbour>,
    /// Its supervisor; `None` until it has said so.
    supervisor: Option<Supervisor>,
}

impl Known {
    fn is_alive(&self) -> bool {
        self.supervisor.is_none_or(Supervisor::is_alive)
    }
}

/// All machines of one network namespace of the host.
#[derive(Debug)]
pub struct Neighbours {
    machines: PathBuf,
    namespace: u64,
    known: HashMap<OsString, Known>,
    /// All that the last look has found, and when.
    looked: Option<(Instant, Arc<[Neighbour]>)>,
}

impl Neighbours {
    /// Those in the directory `machines` of the network namespace with this inode number.
    pub fn new(machines: &Path, namespace: u64) -> Self {
        Self { machines: machines.to_owned(), namespace, known: HashMap::new(), looked: None }
    }

    /// Those that are there now and have addresses. What one tells whose supervisor was killed stays until somebody starts the machine
    /// or collects leavings, and does not count.
    pub fn look(&mut self) -> Vec<Neighbour> {
        // None of it there: no machines.
        let directory = open_directory(&self.machines).ok();
        let found = directory.as_ref().and_then(|fd| entries(fd).ok()).unwrap_or_default();
        let mut known = HashMap::with_capacity(found.len());
        if let Some(directory) = &directory {
            for (name, _) in found.into_iter().take(MOST) {
                if let Some(one) = self.renewed(directory, &name) {
                    known.insert(name, one);
                }
            }
        }
        self.known = known;
        let alive = self.known.values().filter(|one| one.is_alive());
        alive.filter_map(|one| one.neighbour.clone()).collect()
    }

    /// Those that are wanted, and perhaps more. Who asks for one after another that is not there does not have us look at all of them
    /// each time.
    pub fn give(&mut self, wanted: Wanted<'_>, now: Instant) -> Arc<[Neighbour]> {
        if let Wanted::Named(name) = wanted
            && let Some(one) = self.named(name)
        {
            return [one].into();
        }
        match &self.looked {
            Some((at, found)) if now.saturating_duration_since(*at) < FRESH => found.clone(),
            _ => {
                let found: Arc<[Neighbour]> = self.look().into();
                self.looked = Some((now, found.clone()));
                found
            }
        }
    }

    /// The machine whose directory has the very name that was asked for, without a look at the others.
    fn named(&mut self, name: &[u8]) -> Option<Neighbour> {
        // What a guest asks for is a path only if it is a machine's name.
        let name: MachineName = std::str::from_utf8(name).ok()?.parse().ok()?;
        let directory = open_directory(&self.machines).ok()?;
        let one = self.renewed(&directory, OsStr::new(name.as_str()))?;
        let neighbour = one.neighbour.clone().filter(|_| one.is_alive());
        self.known.insert(OsString::from(name.as_str()), one);
        neighbour
    }

    /// What is to be known of the machine `name`; `None` if it tells nothing.
    fn renewed(&mut self, machines: &OwnedFd, name: &OsStr) -> Option<Known> {
        let stamp = stamp(machines, &Path::new(name).join(NETWORK))?;
        let mut known = match self.known.remove(name) {
            Some(known) if known.stamp == stamp => known,
            _ => Known { stamp, neighbour: self.read_one(machines, name), supervisor: None },
        };
        if known.neighbour.is_some() && known.supervisor.is_none() {
            let text = read_at(machines, Path::new(name).join(STATE), LIMIT).ok();
            known.supervisor = text.and_then(|text| serde_json::from_slice(&text).ok());
        }
        Some(known)
    }

    fn read_one(&self, machines: &OwnedFd, name: &OsStr) -> Option<Neighbour> {
        let text = read_at(machines, Path::new(name).join(NETWORK), LIMIT).ok()?;
        let told: Told = serde_json::from_slice(&text).ok()?;
        let name = name.to_str()?;
        (told.namespace == self.namespace).then(|| neighbour(name, &told.plan)).flatten()
    }
}

/// The machine `name` with its addresses, if it has any of us.
pub fn neighbour(name: &str, plan: &NetworkPlan) -> Option<Neighbour> {
    let ours = |kind: &LinkKind| matches!(kind, LinkKind::Zone(_) | LinkKind::Veth | LinkKind::Bridge(_));
    let links = plan.links.iter().filter(|link| ours(&link.kind));
    let addresses: Vec<IpAddr> = links
        .filter_map(|link| link.addresses)
        .flat_map(|of| [of.v4.map(|v4| v4.address.into()), of.v6.map(|v6| v6.address.into())])
        .flatten()
        .collect();
    let domain = plan.zone().map(|zone| zone.domain());
    (!addresses.is_empty()).then(|| Neighbour { name: name.to_owned(), domain, addresses })
}

fn stamp(directory: impl AsFd, path: &Path) -> Option<Stamp> {
    let stat = rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let changed = (stat.st_mtime, stat.st_mtime_nsec);
    regular.then_some(Stamp { inode: stat.st_ino, changed, size: stat.st_size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::{Addresses, Family, LinkPlan};
    use crate::settings::network::ZoneName;

    fn plan(zone: &str, last: u8) -> NetworkPlan {
        let v4 = Family { address: [10, 213, 0, last].into(), prefix: 22, gateway: None, host: None };
        let kind = match zone.parse::<ZoneName>() {
            Ok(zone) => LinkKind::Zone(zone),
            Err(_) => LinkKind::Veth,
        };
        let link = LinkPlan {
            addresses: Some(Addresses { v4: Some(v4), v6: None }),
            ..LinkPlan::new(kind, "host0".parse().expect("a name"))
        };
        NetworkPlan { links: vec![link], ..NetworkPlan::default() }
    }

    /// Written as supervisors do.
    fn tell(machines: &Path, name: &str, namespace: u64, plan: &NetworkPlan) {
        let directory = machines.join(name);
        let _ = std::fs::create_dir(&directory);
        let text = serde_json::json!({"namespace": namespace, "plan": plan, "ports": []}).to_string();
        std::fs::write(directory.join("new"), text).expect("write");
        std::fs::rename(directory.join("new"), directory.join("network")).expect("rename");
    }

    fn words(found: Vec<Neighbour>) -> Vec<String> {
        let mut words: Vec<String> = found
            .into_iter()
            .map(|one| format!("{} {} {:?}", one.name, one.domain.unwrap_or_default(), one.addresses))
            .collect();
        words.sort();
        words
    }

    #[test]
    fn machines_come_change_and_go() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let machines = temporary.path().join("machines");
        let mut neighbours = Neighbours::new(&machines, 7);
        assert_eq!(words(neighbours.look()), Vec::<String>::new());
        std::fs::create_dir(&machines).expect("mkdir");
        tell(&machines, "a", 7, &plan("spinney", 5));
        tell(&machines, "b", 7, &plan("-", 6));
        tell(&machines, "elsewhere", 8, &plan("spinney", 5));
        tell(&machines, "none", 7, &NetworkPlan::default());
        std::fs::create_dir(machines.join("starting")).expect("mkdir");
        std::fs::create_dir(machines.join("broken")).expect("mkdir");
        std::fs::write(machines.join("broken/network"), "{").expect("write");
        std::fs::create_dir(machines.join("link")).expect("mkdir");
        std::os::unix::fs::symlink("../a/network", machines.join("link/network")).expect("symlink");
        assert_eq!(words(neighbours.look()), ["a spinney.internal [10.213.0.5]", "b  [10.213.0.6]"]);
        tell(&machines, "a", 7, &plan("spinney", 9));
        std::fs::remove_dir_all(machines.join("b")).expect("remove");
        assert_eq!(words(neighbours.look()), ["a spinney.internal [10.213.0.9]"]);
        tell(&machines, "c", 7, &plan("spinney", 3));
        let named = |name: &str| neighbours.named(name.as_bytes()).map(|one| one.name);
        let names = ["c", "a", "A", "elsewhere", "none", "starting", "b", "..", "../a", "", "a/../c"];
        let found: Vec<_> = names.into_iter().filter_map(named).collect();
        assert_eq!(found, ["c", "a"]);
        let now = Instant::now();
        let looked = words(neighbours.look());
        assert_eq!(words(neighbours.give(Wanted::Named(b"A"), now).to_vec()), looked);
        tell(&machines, "new", 7, &plan("spinney", 4));
        assert_eq!(words(neighbours.give(Wanted::All, now).to_vec()), looked, "the last look is good still");
        assert_eq!(neighbours.give(Wanted::Named(b"new"), now).len(), 1, "one by its name is found at once");
        assert_eq!(neighbours.give(Wanted::All, now + FRESH).len(), looked.len() + 1);
    }

    #[test]
    fn of_the_dead() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let us = std::process::id().cast_signed();
        let started = start_time(us).expect("our own");
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let state = |name: &str, supervisor: i32, started: u64| {
            tell(temporary.path(), name, 7, &plan("spinney", 5));
            let text =
                format!("{{\"name\":\"x\",\"supervisor\":{supervisor},\"supervisor-started\":{started}}}");
            std::fs::write(temporary.path().join(name).join("state"), text).expect("write");
        };
        state("alive", us, started);
        state("another-process", us, 1);
        let pid = child.id().cast_signed();
        state("dies", pid, start_time(pid).expect("not waited for"));
        tell(temporary.path(), "starting", 7, &plan("spinney", 6));
        let mut neighbours = Neighbours::new(temporary.path(), 7);
        let names = |found: Vec<Neighbour>| {
            let mut names: Vec<String> = found.into_iter().map(|one| one.name).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(neighbours.look()), "alive dies starting");
        child.wait().expect("wait");
        assert_eq!(names(neighbours.look()), "alive starting");
    }
}
