//! What image servers say they have: the simplestreams index and its products, as Incus and LXD serve and read them
//! (shared/simplestreams of Incus; doc/README of Launchpad's simplestreams).
//!
//! Only `streams/v1/index.json` has a fixed place: it names the lists of products, these the files. All are relative to the
//! server's address. Pure: bytes in, what to download out. The JSON is not signed; it is believed as far as the https that
//! it came by, and each file as far as the sha256 that stands there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Digest;
use crate::settings::{did_you_mean, nearest};

/// Where the index is.
pub const INDEX: &str = "streams/v1/index.json";

/// The largest index that is read.
pub const INDEX_LIMIT: u64 = 1 << 20;

/// The largest list of products: that of the largest server has 2 MiB.
pub const PRODUCTS_LIMIT: u64 = 64 << 20;

/// How many lists of products an index may name.
const LISTS: usize = 64;

/// The longest path of a file.
const PATH: usize = 1024;

/// Why a server's words cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{what} is no simplestreams JSON: {why}")]
    Json { what: &'static str, why: String },
    #[error("the server's {what} is {found:?}, which is not known")]
    Format { what: &'static str, found: String },
    #[error("the server's index names no images")]
    NoImages,
    #[error("the server's index names {0:?}, which is not below it")]
    Path(String),
    #[error("the server has no {alias:?} for {arch}{}", did_you_mean(.nearest.as_deref()))]
    NoProduct { alias: String, arch: String, nearest: Option<String> },
    #[error("the server has no tree of {0:?}, neither an archive nor a squashfs")]
    NoTree(String),
}

/// An image as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name of the product: `debian:trixie:amd64:default`.
    pub product: String,
    /// Which version: `20260820_05:24`.
    pub version: String,
    /// Where it is, relative to the server's address.
    pub path: String,
    /// What it is.
    pub form: Form,
    /// Its digest.
    pub sha256: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// What form a tree comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An archive.
    Tar,
    /// A squashfs: a disk image without partitions.
    Squashfs,
}

/// A product, for those who look around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it can be asked for by.
    pub aliases: Vec<String>,
    /// The architecture, as the server spells it.
    pub arch: String,
    /// What it is, for people: `Debian trixie`.
    pub title: String,
    /// The newest version of it.
    pub version: String,
}

#[derive(Deserialize)]
struct RawIndex {
    format: String,
    index: BTreeMap<String, RawList>,
}

#[derive(Deserialize)]
struct RawList {
    #[serde(default)]
    datatype: String,
    path: String,
    #[serde(default)]
    format: String,
}

/// What a server has.
#[derive(Debug, Deserialize)]
pub struct Products {
    format: String,
    #[serde(default)]
    products: BTreeMap<String, Product>,
}

#[derive(Debug, Deserialize)]
struct Product {
    #[serde(default)]
    aliases: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    release_title: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(default)]
    items: BTreeMap<String, Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    ftype: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    size: u64,
}

/// The paths of the lists of images that the index `bytes` names.
///
/// # Errors
/// When it is none.
pub fn index(bytes: &[u8]) -> Result<Vec<String>, Error> {
    let raw: RawIndex = json("the index", bytes)?;
    if raw.format != "index:1.0" {
        return Err(Error::Format { what: "index", found: raw.format });
    }
    let lists = raw.index.into_values().filter(|list| {
        list.datatype == "image-downloads" && (list.format.is_empty() || list.format == "products:1.0")
    });
    let paths: Vec<String> = lists.map(|list| checked(list.path)).take(LISTS).collect::<Result<_, _>>()?;
    if paths.is_empty() { Err(Error::NoImages) } else { Ok(paths) }
}

/// The list of products `bytes`.
///
/// # Errors
/// When it is none.
pub fn products(bytes: &[u8]) -> Result<Products, Error> {
    let products: Products = json("the list of images", bytes)?;
    match products.format.as_str() {
        "products:1.0" => Ok(products),
        _ => Err(Error::Format { what: "list of images", found: products.format }),
    }
}

