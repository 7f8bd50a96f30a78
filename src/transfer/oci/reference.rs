//! What a user named: an image of a registry, or one on disk (containers-transports(5)).

use std::fmt;
use std::path::PathBuf;

use super::Error;
use crate::transfer::Digest;

/// Where names without a registry are, for docker's own transport (docker-pull(1)).
const DOCKER_HUB: &str = "docker.io";

/// The longest name of a repository (distribution-spec, "Pulling manifests").
const NAME_LIMIT: usize = 255;

/// The longest tag (the same place).
const TAG_LIMIT: usize = 128;

/// An image that was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `[docker://][REGISTRY/]REPOSITORY[:TAG][@sha256:DIGEST]`.
    Registry(RegistryReference),
    /// `oci:DIRECTORY[:TAG]`: an image layout (image-spec, image-layout.md).
    Layout {
        /// The directory.
        directory: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`: a tar of a layout, or of `docker save`; its content tells which.
    Archive {
        /// The file.
        file: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
}

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReference {
    /// Its host, with a port where it says one.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// Its tag; `latest` unless it or a digest is given.
    pub tag: Option<String>,
    /// The digest of its manifest.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`Error::Reference`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |problem| Error::Reference { text: text.to_owned(), problem };
        if let Some(rest) = text.strip_prefix("oci:").or_else(|| text.strip_prefix("oci-layout:")) {
            let (path, tag) = path_and_tag(rest).ok_or_else(|| refuse("names no directory"))?;
            return Ok(Self::Layout { directory: path, tag });
        }
        let archive = text.strip_prefix("oci-archive:").or_else(|| text.strip_prefix("docker-archive:"));
        if let Some(rest) = archive {
            let (path, tag) = path_and_tag(rest).ok_or_else(|| refuse("names no file"))?;
            return Ok(Self::Archive { file: path, tag });
        }
        let rest = text.strip_prefix("docker://").unwrap_or(text);
        RegistryReference::parse(rest).map(Self::Registry).map_err(refuse)
    }

    /// What an image of it is called that nobody gave a name: the last part of its repository, and its tag unless that is
    /// `latest`.
    pub fn local_name(&self) -> String {
        let (base, tag) = match self {
            Self::Registry(reference) => {
                (reference.repository.rsplit('/').next().unwrap_or_default(), reference.tag.as_ref())
            }
            Self::Layout { directory: path, tag } | Self::Archive { file: path, tag } => {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("image");
                let base =
                    ["tar.gz", "tgz", "tar"].iter().find_map(|end| name.strip_suffix(&format!(".{end}")));
                (base.unwrap_or(name), tag.as_ref())
            }
        };
        // A tag of docker's archives is a reference of its own.
        let tag = tag.map(|tag| tag.rsplit('/').next().unwrap_or_default().replace(':', "-"));
        match tag.filter(|tag| tag != "latest") {
            Some(tag) => format!("{base}-{tag}"),
            None => base.to_owned(),
        }
    }
}

impl RegistryReference {
    /// Reads what docker takes: the first part is a registry if it looks like a host (distribution/reference).
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digits = digest.strip_prefix("sha256:").ok_or("has a digest that is none of sha256")?;
                (name, Some(digits.parse().map_err(|_| "has a digest that is none of sha256")?))
            }
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            // What is before a slash is a port.
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (name, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
            Some(_) => (DOCKER_HUB, path.to_owned()),
            None => (DOCKER_HUB, format!("library/{path}")),
        };
        let repository = match (registry, repository.contains('/')) {
            (DOCKER_HUB, false) => format!("library/{repository}"),
            _ => repository,
        };
        if !is_host(registry) {
            return Err("has a registry that is no host");
        }
        if repository.len() > NAME_LIMIT || !repository.split('/').all(is_component) {
            return Err(
                "has a repository that is no name: lower case letters, digits, and . _ - between them",
            );
        }
        if tag.as_ref().is_some_and(|tag| !is_tag(tag)) {
            return Err("has a tag that is none: letters, digits, _ . and -");
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, tag) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::Layout { directory, tag } => ("oci", directory, tag),
            Self::Archive { file, tag } => ("oci-archive", file, tag),
        };
        write!(f, "{transport}:{}", path.display())?;
        tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

/// `PATH[:TAG]`; a path may have colons only before its last slash.
fn path_and_tag(text: &str) -> Option<(PathBuf, Option<String>)> {
    let name_at = text.rfind('/').map_or(0, |slash| slash + 1);
    // A reference of docker's as tag has slashes itself.
    let colon = text
        .find(':')
        .filter(|colon| *colon > 0)
        .or_else(|| text[name_at..].find(':').map(|at| name_at + at));
    let (path, tag) = match colon {
        Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
        None => (text, None),
    };
    (!path.is_empty()).then(|| (PathBuf::from(path), tag.filter(|tag| !tag.is_empty())))
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Of a repository (distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`).
fn is_component(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| lower(*byte))
        && bytes.last().is_some_and(|byte| lower(*byte))
        && bytes.iter().all(|byte| lower(*byte) || b"._-".contains(byte))
        && !text.contains("..")
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LIMIT
        && text.as_bytes().first().is_some_and(|byte| word(*byte))
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let with_digest = format!("docker.io/library/debian@sha256:{digest}");
        let both = format!("quay.io/a/b:1@sha256:{digest}");
        // What is given, what it is in full, what it is called here.
        let rows = [
            ("docker://debian", "docker.io/library/debian:latest", "debian"),
            ("docker.io/debian:trixie", "docker.io/library/debian:trixie", "debian-trixie"),
            ("docker.io/library/alpine:3.20", "docker.io/library/alpine:3.20", "alpine-3.20"),
            ("quay.io/fedora/fedora", "quay.io/fedora/fedora:latest", "fedora"),
            ("localhost/a", "localhost/a:latest", "a"),
            ("localhost:5000/a/b_c:x-1", "localhost:5000/a/b_c:x-1", "b_c-x-1"),
            ("docker://someone/thing:v1", "docker.io/someone/thing:v1", "thing-v1"),
            (&with_digest, &with_digest, "debian"),
            (&both, &both, "b-1"),
            ("oci:/srv/layout", "oci:/srv/layout", "layout"),
            ("oci:layout:v2", "oci:layout:v2", "layout-v2"),
            ("oci-archive:/srv/a.tar:v2", "oci-archive:/srv/a.tar:v2", "a-v2"),
            ("docker-archive:b.tar.gz", "oci-archive:b.tar.gz", "b"),
            ("docker-archive:/b.tar:docker.io/x/y:1", "oci-archive:/b.tar:docker.io/x/y:1", "b-y-1"),
        ];
        for (text, full, name) in rows {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (reference.to_string().as_str(), reference.local_name().as_str()),
                (full, name),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_none() {
        let rows = [
            ("docker://", "repository"),
            ("docker://Debian", "repository"),
            ("quay.io/a//b", "repository"),
            ("quay.io/a/../b", "repository"),
            ("quay.io/a:-x", "tag"),
            ("quay.io/a:b?c", "tag"),
            ("quay.io/a@sha256:12", "digest"),
            ("quay.io/a@md5:12", "digest"),
            ("bad_host.org:x/a", "registry"),
            ("oci:", "directory"),
            ("docker-archive:", "file"),
        ];
        for (text, word) in rows {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
