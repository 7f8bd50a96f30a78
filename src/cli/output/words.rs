//! Times, spans and sizes as people read them. Pure functions.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND: u64 = 1_000_000;

/// Units of a span, in microseconds, with the names that systemd gives them (systemd.time(7)).
const UNITS: [(u64, &str); 7] = [
    (365 * 24 * 3600 * SECOND, "y"),
    (7 * 24 * 3600 * SECOND, "w"),
    (24 * 3600 * SECOND, "d"),
    (3600 * SECOND, "h"),
    (60 * SECOND, "min"),
    (SECOND, "s"),
    (1_000, "ms"),
];

/// A span in its two largest units: `5min 3s`, `212ms`.
pub fn span(span: Duration) -> String {
    let mut left = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        } else if !parts.is_empty() {
            break;
        }
        // Milliseconds after seconds are noise, seconds after hours too.
        if parts.len() == 2 || (name == "s" && !parts.is_empty()) {
            break;
        }
    }
    if parts.is_empty() { "0ms".to_owned() } else { parts.join(" ") }
}

/// Time of a processor: with milliseconds below a minute, `1.235s`, else as [`span()`].
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(60) { format!("{:.3}s", time.as_secs_f64()) } else { span(time) }
}

/// How long before `now` it was `then`, both in microseconds since 1970: `5min 3s ago`.
pub fn ago(then: u64, now: u64) -> String {
    match now.checked_sub(then) {
        // The clock was set back meanwhile, or runs a little apart.
        None => "just now".to_owned(),
        Some(past) if past < SECOND => "just now".to_owned(),
        Some(past) => format!("{} ago", span(Duration::from_micros(past))),
    }
}

/// The time of day of a point in time, in microseconds since 1970, in `zone`, to the millisecond: `04:39:14.207`.
pub fn clock(microseconds: u64, zone: &TimeZone) -> String {
    i64::try_from(microseconds)
        .ok()
        .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok())
        .map(|time| time.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string())
        .unwrap_or_default()
}

/// A point in time, in microseconds since 1970, in `zone`, as systemd writes it: `Sun 2026-11-22 04:39:14 UTC`. Empty for
/// one that is none.
pub fn timestamp(microseconds: u64, zone: &TimeZone) -> String {
    i64::try_from(microseconds)
        .ok()
        .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok())
        .map(|time| time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
        .unwrap_or_default()
}

/// The same for programs (RFC 3339), in UTC.
pub fn rfc3339(microseconds: u64) -> String {
    i64::try_from(microseconds)
        .ok()
        .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok())
        .map(|time| format!("{time:.6}"))
        .unwrap_or_default()
}

/// The host's zone.
pub fn zone() -> TimeZone {
    TimeZone::system()
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|now| u64::try_from(now.as_micros()).ok())
        .unwrap_or(0)
}

/// A number of bytes in binary units, with one digit after the point below a hundred: `45.2M`, as systemd has it.
pub fn size(bytes: u64) -> String {
    const LETTERS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut letter = 'B';
    for next in LETTERS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        letter = next;
    }
    match (tenths % 10, tenths / 10) {
        (0, whole) => format!("{whole}{letter}"),
        (_, whole) if whole >= 100 => format!("{whole}{letter}"),
        (tenth, whole) => format!("{whole}.{tenth}{letter}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let rows = [
            (0, "0ms"),
            (1_000, "1ms"),
            (212_400, "212ms"),
            (1_500_000, "1s"),
            (59_000_000, "59s"),
            (61_000_000, "1min 1s"),
            (3_600_000_000, "1h"),
            (3_661_000_000, "1h 1min"),
            (90_000_000_000, "1d 1h"),
            (86_400_000_000 + 60_000_000, "1d"),
            (8 * 86_400_000_000, "1w 1d"),
        ];
        for (microseconds, expected) in rows {
            assert_eq!(span(Duration::from_micros(microseconds)), expected, "{microseconds}");
        }
    }

    #[test]
    fn processor_times() {
        for (milliseconds, expected) in [(0, "0.000s"), (1_235, "1.235s"), (61_000, "1min 1s")] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn points_in_the_past() {
        for (then, now, expected) in [
            (5, 4, "just now"),
            (0, 999_999, "just now"),
            (0, 3_000_000, "3s ago"),
            (1_000_000, 123_000_000, "2min 2s ago"),
        ] {
            assert_eq!(ago(then, now), expected, "{then} {now}");
        }
    }

    #[test]
    fn timestamps() {
        let time = 1_795_322_354_250_000;
        assert_eq!(timestamp(time, &TimeZone::UTC), "Sun 2026-11-22 04:39:14 UTC");
        assert_eq!(rfc3339(time), "2026-11-22T04:39:14.250000Z");
        assert_eq!(timestamp(u64::MAX, &TimeZone::UTC), "");
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (47_395_635, "45.1M"),
            (1 << 30, "1G"),
            (200 << 20, "200M"),
            ((200 << 20) + (500 << 10), "200M"),
            (u64::MAX, "15.9E"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }
}
