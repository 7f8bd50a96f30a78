//! When a line of text was written, in the two ways in which syslog daemons say it.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Reads times as their writer meant them.
#[derive(Debug, Clone)]
pub struct Reader {
    zone: TimeZone,
    now: Timestamp,
}

/// In UTC, as guests without a zone have it.
impl Default for Reader {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, now: Timestamp::now() }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Reader {
    /// In the zone that the contents of an /etc/localtime (tzfile(5)) describe, else in UTC.
    pub fn in_zone(localtime: &[u8]) -> Self {
        let zone = TimeZone::tzif("guest", localtime).unwrap_or(TimeZone::UTC);
        Self { zone, ..Self::default() }
    }

    /// Microseconds since 1970, if `line` begins with a time.
    pub fn read(&self, line: &[u8]) -> Option<i64> {
        let start = line.get(..line.len().min(40)).unwrap_or_default();
        let text = std::str::from_utf8(start)
            .or_else(|error| std::str::from_utf8(start.get(..error.valid_up_to()).unwrap_or_default()));
        let text = text.ok()?;
        self.classic(text).or_else(|| self.iso(text)).map(|written| written.as_microsecond())
    }

    /// `Nov 22 10:00:00` (RFC 3164), of no year: the last such day that is not in the future, a day aside for clocks and
    /// zones that differ.
    fn classic(&self, text: &str) -> Option<Timestamp> {
        let mut words = text.split_ascii_whitespace();
        let month = words.next().and_then(|word| MONTHS.iter().position(|month| *month == word))?;
        let month = i8::try_from(month + 1).ok()?;
        let day = words.next()?.parse().ok()?;
        let time: Time = time(words.next()?)?;
        let latest = self.now.checked_add(24.hours()).ok()?;
        let this_year = self.now.to_zoned(self.zone.clone()).year();
        // Four years back is a leap year, for the 29th of February.
        (-4..=1).rev().find_map(|years| {
            let date = Date::new(this_year.checked_add(years)?, month, day).ok()?;
            let written = self.zone.to_timestamp(date.to_datetime(time)).ok()?;
            (written <= latest).then_some(written)
        })
    }

    /// `2026-11-22T10:00:00.123456+01:00` (RFC 3339), also with a space in its middle and without a zone.
    fn iso(&self, text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        if bytes.get(4) != Some(&b'-') || !matches!(bytes.get(10), Some(b'T' | b' ')) {
            return None;
        }
        let end = text.get(11..)?.find(' ').map_or(text.len(), |end| end + 11);
        let stamp = text.get(..end)?;
        let stamp = stamp.strip_suffix(':').unwrap_or(stamp);
        stamp.parse::<Timestamp>().ok().or_else(|| {
            let written: DateTime = stamp.parse().ok()?;
            self.zone.to_timestamp(written).ok()
        })
    }
}

fn time(text: &str) -> Option<Time> {
    let text = text.strip_suffix(':').unwrap_or(text);
    (text.len() >= 8).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let reader =
            |now: &str| Reader { zone: TimeZone::fixed(jiff::tz::offset(1)), now: now.parse().unwrap() };
        let now = "2026-11-22T10:00:00Z";
        let rows = [
            ("classic", now, "Nov 22 10:59:59 host cron[1]: x", Some("2026-11-22T09:59:59Z")),
            ("one digit", now, "Nov  2 00:00:00 host x", Some("2026-11-01T23:00:00Z")),
            ("last year", now, "Dec 31 23:00:00 host x", Some("2025-12-31T22:00:00Z")),
            ("clocks that differ", now, "Nov 23 00:00:00 host x", Some("2026-11-22T23:00:00Z")),
            ("new year", "2026-12-31T23:30:00Z", "Jan  1 00:40:00 host x", Some("2026-12-31T23:40:00Z")),
            ("leap day", "2026-03-01T00:00:00Z", "Feb 29 12:00:00 host x", Some("2024-02-29T11:00:00Z")),
            ("iso", now, "2026-11-22T09:00:00.5+00:00 host x", Some("2026-11-22T09:00:00.5Z")),
            ("iso without a zone", now, "2026-11-22T09:00:00 host x", Some("2026-11-22T08:00:00Z")),
            ("iso with a space", now, "2026-11-22 09:00:00", Some("2026-11-22T08:00:00Z")),
            ("iso, utc", now, "2026-11-22T09:00:00Z x", Some("2026-11-22T09:00:00Z")),
            ("text", now, "hello", None),
            ("no such day", now, "Nov 31 10:00:00 x", None),
            ("no such time", now, "Nov 21 25:00:00 x", None),
            ("no time", now, "Nov 21 x", None),
            ("no UTF-8 after it", now, "Nov 21 10:00:00 \u{fffd}", Some("2026-11-21T09:00:00Z")),
            ("nothing", now, "", None),
        ];
        for (name, now, line, expected) in rows {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap().as_microsecond());
            assert_eq!(reader(now).read(line.as_bytes()), expected, "{name}");
        }
        let bytes = [b"Nov 21 10:00:00 ".as_slice(), &[0xff; 100]].concat();
        assert!(reader(now).read(&bytes).is_some());
    }

    proptest::proptest! {
        #[test]
        fn any_line(line: Vec<u8>, zone: Vec<u8>) {
            let _ = Reader::in_zone(&zone).read(&line);
        }
    }
}
