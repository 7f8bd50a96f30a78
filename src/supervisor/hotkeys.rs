//! The keys that speak to the supervisor instead of the guest (systemd-nspawn(1)): `^]` three times within a second ends
//! the machine at once, `^]` `^]` `r` reboots it, `^]` `^]` `p` powers it off.
//!
//! A pure state machine over bytes and times. Everything else passes through, a lone `^]` too (it is an ordinary key of
//! telnet and vi): it is withheld until the next key, or for a second.

use std::time::{Duration, Instant};

/// `^]`.
const ESCAPE: u8 = 0x1d;

/// All three keys come within this time (systemd-nspawn(1)).
const WINDOW: Duration = Duration::from_secs(1);

/// What the user asks of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hotkey {
    /// End the machine at once.
    Kill,
    /// Reboot it.
    Reboot,
    /// Power it off.
    PowerOff,
}

/// The state: which `^]`s are withheld, and when each was pressed.
#[derive(Debug, Default)]
pub struct Hotkeys {
    first: Option<Instant>,
    /// Only if `first` is.
    second: Option<Instant>,
    /// The other two are keys like any.
    only_three: bool,
}

impl Hotkeys {
    /// Those of who is only attached to a machine: `^]` three times alone.
    pub fn only_three() -> Self {
        Self { only_three: true, ..Self::default() }
    }

    /// Takes input and hands what is for the guest to `pass`, in order. At a hotkey it stops: what was typed after it was
    /// typed at a machine that is about to go.
    pub fn feed(&mut self, input: &[u8], now: Instant, mut pass: impl FnMut(u8)) -> Option<Hotkey> {
        self.expire(now, &mut pass);
        for &byte in input {
            match (self.first, self.second, byte) {
                (Some(_), Some(_), ESCAPE) => return self.complete(Hotkey::Kill),
                (Some(_), Some(_), b'r') if !self.only_three => return self.complete(Hotkey::Reboot),
                (Some(_), Some(_), b'p') if !self.only_three => return self.complete(Hotkey::PowerOff),
                (None, _, ESCAPE) => self.first = Some(now),
                (Some(_), None, ESCAPE) => self.second = Some(now),
                _ => {
                    self.release(&mut pass);
                    pass(byte);
                }
            }
        }
        None
    }

    /// Passes on the `^]`s that were pressed a second ago or longer. To be called once [`deadline`](Self::deadline) has
    /// come.
    pub fn expire(&mut self, now: Instant, mut pass: impl FnMut(u8)) {
        while self.first.is_some_and(|pressed| now.saturating_duration_since(pressed) >= WINDOW) {
            pass(ESCAPE);
            self.first = self.second.take();
        }
    }

