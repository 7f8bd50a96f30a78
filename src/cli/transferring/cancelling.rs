//! Ctrl-C and SIGTERM: the first one cancels what is being moved, and what was made of it is removed; a second one ends us
//! at once, and the next command removes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::sys::signal::{SignalSet, wait_for};
use crate::transfer::{Context, Event};

/// Those that mean that the user has had enough (signal(7)); with SIGHUP the terminal went.
const SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Who waits for signals.
#[derive(Debug)]
pub struct Cancelling {
    first: Arc<AtomicI32>,
}

impl Cancelling {
    /// Begins; before any other thread is made, since it blocks the signals for all of them. `None` where that is not
    /// possible, and signals kill as ever.
    pub fn begin(context: &Context) -> Option<Self> {
        let set = SignalSet::of(&SIGNALS);
        let previous = set.block().ok()?;
        let first = Arc::new(AtomicI32::new(0));
        let (told, context) = (Arc::clone(&first), context.clone());
        let wait = move || {
            let waited = || loop {
                match wait_for(&set, None) {
                    Ok(Some(signal)) => return Some(signal),
                    Ok(None) => {}
                    Err(_) => return None,
                }
            };
            let Some(signal) = waited() else { return };
            told.store(signal, Ordering::Relaxed);
            context.cancel();
            context.tell(Event::Stage { what: "cancelling".to_owned(), total: None });
            let Some(signal) = waited() else { return };
            // By the signal itself, now that nothing blocks it here: who waits for us sees what ended us.
            let _ = previous.set_mask();
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = kill_process(getpid(), signal);
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).ok()?;
        Some(Self { first })
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.first.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}
