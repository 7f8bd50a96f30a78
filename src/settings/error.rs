//! The error of a value that a parser refused: what was given, what is wrong with it, and how it is written right.

use std::borrow::Cow;
use std::fmt;

/// Longest piece of a refused value that a message repeats: an error is one line, whatever was given.
const SHOWN_CHARS: usize = 80;

/// A value that is not what its option takes. Displays as `"VALUE" PROBLEM`; the option's name is the caller's to say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", Shown(.value))]
pub struct ValueError {
    value: String,
    problem: Cow<'static, str>,
    hint: Cow<'static, str>,
}

impl ValueError {
    /// `value` was refused since it `problem` (a verb phrase: "is not a number"); `hint` shows the right form.
    pub fn new(
        value: impl Into<String>,
        problem: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { value: value.into(), problem: problem.into(), hint: hint.into() }
    }

    /// The right form of such a value.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// What is wrong, as a verb phrase.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The value that was refused, whole and unescaped.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Text of a file or a user in quotes, on one line.
pub(super) fn shown(text: &str) -> String {
    Shown(text).to_string()
}

/// A value in quotes, on one line: control characters escaped, its end cut off when it is long.
struct Shown<'value>(&'value str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars().take(SHOWN_CHARS) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        if self.0.chars().nth(SHOWN_CHARS).is_some() {
            f.write_str("…")?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        let rows = [
            ("a", "\"a\" is bad".to_owned()),
            ("", "\"\" is bad".to_owned()),
            ("a\nb\x1b[31m", "\"a\\nb\\u{1b}[31m\" is bad".to_owned()),
            (&"x".repeat(300), format!("\"{}…\" is bad", "x".repeat(SHOWN_CHARS))),
        ];
        for (value, expected) in rows {
            assert_eq!(ValueError::new(value, "is bad", "").to_string(), expected);
        }
    }
}
