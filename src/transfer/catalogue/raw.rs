//! The keys of a catalogue file as they stand there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawFile {
    pub(super) name: Option<Spanned<String>>,
    pub(super) extends: Option<Spanned<String>>,
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) aliases: Vec<Spanned<String>>,
    pub(super) default: Option<Spanned<String>>,
    pub(super) init: Option<String>,
    pub(super) architectures: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) variants: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) release: Vec<RawRelease>,
    #[serde(default)]
    pub(super) source: Vec<Spanned<RawSource>>,
    #[serde(default)]
    pub(super) key: BTreeMap<String, Spanned<RawKey>>,
}

/// A `[[release]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawRelease {
    pub(super) name: Spanned<String>,
    pub(super) version: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) aliases: Vec<Spanned<String>>,
    pub(super) until: Option<toml::value::Datetime>,
}

/// A `[[source]]` of any kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSource {
    pub(super) kind: Spanned<String>,
    pub(super) releases: Option<Vec<Spanned<String>>>,
    pub(super) variants: Option<Vec<Spanned<String>>>,
    pub(super) architectures: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) boots: Option<bool>,
    pub(super) note: Option<String>,
    pub(super) documented: Option<Spanned<String>>,
    pub(super) seen: Option<Spanned<String>>,

    pub(super) url: Option<Spanned<String>>,
    pub(super) alias: Option<Spanned<String>>,
    pub(super) find: Option<Spanned<String>>,
    pub(super) pattern: Option<Spanned<String>>,
    pub(super) checksums: Option<Spanned<String>>,
    pub(super) signature: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) strip: Option<Spanned<String>>,
    pub(super) reference: Option<Spanned<String>>,
    pub(super) suite: Option<Spanned<String>>,
    pub(super) packages: Option<Vec<Spanned<String>>>,
    pub(super) mirror: Option<Spanned<String>>,
    pub(super) components: Option<Vec<Spanned<String>>>,
    pub(super) finish: Option<Spanned<String>>,
}

impl RawSource {
    /// The keys that only some kinds have, and which of them are given.
    pub(super) fn special(&self) -> [(&'static str, bool); 14] {
        [
            ("url", self.url.is_some()),
            ("alias", self.alias.is_some()),
            ("find", self.find.is_some()),
            ("pattern", self.pattern.is_some()),
            ("checksums", self.checksums.is_some()),
            ("signature", self.signature.is_some()),
            ("key", self.key.is_some()),
            ("strip", self.strip.is_some()),
            ("reference", self.reference.is_some()),
            ("suite", self.suite.is_some()),
            ("packages", self.packages.is_some()),
            ("mirror", self.mirror.is_some()),
            ("components", self.components.is_some()),
            ("finish", self.finish.is_some()),
        ]
    }
}

/// A `[key.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawKey {
    pub(super) fingerprints: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) files: Vec<PathBuf>,
    pub(super) package: Option<String>,
    pub(super) documented: String,
}
