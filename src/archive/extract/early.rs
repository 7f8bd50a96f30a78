//! Data on its way to disk while the rest is unpacked: what is brought there meanwhile need not be waited for at the end.
//!
//! It has a thread of its own, since a disk that is behind makes who asks wait; and a short queue, from which what does not
//! fit is left to the end.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::files::start_writeback;

/// The most files that wait: each is open.
const WAITING: usize = 64;

/// Files to be brought to disk.
pub(super) struct Early<F> {
    queue: Mutex<Queue<F>>,
    work: Condvar,
}

struct Queue<F> {
    files: VecDeque<F>,
    closed: bool,
}

impl<F> Default for Early<F> {
    fn default() -> Self {
        let queue = Queue { files: VecDeque::with_capacity(WAITING), closed: false };
        Self { queue: Mutex::new(queue), work: Condvar::new() }
    }
}

impl<F: AsFd> Early<F> {
    fn lock(&self) -> MutexGuard<'_, Queue<F>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what was written to `file` brought to disk, if there is room.
    pub(super) fn add(&self, file: F) {
        let mut queue = self.lock();
        if queue.files.len() < WAITING && !queue.closed {
            queue.files.push_back(file);
            self.work.notify_one();
        }
    }

    /// Ends [`Early::run`]: what waits is left to the end.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.files.clear();
        self.work.notify_all();
    }

    /// Does it, until it is closed.
    pub(super) fn run(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            if let Some(file) = queue.files.pop_front() {
                drop(queue);
                start_writeback(&file);
                drop(file);
                queue = self.lock();
            } else {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_there_is_room() {
        let early = Early::default();
        let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
        for _ in 0..WAITING + 5 {
            early.add(std::sync::Arc::clone(&file));
        }
        assert_eq!(std::sync::Arc::strong_count(&file), WAITING + 1);
        early.close();
        early.add(std::sync::Arc::clone(&file));
        assert_eq!(std::sync::Arc::strong_count(&file), 1);
        // Ends at once.
        early.run();
    }
}
