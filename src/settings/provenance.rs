//! Where each value in force came from, in a form that can be kept beside a machine and shown later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::assignment::{Assignment, Source};
use super::files::{self, FileSeen};
use super::keys::{self, Key};

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody gave one.
    BuiltIn,
    /// A settings file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An option of the command line, as people know it.
    Option(String),
    /// The rest of the command line: the tree, the command.
    CommandLine,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Its table in TOML.
    pub table: String,
    /// Its name in TOML.
    pub name: String,
    /// The value as it was given; what holds by default in words.
    pub value: String,
    /// Not for everybody's eyes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// Where it came from.
    pub source: Origin,
}

/// All values in force, and the files that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Provenance {
    /// The values, in the order of the table of keys.
    pub settings: Vec<Entry>,
    /// The files, lowest layer first.
    pub files: Vec<FileSeen>,
}

impl From<&Source> for Origin {
    fn from(source: &Source) -> Self {
        match source {
            Source::BuiltIn => Self::BuiltIn,
            Source::File(place) => Self::File { path: place.path.to_path_buf(), line: place.line },
            Source::Option(option) => Self::Option((*option).to_owned()),
            Source::Operands => Self::CommandLine,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Option(option) => f.write_str(option),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl Provenance {
    /// Of what is in force, every other setting being built-in.
    pub(super) fn of(effective: &[Assignment], files: Vec<FileSeen>) -> Self {
        let mut settings = Vec::new();
        for key in keys::all() {
            let mut given = effective.iter().filter(|assignment| assignment.key == key).peekable();
            if given.peek().is_none() {
                settings.push(Entry::new(key, key.default.to_owned(), Origin::BuiltIn));
            }
            for assignment in given {
                let value = assignment.value().unwrap_or_default().to_string_lossy();
                settings.push(Entry::new(key, shown(key, &value), Origin::from(&assignment.source)));
            }
        }
        Self { settings, files }
    }

    /// Whether anybody said anything of a setting.
    pub fn is_given(&self, table: &str, name: &str) -> bool {
        self.settings.iter().any(|entry| entry.is_of(table, name) && entry.source != Origin::BuiltIn)
    }

    /// Says that `option` decided a setting.
    pub fn decide(&mut self, table: &str, name: &str, value: &str, option: &str) {
        for entry in self.settings.iter_mut().filter(|entry| entry.is_of(table, name)) {
            entry.value = value.to_owned();
            entry.source = Origin::Option(option.to_owned());
        }
    }

    /// Says where the tree is, and who said so.
    pub(super) fn set_tree(&mut self, tree: &Path, by_name: bool) {
        let value = tree.display().to_string();
        for entry in self.settings.iter_mut().filter(|entry| entry.is_of("machine", "directory")) {
            if !by_name {
                entry.source = Origin::CommandLine;
            } else if entry.value != value {
                entry.source = Origin::BuiltIn;
            }
            entry.value.clone_from(&value);
        }
    }

    /// The files that are not now as they were when they were read, with what happened to them: drop-ins that are new
    /// are told too.
    pub fn changed_since_then(&self) -> BTreeMap<PathBuf, &'static str> {
        let mut changes = BTreeMap::new();
        for file in &self.files {
            let change = match (file.stamp, files::stamp(&file.path)) {
                (None, Some(_)) => "new",
                (Some(_), None) => "removed",
                (then, now) if then != now => "changed",
                _ => continue,
            };
            changes.insert(file.path.clone(), change);
        }
        let is_new = |path: &PathBuf| !self.files.iter().any(|file| file.path == *path);
        for drop_in in self.files.iter().flat_map(|file| files::drop_ins_of(&file.path)).filter(is_new) {
            changes.insert(drop_in, "new");
        }
        changes
    }
}

impl Entry {
    fn is_of(&self, table: &str, name: &str) -> bool {
        (self.table.as_str(), self.name.as_str()) == (table, name)
    }

    fn new(key: &Key, value: String, source: Origin) -> Self {
        let secret = key.secret && source != Origin::BuiltIn;
        Self { table: key.table.to_owned(), name: key.name.to_owned(), value, secret, source }
    }
}

/// A value as it may be kept: the contents of a credential are nobody's to see.
fn shown(key: &Key, value: &str) -> String {
    match value.split_once(':') {
        Some((id, contents)) if key.name == "set-credential" => format!("{id}: {} bytes", contents.len()),
        _ => value.to_owned(),
    }
}
