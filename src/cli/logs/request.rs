//! What was asked of `spinney logs`, typed.

use jiff::Zoned;

use super::moment;
use super::render::Format;
use crate::journal::Id;
use crate::journal::filter::{Filter, UnitPattern};
use crate::machine::logs::Source;
use crate::settings::ValueError;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Go on with what is written from now on.
    pub follow: bool,
    /// The newest so many, or all.
    pub lines: Option<usize>,
    /// All was asked for, in so many words.
    pub all: bool,
    /// The newest first.
    pub reverse: bool,
    /// Which entries; the boot is found out later.
    pub filter: Filter,
    /// Of this boot.
    pub boot: Option<Boot>,
    /// The one log to show.
    pub source: Option<Source>,
    /// How entries are shown.
    pub format: Format,
    /// Whether the hostname is.
    pub hostname: bool,
    /// Tell which log it is.
    pub verbose: bool,
}

/// Which boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// 0 is the last, -1 the one before it; 1 is the first of which there is something, 2 the next.
    Number(i64),
    /// By its id.
    Id(Id),
}

/// How many lines `--follow` begins with (journalctl(1)).
const FOLLOWED_LINES: usize = 10;

impl Request {
    /// The newest so many of what is chosen. Who follows and says no more wants the last few; who chooses a time or a boot
    /// wants all of it.
    pub fn newest(&self) -> Option<usize> {
        let chosen = self.filter.since.is_some() || self.boot.is_some() || self.all;
        self.lines.or((self.follow && !chosen).then_some(FOLLOWED_LINES))
    }
}

/// A value that is not what its option takes.
#[derive(Debug, thiserror::Error)]
#[error("bad value for {option}: {source}")]
pub struct BadValue {
    option: &'static str,
    source: ValueError,
}

impl BadValue {
    /// The right form.
    pub fn hint(&self) -> &str {
        self.source.hint()
    }
}

/// Parses the value of `option`, where there is one.
///
/// # Errors
/// When the parser refuses it.
pub fn value<T>(
    option: &'static str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, BadValue> {
    text.map(parse).transpose().map_err(|source| BadValue { option, source })
}

/// The value of `--lines=`.
///
/// # Errors
/// When it is no number.
pub fn lines(text: &str) -> Result<Option<usize>, ValueError> {
    match text {
        "all" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ValueError::new(text, "is not a number of lines", "--lines=20, or --lines=all")),
    }
}

/// The value of `--boot=`.
///
/// # Errors
/// When it is no boot.
pub fn boot(text: &str) -> Result<Boot, ValueError> {
    if let Ok(number) = text.parse() {
        return Ok(Boot::Number(number));
    }
    text.parse().map(Boot::Id).map_err(|()| {
        ValueError::new(
            text,
            "is not a boot",
            "0 is the last boot, -1 the one before it, 1 the first; or give a boot's id",
        )
    })
}

/// The value of `--priority=`.
///
/// # Errors
/// When it is no priority.
pub fn priority(text: &str) -> Result<crate::journal::filter::PriorityRange, ValueError> {
    text.parse().map_err(|()| {
        ValueError::new(
            text,
            "is not a priority",
            "emerg, alert, crit, err, warning, notice, info or debug, 0 to 7, or two of them as in warning..info",
        )
    })
}

/// The value of `--source=`.
///
/// # Errors
/// When it is no kind of log.
pub fn source(text: &str) -> Result<Source, ValueError> {
    let found = Source::ALL.into_iter().find(|source| source.name() == text);
    found.ok_or_else(|| {
        ValueError::new(
            text,
            "is not a kind of log",
            "--source= takes journal, syslog, console or supervisor",
        )
    })
}

/// The value of `--output=`.
///
/// # Errors
/// When it is no format.
pub fn format(text: &str) -> Result<Format, ValueError> {
    let found = Format::ALL.into_iter().find(|format| format.name() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
        ValueError::new(text, "is not an output format", format!("--output= takes {}", names.join(", ")))
    })
}

/// The values that choose entries.
///
/// # Errors
/// When one is not what it should be.
pub fn filter(
    units: &[String],
    importance: Option<&str>,
    since: Option<&str>,
    until: Option<&str>,
) -> Result<Filter, BadValue> {
    let now = Zoned::now();
    let moment = |text: &str| moment::parse(text, &now);
    let filter = Filter {
        units: units.iter().map(|unit| UnitPattern::new(unit)).collect(),
        priority: value("--priority=", importance, priority)?,
        boot: None,
        since: value("--since=", since, moment)?,
        until: value("--until=", until, moment)?,
    };
    if let (Some(from), Some(to), Some(text)) = (filter.since, filter.until, until)
        && from > to
    {
        let source = ValueError::new(text, "is before --since=", "swap the two");
        return Err(BadValue { option: "--until=", source });
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(lines("20"), Ok(Some(20)));
        assert_eq!(lines("all"), Ok(None));
        assert_eq!(lines("-1").unwrap_err().to_string(), "\"-1\" is not a number of lines");
        assert_eq!(boot("-1"), Ok(Boot::Number(-1)));
        assert_eq!(boot("x").unwrap_err().to_string(), "\"x\" is not a boot");
        assert_eq!(source("journal"), Ok(Source::Journal));
        assert_eq!(source("dmesg").unwrap_err().to_string(), "\"dmesg\" is not a kind of log");
        assert_eq!(format("json"), Ok(Format::Json));
        assert_eq!(format("xml").unwrap_err().to_string(), "\"xml\" is not an output format");
        assert_eq!(priority("high").unwrap_err().to_string(), "\"high\" is not a priority");
        let swapped = filter(&[], None, Some("today"), Some("yesterday"));
        assert_eq!(
            swapped.unwrap_err().to_string(),
            "bad value for --until=: \"yesterday\" is before --since="
        );
    }
}
