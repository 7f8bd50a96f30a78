//! Showing and following a journal.

use std::time::{Duration, Instant};

use super::follow::{Happened, Waiter};
use super::render::Renderer;
use super::request::{Boot, Request};
use super::sink::Sink;
use crate::cli::output::Output;
use crate::journal::filter::Filter;
use crate::journal::merged::Direction::{Backward, Forward};
use crate::journal::merged::Recent;
use crate::journal::{Id, Journal, Stamp};
use crate::machine::Error;
use crate::machine::logs::{Journals, Places};
use crate::sys::in_root::Root;

/// How often directories are looked at without being told to: of a guest that has no journal yet nobody tells.
const DIRECTORIES: Duration = Duration::from_millis(500);

/// A journal as it is shown.
#[derive(Debug)]
pub struct Viewer<'a> {
    request: &'a Request,
    output: Output,
    renderer: Renderer,
    sink: Sink,
    journals: Journals,
    journal: Journal,
    directories: Vec<Root>,
    last: Option<Stamp>,
    recent: Recent,
}

impl<'a> Viewer<'a> {
    /// Opens the journal that `places` have; `None` if there is none.
    pub fn open(places: &Places, request: &'a Request, renderer: Renderer, output: Output) -> Option<Self> {
        let (directories, _) = places.journals();
        let mut journals = Journals::default();
        let journal = journals.open(&directories);
        let viewer = Self {
            request,
            output,
            renderer,
            sink: Sink::new(output),
            journals,
            journal,
            directories,
            last: None,
            recent: Recent::default(),
        };
        // One that will come is followed from its beginning.
        let booting = request.follow && places.runs_systemd();
        (viewer.files() > 0 || booting).then_some(viewer)
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.journal.files().count()
    }

    /// Shows what was asked for, and goes on as long as `places` are those of a machine that runs, if that was.
    ///
    /// # Errors
    /// When there is no such boot, or the machine cannot be watched.
    pub fn show(mut self, places: Places) -> Result<(), Error> {
        self.warn();
        let boot = self.request.boot.map(|boot| self.boot(boot, &places)).transpose()?;
        let filter = Filter { boot, ..self.request.filter.clone() };
        if !self.request.follow {
            self.journal.choose(&filter);
        }
        if self.request.reverse {
            self.backwards(&filter);
        } else {
            if self.request.follow {
                // What comes in new files is new only after this.
                self.journal.seek_tail();
                self.last = self.journal.step(Backward).map(|place| place.stamp);
            }
            self.seek(&filter);
            if self.forwards(&filter) && self.request.follow {
                self.follow(&filter, places)?;
            }
        }
        self.sink.flush();
        Ok(())
    }

    fn warn(&mut self) {
        for warning in self.journals.warnings() {
            self.output.warning(&format!("a journal file is left out: {warning}"));
        }
    }

    /// The id of a boot that was named by its number.
    fn boot(&mut self, boot: Boot, places: &Places) -> Result<Id, Error> {
        let number = match boot {
            Boot::Id(id) => return Ok(id),
            Boot::Number(number) => number,
        };
        let direction = if number > 0 { Forward } else { Backward };
        if number > 0 {
            self.journal.seek_head();
        } else {
            self.journal.seek_tail();
        }
        let wanted = number.unsigned_abs() + u64::from(number <= 0);
        let mut boots: Vec<Id> = Vec::new();
        while let Some(place) = self.journal.step(direction) {
            let id = place.stamp.boot_id;
            if boots.last() != Some(&id) && !boots.contains(&id) {
                boots.push(id);
                if u64::try_from(boots.len()).unwrap_or(u64::MAX) == wanted {
                    return Ok(id);
                }
            }
        }
        Err(Error::NoBoot { name: places.name().to_string(), number, boots: boots.len() })
    }

