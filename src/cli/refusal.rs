//! What is wrong with a command line, as one line and a hint; clap's own errors are turned into that form too.

mod habits;

use std::borrow::Cow;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Why a command line leads to nothing more.
#[derive(Debug)]
pub enum Refusal {
    /// Help or version was asked for: to stdout, exit status 0.
    Display(String),
    /// It is wrong.
    Error {
        /// What is wrong.
        message: Message,
        /// The right way.
        hint: Option<String>,
    },
}

/// A line of text as an error.
#[derive(Debug, PartialEq, Eq)]
pub struct Message(Cow<'static, str>);

impl Message {
    /// An error that reads `text`.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Message {}

impl Refusal {
    /// A wrong command line.
    pub fn error(message: impl Into<Cow<'static, str>>, hint: impl Into<String>) -> Self {
        Self::Error { message: Message::new(message), hint: Some(hint.into()) }
    }
}

impl Refusal {
    /// What clap refuses of the command line of `verb`, if it is that of a verb.
    pub(super) fn of(error: &clap::Error, verb: Option<&str>) -> Self {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let mut text = error.render().to_string();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            return Self::Display(text);
        }
        let context = |kind| error.get(kind).and_then(text_of);
        // clap names an option with its value: `--machine <NAME>`.
        let option = context(ContextKind::InvalidArg)
            .map(|text| {
                let name = text.trim_start_matches('[').split([' ', '=', '[']).next();
                name.unwrap_or_default().to_owned()
            })
            .unwrap_or_default();
        let value = context(ContextKind::InvalidValue).unwrap_or_default();
        let (message, hint) = match error.kind() {
            ErrorKind::UnknownArgument if option.starts_with('-') => (
                format!("unknown option {option}"),
                habits::option(&option).map(str::to_owned).or_else(|| {
                    context(ContextKind::SuggestedArg).map(|known| format!("did you mean {known}?"))
                }),
            ),
            ErrorKind::UnknownArgument => (format!("unexpected argument \"{option}\""), None),
            ErrorKind::InvalidSubcommand => {
                let command = context(ContextKind::InvalidSubcommand).unwrap_or_default();
                let nearest = || error.get(ContextKind::SuggestedSubcommand).and_then(nearest_of);
                let hint = habits::command(&command)
                    .map(str::to_owned)
                    .or_else(|| nearest().map(|known| format!("did you mean {known}?")));
                (format!("unknown command \"{command}\""), hint)
            }
            ErrorKind::InvalidValue if value.is_empty() => (format!("{option} needs a value"), None),
            ErrorKind::InvalidValue if !option.is_empty() => {
                let known = match error.get(ContextKind::ValidValue) {
                    Some(ContextValue::Strings(known)) if !known.is_empty() => {
                        Some(format!("one of: {}", known.join(", ")))
                    }
                    _ => None,
                };
                (format!("bad value for {}: {value:?} is not known", bare(&option)), known)
            }
            ErrorKind::ValueValidation if !option.is_empty() => {
                let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                let colon = if why.starts_with("is ") { "" } else { ":" };
                (format!("bad value for {}: {value:?}{colon} {why}", bare(&option)), None)
            }
            ErrorKind::NoEquals => (format!("{option} needs its value after '='"), None),
            ErrorKind::TooManyValues if !option.is_empty() => (format!("{option} takes no value"), None),
            ErrorKind::MissingRequiredArgument if !option.is_empty() => {
                (format!("{} is missing", bare(&option)), None)
            }
            ErrorKind::InvalidUtf8 => {
                ("an option's value is not UTF-8".to_owned(), Some("values are UTF-8 text".to_owned()))
            }
            // The rest cannot come from our definitions; its first line says what it is.
            _ => {
                let text = error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                (line.strip_prefix("error: ").unwrap_or(line).to_owned(), None)
            }
        };
        let hint = hint.unwrap_or_else(|| match verb {
            Some(verb) if verb != "help" => format!("see spinney {verb} --help"),
            _ => "see spinney --help".to_owned(),
        });
        Self::Error { message: Message::new(message), hint: Some(hint) }
    }
}

/// An operand without what clap puts around it: `<NAME>...`; an option as it is.
fn bare(argument: &str) -> &str {
    argument.trim_matches(['<', '>', '.', '[', ']'])
}

/// The best of clap's suggestions, which come in the order of likeness.
fn nearest_of(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::Strings(texts) => texts.last().cloned(),
        other => text_of(other),
    }
}

/// The first text of a piece of context.
fn text_of(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}
