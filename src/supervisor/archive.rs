//! What outlives a machine that ran in the background: `/var/log/spinney/NAME/`, for root alone.
//!
//! | file | what it is |
//! |---|---|
//! | `supervisor.log` | warnings, errors and the steps of the machine's life, a line each, as they come |
//! | `console.log`, `console.log.1` | what the guest wrote on its console in its last run |
//! | `last.json` | how the last run ended: [`LastRun`]; absent while the first run lasts |
//!
//! It is a log and not a state: nothing of ours depends on it, and any of it may be removed at any time. The oldest
//! machines go first where there are too many.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::background::Failure;
use super::console_log;
use super::registry::{MACHINES, MachineDirectory};
use super::state::State;
use super::{Error, Event, Outcome, Report, Request};
use crate::settings::MachineName;
use crate::sys::files::{
    entries, make_directories, make_directory_at, open_at, open_directory, read_at, remove_file_at,
    remove_tree_at, replace_at, write_all,
};
use crate::sys::{SysError, SysResult, sys};

/// All machines' archives.
pub const ARCHIVE: &str = "/var/log/spinney";

/// The name of a machine's log there.
pub const SUPERVISOR_LOG: &str = "supervisor.log";

/// The name of the record of its last run.
pub const LAST_RUN: &str = "last.json";

/// At most so many machines are remembered.
const MACHINES_KEPT: usize = 100;

/// A log of this size begins anew with the next run; the one before it is kept beside it.
const LOG_BYTES: i64 = 256 << 10;

/// Larger than any file that we put there.
const LIMIT: usize = 4 << 20;

/// How a machine's last run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastRun {
    /// The machine.
    pub name: String,
    /// The exit status of the run.
    pub exit_status: u8,
    /// Why it ended, in words.
    pub reason: String,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// When the run began, in microseconds since 1970; `None` where nobody knows.
    pub started_at: Option<u64>,
    /// When it ended, or was found to have.
    pub ended_at: u64,
    /// The machine's state as it was last; `None` for one whose leader never ran.
    pub state: Option<State>,
}

/// The path of the archive of machine `name`.
pub fn path(name: &MachineName) -> PathBuf {
    Path::new(ARCHIVE).join(name.as_str())
}

/// Opens the archive of machine `name`, making it where it is not there.
///
/// # Errors
/// When /var/log cannot be written.
pub fn open(name: &MachineName) -> SysResult<OwnedFd> {
    make_directory_at(make_directories(Path::new(ARCHIVE), 0o700)?, name.as_str(), 0o700)
}

/// How the last run of machine `name` ended; `None` if it is not known.
///
/// # Errors
/// EACCES for all but root.
pub fn last_run(name: &MachineName) -> SysResult<Option<LastRun>> {
    let path = path(name).join(LAST_RUN);
    let describe = |error: &dyn std::fmt::Display| format!("{path:?}: {error}");
    match read_at(rustix::fs::CWD, &path, LIMIT) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| SysError::new("read", describe(&error), Errno::BADMSG)),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps what is to be known of the run that ends now. That it cannot be kept is worth a warning.
pub(super) fn keep_or_warn(
    request: &Request,
    directory: &MachineDirectory,
    result: Result<Outcome, &Error>,
    report: &mut Report<'_>,
) {
    if let Err(error) = keep(request, directory, result) {
        report(&Event::Warning(&format!("nothing is kept of this run: {error}")));
    }
}

fn keep(request: &Request, directory: &MachineDirectory, result: Result<Outcome, &Error>) -> SysResult<()> {
    let failure = result.err().map(Failure::from);
    let exit_status = result.map_or_else(Error::exit_status, |outcome| outcome.exit_status);
    let state = state_of(directory);
    let reason = match (&failure, &state) {
        (Some(failure), _) => failure.message.clone(),
        (None, Some(state)) if !state.init.is_empty() && exit_status == 0 => "it powered off".to_owned(),
        (None, _) => format!("it ended with exit status {exit_status}"),
    };
    let now = SystemTime::now();
    let started = now.checked_sub(request.started.elapsed()).map(microseconds);
    let name = directory.name();
    let last = LastRun {
        name: name.to_string(),
        exit_status,
        reason,
        failure,
        started_at: started,
        ended_at: microseconds(now),
        state,
    };
    write(directory, &last)
}

