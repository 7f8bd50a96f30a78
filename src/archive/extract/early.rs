//! Data and names on their way to disk while the rest is unpacked: what is brought there meanwhile need not be waited for at
//! the end.
//!
//! It is syncfs(2), as at the end, since nothing less brings names there, or data beyond the cache of what they are on; on a
//! thread of its own, again whenever enough was written since it last began. What goes wrong is for the last one to say.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How much is written before it is brought to disk: some hundredths of a second of a fast disk's time, some tenths of a slow
/// one's.
const STRIDE: usize = 16 << 20;

/// What is to be brought to disk.
#[derive(Default)]
pub(super) struct Early {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that were written since it last began.
    written: usize,
    closed: bool,
}

impl Early {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes more were written.
    pub(super) fn add(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.written;
        state.written = before.saturating_add(bytes);
        if before < STRIDE && state.written >= STRIDE {
            self.work.notify_one();
        }
    }

    /// Ends [`Early::run`]: the rest is left to the end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Calls `sync` whenever it is worth it, until it is closed.
    pub(super) fn run(&self, mut sync: impl FnMut()) {
        let mut state = self.lock();
        while !state.closed {
            if state.written >= STRIDE {
                state.written = 0;
                drop(state);
                sync();
                state = self.lock();
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn once_for_all_that_was_written_since() {
        let early = Early::default();
        let (synced, told) = sync_channel(0);
        std::thread::scope(|scope| {
            scope.spawn(|| early.run(|| synced.send(()).unwrap()));
            early.add(STRIDE - 1);
            early.add(1);
            // It has begun when that is none again, and does not end before it is heard.
            while early.lock().written > 0 {
                std::thread::yield_now();
            }
            for _ in 0..5 {
                early.add(STRIDE);
            }
            told.recv().unwrap();
            told.recv().unwrap();
            early.add(STRIDE - 1);
            early.close();
        });
        assert_eq!(told.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        // Of what is left it does nothing more.
        early.add(STRIDE);
        early.run(|| panic!("it was closed"));
    }
}
