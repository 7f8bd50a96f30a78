//! One value given to one setting at one place: what every layer of settings comes down to.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::keys::Key;

/// A line of a settings file that gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The file.
    pub path: Rc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The key as the file spells it.
    pub key: Rc<str>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave one.
    BuiltIn,
    /// A settings file.
    File(FilePlace),
    /// An option of the command line, as people know it: `--bind=`.
    Option(&'static str),
    /// What stands on the command line without an option: the tree, the command.
    Operands,
}

impl Source {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(place) => Some(&place.path),
            _ => None,
        }
    }

    /// Whether it is the command line.
    pub fn is_command_line(&self) -> bool {
        matches!(self, Self::Option(_) | Self::Operands)
    }

    /// The setting as its source spells it, for sentences: `--volatile`, `Volatile (FILE:3)`.
    pub fn setting(&self, key: &Key) -> String {
        match self {
            Self::Option(option) => option.trim_end_matches('=').to_owned(),
            Self::File(place) => format!("{} ({}:{})", place.key, place.path.display(), place.line),
            Self::BuiltIn | Self::Operands => key.name.to_owned(),
        }
    }
}

/// For people: `built-in`, `/etc/spinney/machines/web.toml:3`, `--bind=`, `command line`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(place) => write!(f, "{}:{}", place.path.display(), place.line),
            Self::Option(option) => f.write_str(option),
            Self::Operands => f.write_str("command line"),
        }
    }
}

/// What an assignment does to its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives it a value: the value, or one more of a list.
    Give(OsString),
    /// Takes away what was given before.
    Reset,
}

/// Which layer an assignment belongs to. Two values of one layer were written by one hand in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerNumber(pub usize);

/// One value given to one setting at one place.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The setting.
    pub key: &'static Key,
    /// What happens to it.
    pub change: Change,
    /// Where that was said.
    pub source: Source,
    /// The layer of that place.
    pub layer: LayerNumber,
    /// Whoever wrote it is not believed in all things: it must not take away what others gave.
    pub untrusted: bool,
}

impl Assignment {
    /// A value of the command line.
    pub fn of_option(key: &'static Key, option: &'static str, value: impl Into<OsString>) -> Self {
        Self::new(key, Change::Give(value.into()), Source::Option(option))
    }

    /// What stands on the command line without an option.
    pub fn of_operands(key: &'static Key, change: Change) -> Self {
        Self::new(key, change, Source::Operands)
    }

    /// Something that is believed. The layer is set when layers are put together.
    pub fn new(key: &'static Key, change: Change, source: Source) -> Self {
        Self { key, change, source, layer: LayerNumber(0), untrusted: false }
    }

    /// The value, unless it is a reset.
    pub fn value(&self) -> Option<&OsStr> {
        match &self.change {
            Change::Give(value) => Some(value),
            Change::Reset => None,
        }
    }
}

/// What a parser is told of a value.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The value as text; the command line's environment and command may be no UTF-8.
    pub text: &'a str,
    /// The value as it was given.
    pub raw: &'a OsStr,
    /// What relative paths of the host are relative to; `None` in files, where they would be relative to nothing.
    pub directory: Option<&'a Path>,
}

impl Given<'_> {
    /// `path` of the host, absolute.
    pub fn host_path(&self, path: &Path) -> Option<PathBuf> {
        match self.directory {
            Some(directory) => Some(directory.join(path)),
            None if path.is_absolute() => Some(path.to_owned()),
            None => None,
        }
    }
}
