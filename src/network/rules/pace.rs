//! How often something is looked at that others change: soon after a change, and seldom beside somebody who changes things without
//! an end.

use std::time::{Duration, Instant};

/// A firewall that is loaded anew comes in several steps: they are waited for.
pub(super) const SETTLE: Duration = Duration::from_millis(50);

/// The longest that is waited before what somebody keeps removing is made anew.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// The longest that nobody listens beside somebody who changes what is no matter.
const DEAF: Duration = Duration::from_secs(1);

/// A look is followed by none for so many times what it took: it costs 2% of a CPU at the most.
const SHARE: u32 = 50;

/// When to listen, and when to look.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
    /// No look before that.
    rest: Option<Instant>,
    /// Nobody listens until then.
    deaf: Option<Instant>,
    /// How long that was the last time.
    pause: Duration,
}

impl Pace {
    /// Whether to hear of changes: not where it is known already that there is something to look at, nor beside noise.
    pub(super) fn listens(&self) -> bool {
        self.due.is_none() && self.deaf.is_none()
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.or(self.deaf)
    }

    /// Something has changed: there will be a look at `then`, or later.
    pub(super) fn look_at(&mut self, then: Instant) {
        let then = self.rest.map_or(then, |rest| rest.max(then));
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
        self.deaf = None;
    }

    /// Something has changed that is no matter; each time in a row nobody listens twice as long.
    pub(super) fn noise(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(SETTLE, DEAF);
        self.deaf = Some(now + self.pause);
    }

    /// Nothing has.
    pub(super) fn silence(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Whether the time to listen again has come.
    pub(super) fn wakes(&mut self, now: Instant) -> bool {
        self.deaf.take_if(|deaf| *deaf <= now).is_some()
    }

    /// Whether the time to look has come: then it is done now.
    pub(super) fn looks(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// A look has ended at `now` that took so long.
    pub(super) fn looked(&mut self, now: Instant, took: Duration) {
        self.rest = Some(now + (took * SHARE).min(LONGEST));
    }
}

/// Somebody who keeps removing our rules is not fought: each time it is waited twice as long.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    wait: Duration,
    mended: Option<Instant>,
}

impl Backoff {
    /// How long to wait before what is broken is mended.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        match self.recent(now) {
            true => self.wait.max(SETTLE),
            false => SETTLE,
        }
    }

    /// Something was mended.
    pub(super) fn mended(&mut self, now: Instant) {
        self.wait = match self.recent(now) {
            true => (self.wait * 2).clamp(SETTLE, LONGEST),
            false => SETTLE,
        };
        self.mended = Some(now);
    }

    fn recent(&self, now: Instant) -> bool {
        // With what was waited for it.
        self.mended.is_some_and(|then| now.duration_since(then) < LONGEST + self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_look_has_its_share_at_the_most() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.listens() && pace.deadline().is_none());
        pace.look_at(start + SETTLE);
        assert!(!pace.listens() && !pace.looks(start) && pace.looks(start + SETTLE) && pace.listens());
        pace.looked(start, milliseconds(10));
        pace.look_at(start + SETTLE);
        assert_eq!(pace.deadline(), Some(start + milliseconds(500)));
        // However long it took, it is looked again.
        pace.looks(start + LONGEST);
        pace.looked(start, LONGEST);
        pace.look_at(start);
        assert_eq!(pace.deadline(), Some(start + LONGEST));
    }

    #[test]
    fn noise_is_heard_ever_more_seldom() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.noise(now);
            assert!(!pace.listens() && !pace.wakes(now));
            let wakes = pace.deadline().unwrap();
            pauses.push(wakes.duration_since(now).as_millis());
            now = wakes;
            assert!(pace.wakes(now) && pace.listens());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        pace.silence();
        pace.noise(now);
        assert_eq!(pace.deadline(), Some(now + SETTLE));
        // What matters comes first.
        pace.look_at(now);
        assert_eq!((pace.deadline(), pace.wakes(now + DEAF)), (Some(now), false));
    }

    #[test]
    fn who_removes_rules_again_and_again_is_not_fought() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..13 {
            let wait = backoff.wait(now);
            waits.push(wait.as_millis());
            now += wait;
            backoff.mended(now);
        }
        assert_eq!(waits, [50, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000]);
        assert_eq!(backoff.wait(now + LONGEST), LONGEST);
        assert_eq!(backoff.wait(now + LONGEST * 2), SETTLE);
    }
}
