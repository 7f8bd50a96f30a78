//! What a guest has logged, kept when it would go with the machine: in its archive, `/var/log/spinney/NAME/`.
//!
//! | directory | what it is |
//! |---|---|
//! | `journal` | journal files of /run, and of a layer that is thrown away |
//! | `syslog` | text of a syslog daemon in such a layer |
//!
//! They are those of the last run. What lies in a tree stays there and is not copied.
//!
//! The directories are held open while the guest runs: with its leader all mounts go out of reach but not those that are
//! held, and their files stay as they were. A guest is hostile, so a child copies: regular files alone, so many bytes, in
//! so much time. Whatever it meets, the end of the machine waits for it that long and no longer.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::running::Running;
use crate::guest::log_files::{
    JOURNALS_OF_LOGS, JOURNALS_OF_RUN, LOGS, ROTATED_SYSLOG, SYSLOGS, journal_directories, journal_names,
    open_stored,
};
use crate::runtime::plan::{MachinePlan, RootBase};
use crate::sys::files::{make_directory_at, open_at, remove_tree_at};
use crate::sys::fork::fork;
use crate::sys::in_root::Root;
use crate::sys::process::ends_within;
use crate::sys::process::{die_with_parent, pidfd_open, pidfd_send_signal, wait_for_end};
use crate::sys::{SysError, SysResult};

/// The directory of journal files in an archive.
pub const JOURNAL: &str = "journal";

/// The directory of syslogs there.
pub const SYSLOG: &str = "syslog";

/// How much is kept of journals, the newest: a file of the largest size that journald makes by default (128 MiB,
/// journald.conf(5)) and some that are small, as most are.
const JOURNAL_BYTES: u64 = 160 << 20;

/// How much is kept of the end of a syslog.
const SYSLOG_BYTES: u64 = 8 << 20;

/// How long the end of a machine may wait for this. A usual journal takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a child that was killed may take to go; one that does not is stuck in the kernel, and left there.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Clocks of files are coarser than those of processes.
const SLACK_SECONDS: i64 = 2;

/// One read(2).
const CHUNK: usize = 64 << 10;

/// What is left out as a hole if it is all zeroes: most of a journal is.
const PAGE: usize = 4 << 10;

/// The directories of a guest that may hold logs, by fds that keep them.
#[derive(Debug)]
pub(super) struct GuestLogs {
    /// Its /run, which no guest keeps.
    run: Option<Root>,
    /// Its root file system.
    root: Option<Root>,
    /// Its /var/log, which may be on another.
    logs: Option<Root>,
    /// The root is thrown away.
    thrown_away: bool,
    /// When the run began, in seconds since 1970: of a layer only what was written since is its own.
    since: i64,
}

