//! Why what was said gives no settings: one line, with the place it is about, and the next step.

use std::io;
use std::path::PathBuf;

use super::assignment::Source;
use super::keys::BadValue;

/// Why arguments and files give no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value is wrong.
    #[error("{place}")]
    Value {
        /// Where it was given: `bad value for --bind=`, or file, line and key.
        place: String,
        /// What is wrong with the value.
        #[source]
        source: BadValue,
    },
    /// Something else is wrong on a line of a file.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
        /// The right form.
        hint: String,
    },
    /// A settings file cannot be used at all.
    #[error("cannot read {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// Settings that do not go together.
    #[error("{problem}")]
    Combination {
        /// Which, and why.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// A credential's file cannot be read.
    #[error("cannot read the credential {id} from {}", path.display())]
    CredentialFile {
        /// The credential.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Our working directory is gone or unreadable.
    #[error("cannot tell the working directory")]
    Directory(#[source] io::Error),
}

impl SettingsError {
    /// A wrong value, given by `source`.
    pub fn value(source: &Source, error: BadValue) -> Self {
        let place = match source {
            Source::File(place) => format!("{}:{}: {}", place.path.display(), place.line, place.key),
            Source::Option(option) => format!("bad value for {option}"),
            Source::BuiltIn | Source::Operands => "bad argument".to_owned(),
        };
        Self::Value { place, source: error }
    }

    /// A wrong value of an option.
    pub fn option(option: &str, error: impl Into<BadValue>) -> Self {
        Self::Value { place: format!("bad value for {option}"), source: error.into() }
    }

    /// Things that do not go together.
    pub fn combination(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Combination { problem: problem.into(), hint: hint.into() }
    }

    /// The next step.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Value { source, .. } => Some(source.hint()),
            Self::Line { hint, .. } | Self::File { hint, .. } | Self::Combination { hint, .. } => Some(hint),
            Self::CredentialFile { .. } => Some("--load-credential=ID:PATH reads PATH on the host"),
            Self::Directory(_) => Some("change to a directory that exists"),
        }
    }
}
