//! Data, on other threads.
//!
//! They are written from the buffers that they came in, many small files of one or a part of a large one at a time. Who waits
//! holds one buffer at most, and what waits is bounded, so memory and open files are, whatever the archive. A file gets what
//! it should have, its time last, from whoever writes the last of its data.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::early::Early;
use crate::archive::error::Error;
use crate::archive::metadata::{AsMade, Metadata};
use crate::archive::notes::{Notes, Reason};
use crate::archive::shared::Shared;
use crate::sys::{FdPath, SysError};

/// The most files that go to a thread together: each is open.
const PARTS: usize = 16;

/// The most data that do: a part of a file may be as large as a buffer.
const BYTES: usize = 256 << 10;

/// How many such batches wait at most. With what else is open that stays below 1024, the usual limit of open files
/// (getrlimit(2)).
const BATCHES: usize = 16;

/// How much is written at once. The page cache takes as much memory in one piece as a write is long, and where memory is in
/// small pieces, as on any host that is up for a while, the kernel moves pages about to make larger ones (compaction): of
/// 256 KiB at once that took more time than all the rest of unpacking, of 64 KiB none, and smaller ones cost more calls.
const AT_ONCE: usize = 64 << 10;

/// The most threads: more only wait for each other in the file system.
const THREADS: usize = 4;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Target {
    file: OwnedFd,
    metadata: Metadata,
    as_made: Option<AsMade>,
    path: Vec<u8>,
    /// Bytes that are still to be written.
    left: AtomicU64,
}

impl Target {
    /// A file, made a moment ago as `as_made`, that `pieces` of data are to be written to.
    pub(super) fn new(
        file: OwnedFd,
        metadata: Metadata,
        as_made: Option<AsMade>,
        path: Vec<u8>,
        pieces: &[(u64, u64)],
    ) -> Self {
        let left = AtomicU64::new(pieces.iter().map(|(_, length)| length).sum());
        Self { file, metadata, as_made, path, left }
    }
}

/// Some of a file's data, and where they go.
struct Part {
    target: Arc<Target>,
    offset: u64,
    /// None of an empty file.
    bytes: Option<Shared>,
}

type Batch = Vec<Part>;

#[derive(Default)]
struct Queue {
    full: VecDeque<Batch>,
    /// Those that were written, to be filled again.
    empty: Vec<Batch>,
    /// How many threads have nothing to do.
    idle: usize,
    /// The thread that reads waits for room.
    is_full: bool,
    closed: bool,
    notes: Notes,
    error: Option<Error>,
}

/// What the threads share.
#[derive(Default)]
struct Work {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    failed: AtomicBool,
    early: Early,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of the thread that reads.
pub(super) struct Writers<'a> {
    shared: &'a Work,
    batch: Batch,
    filled: usize,
}