impl GuestLogs {
    /// Holds the directories of a guest that has just been started; again, after `before`, which counts on.
    pub(super) fn hold(running: &Running, plan: &MachinePlan, before: Option<&Self>) -> Self {
        if before.is_none()
            && let Ok(archive) = super::archive::open(&plan.name)
        {
            // What stays for now is removed when there is more to keep.
            let _ = forget(&archive);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(0).saturating_sub(SLACK_SECONDS);
        let below = |path| running.root.as_ref().and_then(|root| root.subroot(path).ok());
        Self {
            run: below("run"),
            logs: below(LOGS),
            root: running.root.as_ref().and_then(|root| root.try_clone().ok()),
            thrown_away: plan.root.base != RootBase::Tree,
            // A layer stays over reboots, and with it what the boots before have logged.
            since: before.map_or(now, |before| before.since),
        }
    }

    /// Copies into `archive` what would be lost. Nothing to keep is no fault.
    ///
    /// # Errors
    /// When that cannot be done, or not in time.
    pub(super) fn keep(&self, archive: &OwnedFd) -> SysResult<()> {
        forget(archive)?;
        let sources = self.sources();
        if sources.journals.is_empty() && sources.syslogs.is_none() {
            return Ok(());
        }
        let child = fork(|| {
            let copied = die_with_parent().and_then(|()| sources.copy(archive));
            copied.map_or_else(|error| error.errno().raw_os_error(), |()| 0)
        })?;
        let pidfd = pidfd_open(child)?;
        let mut errno = None;
        if !ends_within(&pidfd, PATIENCE)? {
            pidfd_send_signal(&pidfd, libc::SIGKILL)?;
            errno = Some(Errno::TIMEDOUT);
            if !ends_within(&pidfd, LAST_PATIENCE)? {
                return Err(failed(Errno::TIMEDOUT));
            }
        }
        match (wait_for_end(child)?, errno) {
            (_, Some(errno)) => Err(failed(errno)),
            (crate::sys::process::Ended::Exited(0), None) => Ok(()),
            (crate::sys::process::Ended::Exited(errno), None) => Err(failed(Errno::from_raw_os_error(errno))),
            (crate::sys::process::Ended::Signaled(_), None) => Err(failed(Errno::INTR)),
        }
    }

    /// Where there is something to copy. Looks at no file of the guest, only whether there are directories.
    fn sources(&self) -> Sources {
        let below = |held: Option<&Root>, path| held.and_then(|held| held.subroot(path).ok());
        let lost = self.lost_logs();
        let run = below(self.run.as_ref(), JOURNALS_OF_RUN).map(|base| (base, i64::MIN));
        let var = below(lost.as_ref(), JOURNALS_OF_LOGS).map(|base| (base, self.since));
        let journals = run.into_iter().chain(var).collect();
        Sources { journals, syslogs: lost.map(|logs| (logs, self.since)) }
    }

    /// The guest's /var/log, if that is lost.
    fn lost_logs(&self) -> Option<Root> {
        /// statfs(2)
        const TMPFS: i64 = 0x0102_1994;
        let in_memory = |root: &Root| {
            rustix::fs::fstatfs(root).is_ok_and(|stat| stat.f_type == TMPFS) || self.thrown_away
        };
        match &self.logs {
            Some(logs) => in_memory(logs).then(|| logs.try_clone().ok())?,
            // It was made while the guest ran.
            None => self.root.as_ref().filter(|_| self.thrown_away)?.subroot(LOGS).ok(),
        }
    }
}

/// Removes from `archive` what is of another run.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn forget(archive: &OwnedFd) -> SysResult<()> {
    for name in [JOURNAL, SYSLOG] {
        match remove_tree_at(archive, name) {
            Err(error) if error.errno() != Errno::NOENT => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn failed(errno: Errno) -> SysError {
    SysError::new("copy", "the guest's logs", errno)
}

/// A page that need not be written.
static ZEROES: [u8; PAGE] = [0; PAGE];

/// What is copied.
struct Sources {
    /// Directories of journals by machine ID, and since when their files count.
    journals: Vec<(Root, i64)>,
    syslogs: Option<(Root, i64)>,
}

impl Sources {
    fn copy(&self, archive: &OwnedFd) -> SysResult<()> {
        self.copy_journals(archive)?;
        self.copy_syslogs(archive)
    }

    fn copy_journals(&self, archive: &OwnedFd) -> SysResult<()> {
        let mut files = Vec::new();
        for (base, since) in &self.journals {
            for directory in journal_directories(base, None) {
                for name in journal_names(&directory) {
                    let Ok(metadata) = directory.symlink_metadata(&name) else { continue };
                    if metadata.is_file() && metadata.stat().st_mtime >= *since {
                        files.push((metadata.stat().st_mtime, directory.try_clone()?, name));
                    }
                }
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        files.sort_by_key(|(modified, ..)| Reverse(*modified));
        let target = make_directory_at(archive, JOURNAL, 0o700)?;
        let mut left = JOURNAL_BYTES;
        for (number, (_, directory, name)) in files.iter().enumerate() {
            let Some((file, metadata)) = open_stored(directory, name) else { continue };
            let size = u64::try_from(metadata.stat().st_size).unwrap_or(0);
            let Some(rest) = left.checked_sub(size) else { break };
            left = rest;
            // A name of the guest's own is nothing to have in an archive.
            copy(&file.into(), 0..size, &target, &format!("{number}.journal"))?;
        }
        Ok(())
    }

    fn copy_syslogs(&self, archive: &OwnedFd) -> SysResult<()> {
        let Some((directory, since)) = &self.syslogs else { return Ok(()) };
        let names = SYSLOGS.iter().filter(|name| !name.contains('/'));
        let ends = ROTATED_SYSLOG.iter().copied().chain([""]);
        let names = names.flat_map(|name| ends.clone().map(move |end| format!("{name}{end}")));
        for name in names {
            let Some((file, metadata)) = open_stored(directory, OsString::from(&name)) else { continue };
            let size = u64::try_from(metadata.stat().st_size).unwrap_or(0);
            if size > 0 && metadata.stat().st_mtime >= *since {
                let target = make_directory_at(archive, SYSLOG, 0o700)?;
                copy(&file.into(), size.saturating_sub(SYSLOG_BYTES)..size, &target, &name)?;
            }
        }
        Ok(())
    }
}

/// Copies `range` of `from` to a new file `name` of root's alone, with holes where it has zeroes.
fn copy(from: &File, range: std::ops::Range<u64>, directory: &impl AsFd, name: &str) -> SysResult<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let to: File = open_at(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into();
    let fault = |error: std::io::Error| {
        SysError::new("copy", name.to_owned(), Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let mut buffer = vec![0; CHUNK];
    let mut at = range.start;
    while at < range.end {
        // What was never written need not be read; a file system that cannot tell has it read.
        match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => at = data.min(range.end),
            Err(Errno::NXIO) => at = range.end,
            Err(_) => {}
        }
        let room = usize::try_from(range.end - at).unwrap_or(CHUNK).min(CHUNK);
        let count = from.read_at(buffer.get_mut(..room).unwrap_or_default(), at).map_err(fault)?;
        if count == 0 {
            break;
        }
        for page in buffer.get(..count).unwrap_or_default().chunks(PAGE) {
            if ZEROES.get(..page.len()) != Some(page) {
                to.write_all_at(page, at - range.start).map_err(fault)?;
            }
            at += u64::try_from(page.len()).unwrap_or(1);
        }
    }
    to.set_len(at - range.start).map_err(fault)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn copies_are_whole_and_have_holes() {
        let journal = include_bytes!("../../tests/fixtures/journal/systemd-257-compact-zstd.journal.zst");
        let journal = zstd::stream::decode_all(journal.as_slice()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("from"), &journal).unwrap();
        let from = File::open(directory.path().join("from")).unwrap();
        let to: OwnedFd = File::open(directory.path()).unwrap().into();
        let size = u64::try_from(journal.len()).unwrap();
        copy(&from, 0..size, &to, "whole").unwrap();
        copy(&from, size - 100_000..size, &to, "end").unwrap();
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        assert!(read("whole") == journal);
        assert!(read("end") == journal[journal.len() - 100_000..]);
        let metadata = std::fs::metadata(directory.path().join("whole")).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        assert!(metadata.blocks() * 512 < size / 2, "{} of {size}", metadata.blocks() * 512);
        let again = copy(&from, 0..size, &to, "whole").unwrap_err();
        assert_eq!(again.errno(), Errno::EXIST);
    }

    #[test]
    fn what_is_of_another_run_goes() {
        let directory = tempfile::tempdir().unwrap();
        let archive: OwnedFd = File::open(directory.path()).unwrap().into();
        for name in [JOURNAL, SYSLOG, "other"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            std::fs::write(directory.path().join(name).join("file"), "x").unwrap();
        }
        forget(&archive).unwrap();
        forget(&archive).unwrap();
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(left.iter().map(|entry| entry.file_name()).collect::<Vec<_>>(), ["other"]);
    }
}