/// The same for a machine whose supervisor was killed; does nothing for one of the foreground.
///
/// # Errors
/// As [`keep`].
pub(super) fn keep_killed(directory: &MachineDirectory) -> SysResult<()> {
    /// As of a process that was killed by SIGKILL (a shell's 128+9).
    const KILLED: u8 = 137;
    let Some(state) = state_of(directory).filter(|state| state.background) else { return Ok(()) };
    let last = LastRun {
        name: directory.name().to_string(),
        exit_status: KILLED,
        reason: "its supervisor was killed".to_owned(),
        failure: None,
        started_at: None,
        ended_at: microseconds(SystemTime::now()),
        state: Some(state),
    };
    write(directory, &last)
}

fn write(directory: &MachineDirectory, last: &LastRun) -> SysResult<()> {
    let archive = open(directory.name())?;
    for name in [console_log::ROTATED_NAME, console_log::NAME] {
        match read_at(directory.fd(), name, LIMIT) {
            Ok(log) => replace_at(&archive, name, &log, 0o600)?,
            // Not one of another run.
            Err(error) if error.errno() == Errno::NOENT => remove_file_at(&archive, name)?,
            Err(error) => return Err(error),
        }
    }
    let mut text = serde_json::to_vec_pretty(last)
        .map_err(|_| SysError::new("write", "the last run as JSON", Errno::INVAL))?;
    text.push(b'\n');
    replace_at(&archive, LAST_RUN, &text, 0o600)?;
    prune(Path::new(ARCHIVE), MACHINES_KEPT)
}

fn state_of(directory: &MachineDirectory) -> Option<State> {
    read_at(directory.fd(), "state", LIMIT).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Removes the archives of machines beyond `kept`, those first that were written to longest ago. One of a machine that
/// runs stays.
fn prune(archives: &Path, kept: usize) -> SysResult<()> {
    let archives = open_directory(archives)?;
    let mut machines = Vec::new();
    for (name, _) in entries(&archives)? {
        // One that is gone by now was removed by another supervisor.
        if let Ok(stat) = rustix::fs::statat(&archives, &name, AtFlags::SYMLINK_NOFOLLOW) {
            machines.push(((stat.st_mtime, stat.st_mtime_nsec), name));
        }
    }
    machines.sort();
    let surplus = machines.len().saturating_sub(kept);
    let ended = machines.iter().filter(|(_, name)| !Path::new(MACHINES).join(name).exists());
    for (_, name) in ended.take(surplus) {
        remove_tree_at(&archives, Path::new(name))?;
    }
    Ok(())
}

/// The log of a machine's supervisor.
#[derive(Debug)]
pub(super) struct SupervisorLog {
    file: OwnedFd,
}

impl SupervisorLog {
    /// Opens the log of machine `name` at its end.
    ///
    /// # Errors
    /// As [`open`].
    pub(super) fn open(name: &MachineName) -> SysResult<Self> {
        let archive = open(name)?;
        let size = rustix::fs::statat(&archive, SUPERVISOR_LOG, AtFlags::SYMLINK_NOFOLLOW)
            .map_or(0, |stat| stat.st_size);
        if size >= LOG_BYTES {
            let rotated = format!("{SUPERVISOR_LOG}.1");
            sys("renameat", rustix::fs::renameat(&archive, SUPERVISOR_LOG, &archive, &rotated), || {
                format!("{SUPERVISOR_LOG}, {rotated}")
            })?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
        Ok(Self { file: open_at(archive, SUPERVISOR_LOG, flags, Mode::from_raw_mode(0o600))? })
    }

    /// Writes one line with the time of day before it (RFC 3339, UTC). A log that cannot be written has nobody to be told.
    pub(super) fn line(&self, text: &str) {
        let line = format!("{:.6} {text}\n", jiff::Timestamp::now());
        let _ = write_all(&self.file, line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let directory = std::fs::File::open(temporary.path()).expect("open");
        let names = ["c", "a", "d", "b"];
        for (age, name) in names.iter().enumerate() {
            std::fs::create_dir_all(temporary.path().join(name).join("journal")).expect("make");
            let time = rustix::fs::Timespec { tv_sec: i64::try_from(age).expect("few"), tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(&directory, *name, &times, AtFlags::empty()).expect("utimensat");
        }
        let left = || {
            let mut left: Vec<_> = std::fs::read_dir(temporary.path())
                .expect("read")
                .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
                .collect();
            left.sort();
            left
        };
        for (kept, expected) in [(9, &["a", "b", "c", "d"] as &[&str]), (3, &["a", "b", "d"]), (1, &["b"])] {
            prune(temporary.path(), kept).expect("prune");
            assert_eq!(left(), expected, "{kept}");
        }
    }
}
