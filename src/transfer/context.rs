//! Whom a transfer tells how far it is, and who may stop it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Error;

/// What a transfer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It goes on to something else: `downloading debian.tar.xz`.
    Stage {
        /// What it does, as a participle with its object.
        what: String,
        /// How many bytes that will move; `None` where nobody knows.
        total: Option<u64>,
    },
    /// So many more bytes of the stage have moved.
    Moved(u64),
    /// Something that the user should read, such as a source that could not be reached.
    Note(String),
}

/// Who is told.
pub trait Watcher: Send + Sync {
    /// Takes `event`; called from any thread.
    fn take(&self, event: Event);
}

/// Goes with a transfer through all its threads.
#[derive(Clone)]
pub struct Context {
    watcher: Arc<dyn Watcher>,
    cancelled: Arc<AtomicBool>,
}

impl Context {
    /// Tells `watcher`.
    pub fn new(watcher: Arc<dyn Watcher>) -> Self {
        Self { watcher, cancelled: Arc::default() }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        struct Nobody;
        impl Watcher for Nobody {
            fn take(&self, _: Event) {}
        }
        Self::new(Arc::new(Nobody))
    }

    /// Tells `event`.
    pub fn tell(&self, event: Event) {
        self.watcher.take(event);
    }

    /// From now on [`Context::check`] fails.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// To be asked at least once for each chunk.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}