    /// Goes to where what is wanted begins.
    fn seek(&mut self, filter: &Filter) {
        let lines = self.request.newest();
        match (lines, filter.since) {
            (None, Some(since)) => return self.journal.seek_realtime(since),
            (None, None) if filter.boot.is_none() => return self.journal.seek_head(),
            _ => {}
        }
        self.seek_end(filter);
        let mut left = lines.unwrap_or(usize::MAX);
        let mut found = false;
        while left > 0
            && let Some(place) = self.journal.step(Backward)
        {
            if is_over(&place.stamp, filter, found) {
                break;
            }
            if filter.allows(&place.stamp) {
                found = true;
                let mut fits = || self.journal.entry(&place).is_some_and(|entry| filter.matches(&entry));
                left -= usize::from(!filter.needs_fields() || fits());
            }
        }
    }

    fn seek_end(&mut self, filter: &Filter) {
        match filter.until {
            Some(until) => self.journal.seek_realtime(until.saturating_add(1)),
            None => self.journal.seek_tail(),
        }
    }

    /// Shows all that comes; false when nobody reads it any more.
    fn forwards(&mut self, filter: &Filter) -> bool {
        let mut found = false;
        while let Some(place) = self.journal.step(Forward) {
            self.last = Some(self.last.filter(|last| !place.stamp.is_after(last)).unwrap_or(place.stamp));
            if self.request.follow && !self.recent.is_new(&place.stamp) {
                continue;
            }
            if filter.until.is_some_and(|until| place.stamp.realtime > until) {
                break;
            }
            if !filter.allows(&place.stamp) {
                if found && filter.boot.is_some_and(|boot| boot != place.stamp.boot_id) {
                    break;
                }
                continue;
            }
            found = true;
            let Some(entry) = self.journal.entry(&place).filter(|entry| filter.matches(entry)) else {
                continue;
            };
            if !self.sink.write(|out| self.renderer.entry(&entry, out)) {
                return false;
            }
        }
        true
    }

    fn backwards(&mut self, filter: &Filter) {
        self.seek_end(filter);
        let mut left = self.request.lines.unwrap_or(usize::MAX);
        let mut found = false;
        while left > 0
            && let Some(place) = self.journal.step(Backward)
        {
            if is_over(&place.stamp, filter, found) {
                break;
            }
            if !filter.allows(&place.stamp) {
                continue;
            }
            found = true;
            let Some(entry) = self.journal.entry(&place).filter(|entry| filter.matches(entry)) else {
                continue;
            };
            left -= 1;
            if !self.sink.write(|out| self.renderer.entry(&entry, out)) {
                break;
            }
        }
    }

    fn follow(&mut self, filter: &Filter, places: Places) -> Result<(), Error> {
        let Some(mut waiter) = Waiter::new(places)? else { return Ok(()) };
        self.look(&waiter)?;
        let mut looked = Instant::now();
        loop {
            if !self.forwards(filter) || !self.sink.flush() {
                return Ok(());
            }
            let happened = waiter.wait()?;
            if happened == Happened::ReaderGone {
                return Ok(());
            }
            // Before directories are looked at: what was written last may be in a file that is no longer there.
            self.journal.refresh();
            if happened == Happened::Written && looked.elapsed() < DIRECTORIES {
                continue;
            }
            if happened == Happened::Ended {
                self.journals.look(&self.directories, &mut self.journal, self.last.as_ref());
                self.forwards(filter);
                return Ok(());
            }
            if !self.forwards(filter) {
                return Ok(());
            }
            self.look(&waiter)?;
            self.journals.prune(&self.directories, &mut self.journal);
            looked = Instant::now();
        }
    }

    /// Looks for directories and files that are new.
    fn look(&mut self, waiter: &Waiter) -> Result<(), Error> {
        let (directories, above) = waiter.places().journals();
        for directory in directories.iter().chain(&above) {
            waiter.watch(directory)?;
        }
        self.directories = directories;
        self.journals.look(&self.directories, &mut self.journal, self.last.as_ref());
        self.warn();
        Ok(())
    }
}

/// Going back, whether nothing that is wanted can come any more.
fn is_over(stamp: &Stamp, filter: &Filter, found: bool) -> bool {
    filter.since.is_some_and(|since| stamp.realtime < since)
        || (found && filter.boot.is_some_and(|boot| boot != stamp.boot_id))
}
