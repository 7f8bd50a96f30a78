//! What has been bound: `binds` in the machine's directory, for root alone.
//!
//! A reboot makes the guest's mount namespace anew, and so do records of an earlier leader count for nothing; they are
//! dropped when the file is written next.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::machine::error::Error;
use crate::machine::handle::MachineHandle;
use crate::settings::BindIds;
use crate::sys::files::{open_at, open_directory, read_at, replace_at};
use crate::sys::{FdPath, SysError, sys};

const FILE: &str = "binds";
const LOCK: &str = "binds.lock";

/// More is none of ours.
const LIMIT: usize = 4 << 20;

/// One bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BindRecord {
    /// On the host, as it was given.
    pub source: PathBuf,
    /// In the machine.
    pub target: PathBuf,
    /// Nothing can be written there.
    pub read_only: bool,
    /// How IDs are mapped: as options of `--bind=` have it.
    pub ids: String,
    /// The kernel's ID of the mount (statx(2), STATX_MNT_ID_UNIQUE where the kernel has it).
    pub mount_id: u64,
    /// Of which boot: when its leader was started.
    pub leader_started: u64,
}

/// The word for `ids` in `--bind=`.
pub(super) fn ids_word(ids: BindIds) -> &'static str {
    match ids {
        BindIds::NoIdmap => "noidmap",
        BindIds::Idmap => "idmap",
        BindIds::RootIdmap => "rootidmap",
        BindIds::OwnerIdmap => "owneridmap",
    }
}

/// The records of this boot.
pub(super) fn read(machine: &MachineHandle) -> Result<Vec<BindRecord>, Error> {
    let path = machine.directory().join(FILE);
    let text = match read_at(CWD, &path, LIMIT) {
        Ok(text) => text,
        Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
        Err(error) if error.errno() == Errno::ACCESS => {
            return Err(Error::PermissionDenied {
                action: "see the binds of",
                name: machine.name().to_string(),
            });
        }
        Err(source) => return Err(Error::State { name: machine.name().to_string(), source }),
    };
    let records: Vec<BindRecord> = serde_json::from_slice(&text).map_err(|error| Error::State {
        name: machine.name().to_string(),
        source: SysError::new("read", format!("{path:?}: {error}"), Errno::BADMSG),
    })?;
    let leader = machine.state().leader_started;
    Ok(records.into_iter().filter(|record| record.leader_started == leader).collect())
}

/// The records, while nobody else changes them.
#[derive(Debug)]
pub(super) struct Records {
    directory: OwnedFd,
    records: Vec<BindRecord>,
    /// Held until we are done.
    _lock: OwnedFd,
}

impl Records {
    /// Locks and reads them.
    pub(super) fn open(machine: &MachineHandle) -> Result<Self, Error> {
        let failed = |source| Error::State { name: machine.name().to_string(), source };
        let directory = open_directory(machine.directory()).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let lock = open_at(&directory, LOCK, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
        let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive));
        sys("flock", locked, || format!("{}, LOCK_EX", FdPath::of(&lock))).map_err(failed)?;
        Ok(Self { directory, records: read(machine)?, _lock: lock })
    }

    pub(super) fn all(&self) -> &[BindRecord] {
        &self.records
    }

    /// The mount that was last made at `target`.
    pub(super) fn last_at(&self, target: &Path) -> Option<u64> {
        self.records.iter().rev().find(|record| record.target == target).map(|record| record.mount_id)
    }

    pub(super) fn add(&mut self, record: BindRecord) -> Result<(), Error> {
        self.records.push(record);
        self.write()
    }

    pub(super) fn remove(&mut self, mount_id: u64) -> Result<(), Error> {
        self.records.retain(|record| record.mount_id != mount_id);
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let failed = Error::system("write down what is bound");
        match serde_json::to_vec(&self.records) {
            Ok(text) => replace_at(&self.directory, FILE, &text, 0o600).map_err(failed),
            Err(_) => Err(failed(SysError::new("write", "a path that is not UTF-8", Errno::ILSEQ))),
        }
    }
}
