//! What a transfer has said so far, and what came of it: a part of its record, for who follows it from outside.
//!
//! A record holds the last few lines alone, and says how many there were: who looks each time that it changes misses none that
//! matters, and who comes late has the last ones.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many lines are kept.
const LINES: usize = 8;

/// How many characters of a line.
const CHARACTERS: usize = 400;

/// How much a line matters, in the numbers of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It has failed.
    Error,
    /// Something is not as it was asked for.
    Warning,
    /// It goes on.
    Info,
}

impl Level {
    /// As syslog(3) counts.
    pub fn priority(self) -> u32 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
        }
    }
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All of it is there.
    Done,
    /// Somebody did not want it any more.
    Cancelled,
    /// It could not be done.
    Failed,
}

/// One line. The text may be a server's: not fit to be printed as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What was said.
    pub text: String,
}

/// What a transfer has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// How many lines there were.
    said: u64,
    /// The last ones.
    lines: VecDeque<Line>,
    /// What came of it, once it is over. One that was killed has none.
    pub outcome: Option<Outcome>,
    /// What a download is held to, where its user has said it.
    pub verify: Option<String>,
}

impl Told {
    /// One line more.
    pub fn say(&mut self, level: Level, text: &str) {
        let text = text.chars().take(CHARACTERS).collect();
        self.said += 1;
        self.lines.push_back(Line { level, text });
        while self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    /// How many lines there were.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Those that came after the first `heard`, as far as they are kept.
    pub fn since(&self, heard: u64) -> impl Iterator<Item = &Line> {
        let new = usize::try_from(self.said.saturating_sub(heard)).unwrap_or(usize::MAX);
        self.lines.iter().skip(self.lines.len().saturating_sub(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_since() {
        let mut told = Told::default();
        let texts = |told: &Told, heard| {
            told.since(heard).map(|line| line.text.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((texts(&told, 0), told.said()), (String::new(), 0));
        for number in 1..=3 {
            told.say(Level::Info, &number.to_string());
        }
        assert_eq!(
            (texts(&told, 0), texts(&told, 2), texts(&told, 3)),
            ("1 2 3".into(), "3".into(), String::new())
        );
        for number in 4..=20 {
            told.say(Level::Warning, &number.to_string());
        }
        assert_eq!((texts(&told, 3), told.said()), ("13 14 15 16 17 18 19 20".into(), 20));
        // Who has heard more than was said is of another time.
        assert_eq!(texts(&told, 30), "");
        told.say(Level::Error, &"x".repeat(1000));
        assert_eq!(texts(&told, 20).len(), CHARACTERS);
    }
}
