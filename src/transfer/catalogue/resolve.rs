//! From a reference to what is to be tried, in order: pure data.

use super::error::Error;
use super::load::Catalogue;
use super::model::{Bootstrap, Distro, FileFormat, Key, Release, Source, SourceKind};
use super::reference::Reference;
use super::template::{self, Values};
use super::{architecture, listing};
use crate::settings::nearest;

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The distro's name.
    pub distro: String,
    /// What people call it.
    pub title: String,
    /// The release's name.
    pub release: String,
    /// The last day on which the distro cares for it.
    pub until: Option<String>,
    /// The variant.
    pub variant: String,
    /// Whether it is the distro's first variant.
    pub first_variant: bool,
    /// Our name of the architecture.
    pub architecture: &'static str,
    /// Whether that is this host's.
    pub native: bool,
    /// What is to be tried, in order: what can be booted first.
    pub attempts: Vec<Attempt>,
}

/// One source, with all that it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What `--source=` calls its kind.
    pub kind: &'static str,
    /// What is done.
    pub action: Action,
    /// What comes from it can be booted.
    pub boots: bool,
    /// What to know before.
    pub note: Option<String>,
}

/// What is done to have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask an image server.
    Simplestreams {
        /// Where `streams/v1/index.json` is.
        url: String,
        /// One of the aliases of the product.
        alias: String,
        /// How the server spells the architecture.
        arch: String,
    },
    /// Download a file.
    Download(Download),
    /// Ask a registry.
    Oci {
        /// The reference there.
        reference: String,
    },
    /// Run a tool; everything in it is expanded.
    Bootstrap {
        /// What it is to do.
        plan: Bootstrap,
        /// How the tool spells the architecture.
        arch: String,
        /// The key of the packages.
        key: Option<Key>,
    },
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// What it is.
    pub format: FileFormat,
    /// Where it is; with `{found}` in it until [`Download::found`].
    pub url: String,
    /// Where its name is to be looked for, and what it looks like.
    pub find: Option<(String, String)>,
    /// The list with its checksum.
    pub checksums: Option<String>,
    /// The signature of the list or, without one, of the file; `None` inside [`Some`] is the list itself.
    pub signature: Option<(Option<String>, Key)>,
    /// The directory in the archive that is the root.
    pub strip: Option<String>,
}

impl Download {
    /// The same, with the name that was found.
    pub fn found(mut self, name: &str) -> Self {
        let star =
            self.find.take().and_then(|(_, pattern)| listing::star(&pattern, name)).unwrap_or_default();
        let fill = |text: &str| template::fill(text, name, &star);
        self.url = fill(&self.url);
        self.checksums = self.checksums.as_deref().map(fill);
        if let Some((Some(url), _)) = &mut self.signature {
            *url = fill(url);
        }
        self
    }

    /// The newest name in `text`, which came from [`Download::find`].
    pub fn look_up<'text>(&self, text: &'text str) -> Option<&'text str> {
        let (_, pattern) = self.find.as_ref()?;
        listing::newest(text, pattern)
    }
}

impl Resolved {
    /// What an image of it is called: `debian-trixie`, `void-current-musl`, `alpine-edge-arm64` on a host that is another.
    pub fn image_name(&self) -> String {
        let mut name = format!("{}-{}", self.distro, self.release);
        if !self.first_variant {
            name = format!("{name}-{}", self.variant);
        }
        if !self.native {
            name = format!("{name}-{}", self.architecture);
        }
        name
    }

    /// The whole reference: `debian:trixie/default@amd64`, which means the same on any host.
    pub fn reference(&self) -> String {
        format!("{}:{}/{}@{}", self.distro, self.release, self.variant, self.architecture)
    }

    /// Only the sources of the kind `wanted` (`--source=`).
    ///
    /// # Errors
    /// [`Error::NoSuchSource`].
    pub fn only(mut self, wanted: &str) -> Result<Self, Error> {
        let mut known: Vec<String> = self.attempts.iter().map(|attempt| attempt.kind.to_owned()).collect();
        self.attempts.retain(|attempt| attempt.kind == wanted);
        if self.attempts.is_empty() {
            known.dedup();
            return Err(Error::NoSuchSource { distro: self.distro, wanted: wanted.to_owned(), known });
        }
        Ok(self)
    }
}

