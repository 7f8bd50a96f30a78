//! A `[[source]]` of a catalogue file: which keys each kind has, and what they must be.

use toml::Spanned;

use super::error::Error;
use super::file::Reader;
use super::model::{
    Bootstrap, Distro, FileFormat, FileSource, Find, Finishing, Signature, Source, SourceKind, Tool,
};
use super::raw::RawSource;

/// What `kind` may be.
const KINDS: [&str; 10] =
    ["simplestreams", "tar", "disk", "oci-archive", "oci", "mmdebstrap", "dnf", "pacstrap", "apk", "xbps"];

/// Reads the source `raw` of `distro`. Of a whole file, the releases and variants that it names must exist.
pub(super) fn read(
    reader: &Reader<'_>,
    distro: &Distro,
    raw: &Spanned<RawSource>,
    whole: bool,
) -> Result<Source, Error> {
    let place = raw.span();
    let raw = raw.get_ref();
    reader.one_of(&raw.kind, "kind", &KINDS)?;
    let kind = raw.kind.get_ref().as_str();
    let allowed: &[&str] = match kind {
        "simplestreams" => &["url", "alias"],
        "tar" => FILE,
        "disk" | "oci-archive" => &FILE[1..],
        "oci" => &["reference"],
        _ => &["suite", "packages", "mirror", "components", "key", "finish"],
    };
    if let Some((name, _)) = raw.special().iter().find(|(name, given)| *given && !allowed.contains(name)) {
        let hint = format!("sources of this kind have {}", allowed.join(", "));
        return Err(reader.fault(
            place,
            format!("{name}: not for a source of the kind {kind:?}"),
            Some(&hint),
        ));
    }
    let need = |value: &Option<Spanned<String>>, name: &str| {
        value.clone().ok_or_else(|| {
            reader.fault(raw.kind.span(), format!("a source of the kind {kind:?} without {name}"), None)
        })
    };
    let documented = need(&raw.documented, "documented")?;
    let seen = need(&raw.seen, "seen")?;
    let kind = match kind {
        "simplestreams" => SourceKind::Simplestreams {
            url: reader.address(&need(&raw.url, "url")?, false)?,
            alias: reader.template(&need(&raw.alias, "alias")?, false)?,
        },
        "tar" | "disk" | "oci-archive" => {
            let format = match kind {
                "tar" => FileFormat::Tar,
                "disk" => FileFormat::Disk,
                _ => FileFormat::OciArchive,
            };
            let url = need(&raw.url, "url")?;
            SourceKind::File(Box::new(file(reader, distro, raw, format, &url)?))
        }
        "oci" => SourceKind::Oci { reference: reader.template(&need(&raw.reference, "reference")?, false)? },
        _ => SourceKind::Bootstrap(Box::new(bootstrap(reader, distro, raw)?)),
    };
    let releases = raw.releases.as_deref().map(|names| reader.words(names)).transpose()?;
    let variants = match &raw.variants {
        Some(names) => reader.words(names)?,
        None => vec![distro.variants.first().cloned().unwrap_or_default()],
    };
    if whole {
        let known: Vec<&str> = distro.releases.iter().map(|release| release.name.as_str()).collect();
        for name in raw.releases.iter().flatten() {
            reader.one_of(name, "release", &known)?;
        }
        let known: Vec<&str> = distro.variants.iter().map(String::as_str).collect();
        for name in raw.variants.iter().flatten() {
            reader.one_of(name, "variant", &known)?;
        }
    }
    Ok(Source {
        kind,
        releases,
        variants,
        architectures: raw.architectures.as_ref().map(|table| reader.architectures(table)).transpose()?,
        boots: raw.boots.unwrap_or(true),
        note: raw.note.clone(),
        documented: documented.get_ref().clone(),
        seen: Some(seen.get_ref().clone()).filter(|seen| seen != "never"),
    })
}

/// What the sources have that are files. The first one is for archives of trees alone.
const FILE: &[&str] = &["strip", "url", "find", "pattern", "checksums", "signature", "key"];

fn file(
    reader: &Reader<'_>,
    distro: &Distro,
    raw: &RawSource,
    format: FileFormat,
    url: &Spanned<String>,
) -> Result<FileSource, Error> {
    let find = match (&raw.find, &raw.pattern) {
        (Some(find), Some(pattern)) => {
            Some(Find { url: reader.address(find, false)?, pattern: reader.template(pattern, false)? })
        }
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            return Err(reader.fault(one.span(), "find and pattern go together", None));
        }
    };
    let found = find.is_some();
    let checksums = raw.checksums.as_ref().map(|url| reader.template(url, found)).transpose()?;
    let signature = match (&raw.signature, &raw.key) {
        (Some(signature), Some(key)) => {
            let known: Vec<&str> = distro.keys.keys().map(String::as_str).collect();
            reader.one_of(key, "key", &known)?;
            let inline = signature.get_ref() == "inline";
            if inline && checksums.is_none() {
                return Err(reader.fault(signature.span(), "an inline signature of no checksums", None));
            }
            let url = if inline { None } else { Some(reader.template(signature, found)?) };
            Some(Signature { url, key: key.get_ref().clone() })
        }
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            return Err(reader.fault(one.span(), "signature and key go together", None));
        }
    };
    let strip = raw.strip.as_ref().map(|strip| reader.word(strip)).transpose()?;
    Ok(FileSource { format, url: reader.address(url, found)?, find, checksums, signature, strip })
}

fn bootstrap(reader: &Reader<'_>, distro: &Distro, raw: &RawSource) -> Result<Bootstrap, Error> {
    let tool = Tool::ALL.into_iter().find(|tool| tool.name() == raw.kind.get_ref());
    let Some(tool) = tool else {
        return Err(reader.fault(raw.kind.span(), "no such tool", None));
    };
    let packages = raw.packages.as_deref().unwrap_or_default();
    if packages.is_empty() {
        return Err(reader.fault(raw.kind.span(), "a bootstrap of no packages", None));
    }
    if let Some(key) = &raw.key {
        let known: Vec<&str> = distro.keys.keys().map(String::as_str).collect();
        reader.one_of(key, "key", &known)?;
    }
    let finish = match &raw.finish {
        None => None,
        Some(name) => {
            reader.one_of(name, "finish", &["busybox"])?;
            Some(Finishing::Busybox)
        }
    };
    Ok(Bootstrap {
        tool,
        suite: match &raw.suite {
            Some(suite) => reader.template(suite, false)?,
            None => "{release}".to_owned(),
        },
        packages: reader.words(packages)?,
        mirror: raw.mirror.as_ref().map(|mirror| reader.address(mirror, false)).transpose()?,
        components: match &raw.components {
            Some(components) => reader.words(components)?,
            None => vec!["main".to_owned()],
        },
        key: raw.key.as_ref().map(|key| key.get_ref().clone()),
        finish,
    })
}
