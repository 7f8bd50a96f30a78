//! Faults of the network on purpose: `--net-delay=`, `--net-loss=`.

use std::time::Duration;

use crate::settings::{ValueError, parse_duration};

/// Longer than any path on earth and to the moon and back, several times; TCP itself gives up on more.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// `--net-delay=`. A number without a unit is refused: people mean milliseconds where time spans mean seconds.
///
/// # Errors
/// When it is no time, or too long.
pub fn parse_delay(text: &str) -> Result<Duration, ValueError> {
    const HINT: &str = "a time with its unit, at most 60s, for example 50ms";
    let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
    if text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.trim().is_empty() {
        return Err(refused("has no unit"));
    }
    let delay = parse_duration(text).map_err(|_| refused("is not a time span"))?;
    delay.filter(|delay| *delay <= LONGEST_DELAY).ok_or_else(|| refused("is too long a time"))
}

/// `--net-loss=`, a percentage, in thousandths of a percent.
///
/// # Errors
/// When it is none.
pub fn parse_loss(text: &str) -> Result<u32, ValueError> {
    let refused = |problem: &'static str| {
        ValueError::new(text, problem, "a percentage from 0% to 100%, for example 1% or 0.5%")
    };
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(refused("is not a percentage"));
    }
    if fraction.len() > 3 {
        return Err(refused("is finer than a thousandth of a percent"));
    }
    let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| refused("is not a percentage"))?;
    let loss = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1000)?.checked_add(thousandths));
    loss.filter(|loss| *loss <= 100_000).ok_or_else(|| refused("is more than all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        for (text, expected) in [
            ("50ms", Ok(50_000)),
            ("1s 500ms", Ok(1_500_000)),
            ("0ms", Ok(0)),
            ("60s", Ok(60_000_000)),
            ("50", Err("has no unit")),
            ("0.5", Err("has no unit")),
            ("", Err("is not a time span")),
            ("soon", Err("is not a time span")),
            ("61s", Err("is too long a time")),
            ("infinity", Err("is too long a time")),
        ] {
            let delay = parse_delay(text);
            let found = delay.as_ref().map(Duration::as_micros).map_err(ValueError::problem);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn losses() {
        for (text, expected) in [
            ("1%", Ok(1000)),
            ("0.5%", Ok(500)),
            ("0.125", Ok(125)),
            ("0%", Ok(0)),
            ("100%", Ok(100_000)),
            ("100.001%", Err("is more than all")),
            ("99999999999%", Err("is more than all")),
            ("4294968%", Err("is more than all")),
            ("0.0001%", Err("is finer than a thousandth of a percent")),
            ("", Err("is not a percentage")),
            ("%", Err("is not a percentage")),
            ("1.", Err("is not a percentage")),
            (".5", Err("is not a percentage")),
            ("-1%", Err("is not a percentage")),
            ("a", Err("is not a percentage")),
        ] {
            assert_eq!(
                parse_loss(text).as_ref().map_err(|error| error.problem()),
                expected.as_ref().map_err(|e| *e),
                "{text}"
            );
        }
    }
}