impl Writers<'_> {
    /// Runs `read` with threads that write what it gives them below `root`, and waits for these. Gives what they noted. `root`
    /// is an open file of its own: each is told once what could not be brought to disk, and here nobody listens.
    ///
    /// # Errors
    /// That of `read`, or why something could not be written.
    pub(super) fn run(
        root: &OwnedFd,
        read: impl FnOnce(&mut Writers<'_>) -> Result<(), Error>,
    ) -> Result<Notes, Error> {
        let shared = Work::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let result = std::thread::scope(|scope| {
            // Also when `read` panics, or the threads would be waited for in vain.
            let _close = Close(&shared);
            let shared = &shared;
            let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
            let failed = |error: std::io::Error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                let source = SysError::new("clone3", "CLONE_THREAD", errno);
                Error::System { action: "start", path: "a thread".to_owned(), source }
            };
            thread("to disk")
                .spawn_scoped(scope, || shared.early.run(|| _ = rustix::fs::syncfs(root)))
                .map_err(failed)?;
            for _ in 0..threads {
                thread("unpack").spawn_scoped(scope, || shared.write_all()).map_err(failed)?;
            }
            let mut writers = Writers { shared, batch: Batch::with_capacity(PARTS), filled: 0 };
            let result = read(&mut writers).and_then(|()| writers.send());
            if result.is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
            result
        });
        let queue = std::mem::take(&mut *shared.lock());
        // What went wrong with writing comes first: reading was told to stop because of it.
        queue.error.map_or(result, Err).map(|()| queue.notes)
    }

    /// Has `pieces` of `target` written, which `lend` gives one after another, each in as many parts as it likes.
    ///
    /// # Errors
    /// That of `lend`, or of an earlier write.
    pub(super) fn fill(
        &mut self,
        target: Target,
        pieces: &[(u64, u64)],
        mut lend: impl FnMut(u64) -> Result<Shared, Error>,
    ) -> Result<(), Error> {
        let target = Arc::new(target);
        if target.left.load(Ordering::Relaxed) == 0 {
            return self.add(Part { target, offset: 0, bytes: None });
        }
        for (offset, length) in pieces {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let bytes = lend(end - at)?;
                let next = at + bytes.len() as u64;
                self.add(Part { target: Arc::clone(&target), offset: at, bytes: Some(bytes) })?;
                at = next;
            }
        }
        Ok(())
    }

    fn add(&mut self, part: Part) -> Result<(), Error> {
        let length = part.bytes.as_deref().map_or(0, <[u8]>::len);
        let last = self.batch.iter().rev().find_map(|part| part.bytes.as_ref());
        // No buffer of another batch is waited for while this one is held.
        let is_lent_besides = |bytes: &Shared| last.is_some_and(|last| bytes.is_lent_besides(last));
        if self.batch.len() == PARTS
            || self.filled + length > BYTES
            || part.bytes.as_ref().is_some_and(is_lent_besides)
        {
            self.send()?;
        }
        self.filled += length;
        self.batch.push(part);
        Ok(())
    }

    /// Gives what there is to the threads, and waits for room.
    fn send(&mut self) -> Result<(), Error> {
        let mut queue = self.shared.lock();
        while queue.error.is_none() && queue.full.len() >= BATCHES {
            queue.is_full = true;
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = queue.error.take() {
            return Err(error);
        }
        if !self.batch.is_empty() {
            let next = queue.empty.pop().unwrap_or_else(|| Batch::with_capacity(PARTS));
            queue.full.push_back(std::mem::replace(&mut self.batch, next));
            self.filled = 0;
            if queue.idle > 0 {
                self.shared.work.notify_one();
            }
        }
        Ok(())
    }
}

/// Tells the threads that nothing more comes.
struct Close<'a>(&'a Work);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
        self.0.early.close();
    }
}

impl Work {
    fn write_all(&self) {
        let mut notes = Notes::default();
        let mut queue = self.lock();
        loop {
            if let Some(mut batch) = queue.full.pop_front() {
                if std::mem::take(&mut queue.is_full) {
                    self.room.notify_one();
                }
                drop(queue);
                let mut written = 0;
                let result = batch.drain(..).try_for_each(|part| {
                    // Once one cannot be written, all is in vain.
                    if self.failed.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    written += part.bytes.as_deref().map_or(0, <[u8]>::len);
                    part.write(&mut notes)
                });
                self.early.add(written);
                queue = self.lock();
                queue.empty.push(batch);
                if let Err(error) = result {
                    self.failed.store(true, Ordering::Relaxed);
                    queue.error.get_or_insert(error);
                    self.room.notify_one();
                }
            } else if queue.closed {
                queue.notes.merge(notes);
                return;
            } else {
                queue.idle += 1;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

impl Part {
    fn write(&self, notes: &mut Notes) -> Result<(), Error> {
        let target = &*self.target;
        let (mut bytes, mut at) = (self.bytes.as_deref().unwrap_or_default(), self.offset);
        let length = bytes.len() as u64;
        while !bytes.is_empty() {
            match rustix::io::pwrite(&target.file, &bytes[..bytes.len().min(AT_ONCE)], at) {
                Ok(0) => return Err(self.failed(Errno::NOSPC)),
                Ok(written) => {
                    bytes = &bytes[written..];
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        if target.left.fetch_sub(length, Ordering::AcqRel) > length {
            return Ok(());
        }
        match target.metadata.apply(&target.file, target.as_made, &target.path, notes) {
            Err(error) if error.ends_all() => Err(Error::system("write", &target.path)(error)),
            Err(error) => {
                notes.add_fault(Reason::Failed, &target.path, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn failed(&self, errno: Errno) -> Error {
        let source = SysError::new("pwrite64", FdPath::of(&self.target.file).to_string(), errno);
        Error::system("write", &self.target.path)(source)
    }
}
