//! Time spans as systemd.time(7) writes them: `90`, `500ms`, `2min`, `1h 30s`, `infinity`.

use std::time::Duration;

use super::ValueError;

const HINT: &str = "a time span such as 90, 500ms, 2min, '1h 30s' or infinity";

const MICROSECONDS_PER_SECOND: u64 = 1_000_000;

/// Units with their length in microseconds (systemd.time(7): a month is 30.44 days, a year 365.25 days).
const UNITS: &[(&[&str], u64)] = &[
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds"], MICROSECONDS_PER_SECOND),
    (&["m", "min", "minute", "minutes"], 60 * MICROSECONDS_PER_SECOND),
    (&["h", "hr", "hour", "hours"], 3_600 * MICROSECONDS_PER_SECOND),
    (&["d", "day", "days"], 86_400 * MICROSECONDS_PER_SECOND),
    (&["w", "week", "weeks"], 604_800 * MICROSECONDS_PER_SECOND),
    (&["M", "month", "months"], 2_629_800 * MICROSECONDS_PER_SECOND),
    (&["y", "year", "years"], 31_557_600 * MICROSECONDS_PER_SECOND),
];

/// Parses a time span, a number without a unit being seconds. `None` is `infinity`.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, ValueError> {
    Ok(parse_microseconds(text, MICROSECONDS_PER_SECOND)?.map(Duration::from_micros))
}

/// Parses a time span into microseconds; a number without a unit counts `default_unit` microseconds.
pub(super) fn parse_microseconds(text: &str, default_unit: u64) -> Result<Option<u64>, ValueError> {
    let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
    let mut rest = text.trim();
    if rest == "infinity" {
        return Ok(None);
    }
    if rest.is_empty() {
        return Err(refused("is not a time span"));
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "" => default_unit,
            unit => {
                UNITS
                    .iter()
                    .find(|(names, _)| names.contains(&unit))
                    .ok_or_else(|| refused("is not a time span"))?
                    .1
            }
        };
        let span = scaled(number, unit).ok_or_else(|| refused("is not a time span"))?;
        total = total.checked_add(span).ok_or_else(|| refused("is too long a time"))?;
        rest = after.trim_start();
    }
    Ok(Some(total))
}

/// `number` (digits, with at most one point) times `unit`, cut to whole microseconds.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total = total.checked_add(u64::from(digit - b'0') * place)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        let rows: &[(&str, u64)] = &[
            ("5", 5_000_000),
            ("0", 0),
            ("500ms", 500_000),
            ("2min", 120_000_000),
            ("1h 30s", 3_630_000_000),
            ("1h30s", 3_630_000_000),
            ("1.5s", 1_500_000),
            (".5", 500_000),
            ("2 m", 120_000_000),
            ("1M", 2_629_800_000_000),
            ("1 day", 86_400_000_000),
            ("7µs", 7),
            (" 3s ", 3_000_000),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_duration(text), Ok(Some(Duration::from_micros(*expected))), "{text}");
        }
        assert_eq!(parse_duration("infinity"), Ok(None));
    }

    #[test]
    fn not_time_spans() {
        for text in ["", " ", "s", "5x", "-5", "1..5s", ".", "1h,30s", "99999999999999999999", "infinite"] {
            let error = parse_duration(text).unwrap_err();
            assert_eq!((error.problem(), error.hint()), ("is not a time span", HINT), "{text}");
        }
        assert_eq!(parse_duration("500000y 500000y").unwrap_err().problem(), "is too long a time");
    }
}
