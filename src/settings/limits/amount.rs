//! Sizes, counts and shares as systemd writes them (systemd.syntax(7), systemd.resource-control(5)).

use std::fmt;

use crate::settings::ValueError;

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many, in the key's own unit.
    Absolute(u64),
    /// A share, in hundredths of a percent: of what the host has, or of one CPU.
    Share(u64),
    /// No limit.
    Infinity,
}

/// What the letters behind a number stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Powers of 1024, for memory.
    Binary,
    /// Powers of 1000, for bandwidths (systemd.resource-control(5), `IOReadBandwidthMax=`).
    Decimal,
}

/// One percent, in the unit of [`Amount::Share`].
const PERCENT: u64 = 100;

impl Amount {
    /// The amount where the whole is `whole`; `None` is infinity.
    pub fn of(self, whole: u64) -> Option<u64> {
        match self {
            Self::Absolute(amount) => Some(amount),
            Self::Share(share) => {
                let amount = u128::from(whole) * u128::from(share) / u128::from(100 * PERCENT);
                Some(u64::try_from(amount).unwrap_or(u64::MAX))
            }
            Self::Infinity => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(amount) => write!(f, "{amount}"),
            Self::Share(share) if share % PERCENT == 0 => write!(f, "{}%", share / PERCENT),
            Self::Share(share) => {
                let text = format!("{}.{:02}", share / PERCENT, share % PERCENT);
                write!(f, "{}%", text.trim_end_matches('0'))
            }
            Self::Infinity => f.write_str("infinity"),
        }
    }
}

const SIZE_HINT: &str =
    "bytes with K, M, G or T (512M, 1.5G), a share of the host's memory (25%), or infinity";

/// A size of memory, more than none.
pub(super) fn memory(text: &str) -> Result<Amount, ValueError> {
    match memory_or_none(text)? {
        Amount::Absolute(0) | Amount::Share(0) => {
            Err(ValueError::new(text, "leaves the machine no memory", SIZE_HINT))
        }
        amount => Ok(amount),
    }
}

/// A size of memory, also 0.
pub(super) fn memory_or_none(text: &str) -> Result<Amount, ValueError> {
    if text == "infinity" {
        return Ok(Amount::Infinity);
    }
    let amount = match text.strip_suffix('%') {
        Some(number) => share(number).filter(|share| *share <= 100 * PERCENT).map(Amount::Share),
        None => quantity(text, Base::Binary).map(Amount::Absolute),
    };
    amount.ok_or_else(|| ValueError::new(text, "is not a size of memory", SIZE_HINT))
}

/// A number of tasks, or a share of what the kernel has.
pub(super) fn tasks(text: &str) -> Result<Amount, ValueError> {
    const HINT: &str = "a number of tasks, a share of the host's (10%), or infinity";
    if text == "infinity" {
        return Ok(Amount::Infinity);
    }
    let amount = match text.strip_suffix('%') {
        Some(number) => share(number).filter(|share| *share <= 100 * PERCENT).map(Amount::Share),
        None => quantity(text, Base::Binary).map(Amount::Absolute),
    };
    match amount {
        None => Err(ValueError::new(text, "is not a number of tasks", HINT)),
        Some(Amount::Absolute(0) | Amount::Share(0)) => {
            Err(ValueError::new(text, "lets no process run", HINT))
        }
        Some(amount) => Ok(amount),
    }
}

/// Time on CPUs, in percent of one.
pub(super) fn cpu_quota(text: &str) -> Result<Amount, ValueError> {
    const HINT: &str = "percent of one CPU: 50% is half of one, 200% is two; infinity is no limit";
    /// Linux takes no quota below 1 ms in its period of 100 ms (min_cfs_quota_period in kernel/sched).
    const LEAST: u64 = PERCENT;
    if text == "infinity" {
        return Ok(Amount::Infinity);
    }
    let quota = text.strip_suffix('%').and_then(share);
    match quota {
        None => Err(ValueError::new(text, "is not a share of a CPU", HINT)),
        Some(quota) if quota < LEAST => Err(ValueError::new(text, "is below 1%, the least there is", HINT)),
        Some(quota) => Ok(Amount::Share(quota)),
    }
}

/// A number of CPUs (docker-run(1), `--cpus=1.5`) as a quota.
pub fn cpus_as_quota(text: &str) -> Result<Amount, ValueError> {
    let refused = || ValueError::new(text, "is not a number of CPUs", "for example 1.5");
    let cpus = share(text).ok_or_else(refused)?;
    cpu_quota(&Amount::Share(cpus.checked_mul(100).ok_or_else(refused)?).to_string())
        .map_err(|error| ValueError::new(text, error.problem().to_owned(), "0.01 and more"))
}

