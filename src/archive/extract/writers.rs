//! Data, on other threads.
//!
//! One buffer has the data of many small files, or a part of a large one. Buffers are few and used again, so memory and
//! open files are bounded whatever the archive; the thread that reads waits for the next free one. A file gets what it
//! should have, its time last, from whoever writes the last of its data.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::early::Early;
use crate::archive::error::Error;
use crate::archive::metadata::{AsMade, Metadata};
use crate::archive::notes::{Notes, Reason};
use crate::sys::{FdPath, SysError};

/// The size of a buffer: within a processor's cache.
const BUFFER: usize = 256 << 10;

/// How many there are.
const BUFFERS: usize = 16;

/// The most files that a buffer has data of: each is open, and with what else is that must stay below 1024, the usual
/// limit of open files (getrlimit(2)).
const PARTS: usize = 16;

/// What is shorter is not divided among buffers.
const WHOLE: usize = 64 << 10;

/// How much of a file is written before it is brought to disk. Small files are left to the end, where many of them go
/// together.
const STRIDE: u64 = 8 << 20;

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

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
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

/// Where a part of a buffer goes.
struct Part {
    target: Arc<Target>,
    offset: u64,
    range: Range<usize>,
}

#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    filled: usize,
    parts: Vec<Part>,
}

impl Batch {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER], filled: 0, parts: Vec::with_capacity(PARTS) }
    }
}

#[derive(Default)]
struct Queue {
    full: VecDeque<Batch>,
    free: Vec<Batch>,
    made: usize,
    closed: bool,
    notes: Notes,
    error: Option<Error>,
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    failed: AtomicBool,
    early: Early<Arc<Target>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of the thread that reads.
pub(super) struct Writers<'a> {
    shared: &'a Shared,
    batch: Batch,
}

impl Writers<'_> {
    /// Runs `read` with threads that write what it gives them, and waits for these. Gives what they noted.
    ///
    /// # Errors
    /// That of `read`, or why something could not be written.
    pub(super) fn run(read: impl FnOnce(&mut Writers<'_>) -> Result<(), Error>) -> Result<Notes, Error> {
        let shared = Shared::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let result = std::thread::scope(|scope| {
            // Also when `read` panics, or the threads would be waited for in vain.
            let _close = Close(&shared);
            let spawn = |name: &str, work: fn(&Shared)| {
                let thread = std::thread::Builder::new().name(name.to_owned());
                let shared = &shared;
                thread.spawn_scoped(scope, move || work(shared)).map(drop).map_err(|error| {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                    let source = SysError::new("clone3", "CLONE_THREAD", errno);
                    Error::System { action: "start", path: "a thread".to_owned(), source }
                })
            };
            spawn("to disk", |shared| shared.early.run())?;
            for _ in 0..threads {
                spawn("unpack", Shared::write_all)?;
            }
            shared.lock().made = 1;
            let mut writers = Writers { shared: &shared, batch: Batch::new() };
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

    /// Has `pieces` of `target` filled by `read`, one after another.
    ///
    /// # Errors
    /// That of `read`, or of an earlier write.
    pub(super) fn fill(
        &mut self,
        target: Target,
        pieces: &[(u64, u64)],
        mut read: impl FnMut(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let target = Arc::new(target);
        if target.left.load(Ordering::Relaxed) == 0 {
            return self.add(target, 0, 0, &mut read);
        }
        for (offset, length) in pieces {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                if self.room() < left.min(WHOLE) {
                    self.send()?;
                }
                let length = left.min(self.room());
                self.add(Arc::clone(&target), at, length, &mut read)?;
                at += length as u64;
            }
        }
        Ok(())
    }

    fn room(&self) -> usize {
        if self.batch.parts.len() < PARTS { self.batch.buffer.len() - self.batch.filled } else { 0 }
    }

    fn add(
        &mut self,
        target: Arc<Target>,
        offset: u64,
        length: usize,
        read: &mut impl FnMut(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.batch.parts.len() == PARTS {
            self.send()?;
        }
        let range = self.batch.filled..self.batch.filled + length;
        read(&mut self.batch.buffer[range.clone()])?;
        self.batch.filled = range.end;
        self.batch.parts.push(Part { target, offset, range });
        Ok(())
    }

    /// Gives what there is to the threads, and waits for a buffer that is free.
    fn send(&mut self) -> Result<(), Error> {
        let mut queue = self.shared.lock();
        if !self.batch.parts.is_empty() {
            queue.full.push_back(std::mem::take(&mut self.batch));
            self.shared.work.notify_one();
        }
        loop {
            if let Some(error) = queue.error.take() {
                return Err(error);
            }
            if let Some(batch) = queue.free.pop() {
                self.batch = batch;
                return Ok(());
            }
            if queue.made < BUFFERS {
                queue.made += 1;
                self.batch = Batch::new();
                return Ok(());
            }
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells the threads that nothing more comes.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
        self.0.early.close();
    }
}

impl Shared {
    fn write_all(&self) {
        let mut notes = Notes::default();
        let mut queue = self.lock();
        loop {
            if let Some(mut batch) = queue.full.pop_front() {
                drop(queue);
                let result = batch.parts.drain(..).try_for_each(|part| {
                    // Once one cannot be written, all is in vain.
                    if self.failed.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    part.write(&batch.buffer, &self.early, &mut notes)
                });
                batch.filled = 0;
                queue = self.lock();
                queue.free.push(batch);
                if let Err(error) = result {
                    self.failed.store(true, Ordering::Relaxed);
                    queue.error.get_or_insert(error);
                }
                self.room.notify_one();
            } else if queue.closed {
                queue.notes.merge(notes);
                return;
            } else {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Part {
    fn write(&self, buffer: &[u8], early: &Early<Arc<Target>>, notes: &mut Notes) -> Result<(), Error> {
        let target = &*self.target;
        let (mut bytes, mut at) = (&buffer[self.range.clone()], self.offset);
        while !bytes.is_empty() {
            match rustix::io::pwrite(&target.file, bytes, at) {
                Ok(0) => return Err(self.failed(Errno::NOSPC)),
                Ok(written) => {
                    bytes = &bytes[written..];
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        let length = self.range.len() as u64;
        let is_whole = target.left.fetch_sub(length, Ordering::AcqRel) <= length;
        if self.offset / STRIDE != at / STRIDE || is_whole && at >= WHOLE as u64 {
            early.add(Arc::clone(&self.target));
        }
        if !is_whole {
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