impl Catalogue {
    /// What `reference` means on a host of the architecture `host`.
    ///
    /// # Errors
    /// When there is no such thing in the catalogue.
    pub fn resolve(&self, reference: &Reference, host: Option<&'static str>) -> Result<Resolved, Error> {
        let distro = self.find(&reference.distro)?;
        // `debian/13`, as image servers write it: what is behind the slash is a release.
        let (wanted, variant) = match (&reference.release, &reference.variant) {
            (None, Some(name)) if !distro.variants.contains(name) && distro.release(name).is_some() => {
                (Some(name), None)
            }
            (release, variant) => (release.as_ref(), variant.as_ref()),
        };
        let wanted = wanted.unwrap_or(&distro.default);
        let release = distro.release(wanted).ok_or_else(|| no_release(distro, wanted))?;
        let variant = match variant {
            None => distro.variants.first().map(String::as_str).unwrap_or_default(),
            Some(name) => known_variant(distro, name)?,
        };
        let architecture = reference.architecture.or(host).ok_or_else(|| Error::UnknownArchitecture {
            name: std::env::consts::ARCH.to_owned(),
            nearest: None,
        })?;
        let sources: Vec<&Source> = distro
            .sources
            .iter()
            .filter(|source| source.releases.as_ref().is_none_or(|names| names.contains(&release.name)))
            .filter(|source| source.variants.iter().any(|name| name == variant))
            .collect();
        let spelled = |source: &Source| {
            source.architectures.as_ref().unwrap_or(&distro.architectures).get(architecture).cloned()
        };
        let mut attempts: Vec<Attempt> = sources
            .iter()
            .filter_map(|source| Some(attempt(distro, release, variant, source, &spelled(source)?)))
            .collect();
        // What cannot be booted comes last: who says `spinney run debian` wants a machine.
        attempts.sort_by_key(|attempt| !attempt.boots);
        let resolved = Resolved {
            distro: distro.name.clone(),
            title: distro.title.clone(),
            release: release.name.clone(),
            until: release.until.clone(),
            variant: variant.to_owned(),
            first_variant: distro.variants.first().is_some_and(|first| first == variant),
            architecture,
            native: Some(architecture) == host,
            attempts,
        };
        if !resolved.attempts.is_empty() {
            return Ok(resolved);
        }
        if sources.is_empty() {
            return Err(Error::NoSource { what: format!("{}:{}/{variant}", distro.name, release.name) });
        }
        let mut known: Vec<String> = architecture::ALL
            .into_iter()
            .filter(|name| {
                sources.iter().any(|source| {
                    source.architectures.as_ref().unwrap_or(&distro.architectures).contains_key(*name)
                })
            })
            .map(str::to_owned)
            .collect();
        known.sort();
        let distro = format!("{} {}", distro.title, release.name);
        Err(Error::NoArchitecture { distro, architecture: architecture.to_owned(), known })
    }
}

fn no_release(distro: &Distro, wanted: &str) -> Error {
    let names = distro.releases.iter().flat_map(|release| {
        [release.name.as_str()]
            .into_iter()
            .chain(release.version.as_deref())
            .chain(release.aliases.iter().map(String::as_str))
    });
    Error::NoRelease {
        distro: distro.name.clone(),
        release: wanted.to_owned(),
        known: distro.releases.iter().map(|release| release.name.clone()).collect(),
        nearest: nearest(wanted, names).map(str::to_owned),
    }
}

fn known_variant<'distro>(distro: &'distro Distro, wanted: &str) -> Result<&'distro str, Error> {
    let variants = || distro.variants.iter().map(String::as_str);
    variants().find(|name| *name == wanted).ok_or_else(|| Error::NoVariant {
        distro: distro.name.clone(),
        variant: wanted.to_owned(),
        known: distro.variants.clone(),
        nearest: nearest(wanted, variants()).map(str::to_owned),
    })
}

fn attempt(distro: &Distro, release: &Release, variant: &str, source: &Source, arch: &str) -> Attempt {
    let values = Values {
        release: &release.name,
        version: release.version.as_deref().unwrap_or(&release.name),
        arch,
        variant,
    };
    let expand = |text: &str| template::expand(text, &values);
    let action = match &source.kind {
        SourceKind::Simplestreams { url, alias } => {
            Action::Simplestreams { url: expand(url), alias: expand(alias), arch: arch.to_owned() }
        }
        SourceKind::Oci { reference } => Action::Oci { reference: expand(reference) },
        SourceKind::File(file) => {
            let url = expand(&file.url);
            let beside = |text: &str| beside(&url, &expand(text));
            Action::Download(Download {
                format: file.format,
                find: file.find.as_ref().map(|find| (expand(&find.url), expand(&find.pattern))),
                checksums: file.checksums.as_deref().map(beside),
                signature: file.signature.as_ref().and_then(|signature| {
                    let key = distro.keys.get(&signature.key)?.clone();
                    Some((signature.url.as_deref().map(beside), key))
                }),
                strip: file.strip.clone(),
                url: url.clone(),
            })
        }
        SourceKind::Bootstrap(bootstrap) => Action::Bootstrap {
            plan: Bootstrap {
                suite: expand(&bootstrap.suite),
                mirror: bootstrap.mirror.as_deref().map(expand),
                ..Bootstrap::clone(bootstrap)
            },
            arch: arch.to_owned(),
            key: bootstrap.key.as_ref().and_then(|key| distro.keys.get(key)).cloned(),
        },
    };
    Attempt { kind: source.kind.name(), action, boots: source.boots, note: source.note.clone() }
}

/// The address of `name` in the directory of `url`, unless it is an address itself.
fn beside(url: &str, name: &str) -> String {
    if name.contains("://") {
        return name.to_owned();
    }
    let directory = url.rfind('/').map_or("", |slash| &url[..=slash]);
    format!("{directory}{name}")
}
