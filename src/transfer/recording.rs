//! The record of a transfer, kept by the process that does it.
//!
//! A process makes its own, or finds one that was begun for it: then who started it knows its number before it runs.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use super::running::{LIMIT, Record, Written, cut, is_named, make, remove_if_empty, write};
use super::told::{Level, Outcome, Told};
use super::{Event, Watcher};
use crate::sys::SysResult;
use crate::sys::files::{open_at, open_directory, read_at, remove_file_at};
use crate::sys::process::{close_on_exec_from, start_time};

/// Names the record that somebody has begun for the process that it is given to: `ID:FD`.
pub const VARIABLE: &str = "SPINNEY_TRANSFER";

/// How often it is written down how far a transfer is.
const PAUSE: Duration = Duration::from_millis(250);

/// The record of a transfer of this process; gone when this is dropped.
#[derive(Debug)]
pub struct Running {
    directory: PathBuf,
    file: OwnedFd,
    id: u32,
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    content: Written,
    /// When it was last written.
    written: Instant,
    /// How long it was then.
    length: usize,
}

/// A record that is begun for a child, which takes it over: by [`Begun::variable`] in its environment, and [`Begun::file`] kept
/// open for it. Until then nobody can cancel it.
#[derive(Debug)]
pub struct Begun {
    id: u32,
    file: OwnedFd,
}

impl Begun {
    /// Writes down in `directory` that `record` is done; its number is above `last`.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn new(directory: &Path, record: Record, verify: Option<&str>, last: u32) -> SysResult<Self> {
        let record = Record {
            remote: cut(&record.remote),
            local: cut(&record.local),
            since: crate::image::layers::records::now(),
            ..record
        };
        let mut told = Told::default();
        told.verify = verify.map(cut);
        let (id, file, _) = make(directory, &Written { record, told }, last)?;
        Ok(Self { id, file })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What has the lock.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The value of [`VARIABLE`] for the child.
    pub fn variable(&self) -> String {
        format!("{}:{}", self.id, self.file.as_raw_fd())
    }
}

