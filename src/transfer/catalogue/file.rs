//! A catalogue file, read: text to [`Distro`], or a fault with its line.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::architecture;
use super::error::Error;
use super::model::{Distro, Key, Release};
use super::raw::{RawFile, RawKey, RawRelease};
use super::source;
use super::template;
use crate::settings::nearest;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueFile {
    /// All about a distro.
    Distro(Box<Distro>),
    /// More about a distro of another file, [`Distro::name`]: what it lists comes first.
    Extension(Box<Distro>),
}

/// Reads `text` of the file that messages call `file`.
///
/// # Errors
/// The first fault, with its line.
pub fn parse(file: &str, text: &str) -> Result<CatalogueFile, Error> {
    let reader = Reader { file, text };
    let raw: RawFile = toml::from_str(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        reader.fault(error.span().unwrap_or(0..0), message, None)
    })?;
    match (&raw.name, &raw.extends) {
        (Some(name), None) => {
            let distro = reader.distro(&raw, name, true)?;
            Ok(CatalogueFile::Distro(Box::new(distro)))
        }
        (None, Some(name)) => {
            let extension = reader.distro(&raw, name, false)?;
            Ok(CatalogueFile::Extension(Box::new(extension)))
        }
        (Some(_), Some(extends)) => {
            let hint = "a file either describes a distro or extends one of another file";
            Err(reader.fault(extends.span(), "name and extends exclude each other", Some(hint)))
        }
        (None, None) => Err(reader.fault(
            0..0,
            "neither name nor extends is given",
            Some("begin with name = \"...\", or with extends = \"...\" to add to a distro that there is"),
        )),
    }
}

/// Finds the lines of faults.
pub(super) struct Reader<'text> {
    file: &'text str,
    text: &'text str,
}

