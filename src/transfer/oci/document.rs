//! Indexes, manifests and configurations: JSON to types (image-spec; Docker's "Image Manifest Version 2, Schema 2"). Pure, and
//! nothing in it is believed: a server may say anything.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Error;
use crate::transfer::Digest;

/// The longest document that is read (distribution-spec, "Pushing manifests": 4 MiB).
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The most layers that an image may have: what overlayfs stacks, less our own.
pub const LAYERS_LIMIT: usize = 400;

/// The most images that an index may have.
const IMAGES_LIMIT: usize = 1000;

/// Media types that a registry is asked for, the newer ones first.
pub const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A blob, by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Of all of its bytes.
    pub digest: Digest,
    /// How many these are.
    pub size: u64,
    /// Which machines it is for.
    pub platform: Option<Platform>,
    /// What is noted of it, such as its tag in a layout.
    pub annotations: BTreeMap<String, String>,
}

/// Which machines an image is for, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, ...
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v7` of arm, `v2` of amd64.
    #[serde(default)]
    pub variant: Option<String>,
}

/// What a manifest document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Manifests to choose from.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// A configuration: what of it matters to us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// Which machines it is for.
    pub platform: Platform,
    /// Digests of the layers uncompressed, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// What to run.
    pub run: RunConfiguration,
    /// When it was made (RFC 3339).
    pub created: Option<String>,
}

/// What to run, and how (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfiguration {
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_none")]
    pub env: Vec<String>,
    /// The program with its first arguments.
    #[serde(deserialize_with = "null_is_none")]
    pub entrypoint: Vec<String>,
    /// Its other arguments, or the program.
    #[serde(deserialize_with = "null_is_none")]
    pub cmd: Vec<String>,
    /// Where it runs.
    pub working_dir: String,
    /// What ends it.
    pub stop_signal: Option<String>,
    /// What is said of it.
    #[serde(deserialize_with = "null_is_none")]
    pub labels: BTreeMap<String, String>,
}

/// What Go writes for an empty list.
fn null_is_none<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_is_none")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u64,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
struct RawConfiguration {
    #[serde(flatten)]
    platform: Platform,
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_none")]
    config: RunConfiguration,
    rootfs: RawRoot,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(default, deserialize_with = "null_is_none")]
    diff_ids: Vec<String>,
}

impl Document {
    /// Reads an index or a manifest; by what it has, since not all of them say what they are.
    ///
    /// # Errors
    /// [`Error::Document`] for what is neither.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |what: &str| Error::Document { document: "manifest", what: what.to_owned() };
        let raw: RawDocument = json("manifest", bytes)?;
        if raw.schema_version != 2 {
            return Err(refuse("it is of schema 1, which has no digests of layers and is no longer in use"));
        }
        match (raw.manifests, raw.config) {
            (Some(manifests), None) if manifests.len() > IMAGES_LIMIT => {
                Err(refuse("it has too many images"))
            }
            (Some(manifests), None) => {
                manifests.into_iter().map(Descriptor::of).collect::<Result<_, _>>().map(Self::Index)
            }
            (None, Some(_)) if raw.layers.len() > LAYERS_LIMIT => Err(refuse("it has too many layers")),
            (None, Some(config)) => Ok(Self::Manifest(Manifest {
                config: Descriptor::of(config)?,
                layers: raw.layers.into_iter().map(Descriptor::of).collect::<Result<_, _>>()?,
            })),
            (Some(_), Some(_)) => Err(refuse("it is both an index and a manifest")),
            (None, None) => Err(refuse("it is neither an index nor a manifest")),
        }
    }
}

impl Manifest {
    /// What of it is no image that we can have.
    ///
    /// # Errors
    /// [`Error::Document`] for artifacts that are none, and layers of other kinds than tar.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Document { document: "manifest", what });
        if self.layers.is_empty() {
            return refuse("it has no layers".to_owned());
        }
        match self.layers.iter().find(|layer| !layer.is_layer()) {
            Some(layer) => {
                refuse(format!("it has a layer of type {:?}, which is no archive of files", layer.media_type))
            }
            None => Ok(()),
        }
    }
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Document`] for what is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawConfiguration = json("configuration", bytes)?;
        let diff_ids = raw.rootfs.diff_ids.iter().map(|text| digest(text)).collect::<Result<_, _>>()?;
        Ok(Self { platform: raw.platform, diff_ids, run: raw.config, created: raw.created })
    }
}

