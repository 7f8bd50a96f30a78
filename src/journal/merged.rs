//! Several journal files as one stream, forwards and backwards.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use super::entry::{Entry, Field, Id, Stamp};
use super::file::JournalFile;
use super::filter::Filter;

/// Entries that [`Recent`] knows: more than a boot writes before its journal is moved.
const RECENT_MAX: usize = 8192;

/// Damaged entries in a row after which the rest of a file is not looked at: a file of garbage is not to hold us up.
const DAMAGED_MAX: u32 = 10_000;

/// Files, and a place between their entries.
#[derive(Debug, Default)]
pub struct Journal {
    sources: Vec<Source>,
}

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To newer entries.
    Forward,
    /// To older ones.
    Backward,
}

/// An entry that was come upon, whose fields have not been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    source: usize,
    offset: u64,
    /// When it was written.
    pub stamp: Stamp,
}

#[derive(Debug)]
struct Source {
    file: JournalFile,
    /// How many of its entries come before the place.
    position: u64,
    /// What comes next in the direction last gone, once it was looked up.
    next: Option<(Direction, Option<Candidate>)>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    number: u64,
    offset: u64,
    stamp: Stamp,
}

impl Journal {
    /// The files, from their beginning.
    pub fn new(files: Vec<JournalFile>) -> Self {
        Self { sources: files.into_iter().map(Source::new).collect() }
    }

    /// Goes before the first entry.
    pub fn seek_head(&mut self) {
        self.sources.iter_mut().for_each(|source| source.go_to(0));
    }

    /// Goes behind the last entry.
    pub fn seek_tail(&mut self) {
        for source in &mut self.sources {
            source.go_to(source.file.len());
        }
    }

    /// Goes before the first entry that was written at `realtime` or later, in microseconds since 1970.
    pub fn seek_realtime(&mut self, realtime: u64) {
        for source in &mut self.sources {
            let number = source.partition(|stamp| stamp.realtime < realtime);
            source.go_to(number);
        }
    }

    /// Goes on in the given direction by one entry. One that is in several files is come upon once.
    pub fn step(&mut self, direction: Direction) -> Option<Place> {
        let wanted = match direction {
            Direction::Forward => Ordering::Less,
            Direction::Backward => Ordering::Greater,
        };
        let mut best: Option<(usize, Candidate)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            let Some(candidate) = source.next(direction) else { continue };
            if best.is_none_or(|(_, best)| candidate.stamp.order(&best.stamp) == wanted) {
                best = Some((index, candidate));
            }
        }
        let (index, best) = best?;
        for source in &mut self.sources {
            let same = source.next(direction).filter(|candidate| candidate.stamp.order(&best.stamp).is_eq());
            if let Some(candidate) = same {
                source.pass(candidate, direction);
            }
        }
        Some(Place { source: index, offset: best.offset, stamp: best.stamp })
    }

    /// The entry at `place`, whole; `None` when it is damaged.
    pub fn entry(&mut self, place: &Place) -> Option<Entry> {
        let source = self.sources.get_mut(place.source)?;
        let fields: Vec<Field> = source.file.fields(place.offset).ok()?;
        Some(Entry { stamp: place.stamp, fields })
    }

    /// Comes upon no other entries from now on than those that `filter` may want, as far as the files' own lists tell.
    /// Only for files that are not followed.
    pub fn choose(&mut self, filter: &Filter) {
        let names = filter.listed_by();
        if !names.is_empty() {
            for source in &mut self.sources {
                source.file.choose(names, &|field| filter.may_want(field));
                source.go_to(0);
            }
        }
    }

    /// Looks whether something was written, which [`Journal::step`] then comes upon.
    pub fn refresh(&mut self) -> bool {
        let mut news = false;
        for source in &mut self.sources {
            // One that is not to be read any more has nothing new.
            if source.file.refresh().unwrap_or(false) {
                source.next = None;
                news = true;
            }
        }
        news
    }

    /// The files there are.
    pub fn files(&self) -> impl Iterator<Item = Id> {
        self.sources.iter().map(|source| source.file.header().file_id)
    }

    /// Takes a file that was not there before: of it only what comes after `last` is new, all of it without one. Of one
    /// that was, the place in it is kept, and `file` read from now on.
    pub fn take(&mut self, file: JournalFile, last: Option<&Stamp>) {
        let id = file.header().file_id;
        let known = self.sources.iter_mut().find(|source| source.file.header().file_id == id);
        if let Some(known) = known {
            if file.len() >= known.position {
                known.file = file;
                known.next = None;
            }
            return;
        }
        let mut source = Source::new(file);
        if let Some(last) = last {
            let number = source.partition(|stamp| !stamp.is_after(last));
            source.go_to(number);
        }
        self.sources.push(source);
    }

    /// Leaves out the files that `keep` says no to.
    pub fn retain(&mut self, keep: impl Fn(&Id) -> bool) {
        self.sources.retain(|source| keep(&source.file.header().file_id));
    }
}

/// What was come upon of late, for those who follow: systemd-journald moves what it has in /run to /var under new sequence
/// numbers, and a follower comes upon it again.
#[derive(Debug, Default)]
pub struct Recent {
    known: HashSet<(Id, u64, u64, u64)>,
    order: VecDeque<(Id, u64, u64, u64)>,
}

impl Recent {
    /// Whether an entry was not come upon before; it is known from now on.
    pub fn is_new(&mut self, stamp: &Stamp) -> bool {
        let key = (stamp.boot_id, stamp.monotonic, stamp.realtime, stamp.xor_hash);
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Source {
    fn new(file: JournalFile) -> Self {
        Self { file, position: 0, next: None }
    }

    fn go_to(&mut self, position: u64) {
        self.position = position;
        self.next = None;
    }

    fn next(&mut self, direction: Direction) -> Option<Candidate> {
        match self.next {
            Some((known, candidate)) if known == direction => candidate,
            _ => {
                let candidate = self.look(direction);
                if candidate.is_none() {
                    self.file.rest();
                }
                self.next = Some((direction, candidate));
                candidate
            }
        }
    }

    /// The nearest entry that is whole.
    fn look(&mut self, direction: Direction) -> Option<Candidate> {
        let length = self.file.len();
        let mut number = match direction {
            Direction::Forward => self.position,
            Direction::Backward => self.position.min(length).checked_sub(1)?,
        };
        for _ in 0..DAMAGED_MAX {
            if number >= length {
                break;
            }
            if let Ok((offset, stamp)) = self.file.stamp(number) {
                return Some(Candidate { number, offset, stamp });
            }
            number = match direction {
                Direction::Forward => number + 1,
                Direction::Backward => number.checked_sub(1)?,
            };
        }
        None
    }

    fn pass(&mut self, candidate: Candidate, direction: Direction) {
        self.go_to(match direction {
            Direction::Forward => candidate.number + 1,
            Direction::Backward => candidate.number,
        });
    }

    /// The number of the first entry of which `before` does not hold, if it holds of all up to one of them.
    fn partition(&mut self, before: impl Fn(&Stamp) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.file.len());
        while low < high {
            let middle = low + (high - low) / 2;
            // A damaged one is like the next that is whole.
            let whole = (middle..high)
                .take(usize::try_from(DAMAGED_MAX).unwrap_or(0))
                .find_map(|number| Some((number, self.file.stamp(number).ok()?.1)));
            match whole {
                Some((number, stamp)) if before(&stamp) => low = number + 1,
                _ => high = middle,
            }
        }
        low
    }
}
