//! What is known of one setting.

use std::error::Error;

use super::Draft;
use crate::settings::assignment::Given;
use crate::settings::limits::keys::LimitKey;
use crate::settings::{Limits, ValueError};

/// A value that a parser refused: what is wrong, and the right form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadValue {
    problem: String,
    hint: String,
}

impl BadValue {
    /// `problem` is the whole sentence.
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }

    /// From the parsers of privileges, whose errors say both what is wrong and, after a semicolon, what is right.
    pub fn of_sentence(error: &impl Error, otherwise: &str) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((problem, hint)) => Self::new(problem, hint),
            None => Self::new(text, otherwise),
        }
    }

    /// The right form.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl From<ValueError> for BadValue {
    fn from(error: ValueError) -> Self {
        Self::new(error.to_string(), error.hint())
    }
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Boolean,
    /// A text.
    Text,
    /// A word of a few; TOML's booleans stand for `yes` and `no`.
    Word,
    /// A number, with a unit where it has one.
    Number,
    /// A list of numbers and ranges, as one value: a later one replaces an earlier one.
    Numbers,
    /// A list: later values are added.
    List,
    /// A list of pairs, the name before this character; a later value of a name replaces an earlier one.
    Pairs(char),
    /// The words of a command: a later one replaces an earlier one.
    Command,
}

impl Kind {
    /// Whether values are added to those of lower layers.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Pairs(_) | Self::Command)
    }

    /// The TOML types that it is written with.
    pub fn toml_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Text => "string",
            Self::Word => "string or boolean",
            Self::Number => "integer or string",
            Self::Numbers => "string, or array of integers",
            Self::List => "array of strings",
            Self::Pairs(_) => "table, or array of strings",
            Self::Command => "array of strings",
        }
    }
}

/// What of a setting is believed when the file that gives it is not trusted (systemd.nspawn(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// All.
    Free,
    /// Nothing.
    Never,
    /// All but `no`: whatever else it is takes something from the guest, or keeps its tree as it is.
    OnlyYes,
    /// Only lists that begin with `~`, which forbid.
    OnlyDeny,
}

/// Which of our own files may have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everywhere,
    /// Only those of one machine: it makes no sense as a default for all.
    Machine,
}

/// What a setting is called in .nspawn files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NspawnKey {
    /// `Exec`, `Files` or `Network`.
    pub section: &'static str,
    /// Its name, without the `=`.
    pub name: &'static str,
    /// What is put before its value: `NOFILE=` for `LimitNOFILE=`.
    pub prefix: &'static str,
    /// The value is several words, with quotes (systemd.syntax(7)): each one value of the list.
    pub words: bool,
}

impl NspawnKey {
    /// A key with one value a line.
    pub const fn new(section: &'static str, name: &'static str) -> Self {
        Self { section, name, prefix: "", words: false }
    }

    /// A key with several words a line.
    pub const fn words(section: &'static str, name: &'static str) -> Self {
        Self { section, name, prefix: "", words: true }
    }
}

/// Puts a value into the draft of a machine's settings.
pub type PutValue = fn(&mut Draft, &Given<'_>) -> Result<(), BadValue>;

/// How a value gets into the draft of a machine's settings.
#[derive(Debug, Clone, Copy)]
pub enum Put {
    /// By a function of its own.
    By(PutValue),
    /// As the table of limits says.
    Limit(&'static LimitKey),
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its table in TOML.
    pub table: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// Its option, as `--bind=`; empty where there is none.
    pub option: &'static str,
    /// What it is called in .nspawn files.
    pub nspawn: &'static [NspawnKey],
    /// What it takes.
    pub kind: Kind,
    /// What an untrusted file may say of it.
    pub trust: Trust,
    /// Which files may have it.
    pub scope: Scope,
    /// Its values are not for everybody's eyes.
    pub secret: bool,
    /// What holds when nobody says anything, in words.
    pub default: &'static str,
    /// What it does, where no option's help says it.
    pub about: &'static str,
    /// How its value gets into the settings.
    pub put: Put,
    /// Of a list: whether two values are of the same thing, so that the later one takes the place of the earlier.
    pub same: fn(&str, &str) -> bool,
}

impl Key {
    /// A setting that anybody may make, everywhere.
    pub const fn new(table: &'static str, name: &'static str, kind: Kind, put: PutValue) -> Self {
        Self {
            table,
            name,
            option: "",
            nspawn: &[],
            kind,
            trust: Trust::Free,
            scope: Scope::Everywhere,
            secret: false,
            default: "",
            about: "",
            put: Put::By(put),
            same: |_, _| false,
        }
    }

    /// With an option.
    pub const fn option(mut self, option: &'static str) -> Self {
        self.option = option;
        self
    }

    /// With names in .nspawn files.
    pub const fn nspawn(mut self, keys: &'static [NspawnKey]) -> Self {
        self.nspawn = keys;
        self
    }

    /// What an untrusted file may say.
    pub const fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// For files of one machine alone.
    pub const fn machine_only(mut self) -> Self {
        self.scope = Scope::Machine;
        self
    }

    /// Not for everybody's eyes.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// What holds when nobody says anything.
    pub const fn default(mut self, words: &'static str) -> Self {
        self.default = words;
        self
    }

    /// What it does.
    pub const fn about(mut self, words: &'static str) -> Self {
        self.about = words;
        self
    }

    /// Whether two values of the list are of the same thing.
    pub const fn same(mut self, same: fn(&str, &str) -> bool) -> Self {
        self.same = same;
        self
    }

    /// Judges a value, and puts it into `draft`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn put(&self, draft: &mut Draft, given: &Given<'_>) -> Result<(), BadValue> {
        match self.put {
            Put::By(put) => put(draft, given),
            Put::Limit(limit) => Ok(draft.settings.limits.set(limit, given.text)?),
        }
    }

    /// Whether `later` takes the place of `earlier` in the list: both are of the same thing.
    pub fn is_same_item(&self, earlier: &str, later: &str) -> bool {
        match self.put {
            Put::By(_) => (self.same)(earlier, later),
            Put::Limit(limit) => {
                let mut limits = Limits::default();
                let both = [earlier, later].map(|text| limits.set(limit, text));
                both.iter().all(Result::is_ok)
                    && limits.texts().map(|(_, texts)| texts.len()).sum::<usize>() == 1
            }
        }
    }

    /// `table.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }
}

/// There is one row a setting: the same row is the same setting.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.table, self.name) == (other.table, other.name)
    }
}

impl Eq for Key {}
