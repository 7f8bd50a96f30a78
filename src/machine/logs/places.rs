//! The directories that hold logs of a machine, while it runs and when it does not.

use rustix::io::Errno;

use super::super::error::Error;
use super::super::find_image;
use super::super::handle::{Leader, MachineHandle};
use super::Source;
use super::stamps::Reader;
use super::text::{Kind, TextLog};
use crate::guest::log_files::{JOURNALS, LOGS, SYSLOGS, journal_directories};
use crate::image::opened;
use crate::runtime::journal::JOURNALS as JOURNALS_OF_HOST;
use crate::settings::MachineName;
use crate::supervisor::archive::{self, SUPERVISOR_LOG};
use crate::supervisor::{console_log, guest_logs};
use crate::sys::files::read_at;
use crate::sys::in_root::Root;

/// A machine ID and what may follow it (machine-id(5)).
const ID_MAX: usize = 64;

/// The description of a zone is smaller (tzfile(5)).
const ZONE_MAX: usize = 64 << 10;

/// The logs of one machine.
#[derive(Debug)]
pub struct Places {
    name: MachineName,
    /// While it runs: it, and the leader whose root this is.
    running: Option<(MachineHandle, Leader)>,
    /// The guest's root, or its tree.
    root: Option<Root>,
    /// What was kept at its end.
    archive: Option<Root>,
    /// Its directory in the registry.
    registry: Option<Root>,
    /// Its ID, without dashes.
    machine_id: Option<String>,
}