impl Running {
    /// Writes down in `directory` that this process does `kind` with `remote`.
    ///
    /// # Errors
    /// When that cannot be: who is not root moves images unseen.
    pub fn begin(directory: &Path, kind: &str, remote: &str) -> SysResult<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let started = start_time(pid)?;
        if let Some(adopted) = Self::adopt(directory, pid, started) {
            return Ok(adopted);
        }
        let record = Record {
            pid,
            started,
            kind: kind.to_owned(),
            remote: cut(remote),
            since: crate::image::layers::records::now(),
            ..Record::default()
        };
        let content = Written { record, told: Told::default() };
        let (id, file, length) = make(directory, &content, 0)?;
        Ok(Self::of(directory, (id, file), content, length))
    }

    fn of(directory: &Path, (id, file): (u32, OwnedFd), content: Written, length: usize) -> Self {
        let state = Mutex::new(State { content, written: Instant::now(), length });
        Self { directory: directory.to_owned(), file, id, state, ended: AtomicBool::new(false) }
    }

    /// Takes over the record that was begun for this process, if one was.
    fn adopt(directory: &Path, pid: i32, started: u64) -> Option<Self> {
        let value = std::env::var(VARIABLE).ok()?;
        let (id, number) = value.split_once(':')?;
        let (id, number): (u32, u32) = (id.parse().ok()?, number.parse().ok()?);
        let opened = open_directory(directory).ok()?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        let file = open_at(CWD, format!("/proc/self/fd/{number}"), flags, Mode::empty()).ok()?;
        // Whatever the number is by now, it is that record or none.
        if !is_named(&opened, &id.to_string(), &file) {
            return None;
        }
        let text = read_at(&opened, id.to_string(), LIMIT).ok()?;
        let mut content: Written = serde_json::from_slice(&text).ok()?;
        // Once: what else this process does has records of its own.
        if content.record.pid != 0 {
            return None;
        }
        // The lock is that of the fd that was given to us, which stays open to our end, and is no child's.
        close_on_exec_from(3).ok()?;
        (content.record.pid, content.record.started) = (pid, started);
        let length = write(&file, &content, text.len()).ok()?;
        Some(Self::of(directory, (id, file), content, length))
    }

    /// By which it is cancelled.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The image is called `name`.
    pub fn set_local(&self, name: &str) {
        self.change(|content| content.record.local = cut(name), Duration::ZERO);
    }

    /// A download is held to `mode`.
    pub fn set_verify(&self, mode: &str) {
        self.change(|content| content.told.verify = Some(cut(mode)), Duration::ZERO);
    }

    /// Says something to who follows it.
    pub fn say(&self, level: Level, text: &str) {
        self.change(|content| content.told.say(level, text), Duration::ZERO);
    }

    /// Takes what is told of how far it is.
    pub fn take(&self, event: &Event) {
        match event {
            Event::Stage { what, total } => self.change(
                |content| {
                    (content.record.moved, content.record.total) = (0, *total);
                    content.told.say(Level::Info, what);
                },
                Duration::ZERO,
            ),
            Event::Moved(count) => self.change(|content| content.record.moved += count, PAUSE),
            Event::Note(text) => self.say(Level::Warning, text),
        }
    }

    /// It is over, and this came of it.
    pub fn finish(&self, outcome: Outcome, words: &str) {
        let level = if outcome == Outcome::Done { Level::Info } else { Level::Error };
        self.change(
            |content| {
                if !words.is_empty() {
                    content.told.say(level, words);
                }
                content.told.outcome = Some(outcome);
            },
            Duration::ZERO,
        );
        self.end();
    }

    /// The transfer is over, whoever still holds this.
    pub fn end(&self) {
        // Its number may be another's the next moment.
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(directory) = open_directory(&self.directory) else { return };
        let _ = remove_file_at(&directory, self.id.to_string());
        remove_if_empty(&self.directory);
    }

    /// Changes it, and writes it down if that was not done for `pause`. What cannot be written is nobody's loss but of
    /// who looks.
    fn change(&self, change: impl FnOnce(&mut Written), pause: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.content);
        if state.written.elapsed() >= pause
            && let Ok(length) = write(&self.file, &state.content, state.length)
        {
            (state.length, state.written) = (length, Instant::now());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells `inner` what a transfer tells, and the record of it.
#[derive(Debug)]
pub struct Recording<W> {
    /// Who else is told.
    pub inner: W,
    /// The record.
    pub running: Arc<Running>,
}

impl Watcher for Recording<Arc<dyn Watcher>> {
    fn take(&self, event: Event) {
        self.running.take(&event);
        self.inner.take(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::running::list;

    #[test]
    fn records_live_as_long_as_their_transfer() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("transfers");
        assert_eq!(list(&directory).unwrap(), []);
        let first = Running::begin(&directory, "pull", "debian:trixie").unwrap();
        let second = Running::begin(&directory, "export", &"x".repeat(5000)).unwrap();
        assert_eq!((first.id(), second.id()), (1, 2));
        first.set_local("debian-trixie");
        first.take(&Event::Stage { what: "pulling".to_owned(), total: Some(100) });
        first.take(&Event::Moved(10));
        let found = list(&directory).unwrap();
        assert_eq!(found.len(), 2);
        let record = &found[0].record;
        assert_eq!((record.kind.as_str(), record.remote.as_str()), ("pull", "debian:trixie"));
        assert_eq!((record.local.as_str(), record.total), ("debian-trixie", Some(100)));
        // Not every piece is written down.
        assert_eq!(record.moved, 0);
        first.state.lock().unwrap().written -= PAUSE;
        first.take(&Event::Moved(10));
        assert_eq!(list(&directory).unwrap()[0].record.moved, 20);
        drop(first);
        assert_eq!(Running::begin(&directory, "pull", "x").unwrap().id(), 3);
        assert_eq!(list(&directory).unwrap().len(), 1);
        drop(second);
        assert!(!directory.exists());
    }
}
