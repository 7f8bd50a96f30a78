//! The record of a transfer, followed from outside: what it says, also after its end.
//!
//! It is held open: a record that is removed can still be read, and says what came of it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::running::{LIMIT, LOOKS, Record, Written, is_locked, is_named};
use super::told::Told;
use crate::sys::files::{open_at, open_directory};
use crate::sys::process::{pidfd_open, start_time};

/// A record that is followed.
#[derive(Debug)]
pub struct Followed {
    directory: PathBuf,
    id: u32,
    file: OwnedFd,
}

impl Followed {
    /// Follows the record `id` in `directory`; `None` where there is none.
    pub fn open(directory: &Path, id: u32) -> Option<Self> {
        let opened = open_directory(directory).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = open_at(&opened, id.to_string(), flags, Mode::empty()).ok()?;
        Some(Self { directory: directory.to_owned(), id, file })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it says now.
    pub fn read(&self) -> Option<(Record, Told)> {
        let read = || {
            let mut text = vec![0; LIMIT];
            let length = rustix::io::pread(&self.file, &mut text, 0).ok()?;
            serde_json::from_slice::<Written>(text.get(..length)?).ok()
        };
        // It may just be written.
        (0..LOOKS).find_map(|_| read()).map(|written| (written.record, written.told))
    }

    /// Whether it is over: its record is removed, or nobody has it.
    pub fn is_over(&self) -> bool {
        let directory = open_directory(&self.directory);
        !directory.is_ok_and(|directory| is_named(&directory, &self.id.to_string(), &self.file))
            || !is_locked(&self.file)
    }

    /// The process that `record` says, if that lives.
    pub fn process(record: &Record) -> Option<OwnedFd> {
        let process = pidfd_open(Pid::from_raw(record.pid)?).ok()?;
        // Asked after the pidfd was had: what the pid means now, the pidfd does.
        (start_time(record.pid).ok()? == record.started).then_some(process)
    }

    /// A path to the record itself, whatever its name means by now: for who watches it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::recording::Running;
    use crate::transfer::told::{Level, Outcome};

    #[test]
    fn a_record_past_its_end() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("transfers");
        let running = Running::begin(&directory, "pull", "debian:trixie").unwrap();
        let followed = Followed::open(&directory, running.id()).unwrap();
        assert!(Followed::open(&directory, running.id() + 1).is_none());
        running.say(Level::Info, "pulling");
        let (record, told) = followed.read().unwrap();
        assert_eq!((record.kind.as_str(), told.outcome), ("pull", None));
        assert_eq!(told.since(0).map(|line| line.text.as_str()).collect::<Vec<_>>(), ["pulling"]);
        assert!(Followed::process(&record).is_some() && !followed.is_over());
        running.finish(Outcome::Failed, "it is broken");
        let (_, told) = followed.read().unwrap();
        assert!(followed.is_over());
        assert_eq!(
            (told.outcome, told.since(1).last().map(|line| (line.level, line.text.as_str()))),
            (Some(Outcome::Failed), Some((Level::Error, "it is broken")))
        );
        // Another of the same number is another one.
        let again = Running::begin(&directory, "import", "x").unwrap();
        assert_eq!(again.id(), followed.id());
        assert!(followed.is_over() && followed.read().is_some_and(|(record, _)| record.kind == "pull"));
    }
}