impl Places {
    /// Finds what there is of machine `name`.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but root; [`Error::NoLogs`] when the machine does not run and nothing of it
    /// was kept.
    pub fn find(name: &MachineName) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(denied(name));
        }
        match MachineHandle::find(name) {
            Ok(machine) => match Self::running(name, machine) {
                // It has ended meanwhile.
                Err(Error::NotRunning { .. }) => Self::stopped(name),
                found => found,
            },
            Err(Error::NotRunning { .. }) => Self::stopped(name),
            Err(error) => Err(error),
        }
    }

    fn running(name: &MachineName, machine: MachineHandle) -> Result<Self, Error> {
        let leader = machine.leader()?;
        let root = Root::open(format!("/proc/{}/root", leader.pid.as_raw_nonzero()));
        let root = match root {
            Ok(root) => root,
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::SRCH) => {
                return Err(Error::NotRunning { name: name.to_string() });
            }
            Err(error) if matches!(error.errno(), Errno::ACCESS | Errno::PERM) => return Err(denied(name)),
            Err(error) => return Err(Error::system("look into the machine")(error)),
        };
        // Asked again: only if it lives still was that pid's root its own.
        machine.leader()?;
        let registry = Root::open(machine.directory()).ok();
        let machine_id = Some(machine.state().uuid.replace('-', ""));
        Ok(Self {
            name: name.clone(),
            running: Some((machine, leader)),
            root: Some(root),
            archive: archive(name)?,
            registry,
            machine_id,
        })
    }

    fn stopped(name: &MachineName) -> Result<Self, Error> {
        let archive = archive(name)?;
        // One that ended in a way that nothing is known of has its tree where it was.
        let state = archive::last_run(name).ok().flatten().and_then(|last| last.state);
        let tree = match &state {
            Some(state) => Some(state.tree.clone()),
            None => find_image::find(name).ok(),
        };
        let root = tree.and_then(|tree| opened::look(&tree).ok());
        if archive.is_none() && root.is_none() {
            return Err(Error::NoLogs { name: name.to_string() });
        }
        let machine_id = state.map(|state| state.uuid.replace('-', ""));
        Ok(Self { name: name.clone(), running: None, root, archive, registry: None, machine_id })
    }

    /// The machine, while it runs, and the leader that it had when it was found.
    pub fn machine(&self) -> Option<&(MachineHandle, Leader)> {
        self.running.as_ref()
    }

    /// Whether the machine runs, and its init is systemd.
    pub fn runs_systemd(&self) -> bool {
        self.running.as_ref().is_some_and(|(machine, _)| machine.state().init.starts_with("systemd"))
    }

    /// Whether the leader that the machine had when it was found lives.
    pub fn leader_lives(&self) -> bool {
        self.running.as_ref().is_some_and(|(machine, _)| machine.leader().is_ok())
    }

    /// The places of the machine as it is now; `None` when it has no leader.
    pub fn after_reboot(&self) -> Option<Self> {
        Self::running(&self.name, MachineHandle::find(&self.name).ok()?).ok()
    }

    /// The guest's root, or its tree.
    pub fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// Directories of journal files, and those above that may come to hold such.
    pub fn journals(&self) -> (Vec<Root>, Vec<Root>) {
        let below = |root: &Root, paths: &[&str]| -> Vec<Root> {
            paths.iter().filter_map(|path| root.subroot(path).ok()).collect()
        };
        let mut bases = self.root.as_ref().map(|root| below(root, &JOURNALS)).unwrap_or_default();
        let mut found: Vec<Root> =
            bases.iter().flat_map(|base| journal_directories(base, self.machine_id.as_deref())).collect();
        if self.running.is_none()
            && let Some(archive) = &self.archive
        {
            found.extend(archive.subroot(guest_logs::JOURNAL).ok());
            found.extend(self.linked_journal());
        }
        if let Some(root) = self.root.as_ref().filter(|_| self.running.is_some()) {
            bases.extend(below(root, &["run/log", LOGS]));
        }
        (found, bases)
    }

    /// The directory of a machine that stopped which `--link-journal=` has bound into it, where there is one.
    fn linked_journal(&self) -> Option<Root> {
        let machine = self.machine_id.as_deref()?;
        let host = read_at(rustix::fs::CWD, "/etc/machine-id", ID_MAX).unwrap_or_default();
        // A tree that was copied from the host's claims to be it.
        if host.starts_with(machine.as_bytes()) {
            return None;
        }
        Root::open(JOURNALS_OF_HOST).ok()?.subroot(machine).ok()
    }

    /// The log of lines that `source` means; `None` where there is nothing.
    pub fn text(&self, source: Source) -> Option<TextLog> {
        let archive = self.archive.as_ref().filter(|_| self.running.is_none());
        match source {
            Source::Journal => None,
            Source::Syslog => {
                let kept = archive.and_then(|archive| archive.subroot(guest_logs::SYSLOG).ok());
                let own = self.root.as_ref().and_then(|root| root.subroot(LOGS).ok());
                let mut log = kept.iter().chain(&own).find_map(syslog)?;
                let zone = self.root.as_ref().and_then(|root| root.read("etc/localtime", ZONE_MAX).ok());
                log.set_reader(zone.map_or_else(Reader::default, |zone| Reader::in_zone(&zone)));
                Some(log)
            }
            Source::Console => {
                let directory = self.registry.as_ref().or(archive)?;
                TextLog::open(directory, console_log::NAME, Kind::Console)
            }
            Source::Supervisor => TextLog::open(self.archive.as_ref()?, SUPERVISOR_LOG, Kind::Supervisor),
        }
    }

    /// The machine's name.
    pub fn name(&self) -> &MachineName {
        &self.name
    }
}

fn denied(name: &MachineName) -> Error {
    Error::PermissionDenied { action: "read the logs of", name: name.to_string() }
}

fn syslog(directory: &Root) -> Option<TextLog> {
    SYSLOGS.iter().find_map(|name| TextLog::open(directory, name, Kind::Syslog))
}

fn archive(name: &MachineName) -> Result<Option<Root>, Error> {
    match Root::open(archive::path(name)) {
        Ok(root) => Ok(Some(root)),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) if matches!(error.errno(), Errno::ACCESS | Errno::PERM) => Err(denied(name)),
        Err(source) => Err(Error::State { name: name.to_string(), source }),
    }
}
