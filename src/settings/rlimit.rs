//! Resource limits as `--rlimit=` writes them (systemd-nspawn(1), systemd.exec(5) on `LimitCPU=`).

use std::str::FromStr;

use super::ValueError;
use super::duration::parse_microseconds;

/// What `u64::MAX` stands for (RLIM_INFINITY).
const INFINITY: u64 = u64::MAX;

const HINT: &str = "NAME=SOFT:HARD or NAME=VALUE, for example NOFILE=1024:4096 or CORE=infinity";

/// One `--rlimit=` (setrlimit(2)). `u64::MAX` is infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// How the number of a limit is written.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    Seconds,
    Microseconds,
    Nice,
}

/// Resources by name, without their `RLIMIT_`.
#[allow(clippy::unnecessary_cast, reason = "the constants are signed in some C libraries")]
const RESOURCES: &[(&str, u32, Unit)] = &[
    ("CPU", libc::RLIMIT_CPU as u32, Unit::Seconds),
    ("FSIZE", libc::RLIMIT_FSIZE as u32, Unit::Bytes),
    ("DATA", libc::RLIMIT_DATA as u32, Unit::Bytes),
    ("STACK", libc::RLIMIT_STACK as u32, Unit::Bytes),
    ("CORE", libc::RLIMIT_CORE as u32, Unit::Bytes),
    ("RSS", libc::RLIMIT_RSS as u32, Unit::Bytes),
    ("NOFILE", libc::RLIMIT_NOFILE as u32, Unit::Count),
    ("AS", libc::RLIMIT_AS as u32, Unit::Bytes),
    ("NPROC", libc::RLIMIT_NPROC as u32, Unit::Count),
    ("MEMLOCK", libc::RLIMIT_MEMLOCK as u32, Unit::Bytes),
    ("LOCKS", libc::RLIMIT_LOCKS as u32, Unit::Count),
    ("SIGPENDING", libc::RLIMIT_SIGPENDING as u32, Unit::Count),
    ("MSGQUEUE", libc::RLIMIT_MSGQUEUE as u32, Unit::Bytes),
    ("NICE", libc::RLIMIT_NICE as u32, Unit::Nice),
    ("RTPRIO", libc::RLIMIT_RTPRIO as u32, Unit::Count),
    ("RTTIME", libc::RLIMIT_RTTIME as u32, Unit::Microseconds),
];

impl ResourceLimit {
    /// Names of all resources, for `--rlimit=help`.
    pub fn names() -> Vec<String> {
        RESOURCES.iter().map(|(name, ..)| format!("RLIMIT_{name}")).collect()
    }

    /// The name of its resource, `RLIMIT_NOFILE`.
    pub fn name(&self) -> String {
        let known = RESOURCES.iter().find(|(_, resource, _)| *resource == self.resource);
        known.map_or_else(|| self.resource.to_string(), |(name, ..)| format!("RLIMIT_{name}"))
    }
}

impl FromStr for ResourceLimit {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: String| ValueError::new(text, problem, HINT);
        let (name, value) = text.split_once('=').ok_or_else(|| refused("has no '='".to_owned()))?;
        let bare = name.strip_prefix("RLIMIT_").unwrap_or(name);
        let (_, resource, unit) = RESOURCES.iter().find(|(known, ..)| *known == bare).ok_or_else(|| {
            ValueError::new(
                name,
                "is not a resource limit",
                format!("one of: {}", RESOURCES.iter().map(|row| row.0).collect::<Vec<_>>().join(", ")),
            )
        })?;
        let parse = |number: &str| {
            limit(number, *unit).ok_or_else(|| refused(format!("has a limit that is no {}", unit.noun())))
        };
        let (soft, hard) = match value.split_once(':') {
            Some((soft, hard)) => (parse(soft)?, parse(hard)?),
            None => {
                let both = parse(value)?;
                (both, both)
            }
        };
        if soft > hard {
            return Err(refused("has a soft limit above its hard limit".to_owned()));
        }
        Ok(Self { resource: *resource, soft, hard })
    }
}

impl Unit {
    /// What such a value is called in a message.
    fn noun(self) -> &'static str {
        match self {
            Self::Count => "number",
            Self::Bytes => "number of bytes (suffixes K, M, G, T are powers of 1024)",
            Self::Seconds | Self::Microseconds => "time",
            Self::Nice => "nice level (-20 to +19 with its sign, or the raw limit 0 to 40)",
        }
    }
}

