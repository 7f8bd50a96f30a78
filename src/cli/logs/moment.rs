//! Points in time as people write them (systemd.time(7)): `2026-11-22 10:00`, `10 min ago`, `yesterday`, `-1h`, `@0`.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, ToSpan, Zoned};

use crate::settings::ValueError;
use crate::settings::parse_duration;

const HINT: &str =
    "a time such as '2026-11-22 10:00', 10:00, today, yesterday, '10 min ago', -1h or @1795341600";

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

/// The point in time that `text` means at `now`, in microseconds since 1970. What has no zone is in that of `now`.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str, now: &Zoned) -> Result<u64, ValueError> {
    let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
    let written = timestamp(text.trim(), now).ok_or_else(|| refused("is not a time"))?;
    u64::try_from(written.as_microsecond()).map_err(|_| refused("is before 1970"))
}

fn timestamp(text: &str, now: &Zoned) -> Option<Timestamp> {
    let midnight = |days: Span| Some(now.start_of_day().ok()?.checked_add(days).ok()?.timestamp());
    match text {
        "now" => return Some(now.timestamp()),
        "today" => return midnight(0.days()),
        "yesterday" => return midnight(-1.days()),
        "tomorrow" => return midnight(1.days()),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return epoch(seconds);
    }
    let span = |text: &str| {
        let span = parse_duration(text).ok()??;
        i64::try_from(span.as_micros()).ok()
    };
    let moved = |by: i64| Timestamp::from_microsecond(now.timestamp().as_microsecond().checked_add(by)?).ok();
    if let Some(past) = text.strip_prefix('-') {
        return moved(span(past)?.checked_neg()?);
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return moved(span(ahead)?);
    }
    if let Some(past) = text.strip_suffix("ago") {
        // "10ago" is a slip of the hand; "10 min ago" and "10min ago" are not.
        return past.ends_with(' ').then(|| moved(span(past.trim())?.checked_neg()?))?;
    }
    absolute(text, now)
}

/// `@1795341600.5`: seconds since 1970.
fn epoch(seconds: &str) -> Option<Timestamp> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.is_empty() || fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let microseconds: i64 = format!("{fraction:0<6}").parse().ok()?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(MICROSECONDS_PER_SECOND)?;
    Timestamp::from_microsecond(whole.checked_add(microseconds)?).ok()
}

/// A date, a time of today, or both; with a zone after it (`Z`, `+01:00`, `UTC`) or in that of `now`.
fn absolute(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    let (text, zone) = match text.strip_suffix(" UTC") {
        Some(text) => (text.trim_end(), jiff::tz::TimeZone::UTC),
        None => (text, now.time_zone().clone()),
    };
    let date_of = |text: &str| (text.len() >= 8).then(|| text.parse::<Date>().ok()).flatten();
    let datetime: DateTime = match text.split_once([' ', 'T']) {
        Some((date, time)) => date_of(date)?.to_datetime(time_of_day(time.trim_start())?),
        None if text.contains(':') => now.date().to_datetime(time_of_day(text)?),
        None => date_of(text)?.to_datetime(Time::midnight()),
    };
    zone.to_timestamp(datetime).ok()
}

/// `10:00`, `10:00:30`, `10:00:30.25`.
fn time_of_day(text: &str) -> Option<Time> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    (plain && text.contains(':')).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let now = "2026-11-22T10:30:00Z".parse::<Timestamp>().unwrap().to_zoned(zone);
        let rows = [
            ("now", Some("2026-11-22T10:30:00Z")),
            ("today", Some("2026-11-21T22:00:00Z")),
            ("yesterday", Some("2026-11-20T22:00:00Z")),
            ("tomorrow", Some("2026-11-22T22:00:00Z")),
            ("2026-11-22 10:00", Some("2026-11-22T08:00:00Z")),
            ("2026-11-22 10:00:05.5", Some("2026-11-22T08:00:05.5Z")),
            ("2026-11-22T10:00:05", Some("2026-11-22T08:00:05Z")),
            ("2026-11-22 10:00 UTC", Some("2026-11-22T10:00:00Z")),
            ("2026-11-22T10:00:00Z", Some("2026-11-22T10:00:00Z")),
            ("2026-11-22T10:00:00-05:00", Some("2026-11-22T15:00:00Z")),
            ("2026-11-22", Some("2026-11-21T22:00:00Z")),
            ("10:00", Some("2026-11-22T08:00:00Z")),
            ("10:00:01", Some("2026-11-22T08:00:01Z")),
            ("10 min ago", Some("2026-11-22T10:20:00Z")),
            ("1h 30min ago", Some("2026-11-22T09:00:00Z")),
            ("2 days ago", Some("2026-11-20T10:30:00Z")),
            ("-1h", Some("2026-11-22T09:30:00Z")),
            ("-90", Some("2026-11-22T10:28:30Z")),
            ("+5min", Some("2026-11-22T10:35:00Z")),
            ("@0", Some("1970-01-01T00:00:00Z")),
            ("@1795341600.25", Some("2026-11-22T10:00:00.25Z")),
            ("  today ", Some("2026-11-21T22:00:00Z")),
            ("", None),
            ("soon", None),
            ("10", None),
            ("10min", None),
            ("10ago", None),
            ("ago", None),
            ("25:00", None),
            ("2026-13-01", None),
            ("2026-11-22 10", None),
            ("@x", None),
            ("@1.", None),
            ("-", None),
            ("-infinity", None),
            ("- 1h ago", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap().as_microsecond());
            let found = parse(text, &now).ok().map(|found| i64::try_from(found).unwrap());
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(parse("soon", &now).unwrap_err().to_string(), "\"soon\" is not a time");
        assert_eq!(parse("-100y", &now).unwrap_err().to_string(), "\"-100y\" is before 1970");
    }

    proptest::proptest! {
        #[test]
        fn any_text(text: String) {
            let _ = parse(&text, &Zoned::now());
        }
    }
}