impl Reader<'_> {
    /// A fault at the bytes `at`.
    pub(super) fn fault(&self, at: Range<usize>, problem: impl Into<String>, hint: Option<&str>) -> Error {
        let line = 1 + self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count();
        let hint = hint.map(str::to_owned);
        Error::File { file: self.file.to_owned(), line, problem: problem.into(), hint }
    }

    /// A name of a distro, a release, a variant, a suite, a package.
    pub(super) fn word(&self, word: &Spanned<String>) -> Result<String, Error> {
        if is_word(word.get_ref()) {
            return Ok(word.get_ref().clone());
        }
        let hint = "names are of letters, digits and . _ + -, and begin with a letter or a digit";
        Err(self.fault(word.span(), format!("{:?} is no name", word.get_ref()), Some(hint)))
    }

    /// Several of them.
    pub(super) fn words(&self, words: &[Spanned<String>]) -> Result<Vec<String>, Error> {
        words.iter().map(|word| self.word(word)).collect()
    }

    /// Text in which the `{placeholders}` are known.
    pub(super) fn template(&self, text: &Spanned<String>, found: bool) -> Result<String, Error> {
        template::check(text.get_ref(), found)
            .map_err(|problem| self.fault(text.span(), problem, Some(template::HINT)))?;
        Ok(text.get_ref().clone())
    }

    /// A template of an address.
    pub(super) fn address(&self, text: &Spanned<String>, found: bool) -> Result<String, Error> {
        let url = text.get_ref();
        let known = ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        if !known
            || url.chars().any(|char| char.is_whitespace() || char.is_control() || "\"'\\`".contains(char))
        {
            let hint =
                "addresses begin with https://, http:// or file:///, and have neither blanks nor quotes";
            return Err(self.fault(text.span(), format!("{url:?} is no address"), Some(hint)));
        }
        self.template(text, found)
    }

    /// The architectures of a distro or a source.
    pub(super) fn architectures(
        &self,
        table: &Spanned<BTreeMap<String, String>>,
    ) -> Result<BTreeMap<String, String>, Error> {
        for (ours, theirs) in table.get_ref() {
            if architecture::canonical(ours) != Some(ours.as_str()) {
                let hint = format!("ours are {}", architecture::ALL.join(", "));
                return Err(self.fault(table.span(), format!("{ours:?} is no architecture"), Some(&hint)));
            }
            if !is_word(theirs) {
                return Err(self.fault(table.span(), format!("{theirs:?} is no architecture"), None));
            }
        }
        Ok(table.get_ref().clone())
    }

    /// One of `known`.
    pub(super) fn one_of(&self, word: &Spanned<String>, what: &str, known: &[&str]) -> Result<(), Error> {
        if known.contains(&word.get_ref().as_str()) {
            return Ok(());
        }
        let meant = crate::settings::did_you_mean(nearest(word.get_ref(), known.iter().copied()));
        let hint = if known.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        Err(self.fault(word.span(), format!("no {what} {:?}{meant}", word.get_ref()), Some(&hint)))
    }

    fn missing(&self, what: &str) -> Error {
        self.fault(0..0, format!("{what} is missing"), Some("docs/images.md says what a file has"))
    }

    fn distro(&self, raw: &RawFile, name: &Spanned<String>, whole: bool) -> Result<Distro, Error> {
        let mut releases = Vec::with_capacity(raw.release.len());
        for release in &raw.release {
            releases.push(self.release(release, &releases)?);
        }
        let variants = match &raw.variants {
            Some(variants) => self.words(variants)?,
            None => vec!["default".to_owned()],
        };
        let mut keys = BTreeMap::new();
        for (name, key) in &raw.key {
            keys.insert(name.clone(), self.key(key)?);
        }
        let mut distro = Distro {
            name: self.word(name)?,
            title: raw.title.clone().unwrap_or_else(|| name.get_ref().clone()),
            aliases: self.words(&raw.aliases)?,
            default: String::new(),
            init: raw.init.clone().unwrap_or_default(),
            architectures: raw
                .architectures
                .as_ref()
                .map(|table| self.architectures(table))
                .transpose()?
                .unwrap_or_default(),
            variants,
            releases,
            sources: Vec::new(),
            keys,
            file: self.file.to_owned(),
        };
        if whole {
            let default = raw.default.as_ref().ok_or_else(|| self.missing("default"))?;
            let known: Vec<&str> = distro.releases.iter().map(|release| release.name.as_str()).collect();
            self.one_of(default, "release", &known)?;
            distro.default = default.get_ref().clone();
            for (value, what) in [(raw.title.is_none(), "title"), (raw.init.is_none(), "init")] {
                if value {
                    return Err(self.missing(what));
                }
            }
            if distro.architectures.is_empty() {
                return Err(self.missing("[architectures]"));
            }
            if distro.variants.is_empty() {
                return Err(self.missing("a variant"));
            }
        } else if let Some(default) = &raw.default {
            distro.default = self.word(default)?;
        }
        for source in &raw.source {
            let source = source::read(self, &distro, source, whole)?;
            distro.sources.push(source);
        }
        Ok(distro)
    }

    fn release(&self, raw: &RawRelease, before: &[Release]) -> Result<Release, Error> {
        let names = [&raw.name].into_iter().chain(&raw.version).chain(&raw.aliases);
        for name in names {
            let word = self.word(name)?;
            if before.iter().any(|release| release.is_called(&word)) {
                return Err(self.fault(name.span(), format!("two releases are called {word:?}"), None));
            }
        }
        Ok(Release {
            name: raw.name.get_ref().clone(),
            version: raw.version.as_ref().map(|version| version.get_ref().clone()),
            aliases: self.words(&raw.aliases)?,
            until: raw.until.map(|date| date.to_string()),
        })
    }

    fn key(&self, raw: &Spanned<RawKey>) -> Result<Key, Error> {
        let key = raw.get_ref();
        if key.fingerprints.is_empty() {
            return Err(self.fault(raw.span(), "a key without fingerprints", None));
        }
        for fingerprint in &key.fingerprints {
            let digits = fingerprint.get_ref();
            let hexadecimal =
                digits.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
            if digits.len() != 40 || !hexadecimal {
                let hint = "40 hexadecimal digits, in capitals, as gpg --show-keys prints them";
                return Err(self.fault(
                    fingerprint.span(),
                    format!("{digits:?} is no fingerprint"),
                    Some(hint),
                ));
            }
        }
        if let Some(file) = key.files.iter().find(|file| !file.is_absolute()) {
            return Err(self.fault(raw.span(), format!("{file:?} is not an absolute path"), None));
        }
        Ok(Key {
            fingerprints: key.fingerprints.iter().map(|digits| digits.get_ref().clone()).collect(),
            files: key.files.clone(),
            package: key.package.clone(),
            documented: key.documented.clone(),
        })
    }
}

/// Whether `word` can be a name: nothing that a shell, a path or an option parser would see something else in.
pub(super) fn is_word(word: &str) -> bool {
    word.len() <= 100
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(|char| char.is_ascii_alphanumeric() || "._+-".contains(char))
}
