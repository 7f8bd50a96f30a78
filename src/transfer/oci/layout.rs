//! Images on disk: layouts (image-spec, image-layout.md), and what `docker save` makes (moby, "image spec v1.2"). Both are
//! directories; an archive of either is unpacked first. A path in them may be anything: it is resolved within.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::document::{DOCUMENT_LIMIT, Descriptor, Document};
use super::registry::held;
use crate::sys::SysResult;
use crate::sys::in_root::{Root, absent_is_none};
use crate::transfer::{self, Digest, Incoming, Proof};

/// The name of an image in an index of a layout (image-spec, annotations.md).
const TAG: &str = "org.opencontainers.image.ref.name";

/// The full name, as containerd and docker have it.
const FULL_NAME: &str = "io.containerd.image.name";

/// A directory with images.
#[derive(Debug)]
pub struct Layout {
    root: Root,
    path: PathBuf,
}

/// An image of it.
#[derive(Debug)]
pub enum Found {
    /// A manifest, or an index of such.
    Manifest(Descriptor),
    /// What `docker save` wrote: files, without digests of their own.
    Saved {
        /// The configuration.
        config: PathBuf,
        /// The layers, the lowest first.
        layers: Vec<PathBuf>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

impl Layout {
    /// Opens the directory `root`, which messages call `path`.
    pub fn new(root: Root, path: &Path) -> Self {
        Self { root, path: path.to_owned() }
    }

    /// The image `tag`, or the only one.
    ///
    /// # Errors
    /// [`Error::NotThere`] names those that there are, [`Error::NoLayout`] says what it is instead.
    pub fn find(&self, tag: Option<&str>) -> Result<Found, transfer::Error> {
        if let Some(bytes) = self.optional("manifest.json")? {
            return self.saved(&bytes, tag);
        }
        let what = "no layout of OCI images: it has neither index.json nor manifest.json";
        let bytes =
            self.optional("index.json")?.ok_or_else(|| Error::NoLayout { path: self.path.clone(), what })?;
        let Document::Index(images) = Document::parse(&bytes)? else {
            let what = "no layout of OCI images: its index.json is no index";
            return Err(Error::NoLayout { path: self.path.clone(), what }.into());
        };
        let names = |image: &Descriptor| {
            [TAG, FULL_NAME]
                .into_iter()
                .filter_map(|key| image.annotations.get(key))
                .cloned()
                .collect::<Vec<_>>()
        };
        let there = images.iter().flat_map(|image| names(image).into_iter().next()).collect();
        let mut fitting: Vec<_> = images
            .into_iter()
            .filter(|image| tag.is_none_or(|tag| names(image).iter().any(|name| is_called(name, tag))))
            .collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(image), true) => Ok(Found::Manifest(image)),
            _ => Err(self.not_there(tag, there)),
        }
    }

    fn saved(&self, bytes: &[u8], tag: Option<&str>) -> Result<Found, transfer::Error> {
        let images: Vec<Saved> = serde_json::from_slice(bytes)
            .map_err(|error| Error::Document { document: "manifest.json", what: error.to_string() })?;
        let names = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
        let there = images.iter().flat_map(&names).collect();
        let mut fitting: Vec<_> = images
            .into_iter()
            .filter(|image| tag.is_none_or(|tag| names(image).iter().any(|name| is_called(name, tag))))
            .collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(Saved { config, layers, .. }), true) => Ok(Found::Saved { config, layers }),
            _ => Err(self.not_there(tag, there)),
        }
    }

    fn not_there(&self, tag: Option<&str>, there: Vec<String>) -> transfer::Error {
        Error::NotThere { path: self.path.clone(), tag: tag.map(str::to_owned), there }.into()
    }

    /// A small blob, held to its digest.
    ///
    /// # Errors
    /// When it is not there or not what it should be.
    pub fn document(
        &self,
        descriptor: &Descriptor,
        document: &'static str,
    ) -> Result<Vec<u8>, transfer::Error> {
        let bytes = self.small(&blob(descriptor.digest))?;
        held(&bytes, Some(descriptor.digest), document)?;
        Ok(bytes)
    }

    /// A small file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn small(&self, path: &Path) -> Result<Vec<u8>, transfer::Error> {
        self.read(path).map_err(|source| self.unreadable(path, source))
    }

    /// A layer, held to its digest if it has one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn layer(&self, path: &Path, digest: Option<Digest>) -> Result<Box<dyn Incoming>, transfer::Error> {
        let file = self.root.open_regular(path).map_err(|source| self.unreadable(path, source))?;
        let file = File::from(file);
        let length = file.metadata().map(|metadata| metadata.len()).ok();
        let name = crate::archive::notes::shown(path.as_os_str().as_encoded_bytes());
        Ok(Box::new(Blob { name, file, length, hash: Sha256::new(), digest }))
    }

    fn optional(&self, name: &str) -> Result<Option<Vec<u8>>, transfer::Error> {
        absent_is_none(self.read(Path::new(name))).map_err(|source| self.unreadable(Path::new(name), source))
    }

    fn read(&self, path: &Path) -> SysResult<Vec<u8>> {
        self.root.read(path, usize::try_from(DOCUMENT_LIMIT).unwrap_or(usize::MAX))
    }

    fn unreadable(&self, path: &Path, source: crate::sys::SysError) -> transfer::Error {
        transfer::Error::Image(crate::image::Error::system("read", self.path.join(path))(source))
    }
}