impl Descriptor {
    fn of(raw: RawDescriptor) -> Result<Self, Error> {
        let RawDescriptor { media_type, size, platform, annotations, .. } = raw;
        Ok(Self { media_type, digest: digest(&raw.digest)?, size, platform, annotations })
    }

    /// Whether it is a layer; its compression is told by its first bytes.
    fn is_layer(&self) -> bool {
        let kind = self.media_type.as_str();
        kind.starts_with("application/vnd.oci.image.layer.")
            || kind.starts_with("application/vnd.docker.image.rootfs.diff.tar")
            || kind.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }
}

fn digest(text: &str) -> Result<Digest, Error> {
    let digits = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| Error::Document { document: "image", what: format!("{text:?} is no sha256 digest") })
}

fn json<'a, T: Deserialize<'a>>(document: &'static str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Document { document, what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{ONE}","size":3}}"#)
    }

    #[test]
    fn manifests() {
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+zstd");
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes()) else {
            panic!("no manifest")
        };
        assert_eq!((manifest.config.size, manifest.layers.len()), (3, 1));
        manifest.check().expect("a layer");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{ONE}","size":1,
               "platform":{{"architecture":"arm","os":"linux","variant":"v7"}},"annotations":null}}]}}"#
        );
        let Ok(Document::Index(list)) = Document::parse(text.as_bytes()) else { panic!("no index") };
        let platform = list[0].platform.as_ref().expect("a platform");
        assert_eq!((platform.architecture.as_str(), platform.variant.as_deref()), ("arm", Some("v7")));
    }

    #[test]
    fn no_manifests() {
        let config = descriptor("c");
        let rows = [
            ("", "EOF"),
            ("[]", "invalid length"),
            ("{}", "schemaVersion"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1"),
            (r#"{"schemaVersion":2}"#, "neither"),
            (&format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config}}}"#), "both"),
            (r#"{"schemaVersion":2,"manifests":[{"digest":"sha512:aa","size":1}]}"#, "no sha256 digest"),
            (r#"{"schemaVersion":2,"manifests":[{"digest":"../../etc","size":1}]}"#, "no sha256 digest"),
            (&format!(r#"{{"schemaVersion":2,"config":{{"digest":"{ONE}","size":-1}}}}"#), "invalid value"),
            (
                &format!(
                    r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
                    vec![config.as_str(); 401].join(",")
                ),
                "too many layers",
            ),
        ];
        for (text, word) in rows {
            let error = Document::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn artifacts_are_no_images() {
        let manifest = |layers: &str| {
            let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor("c"));
            let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes()) else { panic!("{text}") };
            manifest.check().map_err(|error| error.to_string())
        };
        let helm = descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
        let docker = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert!(manifest("").is_err_and(|error| error.contains("no layers")));
        assert!(manifest(&helm).is_err_and(|error| error.contains("helm")));
        assert_eq!(manifest(&docker), Ok(()));
    }

    #[test]
    fn configurations() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{{"Env":["A=b"],
               "Entrypoint":null,"Cmd":["/bin/sh"],"WorkingDir":"/srv","User":"www:www","Labels":null}},
               "rootfs":{{"type":"layers","diff_ids":["{ONE}"]}}}}"#
        );
        let configuration = Configuration::parse(text.as_bytes()).expect("a configuration");
        assert_eq!(configuration.platform.architecture, "amd64");
        assert_eq!(configuration.diff_ids.len(), 1);
        let run = configuration.run;
        assert_eq!(
            (run.env, run.entrypoint, run.cmd),
            (vec!["A=b".to_owned()], vec![], vec!["/bin/sh".to_owned()])
        );
        let bare = Configuration::parse(br#"{"config":null,"rootfs":{}}"#).expect("bare");
        assert_eq!(bare.run, RunConfiguration::default());
        assert!(Configuration::parse(b"{}").is_err());
    }
}
