//! Names of machines on the host, for all of its programs: without a module of the name service switch, which a host without systemd
//! has not, and a static program does not load.
//!
//! Every resolver reads `/etc/hosts`, so each machine has lines there while it runs ([`hosts_file`], [`hosts_text`]); where
//! systemd-resolved runs, it is told too, by its hook ([`resolve_hook`]), which also answers who reads no hosts file. A machine is
//! `NAME.ZONE.internal`, and `NAME.spinney.internal` without a zone. Plain names are for machines among themselves: on the host they
//! could stand for something else, say `git` for a server of the user's company.

pub mod hosts_file;
pub mod hosts_text;
pub mod resolve_hook;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::network::plan::NetworkPlan;
use crate::network::service::Service;
use crate::settings::network::ZoneName;
use crate::sys::network::is_shared_with;

use super::dns::neighbours::neighbour;
use hosts_file::{HostsFile, HostsFileError};
use resolve_hook::ResolveHook;

/// How long others may be at the hosts file, and how soon it is tried again: each is for as long as it takes to write it.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(5);

/// A machine as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// The machine's own name.
    pub machine: String,
    /// Its name on the host.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl HostName {
    /// Of the machine with this network; `None` where it has no address of ours.
    pub fn of(machine: &str, plan: &NetworkPlan) -> Option<Self> {
        let own = neighbour(machine, plan)?;
        let domain = own.domain.unwrap_or_else(|| ZoneName::default_zone().domain());
        Some(Self { machine: own.name, name: format!("{machine}.{domain}"), addresses: own.addresses })
    }
}

/// Whether what `path` leads to, for us, is for programs that have our network: that of the host's init, or one of our own, as a mount
/// namespace of tests has it. In a network namespace that shares its files with the host, machines' addresses lead nowhere for the
/// host's programs.
pub fn concerns_us(path: &Path) -> bool {
    let same = |one: &str, other: &str| match (rustix::fs::stat(one), rustix::fs::stat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        // Who may not look at init is in a container, say, and has it all to itself.
        _ => false,
    };
    let (ours, its) = (path.display().to_string(), format!("/proc/1/root{}", path.display()));
    let network = || is_shared_with(1).unwrap_or(true);
    network() || !same(&ours, &its)
}

/// Tells the host of a machine, once, when its time has come; that it is forgotten again is for the journal of resources, by
/// [`forget`].
#[derive(Debug)]
pub struct HostNames {
    host: HostName,
    told: Told,
    due: Option<Instant>,
    /// Others were at the file: until when they may be, and when it is tried again.
    writing: Option<(Instant, Instant)>,
    hook: Option<ResolveHook>,
    warnings: Vec<String>,
}

/// Who is told of a machine.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// This file, for who reads it.
    pub file: Option<HostsFile>,
    /// The directory of systemd-resolved's hooks.
    pub hooks: Option<PathBuf>,
}

impl Told {
    /// Those that there are on this host for programs that reach our machines.
    pub fn of_host() -> Self {
        let hooks = resolve_hook::is_of_use().then(|| PathBuf::from(resolve_hook::HOOKS));
        let file = HostsFile::of_host().filter(|_| super::configuration::has_hosts_file());
        Self { file, hooks }
    }
}

impl HostNames {
    /// To be told at `due`: when a machine that boots has begun to, and when a command has not ended at once.
    pub fn new(host: HostName, told: Told, due: Instant) -> Self {
        Self { host, told, due: Some(due), writing: None, hook: None, warnings: Vec::new() }
    }

    /// Has the file name it; again soon, if others are at the file.
    fn write(&mut self, now: Instant) {
        let (until, _) = *self.writing.get_or_insert((now + PATIENCE, now));
        match self.told.file.as_ref().map(|file| file.add(&self.host)) {
            Some(Err(HostsFileError::Busy { .. })) if now < until => {
                self.writing = Some((until, now + AGAIN));
                return;
            }
            Some(Err(error)) => self.warn(&error),
            Some(Ok(())) | None => {}
        }
        self.writing = None;
    }

    fn tell(&mut self) {
        let running = Path::new(resolve_hook::RUNNING);
        let hooks = self.told.hooks.as_ref();
        match hooks.map(|hooks| ResolveHook::open(self.host.clone(), hooks, running)).transpose() {
            Ok(hook) => self.hook = hook,
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&mut self, error: &dyn std::error::Error) {
        let error = crate::sys::in_words(error);
        self.warnings.push(format!("the host does not know {}: {error}", self.host.name));
    }
}

impl Service for HostNames {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.hook.as_ref().map(ResolveHook::interest).unwrap_or_default()
    }

    fn on_ready(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.write(now);
            self.tell();
        } else if self.writing.is_some_and(|(_, at)| at <= now) {
            self.write(now);
        }
        if let Some(hook) = &mut self.hook {
            hook.on_ready(now);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let writing = self.writing.map(|(_, at)| at);
        let hook = self.hook.as_ref().and_then(Service::deadline);
        [self.due, writing, hook].into_iter().flatten().min()
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

/// Has the host forget `machine`, whose hook, if it had one, was at `hook`.
///
/// # Errors
/// When what is there of it cannot be removed.
pub fn forget(machine: &str, hook: Option<&Path>) -> Result<(), HostsFileError> {
    let removed = hook.map_or(Ok(()), |hook| {
        let failed = |source| HostsFileError::Change { path: hook.to_owned(), source };
        resolve_hook::remove(hook).map_err(failed)
    });
    // Whoever asks: it was noted by who has told this file, and may be collected from another network namespace.
    HostsFile::in_etc().keep(|other| other != machine).and(removed)
}

/// Has the host forget all machines that are not `there`: those that went with the host, whose /run is empty after a loss of power.
///
/// # Errors
/// When the file cannot be changed.
pub fn sweep(there: impl Fn(&str) -> bool) -> Result<(), HostsFileError> {
    HostsFile::of_host().map_or(Ok(()), |file| file.keep(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_the_file_is_not_waited_for() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let path = temporary.path().join("hosts");
        std::fs::write(&path, "a\n").expect("write");
        let file = HostsFile::at(&path, &temporary.path().join("locks"));
        let host = HostName {
            machine: "web".to_owned(),
            name: "web.spinney.internal".to_owned(),
            addresses: vec![IpAddr::from([10, 213, 0, 5])],
        };
        let told = Told { file: Some(file.clone()), hooks: None };
        let start = Instant::now();
        let (mut one, mut other) =
            (HostNames::new(host.clone(), told.clone(), start), HostNames::new(host, told, start));
        let others = file.try_lock().expect("lock");
        for names in [&mut one, &mut other] {
            names.on_ready(start);
            assert_eq!(names.deadline(), Some(start + AGAIN));
        }
        one.on_ready(start + PATIENCE);
        assert_eq!((one.deadline(), one.warnings().len()), (None, 1));
        drop(others);
        other.on_ready(start + AGAIN);
        assert_eq!((other.deadline(), other.warnings()), (None, Vec::new()));
        assert!(std::fs::read_to_string(&path).expect("read").contains("web.spinney.internal"));
    }

    #[test]
    fn files_that_concern_us() {
        // Unit tests run in init's own namespaces, or in a mount namespace of their own.
        assert!(concerns_us(Path::new("/etc/hosts")) || !rustix::process::geteuid().is_root());
        assert!(concerns_us(Path::new("/none/such")));
    }
}