impl Products {
    /// The newest tree of the product `alias` for `arch`, both as the server spells them. Of a version that has both, the
    /// archive: what is unpacked needs no loop device.
    ///
    /// # Errors
    /// When there is none, or its entry is wrong.
    pub fn offer(&self, alias: &str, arch: &str) -> Result<Offer, Error> {
        let found = self
            .products
            .iter()
            .find(|(_, product)| product.arch == arch && product.aliases().any(|name| name == alias));
        let Some((name, product)) = found else {
            let names = self.products.values().filter(|product| product.arch == arch);
            let near = nearest(alias, names.flat_map(Product::aliases)).map(str::to_owned);
            return Err(Error::NoProduct { alias: alias.to_owned(), arch: arch.to_owned(), nearest: near });
        };
        for (version, content) in product.newest_first() {
            for (ftype, form) in [("root.tar.xz", Form::Tar), ("squashfs", Form::Squashfs)] {
                let Some(item) = content.items.values().find(|item| item.ftype == ftype) else { continue };
                let sha256 = item
                    .sha256
                    .parse()
                    .map_err(|_| Error::Format { what: "checksum", found: item.sha256.clone() })?;
                let path = checked(item.path.clone())?;
                let (product, version, size) = (name.clone(), version.clone(), item.size);
                return Ok(Offer { product, version, path, form, sha256, size });
            }
        }
        Err(Error::NoTree(name.clone()))
    }

    /// All that there is a tree of, sorted.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = self
            .products
            .values()
            .filter_map(|product| {
                let (version, _) = product.newest_first().next()?;
                let variant = Some(&product.variant).filter(|name| !name.is_empty() && *name != "default");
                let title = [Some(&product.os), Some(&product.release_title), variant];
                Some(Listed {
                    aliases: product.aliases().map(str::to_owned).collect(),
                    arch: product.arch.clone(),
                    title: title.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" "),
                    version: version.clone(),
                })
            })
            .collect();
        listed.sort_by(|one, other| (&one.aliases, &one.arch).cmp(&(&other.aliases, &other.arch)));
        listed
    }
}

impl Product {
    fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty())
    }

    /// A version that does not begin with a date is none (Incus skips it too).
    fn newest_first(&self) -> impl Iterator<Item = (&String, &Version)> {
        self.versions
            .iter()
            .rev()
            .filter(|(name, _)| name.len() >= 8 && name.bytes().take(8).all(|byte| byte.is_ascii_digit()))
    }
}

/// Serde's messages quote what they do not understand.
fn json<'bytes, T: Deserialize<'bytes>>(what: &'static str, bytes: &'bytes [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        let why = match error.classify() {
            serde_json::error::Category::Data => "its members are others",
            serde_json::error::Category::Eof => "it is cut off",
            _ => "it is something else",
        };
        Error::Json { what, why: format!("{why} (line {})", error.line()) }
    })
}

