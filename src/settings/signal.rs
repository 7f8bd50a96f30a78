//! Signals by name and number (signal(7)).

use std::fmt;
use std::str::FromStr;

use nix::sys::signal::Signal;

use super::ValueError;

/// First real-time signal that a program may use. The guest's init counts `SIGRTMIN+3` from the GNU C library's 34,
/// whatever C library we are built with.
const REALTIME_FIRST: i32 = 34;

/// Last signal of Linux (`_NSIG`).
const LAST: i32 = 64;

const HINT: &str = "a name such as SIGTERM, TERM, SIGRTMIN+3, or a number from 1 to 64";

/// A signal by number, 1 to 64 (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(pub i32);

impl SignalNumber {
    /// Names of all signals, for `--kill-signal=help`.
    pub fn names() -> Vec<String> {
        (1..=LAST).map(|number| Self(number).to_string()).collect()
    }
}

impl FromStr for SignalNumber {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match number(text) {
            Some(number) => Ok(Self(number)),
            None => Err(ValueError::new(text, "is not a signal", HINT)),
        }
    }
}

/// The number that `text` names.
fn number(text: &str) -> Option<i32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=LAST).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = distance(offset, '+')?;
        return (offset <= LAST - REALTIME_FIRST).then_some(REALTIME_FIRST + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        let offset = distance(offset, '-')?;
        return (offset <= LAST - REALTIME_FIRST).then_some(LAST - offset);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The number behind `sign`; nothing at all is 0.
fn distance(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, Signal::try_from(self.0)) {
            (_, Ok(signal)) => f.write_str(signal.as_str()),
            (REALTIME_FIRST, _) => f.write_str("SIGRTMIN"),
            (number @ REALTIME_FIRST..=LAST, _) => write!(f, "SIGRTMIN+{}", number - REALTIME_FIRST),
            (number, _) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        let rows = [
            ("SIGTERM", 15, "SIGTERM"),
            ("term", 15, "SIGTERM"),
            ("INT", 2, "SIGINT"),
            ("9", 9, "SIGKILL"),
            ("SIGRTMIN", 34, "SIGRTMIN"),
            ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
            ("RTMIN+30", 64, "SIGRTMIN+30"),
            ("RTMAX", 64, "SIGRTMIN+30"),
            ("SIGRTMAX-14", 50, "SIGRTMIN+16"),
            ("33", 33, "33"),
        ];
        for (text, expected, shown) in rows {
            let signal: SignalNumber = text.parse().unwrap();
            assert_eq!((signal.0, signal.to_string().as_str()), (expected, shown), "{text}");
        }
    }

    #[test]
    fn not_signals() {
        for text in
            ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+31", "RTMIN-1", "RTMIN+", "RTMAX+1", "RTMIN++1"]
        {
            let error = text.parse::<SignalNumber>().unwrap_err();
            assert_eq!((error.problem(), error.hint()), ("is not a signal", HINT), "{text}");
        }
    }
}