/// A weight among siblings (cgroup-v2.rst: 1 to 10000, 100 by default).
pub(super) fn weight(text: &str) -> Result<u64, ValueError> {
    let weight = text.parse().ok().filter(|weight| (1..=10_000).contains(weight) && !text.starts_with('+'));
    weight.ok_or_else(|| ValueError::new(text, "is not a weight", "1 to 10000; 100 is the usual one"))
}

/// Bytes or operations a second.
pub(super) fn rate(text: &str) -> Result<Amount, ValueError> {
    const HINT: &str = "a number a second, with K, M, G or T in powers of 1000, or infinity";
    if text == "infinity" {
        return Ok(Amount::Infinity);
    }
    match quantity(text, Base::Decimal) {
        None => Err(ValueError::new(text, "is not a rate", HINT)),
        Some(0) => Err(ValueError::new(text, "lets nothing through", HINT)),
        Some(rate) => Ok(Amount::Absolute(rate)),
    }
}

/// Digits with an optional fraction and letter. Lower case and `iB` are docker's and everyone's.
fn quantity(text: &str, base: Base) -> Option<u64> {
    const LETTERS: &str = "BKMGTPE";
    let bare = match base {
        Base::Binary => text.strip_suffix("iB").unwrap_or(text),
        Base::Decimal => text,
    };
    let last = bare.chars().next_back()?.to_ascii_uppercase();
    let (number, power) = match LETTERS.find(last) {
        Some(power) => (bare[..bare.len() - 1].trim_end(), u32::try_from(power).ok()?),
        // "5iB" is no size.
        None if bare.len() < text.len() => return None,
        None => (bare, 0),
    };
    let factor = match base {
        Base::Binary => 1024_u128.pow(power),
        Base::Decimal => 1000_u128.pow(power),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if power == 0 && number.contains('.') {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(factor)?;
    let places = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? * factor / places };
    // The kernel counts memory in signed 64 bits.
    u64::try_from(whole.checked_add(part)?).ok().filter(|amount| i64::try_from(*amount).is_ok())
}

/// A percentage with up to two decimals, in hundredths.
fn share(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let tens = if fraction.len() == 1 { 10 } else { 1 };
    whole.parse::<u64>().ok()?.checked_mul(PERCENT)?.checked_add(fraction.parse::<u64>().ok()? * tens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Amount::{Absolute, Infinity, Share};

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(Absolute(0))),
            ("4096", Some(Absolute(4096))),
            ("512M", Some(Absolute(512 << 20))),
            ("512m", Some(Absolute(512 << 20))),
            ("1.5G", Some(Absolute(3 << 29))),
            ("2 K", Some(Absolute(2048))),
            ("64MiB", Some(Absolute(64 << 20))),
            ("1B", Some(Absolute(1))),
            ("7E", Some(Absolute(7 << 60))),
            ("8E", None),
            ("25%", Some(Share(2500))),
            ("12.5%", Some(Share(1250))),
            ("100%", Some(Share(10_000))),
            ("101%", None),
            ("infinity", Some(Infinity)),
            ("", None),
            ("K", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1..5G", None),
            ("5iB", None),
            ("1KB", None),
            ("lots", None),
            ("1é", None),
            ("99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(memory_or_none(text).ok(), expected, "{text}");
        }
        assert_eq!(memory("0").unwrap_err().problem(), "leaves the machine no memory");
    }

    #[test]
    fn quotas_and_weights() {
        for (text, expected) in [
            ("50%", Some(Share(5000))),
            ("200%", Some(Share(20_000))),
            ("1%", Some(Share(100))),
            ("infinity", Some(Infinity)),
            ("0%", None),
            ("50", None),
            ("%", None),
            ("1.234%", None),
        ] {
            assert_eq!(cpu_quota(text).ok(), expected, "{text}");
        }
        for (text, expected) in
            [("1.5", Some(Share(15_000))), ("2", Some(Share(20_000))), ("0", None), ("x", None)]
        {
            assert_eq!(cpus_as_quota(text).ok(), expected, "{text}");
        }
        for (text, expected) in [("1", Some(1)), ("10000", Some(10_000)), ("0", None), ("10001", None)] {
            assert_eq!(weight(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn rates_and_tasks() {
        for (text, expected) in
            [("5M", Some(Absolute(5_000_000))), ("0", None), ("1.5K", Some(Absolute(1500))), ("1MiB", None)]
        {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
        for (text, expected) in [("100", Some(Absolute(100))), ("10%", Some(Share(1000))), ("0", None)] {
            assert_eq!(tasks(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn shares_of_a_whole_and_their_text() {
        for (amount, of_1000, text) in [
            (Share(2550), Some(255), "25.5%"),
            (Share(5), Some(0), "0.05%"),
            (Share(20_000), Some(2000), "200%"),
            (Absolute(7), Some(7), "7"),
            (Infinity, None, "infinity"),
        ] {
            assert_eq!((amount.of(1000), amount.to_string().as_str()), (of_1000, text));
        }
    }
}
