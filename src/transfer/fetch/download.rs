//! A download, on a thread of its own: tried again, resumed, taken from mirrors.
//!
//! | file | what it owns |
//! |---|---|
//! | `attempt` | one request, and what its answer is good for |
//! | `body` | the bytes of an answer |

mod attempt;
mod body;

use std::time::{Duration, Instant};

use reqwest::Url;

use super::kept::Kept;
use super::location::shown;
use super::range::{Known, Validator};
use super::stream::{Outlet, Source};
use super::{Error, FetchOptions};
use crate::sys::random;
use crate::transfer::{Context, Event};

/// How often one server may break off, though each time something came.
const BREAKS: u32 = 200;

/// How often each of several servers is tried while it brings nothing.
const TRIES_BESIDE_MIRRORS: u32 = 3;

/// What is to be downloaded.
pub(super) struct Download {
    /// Where it is: the first, then its mirrors.
    pub(super) sources: Vec<Url>,
    pub(super) options: FetchOptions,
    pub(super) context: Context,
    /// Its digest is known, so that it may be put together of parts.
    pub(super) digest: bool,
    /// Its length, if that is known beforehand.
    pub(super) size: Option<u64>,
}

/// How a try ended.
enum Ended {
    Done,
    /// Nobody wants it any more.
    Gone,
    /// Something came in between. `again`: the same server may do better next time, after `pause` if it says so.
    Fault {
        error: Box<crate::transfer::Error>,
        again: bool,
        pause: Option<Duration>,
    },
}

impl Ended {
    /// Nobody can do better.
    fn fatal(error: Error) -> Self {
        Self::Fault { error: Box::new(error.into()), again: false, pause: None }
    }
}

/// A download under way.
struct Run<'outlet> {
    download: Download,
    outlet: &'outlet mut Outlet,
    kept: Option<Kept>,
    known: Known,
    begun: bool,
    /// The last answer was a part that did not fit.
    ask_for_all: bool,
}

impl Source for Download {
    fn run(self, outlet: &mut Outlet) -> Result<(), crate::transfer::Error> {
        let known = Known { digest: self.digest, total: self.size, ..Known::default() };
        let mut run = Run { download: self, outlet, kept: None, known, begun: false, ask_for_all: false };
        run.take_up()?;
        let result = run.try_each();
        let kept = run.kept.take();
        run.outlet.keep(kept);
        result
    }
}

impl Run<'_> {
    /// Takes up what an earlier command kept.
    fn take_up(&mut self) -> Result<(), Error> {
        let (Some(directory), Some(url)) = (&self.download.options.partial, self.download.sources.first())
        else {
            return Ok(());
        };
        self.kept = Kept::open(directory, url, self.download.digest)?;
        match &self.kept {
            Some(kept) => {
                let (validator, total) = kept.version();
                self.known.position = kept.length();
                self.known.validator = validator.clone();
                self.known.total = self.known.total.or(total);
            }
            None => {
                let what =
                    format!("{} is being downloaded by another command; this one keeps nothing", shown(url));
                self.download.context.tell(Event::Note(what));
            }
        }
        Ok(())
    }

    /// Tries each server in turn.
    fn try_each(&mut self) -> Result<(), crate::transfer::Error> {
        let sources = self.download.sources.clone();
        let mut sources = sources.iter().peekable();
        while let Some(url) = sources.next() {
            let Err(error) = self.try_one(url, sources.peek().is_some()) else { return Ok(()) };
            self.download.context.check()?;
            let Some(next) = sources.peek() else { return Err(error) };
            self.download.context.tell(Event::Note(format!("{error}; trying {}", shown(next))));
            // What one server calls the versions of a file, another does not know.
            self.known.validator = Validator::default();
        }
        Ok(())
    }

    /// Tries one server, as often as there is hope.
    fn try_one(&mut self, url: &Url, others: bool) -> Result<(), crate::transfer::Error> {
        let mut patience = self.download.options.patience;
        if others {
            patience.tries = patience.tries.min(TRIES_BESIDE_MIRRORS);
        }
        let (mut fruitless, mut breaks) = (0, 0);
        loop {
            let before = self.known.position;
            self.download.context.check()?;
            let (error, again, asked) = match self.attempt(url) {
                Ended::Done | Ended::Gone => return Ok(()),
                Ended::Fault { error, again, pause } => (*error, again, pause),
            };
            fruitless = if self.known.position > before { 0 } else { fruitless + 1 };
            breaks += 1;
            let patience = if self.begun { patience } else { patience.before_contact(&error) };
            let pause = patience.pause(fruitless.max(1), random().unwrap_or_default(), asked);
            match pause {
                Some(pause) if again && breaks < BREAKS => {
                    let seconds = pause.as_secs_f32();
                    let note = format!("{error}; trying again in {seconds:.1} s");
                    self.download.context.tell(Event::Note(note));
                    if self.wait(pause)? {
                        return Ok(());
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// Waits; true when nobody wants the bytes any more.
    fn wait(&self, pause: Duration) -> Result<bool, crate::transfer::Error> {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.download.context.check()?;
            if self.outlet.abandoned() {
                return Ok(true);
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        Ok(false)
    }
}