    /// When a withheld `^]` must be passed on, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.first.map(|pressed| pressed + WINDOW)
    }

    /// Passes on all that is withheld, as at the end of input.
    pub fn release(&mut self, mut pass: impl FnMut(u8)) {
        for _ in [self.first.take(), self.second.take()].into_iter().flatten() {
            pass(ESCAPE);
        }
    }

    fn complete(&mut self, hotkey: Hotkey) -> Option<Hotkey> {
        *self = Self { only_three: self.only_three, ..Self::default() };
        Some(hotkey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input at milliseconds, and what comes of it.
    type Row = (&'static str, &'static [(u64, &'static [u8])], &'static [u8], Option<Hotkey>);

    #[test]
    fn sequences() {
        let table: &[Row] = &[
            ("plain keys pass", &[(0, b"ls -l\r")], b"ls -l\r", None),
            ("bytes above ASCII pass", &[(0, &[0xc3, 0xa9, 0x00, 0xff])], &[0xc3, 0xa9, 0x00, 0xff], None),
            ("three kill", &[(0, b"\x1d\x1d\x1d")], b"", Some(Hotkey::Kill)),
            ("three in time kill", &[(0, b"\x1d"), (500, b"\x1d"), (999, b"\x1d")], b"", Some(Hotkey::Kill)),
            ("reboot", &[(0, b"\x1d\x1dr")], b"", Some(Hotkey::Reboot)),
            ("power off", &[(0, b"\x1d"), (10, b"\x1dp")], b"", Some(Hotkey::PowerOff)),
            ("before it passes, after it not", &[(0, b"ab\x1d\x1d\x1dcd")], b"ab", Some(Hotkey::Kill)),
            ("one is withheld", &[(0, b"\x1d")], b"", None),
            ("two are withheld", &[(0, b"a\x1d\x1d")], b"a", None),
            ("one, then a key", &[(0, b"\x1dr")], b"\x1dr", None),
            ("two, then another key", &[(0, b"\x1d\x1dx")], b"\x1d\x1dx", None),
            ("upper case is another key", &[(0, b"\x1d\x1dR")], b"\x1d\x1dR", None),
            ("interrupted", &[(0, b"\x1d\x1dx\x1d")], b"\x1d\x1dx", None),
            ("interrupted, then complete", &[(0, b"\x1dx\x1d\x1d\x1d")], b"\x1dx", Some(Hotkey::Kill)),
            ("a second later it passes", &[(0, b"\x1d"), (1000, b"")], b"\x1d", None),
            ("two, a second later", &[(0, b"\x1d\x1d"), (1000, b"")], b"\x1d\x1d", None),
            (
                "the window slides",
                &[(0, b"\x1d"), (900, b"\x1d"), (1100, b"\x1d"), (1200, b"\x1d")],
                b"\x1d",
                Some(Hotkey::Kill),
            ),
            ("too slow", &[(0, b"\x1d"), (600, b"\x1d"), (1200, b"\x1d")], b"\x1d", None),
            ("too slow for r", &[(0, b"\x1d\x1d"), (1000, b"r")], b"\x1d\x1dr", None),
        ];
        let start = Instant::now();
        for (name, input, passed, hotkey) in table {
            let (mut keys, mut got, mut found) = (Hotkeys::default(), Vec::new(), None);
            for (at, bytes) in *input {
                found = found.or(keys.feed(bytes, start + Duration::from_millis(*at), |byte| got.push(byte)));
            }
            assert_eq!((got.as_slice(), found), (*passed, *hotkey), "{name}");
        }
    }

    #[test]
    fn who_is_attached_has_one() {
        let now = Instant::now();
        let (mut keys, mut passed) = (Hotkeys::only_three(), Vec::new());
        assert_eq!(keys.feed(b"\x1d\x1dr\x1d\x1dp", now, |byte| passed.push(byte)), None);
        assert_eq!(passed, b"\x1d\x1dr\x1d\x1dp");
        assert_eq!(keys.feed(b"\x1d\x1d\x1dx", now, |byte| passed.push(byte)), Some(Hotkey::Kill));
    }

    #[test]
    fn the_deadline_is_that_of_the_oldest() {
        let start = Instant::now();
        let mut keys = Hotkeys::default();
        assert_eq!(keys.deadline(), None);
        keys.feed(b"\x1d", start, |_| {});
        keys.feed(b"\x1d", start + WINDOW / 2, |_| {});
        assert_eq!(keys.deadline(), Some(start + WINDOW));
        let mut passed = Vec::new();
        keys.expire(start + WINDOW, |byte| passed.push(byte));
        assert_eq!((passed.len(), keys.deadline()), (1, Some(start + WINDOW / 2 + WINDOW)));
        keys.release(|byte| passed.push(byte));
        assert_eq!((passed.as_slice(), keys.deadline()), (b"\x1d\x1d".as_slice(), None));
    }

    proptest::proptest! {
        /// Without a hotkey in it, input comes out as it went in, however it was cut.
        #[test]
        fn nothing_is_lost(chunks in proptest::collection::vec("[\x1drpx]{0,4}", 0..12)) {
            let (now, mut keys, mut passed, mut fed) = (Instant::now(), Hotkeys::default(), Vec::new(), Vec::new());
            for chunk in chunks {
                fed.extend_from_slice(chunk.as_bytes());
                if keys.feed(chunk.as_bytes(), now, |byte| passed.push(byte)).is_some() {
                    return Ok(());
                }
            }
            keys.release(|byte| passed.push(byte));
            proptest::prop_assert_eq!(passed, fed);
        }
    }
}