/// `path`, if it stays below the server's address and needs no quoting there. Versions have colons in them.
fn checked(path: String) -> Result<String, Error> {
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    let plain = |char: char| char.is_ascii_alphanumeric() || "._+-/~:=@,".contains(char);
    if path.len() <= PATH && path.chars().all(plain) && path.split('/').all(fine) && !path.contains("://") {
        Ok(path)
    } else {
        Err(Error::Path(path.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn list(versions: &str) -> String {
        format!(
            r#"{{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{{
            "oak:2:amd64:default":{{"aliases":"oak/2/default, oak/2,oak","arch":"amd64","os":"Oak",
            "release":"2","release_title":"2","variant":"default","versions":{{{versions}}}}},
            "oak:2:arm64:cloud":{{"aliases":"oak/2/cloud","arch":"arm64","os":"Oak","release_title":"2",
            "variant":"cloud","versions":{{"20260102":{{"items":{{}}}}}}}}}}}}"#
        )
    }

    fn item(ftype: &str, path: &str) -> String {
        format!(r#""{ftype}":{{"ftype":"{ftype}","path":"{path}","sha256":"{SUM}","size":7}}"#)
    }

    #[test]
    fn indexes() {
        let good = r#"{"format":"index:1.0","index":{
            "images":{"datatype":"image-downloads","path":"streams/v1/images.json","format":"products:1.0","products":[]},
            "ids":{"datatype":"image-ids","path":"streams/v1/ids.json","format":"products:1.0"}}}"#;
        let rows = [
            (good.to_owned(), Ok(vec!["streams/v1/images.json"])),
            (
                good.replace("streams/v1/images.json", "/x"),
                Err("the server's index names \"/x\", which is not below it"),
            ),
            (
                good.replace("streams/v1/images", "../x"),
                Err("the server's index names \"../x.json\", which is not below it"),
            ),
            (
                good.replace("streams/v1/images", "http://h/x"),
                Err("the server's index names \"http://h/x.json\", which is not below it"),
            ),
            (good.replace("image-downloads", "x"), Err("the server's index names no images")),
            (
                good.replace("index:1.0", "index:9"),
                Err("the server's index is \"index:9\", which is not known"),
            ),
            (good[..40].to_owned(), Err("the index is no simplestreams JSON: it is cut off (line 2)")),
            ("<html>".to_owned(), Err("the index is no simplestreams JSON: it is something else (line 1)")),
            ("{}".to_owned(), Err("the index is no simplestreams JSON: its members are others (line 1)")),
        ];
        for (text, expected) in rows {
            let found = index(text.as_bytes()).map_err(|error| error.to_string());
            let found = found.as_ref().map(|paths| paths.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn offers() {
        let tar = |path: &str| item("root.tar.xz", path);
        let version =
            |name: &str, items: &[String]| format!("\"{name}\":{{\"items\":{{{}}}}}", items.join(","));
        let rows = [
            // versions, alias => version, path, form
            (version("20260101_1", &[tar("a")]), "oak/2", Ok(("20260101_1", "a", Form::Tar))),
            (
                [version("20260101_1", &[tar("a")]), version("20260102_0", &[tar("b:1/c")])].join(","),
                "oak/2/default",
                Ok(("20260102_0", "b:1/c", Form::Tar)),
            ),
            (
                version("20260101", &[item("squashfs", "s"), tar("a")]),
                "oak",
                Ok(("20260101", "a", Form::Tar)),
            ),
            (version("20260101", &[item("squashfs", "s")]), "oak", Ok(("20260101", "s", Form::Squashfs))),
            (
                [version("20260101", &[tar("a")]), version("20260102", &[item("disk-kvm.img", "d")])]
                    .join(","),
                "oak",
                Ok(("20260101", "a", Form::Tar)),
            ),
            (
                version("latest", &[tar("a")]),
                "oak",
                Err("the server has no tree of \"oak:2:amd64:default\", neither an archive nor a squashfs"),
            ),
            (
                version("20260101", &[tar("../../a")]),
                "oak",
                Err("the server's index names \"../../a\", which is not below it"),
            ),
            (
                version("20260101", &[tar("a").replace(SUM, "00")]),
                "oak",
                Err("the server's checksum is \"00\", which is not known"),
            ),
            (
                version("20260101", &[tar("a")]),
                "oka",
                Err("the server has no \"oka\" for amd64; did you mean \"oak\"?"),
            ),
            (
                version("20260101", &[tar("a")]),
                "oak/2/cloud",
                Err("the server has no \"oak/2/cloud\" for amd64"),
            ),
        ];
        for (versions, alias, expected) in rows {
            let products = products(list(&versions).as_bytes()).unwrap();
            let offer = products.offer(alias, "amd64").map_err(|error| error.to_string());
            let found = offer.as_ref().map(|offer| (offer.version.as_str(), offer.path.as_str(), offer.form));
            assert_eq!(found.map_err(String::as_str), expected, "{alias} of {versions}");
            if let Ok(offer) = &offer {
                assert_eq!((offer.size, offer.sha256.to_string().as_str()), (7, SUM), "{versions}");
            }
        }
    }

    #[test]
    fn lists() {
        let products = products(list("\"20260101\":{}").as_bytes()).unwrap();
        let listed: Vec<_> =
            products.list().into_iter().map(|one| (one.title, one.arch, one.version)).collect();
        let row =
            |title: &str, arch: &str, version: &str| (title.to_owned(), arch.to_owned(), version.to_owned());
        assert_eq!(listed, [row("Oak 2 cloud", "arm64", "20260102"), row("Oak 2", "amd64", "20260101")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = index(&bytes);
            let _ = products(&bytes);
        }

        #[test]
        fn any_path_stays_below(path in "([./:a]|\\PC){0,12}") {
            let text = list(&format!("\"20260101\":{{\"items\":{{{}}}}}", item("squashfs", &path.replace(['"', '\\'], ""))));
            if let Ok(offer) = products(text.as_bytes()).unwrap().offer("oak", "amd64") {
                prop_assert!(!offer.path.starts_with('/') && !offer.path.split('/').any(|part| part == ".."));
            }
        }
    }
}
