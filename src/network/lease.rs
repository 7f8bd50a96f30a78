//! Who has which addresses: records that outlive machines, so that a name keeps its address in its zone.
//!
//! | file below `/var/lib/spinney/network` | what |
//! |---|---|
//! | `ZONE.json` | the networks of a zone, and the numbers in them of its machines |
//! | `_pairs.json` | the networks of machines that are alone with the host (`--network-veth`) |
//! | `lock` | flock(2) of it is held while any of the others is read and replaced |
//!
//! Everything else is the room's pure part: [`super::records`] decides, this file reads and writes.

mod error;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::plan::Addresses;
use super::records::{Asked, Pairs, Records, ZoneRecord};
use super::subnet::Subnet;
use crate::settings::network::{InterfaceName, ZoneName};
use crate::sys::SysResult;
use crate::sys::files::{
    self, entries, make_directories, open_at, open_directory, read_at, remove_file_at, replace_at,
};
use crate::sys::network::{NamespaceId, is_shared_with};

pub use error::LeaseError;

/// Where leases are.
pub const DIRECTORY: &str = "/var/lib/spinney/network";

/// Where those of other network namespaces than that of the host's first process are: such a host does not outlive a boot.
pub const OTHER_HOSTS: &str = "/run/spinney/network";

const LOCK: &str = "lock";
const PAIRS: &str = "_pairs.json";
const SUFFIX: &str = ".json";

/// A file that is at its bounds ([`super::records`]), with the longest names, is a quarter of it.
pub(super) const LIMIT: usize = 4 << 20;

/// What a file is called that nobody can make sense of.
const BROKEN: &str = ".broken";

/// What leases are chosen by: what of the host's network matters to a zone, or to a machine that is alone with the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostView {
    /// Its routes, but for default ones.
    pub routes: Vec<Route>,
    /// The addresses of the zone's bridge, where that is there.
    pub bridge: Vec<(IpAddr, u8)>,
    /// The host has IPv6 (`/proc/net/if_inet6` is there).
    pub ipv6: bool,
}

/// A route of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub network: Subnet,
    /// Through which interface.
    pub interface: Option<InterfaceName>,
}

/// Whose lease it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A machine's in a zone.
    Zone(ZoneName),
    /// That of a machine which is alone with the host.
    Pair,
}

/// The records of this host, locked while they are open.
#[derive(Debug)]
pub struct Leases {
    path: PathBuf,
    directory: Option<OwnedFd>,
    /// Its flock(2) goes with it.
    lock: Option<OwnedFd>,
    warnings: RefCell<Vec<String>>,
}