/// One limit in its resource's own unit.
fn limit(text: &str, unit: Unit) -> Option<u64> {
    if text == "infinity" {
        return Some(INFINITY);
    }
    match unit {
        Unit::Count => count(text),
        Unit::Bytes => bytes(text),
        // The kernel counts whole seconds: a part of one is rounded up, so that no limit becomes 0 by rounding.
        Unit::Seconds => Some(parse_microseconds(text, 1_000_000).ok()??.div_ceil(1_000_000)),
        Unit::Microseconds => parse_microseconds(text, 1).ok()?,
        Unit::Nice => nice(text),
    }
}

/// Digits only: `u64::from_str` would take a plus sign too.
fn count(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A size with an optional suffix, powers of 1024 (systemd.syntax(7)).
fn bytes(text: &str) -> Option<u64> {
    const SUFFIXES: &[u8] = b"BKMGTPE";
    let last = *text.as_bytes().last()?;
    match SUFFIXES.iter().position(|suffix| *suffix == last) {
        Some(power) => {
            let factor = 1024_u64.checked_pow(u32::try_from(power).ok()?)?;
            count(text[..text.len() - 1].trim_end()).filter(|_| text.len() > 1)?.checked_mul(factor)
        }
        None => count(text),
    }
}

/// A nice level with its sign, or the limit as the kernel counts it: 20 minus the level (getrlimit(2)).
fn nice(text: &str) -> Option<u64> {
    match text.as_bytes().first()? {
        b'+' => Some(20 - count(&text[1..]).filter(|level| *level <= 19)?),
        b'-' => Some(20 + count(&text[1..]).filter(|level| *level <= 20)?),
        _ => count(text).filter(|raw| *raw <= 40),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let rows = [
            ("NOFILE=1024", libc::RLIMIT_NOFILE, 1024, 1024),
            ("RLIMIT_NOFILE=8192:16384", libc::RLIMIT_NOFILE, 8192, 16384),
            ("CORE=0:infinity", libc::RLIMIT_CORE, 0, INFINITY),
            ("MEMLOCK=8M", libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
            ("AS=2G:1T", libc::RLIMIT_AS, 2 << 30, 1 << 40),
            ("CPU=1min", libc::RLIMIT_CPU, 60, 60),
            ("CPU=1500ms", libc::RLIMIT_CPU, 2, 2),
            ("CPU=5:infinity", libc::RLIMIT_CPU, 5, INFINITY),
            ("RTTIME=250", libc::RLIMIT_RTTIME, 250, 250),
            ("RTTIME=1s", libc::RLIMIT_RTTIME, 1_000_000, 1_000_000),
            ("NICE=+5", libc::RLIMIT_NICE, 15, 15),
            ("NICE=-20", libc::RLIMIT_NICE, 40, 40),
            ("NICE=40", libc::RLIMIT_NICE, 40, 40),
        ];
        for (text, resource, soft, hard) in rows {
            assert_eq!(text.parse(), Ok(ResourceLimit { resource, soft, hard }), "{text}");
        }
    }

    #[test]
    fn not_limits() {
        let rows = [
            ("NOFILE", r#""NOFILE" has no '='"#),
            ("FOO=1", r#""FOO" is not a resource limit"#),
            ("nofile=1", r#""nofile" is not a resource limit"#),
            ("NOFILE=", r#""NOFILE=" has a limit that is no number"#),
            ("NOFILE=+1", r#""NOFILE=+1" has a limit that is no number"#),
            ("NOFILE=1K", r#""NOFILE=1K" has a limit that is no number"#),
            ("NOFILE=5:4", r#""NOFILE=5:4" has a soft limit above its hard limit"#),
            ("NOFILE=infinity:4", r#""NOFILE=infinity:4" has a soft limit above its hard limit"#),
            ("CPU=1x", r#""CPU=1x" has a limit that is no time"#),
            (
                "AS=K",
                r#""AS=K" has a limit that is no number of bytes (suffixes K, M, G, T are powers of 1024)"#,
            ),
            (
                "NICE=+20",
                r#""NICE=+20" has a limit that is no nice level (-20 to +19 with its sign, or the raw limit 0 to 40)"#,
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<ResourceLimit>().unwrap_err().to_string(), expected, "{text}");
        }
    }
}
