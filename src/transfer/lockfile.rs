//! `spinney.lock`: which bytes a reference meant when somebody looked, so that all who come later get the same.
//!
//! TOML, an `[[image]]` for each whole reference, sorted, so that a version control system shows what changed. Pure.

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::settings::did_you_mean;

/// What it is called where nobody says otherwise.
pub const NAME: &str = "spinney.lock";

/// The largest that is read.
pub const LIMIT: usize = 1 << 20;

/// The only version of the format.
const VERSION: u32 = 1;

const HEAD: &str = "# Written by `spinney pull --lock`; `spinney pull --frozen` takes only this.\n";

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{file}:{line}: {problem}")]
    File { file: String, line: usize, problem: String },
    #[error("{file} has no {reference}{}", did_you_mean(.nearest.as_deref()))]
    Absent { file: String, reference: String, nearest: Option<String> },
    #[error("cannot write the lock file: {0}")]
    Render(String),
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => {
                Some(format!("restore it, or make it anew with spinney pull --lock={NAME} ..."))
            }
            Self::Absent { file, reference, .. } => {
                Some(format!("spinney pull --lock={file} {reference} adds it"))
            }
            Self::Render(_) => None,
        }
    }
}

/// A whole lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    #[serde(default, rename = "image")]
    images: Vec<Locked>,
}

/// One image of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// The whole reference: `debian:trixie/default@amd64`.
    pub reference: String,
    /// When somebody looked: RFC 3339.
    pub when: String,
    /// What it was.
    #[serde(flatten)]
    pub pin: Pin,
}

/// Certain bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The kind of the source.
    pub kind: String,
    /// Where they are.
    pub url: String,
    /// Their digest.
    pub sha256: String,
    /// What they are: `tar`, `disk` or `oci`.
    pub form: String,
    /// The directory in the archive that is the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip: Option<String>,
}

impl Default for LockFile {
    fn default() -> Self {
        Self { version: VERSION, images: Vec::new() }
    }
}

impl Pin {
    /// The digest.
    pub fn digest(&self) -> Option<Digest> {
        self.sha256.parse().ok()
    }
}

impl LockFile {
    /// Reads `text` of the file that messages call `file`.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let fault = |line, problem: String| Error::File { file: file.to_owned(), line, problem };
        let read: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            fault(line, error.message().lines().next().unwrap_or("not TOML").to_owned())
        })?;
        if read.version != VERSION {
            return Err(fault(1, format!("version {} of the format is not known", read.version)));
        }
        for locked in &read.images {
            let line = 1 + text.lines().take_while(|line| !line.contains(&locked.reference)).count();
            if locked.pin.digest().is_none() {
                return Err(fault(line, format!("{:?} is no sha256 digest", locked.pin.sha256)));
            }
            if !["tar", "disk", "oci", "oci-archive"].contains(&locked.pin.form.as_str()) {
                return Err(fault(line, format!("{:?} is no form of an image", locked.pin.form)));
            }
        }
        Ok(read)
    }

    /// As text.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn render(&self) -> Result<String, Error> {
        let body = toml::to_string(self).map_err(|error| Error::Render(error.to_string()))?;
        Ok(format!("{HEAD}{body}"))
    }

    /// Pins `reference`, in place of what it was pinned to.
    pub fn set(&mut self, reference: &str, pin: Pin, when: String) {
        self.images.retain(|locked| locked.reference != reference);
        self.images.push(Locked { reference: reference.to_owned(), when, pin });
        self.images.sort_by(|one, other| one.reference.cmp(&other.reference));
    }

    /// What `reference` is pinned to; messages call the file `file`.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub fn find(&self, file: &str, reference: &str) -> Result<&Pin, Error> {
        self.images.iter().find(|locked| locked.reference == reference).map(|locked| &locked.pin).ok_or_else(
            || Error::Absent {
                file: file.to_owned(),
                reference: reference.to_owned(),
                nearest: crate::settings::nearest(
                    reference,
                    self.images.iter().map(|locked| locked.reference.as_str()),
                )
                .map(str::to_owned),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn pin(url: &str) -> Pin {
        Pin {
            kind: "tar".to_owned(),
            url: url.to_owned(),
            sha256: SUM.to_owned(),
            form: "tar".to_owned(),
            strip: None,
        }
    }

    #[test]
    fn there_and_back() {
        let mut lock = LockFile::default();
        lock.set("oak:2/default@amd64", pin("https://oak.example/2"), "2026-01-02T03:04:05Z".to_owned());
        lock.set(
            "elm:1/default@amd64",
            Pin { strip: Some("root".to_owned()), ..pin("https://elm.example/1") },
            "x".to_owned(),
        );
        lock.set("oak:2/default@amd64", pin("https://oak.example/2b"), "y".to_owned());
        let text = lock.render().unwrap();
        let expected = format!(
            "{HEAD}version = 1\n\n[[image]]\nreference = \"elm:1/default@amd64\"\nwhen = \"x\"\nkind = \"tar\"\n\
             url = \"https://elm.example/1\"\nsha256 = \"{SUM}\"\nform = \"tar\"\nstrip = \"root\"\n\n[[image]]\n\
             reference = \"oak:2/default@amd64\"\nwhen = \"y\"\nkind = \"tar\"\nurl = \"https://oak.example/2b\"\n\
             sha256 = \"{SUM}\"\nform = \"tar\"\n"
        );
        assert_eq!(text, expected);
        assert_eq!(LockFile::parse("l", &text).unwrap(), lock);
        assert_eq!(lock.find("l", "oak:2/default@amd64").unwrap().url, "https://oak.example/2b");
        assert_eq!(
            lock.find("l", "oak:2/default@arm64").unwrap_err().to_string(),
            "l has no oak:2/default@arm64; did you mean \"oak:2/default@amd64\"?"
        );
    }

    #[test]
    fn faults() {
        let good = format!(
            "version = 1\n[[image]]\nreference = \"a:1\"\nwhen = \"x\"\nkind = \"tar\"\nurl = \"u\"\n\
             sha256 = \"{SUM}\"\nform = \"tar\"\n"
        );
        assert!(LockFile::parse("l", &good).is_ok());
        let rows = [
            (good.replace("version = 1", "version = 2"), "l:1: version 2 of the format is not known"),
            (good.replace(SUM, "00"), "l:3: \"00\" is no sha256 digest"),
            (good.replace("form = \"tar\"", "form = \"x\""), "l:3: \"x\" is no form of an image"),
            (good.replace("url = \"u\"\n", ""), "l:2: missing field `url`"),
            ("<<<<<<< HEAD\n".to_owned(), "l:1: "),
        ];
        for (text, expected) in rows {
            let error = LockFile::parse("l", &text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
