//! When to try again, and when to give up.

use std::time::{Duration, Instant, SystemTime};

use super::Error;
use crate::transfer::Context;

/// How often, and how long, something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many tries in a row may bring nothing.
    pub tries: u32,
    /// The pause after the first of these; it doubles with each.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long a server may ask us to wait (`Retry-After:`).
    pub asked: Duration,
    /// How many tries a server has that does not answer at all.
    pub unanswered: u32,
}

impl Default for Patience {
    /// About a minute in all, at least of servers that do not ask for more.
    fn default() -> Self {
        Self {
            tries: 7,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            asked: Duration::from_secs(120),
            unanswered: u32::MAX,
        }
    }
}

impl Patience {
    /// The pause after the `failed`th try that brought nothing, counted from 1; `None`: that was the last. `jitter` is any
    /// number: many that lost the same server shall not come back at once.
    pub fn pause(&self, failed: u32, jitter: u64, retry_after: Option<Duration>) -> Option<Duration> {
        if failed >= self.tries {
            return None;
        }
        match retry_after {
            Some(asked) => (asked <= self.asked).then_some(asked),
            None => {
                let doubled = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16));
                // Between three and five quarters.
                Some(doubled.min(self.longest).mul_f64(0.75 + f64::from(jitter.to_le_bytes()[0]) / 512.0))
            }
        }
    }
}

impl Patience {
    /// What is left of it after `error`, if that server has never answered: an address that is wrong, or a network that is
    /// not there, are to be told at once, and there may be other sources to try.
    pub(super) fn before_contact(self, error: &crate::transfer::Error) -> Self {
        let tries = match error {
            crate::transfer::Error::Fetch(Error::NoName { why, .. }) if !why.starts_with("Temporary") => 1,
            crate::transfer::Error::Fetch(Error::NoName { .. } | Error::Unreachable { .. }) => 2,
            _ => self.tries,
        };
        Self { tries: tries.min(self.tries).min(self.unanswered), ..self }
    }
}

/// What `Retry-After:` asks for at `now` (seconds since 1970): seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Duration::from_secs(u64::try_from(date.timestamp().as_second().saturating_sub(now)).unwrap_or(0)))
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or_default()
}

/// Waits, unless it is cancelled.
pub(super) fn wait(pause: Duration, context: &Context) -> Result<(), crate::transfer::Error> {
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        context.check()?;
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    context.check()
}

/// Whether a server may do better next time: Request Timeout, Too Early, Too Many Requests, and what servers and gateways have of faults that pass.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses() {
        let patience = Patience {
            tries: 5,
            first: Duration::from_millis(1000),
            longest: Duration::from_millis(3000),
            asked: Duration::from_secs(10),
            ..Patience::default()
        };
        // failed tries, jitter, what the server asks => milliseconds
        let rows = [
            (1, 128, None, Some(1000)),
            (1, 0, None, Some(750)),
            (1, 255, None, Some(1248)),
            (2, 128, None, Some(2000)),
            (3, 128, None, Some(3000)),
            (4, 128, None, Some(3000)),
            (5, 128, None, None),
            (1, 0, Some(7), Some(7000)),
            (1, 0, Some(11), None),
            (5, 0, Some(1), None),
        ];
        for (failed, jitter, asked, expected) in rows {
            let pause = patience.pause(failed, jitter, asked.map(Duration::from_secs));
            assert_eq!(pause.map(|pause| pause.as_millis()), expected, "{failed} {jitter} {asked:?}");
        }
    }

    #[test]
    fn asked_for() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let rows = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