impl Leases {
    /// Opens those in `path`, makes them where they are not there, waits for whoever has them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn open(path: &Path) -> Result<Self, LeaseError> {
        let refused = |source| LeaseError::Records { directory: path.to_owned(), source };
        let directory = make_directories(path, 0o755).map_err(refused)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let lock = open_at(&directory, LOCK, flags, Mode::from_raw_mode(0o600)).map_err(refused)?;
        files::lock(&lock).map_err(refused)?;
        Ok(Self {
            path: path.to_owned(),
            directory: Some(directory),
            lock: Some(lock),
            warnings: RefCell::default(),
        })
    }

    /// Those in `path` as they are, to be looked at; what is chosen is not kept.
    pub fn look(path: &Path) -> Self {
        let directory = open_directory(path).ok();
        Self { path: path.to_owned(), directory, lock: None, warnings: RefCell::default() }
    }

    /// The addresses of a machine on both sides: those it had, where nothing has come between.
    ///
    /// # Errors
    /// When there are none for it.
    pub fn acquire(&self, wanted: &Wanted, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
        let refused = |source| LeaseError::Records { directory: self.path.clone(), source };
        let before = self.read().map_err(refused)?;
        let mut records = before.clone();
        let leased = records.acquire(wanted, asked)?;
        if self.lock.is_some() {
            self.write(&before, &records).map_err(refused)?;
        }
        Ok(leased)
    }

    /// What the user should know of the files.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// All of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn records(&self) -> Result<Records, LeaseError> {
        self.read().map_err(|source| LeaseError::Records { directory: self.path.clone(), source })
    }

    /// Forgets the addresses of `name` everywhere; says of which zones (`None`: its own network).
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn forget(&self, name: &str) -> Result<Vec<Option<ZoneName>>, LeaseError> {
        self.change(|records| records.forget(name))
    }

    /// Forgets the addresses of all machines but those that are `kept`; says of how many.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn forget_all(&self, kept: impl Fn(&str) -> bool) -> Result<usize, LeaseError> {
        self.change(|records| records.forget_all(kept))
    }

    /// Notes that machine `name` has just been in use: of all its addresses are to be forgotten last.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn touch(&self, name: &str, now: u64) -> Result<(), LeaseError> {
        self.change(|records| records.touch(name, now))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Records) -> T) -> Result<T, LeaseError> {
        let refused = |source| LeaseError::Records { directory: self.path.clone(), source };
        let before = self.read().map_err(refused)?;
        let mut records = before.clone();
        let result = change(&mut records);
        self.write(&before, &records).map_err(refused)?;
        Ok(result)
    }

    /// Puts a file aside that nobody can make sense of: at worst a machine has another address than before, and what is in it may
    /// be of use to somebody.
    fn put_aside(&self, directory: &OwnedFd, file: &str) {
        if self.lock.is_none() {
            return;
        }
        let aside = format!("{file}{BROKEN}");
        let done = match rustix::fs::renameat(directory, file, directory, aside.as_str()) {
            Ok(()) => format!("it is now {aside}"),
            Err(errno) => format!("and it cannot be renamed: {errno}"),
        };
        self.warnings.borrow_mut().push(format!(
            "no sense can be made of the leases in {}, machines in them may get other addresses; {done}",
            self.path.join(file).display()
        ));
    }

    /// Who can make no sense of a file has none.
    fn read(&self) -> SysResult<Records> {
        let Some(directory) = &self.directory else { return Ok(Records::default()) };
        let mut zones: BTreeMap<ZoneName, ZoneRecord> = BTreeMap::new();
        let mut pairs = Pairs::default();
        for (file, _) in entries(directory)? {
            let Some(stem) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)) else { continue };
            let data = match read_at(directory, &file, LIMIT) {
                Err(error) if error.errno() == Errno::NOENT => continue,
                data => data?,
            };
            let understood = if file == PAIRS {
                serde_json::from_slice(&data).map(|read| pairs = read)
            } else if let Ok(zone) = stem.parse() {
                serde_json::from_slice(&data).map(|record| drop(zones.insert(zone, record)))
            } else {
                Ok(())
            };
            if understood.is_err() {
                self.put_aside(directory, &format!("{stem}{SUFFIX}"));
            }
        }
        Ok(Records { zones, pairs })
    }

    /// Replaces what is not as it was.
    fn write(&self, before: &Records, after: &Records) -> SysResult<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let put = |name: &str, text: serde_json::Result<Vec<u8>>| -> SysResult<()> {
            let Ok(mut text) = text else { return Ok(()) };
            text.push(b'\n');
            replace_at(directory, name, &text, 0o644)
        };
        for (zone, record) in &after.zones {
            if before.zones.get(zone) != Some(record) {
                put(&format!("{zone}{SUFFIX}"), serde_json::to_vec_pretty(record))?;
            }
        }
        for zone in before.zones.keys().filter(|zone| !after.zones.contains_key(*zone)) {
            remove_file_at(directory, format!("{zone}{SUFFIX}"))?;
        }
        if before.pairs != after.pairs {
            put(PAIRS, serde_json::to_vec_pretty(&after.pairs))?;
        }
        Ok(())
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where the leases of the network namespace are that we are in: those of the host's own last.
pub fn directory() -> PathBuf {
    match (is_shared_with(1), NamespaceId::ours()) {
        (Some(false), Ok(namespace)) => namespace.directory_in(Path::new(OTHER_HOSTS)),
        _ => DIRECTORY.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::names::HostId;
    use crate::network::pool::Pool;

    fn asked<'a>(name: &'a str, host: &'a HostView, pool: &'a Pool) -> Asked<'a> {
        let id = HostId([7; 16]);
        Asked { name, addresses: &[], host, id, pool, is_live: &|_| true, live: &|_| Vec::new(), now: now() }
    }

    fn acquire(path: &Path, wanted: &Wanted, name: &str) -> String {
        let leases = Leases::open(path).unwrap();
        let host = HostView { ipv6: true, ..HostView::default() };
        let leased = leases.acquire(wanted, &asked(name, &host, &Pool::default())).unwrap();
        let v4 = leased.v4.unwrap();
        format!("{}/{}", v4.address, v4.prefix)
    }

    #[test]
    fn a_name_keeps_its_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network");
        let zone = Wanted::Zone("lab".parse().unwrap());
        let first = acquire(&path, &zone, "web");
        let written = std::fs::read(path.join("lab.json")).unwrap();
        assert_ne!(acquire(&path, &zone, "db"), first);
        assert_eq!(acquire(&path, &zone, "web"), first);
        let pair = acquire(&path, &Wanted::Pair, "web");
        assert_eq!(
            (pair.as_str(), acquire(&path, &Wanted::Pair, "web").as_str()),
            ("10.213.255.242/28", &*pair)
        );
        assert_eq!(acquire(&path, &Wanted::Pair, "db"), "10.213.255.226/28");
        // What is looked at is not changed, and what is not there is no error.
        let looked = Leases::look(&path);
        let host = HostView::default();
        looked.acquire(&zone, &asked("new", &host, &Pool::default())).unwrap();
        assert!(!looked.records().unwrap().zones[&"lab".parse().unwrap()].leases.contains_key("new"));
        assert_eq!(Leases::look(&path.join("none")).records().unwrap(), Records::default());
        // Broken files are nobody's, and kept for whoever wants to look at them.
        let broken = &written[..written.len() / 2];
        std::fs::write(path.join("lab.json"), broken).unwrap();
        std::fs::write(path.join("No Zone.json"), "{").unwrap();
        assert_eq!(Leases::look(&path).records().unwrap().zones.len(), 0);
        let leases = Leases::open(&path).unwrap();
        assert_eq!(leases.records().unwrap().zones.len(), 0);
        let [warning] = <[String; 1]>::try_from(leases.warnings()).unwrap();
        assert!(
            warning
                .ends_with("lab.json, machines in them may get other addresses; it is now lab.json.broken")
        );
        drop(leases);
        assert_eq!(std::fs::read(path.join("lab.json.broken")).unwrap(), broken);
        assert_eq!(acquire(&path, &zone, "web"), first);
        // One that is far too large is as good as broken.
        std::fs::write(path.join("lab.json"), [&written[..], &vec![b' '; LIMIT]].concat()).unwrap();
        std::fs::write(path.join("_pairs.json"), [&b" ".repeat(LIMIT)[..], b"{}"].concat()).unwrap();
        assert_eq!(acquire(&path, &zone, "web"), first);
        assert!(path.join("_pairs.json.broken").exists());
        acquire(&path, &Wanted::Pair, "web");
        assert_eq!(Leases::open(&path).unwrap().forget("web").unwrap().len(), 2);
        assert_eq!(Leases::open(&path).unwrap().forget("web").unwrap(), []);
    }

    #[test]
    fn a_hundred_at_once_have_a_hundred_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let zone = Wanted::Zone(ZoneName::default_zone());
        let all: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|number| {
                    let zone = &zone;
                    scope.spawn(move || acquire(path, zone, &format!("m{number}")))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), 100);
        let again: Vec<String> = (0..100).map(|number| acquire(path, &zone, &format!("m{number}"))).collect();
        assert_eq!(again, all);
    }
}