/// Where a layout has the blob with `digest`.
pub fn blob(digest: Digest) -> PathBuf {
    PathBuf::from(format!("blobs/sha256/{digest}"))
}

/// Whether `name` is what was asked for: itself, its tag, or itself without docker's registry.
fn is_called(name: &str, asked: &str) -> bool {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    name == asked || short == asked || tag == Some(asked) || short.strip_suffix(":latest") == Some(asked)
}

/// A file of a layout on its way in.
struct Blob {
    name: String,
    file: File,
    length: Option<u64>,
    hash: Sha256,
    digest: Option<Digest>,
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

impl Incoming for Blob {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn verify(mut self: Box<Self>) -> Result<Proof, transfer::Error> {
        let read = std::io::copy(&mut *self, &mut std::io::sink());
        read.map_err(|source| transfer::Error::Read { name: self.name.clone(), source })?;
        let sha256 = Digest(std::mem::take(&mut self.hash).finalize().into());
        match self.digest {
            Some(expected) if expected != sha256 => Err(Error::Document {
                document: "layer",
                what: format!("the digest of {} is {sha256}, not {expected}", self.name),
            }
            .into()),
            expected => {
                Ok(Proof { sha256: Some(sha256), checked: expected.map(|_| "its digest".to_owned()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let rows = [
            ("v1", "v1", true),
            ("docker.io/library/debian:trixie", "trixie", true),
            ("docker.io/library/debian:trixie", "debian:trixie", true),
            ("docker.io/library/debian:latest", "debian", true),
            ("quay.io/a/b:1", "quay.io/a/b:1", true),
            ("quay.io/a/b:1", "2", false),
            ("localhost:5000/b", "5000/b", false),
        ];
        for (name, asked, expected) in rows {
            assert_eq!(is_called(name, asked), expected, "{name} {asked}");
        }
    }

    /// A layout in a directory of its own with these files.
    fn layout(files: &[(&str, &str)]) -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().expect("tempdir");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("write");
        }
        let root = Root::open(directory.path()).expect("open");
        (directory, Layout::new(root, Path::new("/srv/layout")))
    }

    #[test]
    fn images_of_layouts() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let entry = |tag: &str| {
            format!(
                r#"{{"mediaType":"m","digest":"sha256:{digest}","size":1,"annotations":{{"{TAG}":"{tag}"}}}}"#
            )
        };
        let index =
            |entries: &[String]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let saved = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]},{"Config":"d.json","RepoTags":null,"Layers":[]}]"#;
        let two = index(&[entry("v1"), entry("v2")]);
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, Result<&'a str, &'a str>);
        let rows: [Row<'_>; 8] = [
            (&[("index.json", &index(&[entry("v1")]))], None, Ok("manifest")),
            (&[("index.json", &two)], Some("v2"), Ok("manifest")),
            (&[("index.json", &two)], None, Err("/srv/layout has no image; it has v1, v2")),
            (&[("index.json", &two)], Some("v3"), Err("/srv/layout has no image \"v3\"; it has v1, v2")),
            (&[("manifest.json", saved)], Some("a:1"), Ok("c.json")),
            (&[("manifest.json", saved)], Some("b"), Err("/srv/layout has no image \"b\"; it has a:1")),
            (
                &[("manifest.json", "{")],
                None,
                Err(
                    "the manifest.json is not right: invalid type: map, expected a sequence at line 1 column 0",
                ),
            ),
            (
                &[],
                None,
                Err("/srv/layout is no layout of OCI images: it has neither index.json nor manifest.json"),
            ),
        ];
        for (files, tag, expected) in rows {
            let (_directory, layout) = layout(files);
            let found = layout.find(tag).map_err(|error| error.to_string());
            let found = found.map(|found| match found {
                Found::Manifest(_) => "manifest".to_owned(),
                Found::Saved { config, .. } => config.display().to_string(),
            });
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{files:?} {tag:?}");
        }
    }

    #[test]
    fn blobs_are_held_to_their_digests() {
        let (_directory, layout) = layout(&[("l", "x")]);
        let read = |digest| {
            layout.layer(Path::new("l"), digest).expect("open").verify().map_err(|error| error.to_string())
        };
        let proof = read(None).expect("no digest");
        assert_eq!(read(proof.sha256).map(|again| again.sha256), Ok(proof.sha256));
        let error = read(Some(Digest([0; 32]))).expect_err("another");
        assert!(error.contains("the digest of \"l\" is 2d7116"), "{error}");
    }
}
