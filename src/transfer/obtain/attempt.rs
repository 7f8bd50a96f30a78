//! One source: from what the catalogue says of it to an image.

use super::held_to::held_to;
use super::{Made, Obtained, Request, host, probe};
use crate::image::NewImage;
use crate::image::origin::Origin;
use crate::transfer::catalogue::model::{Bootstrap, FileFormat, Key};
use crate::transfer::catalogue::{Action, Attempt, Download};
use crate::transfer::fetch::{self, FetchOptions, Patience};
use crate::transfer::install::{self, InstallOptions, Wanted};
use crate::transfer::lockfile::Pin;
use crate::transfer::simplestreams::{self, Form, INDEX, INDEX_LIMIT, Listed, PRODUCTS_LIMIT, Products};
use crate::transfer::verify::{Mode, Verification};
use crate::transfer::{Context, Digest, Error, Event, Proof, bootstrap, oci};

/// The longest page of a directory, list of checksums or pointer file.
const LISTING_LIMIT: u64 = 16 << 20;

/// Makes an image of `attempt`.
pub(super) fn perform(
    request: &Request<'_>,
    attempt: &Attempt,
    context: &Context,
) -> Result<Obtained, Error> {
    let mut obtained = match &attempt.action {
        Action::Simplestreams { url, alias, arch } => from_server(request, url, alias, arch, context)?,
        Action::Download(download) => from_file(request, attempt.kind, download, context)?,
        Action::Oci { reference } => from_registry(request, reference, context)?,
        Action::Bootstrap { plan, arch, key } => from_packages(request, plan, arch, key.as_ref(), context)?,
    };
    if let Obtained::Made(made) = &mut obtained {
        made.notes.extend(attempt.note.clone());
        if !attempt.boots {
            made.notes.push("it has no init: run it with a command, spinney run IMAGE -- COMMAND".to_owned());
        }
    }
    Ok(obtained)
}

pub(super) fn unusable(why: impl Into<String>) -> Error {
    Error::Unusable { why: why.into() }
}

/// From an image server.
fn from_server(
    request: &Request<'_>,
    url: &str,
    alias: &str,
    arch: &str,
    context: &Context,
) -> Result<Obtained, Error> {
    let base = url.trim_end_matches('/');
    if request.mode == Some(Mode::Signature) {
        return Err(unusable("it signs nothing, and --verify=signature was asked for"));
    }
    if base.starts_with("http://") && request.mode.is_none() {
        return Err(unusable(
            "it is not reached by https, and signs nothing; --verify=checksum takes it as it is",
        ));
    }
    let mut offer = Err(simplestreams::Error::NoImages);
    for products in products(base, context)? {
        offer = products.offer(alias, arch);
        if offer.is_ok() {
            break;
        }
    }
    let offer = offer?;
    let address = format!("{base}/{}", offer.path);
    let wanted = match offer.form {
        Form::Tar => Wanted::Tar,
        Form::Squashfs => Wanted::Raw,
    };
    let verification = Verification { size: Some(offer.size), ..Verification::digest(offer.sha256) };
    let item = Item { address, verification, wanted, strip: None };
    if request.known == Some(offer.sha256) {
        let pin = Some(item.pin("simplestreams", offer.sha256));
        return Ok(Obtained::UpToDate { address: fetch::shown_address(&item.address), pin });
    }
    install(request, "simplestreams", item, context)
}

/// What the server `base` has.
fn products(base: &str, context: &Context) -> Result<Vec<Products>, Error> {
    context.tell(Event::Stage { what: format!("asking {}", host(base)), total: None });
    let paths = simplestreams::index(&probe::document(&format!("{base}/{INDEX}"), INDEX_LIMIT, context)?)?;
    let read = |path| {
        let address = format!("{base}/{path}");
        // It has just answered: what is wrong now may pass.
        let patience = Patience { tries: 3, ..Patience::default() };
        let options = FetchOptions { patience, ..FetchOptions::default() };
        let bytes = fetch::document(&address, PRODUCTS_LIMIT, &options, context)?;
        Ok(simplestreams::products(&bytes)?)
    };
    paths.into_iter().map(read).collect()
}

/// The same, for those who look around.
pub(super) fn listing(base: &str, context: &Context) -> Result<Vec<Listed>, Error> {
    Ok(products(base, context)?.iter().flat_map(Products::list).collect())
}

/// From a file of the distro.
fn from_file(
    request: &Request<'_>,
    kind: &'static str,
    download: &Download,
    context: &Context,
) -> Result<Obtained, Error> {
    let (verification, note) = held_to(request, download)?;
    context.tell(Event::Stage { what: format!("asking {}", host(&download.url)), total: None });
    let download = match &download.find {
        None => {
            probe::answers(&download.url, context)?;
            download.clone()
        }
        Some((url, pattern)) => {
            let text = probe::document(url, LISTING_LIMIT, context)?;
            let text = String::from_utf8_lossy(&text);
            let name = download
                .look_up(&text)
                .ok_or_else(|| unusable(format!("{} names no {pattern}", fetch::shown_address(url))))?;
            download.clone().found(name)
        }
    };
    let verification = Verification {
        checksums: download.checksums.clone().into_iter().collect(),
        signatures: match (&verification.mode, &download.signature) {
            (Some(Mode::Signature), Some((Some(url), _))) => vec![url.clone()],
            _ => Vec::new(),
        },
        ..verification
    };
    let wanted = match download.format {
        FileFormat::Tar => Wanted::Tar,
        FileFormat::Disk => Wanted::Raw,
        FileFormat::OciArchive => {
            return from_archive(request, kind, (&download.url, &verification), note, context);
        }
    };
    let item = Item { address: download.url, verification, wanted, strip: download.strip };
    let mut obtained = install(request, kind, item, context)?;
    if let Obtained::Made(made) = &mut obtained {
        made.notes.extend(note);
    }
    Ok(obtained)
}

/// From a registry: whose digests tie everything to a manifest that nobody has signed.
fn from_registry(request: &Request<'_>, reference: &str, context: &Context) -> Result<Obtained, Error> {
    if request.mode == Some(Mode::Signature) {
        return Err(unusable("it signs nothing that is checked here, and --verify=signature was asked for"));
    }
    let parsed = oci::Reference::parse(reference)?;
    let asked = oci::Asked {
        reference: &parsed,
        origin: request.reference,
        source: reference,
        name: request.name,
        architecture: Some(oci_architecture(request.resolved.architecture)),
        replace: request.finish.replace,
        fetching: &probe::options(),
        verification: &Verification::none(),
    };
    let pulled = oci::pull(request.store, &asked, context)?;
    let pin = match (parsed, pulled.digest) {
        (oci::Reference::Registry(place), Some(digest)) => Some(Pin {
            kind: "oci".to_owned(),
            url: format!("{}/{}@sha256:{digest}", place.registry, place.repository),
            sha256: digest.to_string(),
            form: "oci".to_owned(),
            strip: None,
        }),
        _ => None,
    };
    let vouched = "the digests of its manifest".to_owned();
    Ok(Obtained::Made(Box::new(Made {
        image: pulled.image,
        kind: "oci",
        address: reference.to_owned(),
        proof: pulled.digest.map(|sha256| Proof { sha256: Some(sha256), checked: Some(vouched.clone()) }),
        vouched: Some(vouched),
        counts: Some(pulled.counts),
        pin,
        notes: pulled.notes,
    })))
}

/// From an archive with a layout of OCI images in it, which has one image for each of its architectures.
fn from_archive(
    request: &Request<'_>,
    kind: &'static str,
    (address, verification): (&str, &Verification),
    note: Option<String>,
    context: &Context,
) -> Result<Obtained, Error> {
    let source = fetch::shown_address(address);
    let fetching = FetchOptions { partial: request.partial.clone(), ..FetchOptions::default() };
    let asked = oci::Asked {
        reference: &oci::Reference::Archive { file: address.into(), tag: None },
        origin: request.reference,
        source: &source,
        name: request.name,
        architecture: Some(oci_architecture(request.resolved.architecture)),
        replace: request.finish.replace,
        fetching: &fetching,
        verification,
    };
    let pulled = oci::pull(request.store, &asked, context)?;
    let digest = pulled.proof.as_ref().and_then(|proof| proof.sha256);
    let pin = digest.map(|sha256| Pin {
        kind: kind.to_owned(),
        url: address.to_owned(),
        sha256: sha256.to_string(),
        form: "oci-archive".to_owned(),
        strip: None,
    });
    Ok(Obtained::Made(Box::new(Made {
        image: pulled.image,
        kind,
        address: source,
        vouched: pulled.proof.as_ref().and_then(|proof| proof.checked.clone()),
        proof: pulled.proof,
        counts: Some(pulled.counts),
        pin,
        notes: pulled.notes.into_iter().chain(note).collect(),
    })))
}

/// What uname(2) or Go call what we call `architecture`.
fn oci_architecture(architecture: &str) -> &str {
    match architecture {
        "armhf" => "arm",
        "i386" => "386",
        "ppc64el" => "ppc64le",
        other => other,
    }
}

/// By the distro's own tool.
fn from_packages(
    request: &Request<'_>,
    plan: &Bootstrap,
    arch: &str,
    key: Option<&Key>,
    context: &Context,
) -> Result<Obtained, Error> {
    if request.pinnable {
        return Err(unusable("what a tool makes of packages cannot be pinned"));
    }
    let resolved = request.resolved;
    let past = resolved.until.as_deref().is_some_and(is_past);
    let wanted = bootstrap::Wanted { bootstrap: plan, arch, native: resolved.native, key, past };
    bootstrap::check(&wanted)?;
    let what = format!("making {} of packages, with {}", request.name, plan.tool.name());
    context.tell(Event::Stage { what, total: None });
    let mut new = NewImage::directory(request.store, request.name)?;
    let vouched = bootstrap::fill(&new, &wanted, context)?;
    context.check()?;
    context.tell(Event::Stage { what: format!("writing {} to disk", request.name), total: None });
    let address = match &plan.mirror {
        Some(mirror) => format!("{} {} {mirror}", plan.tool.name(), plan.suite),
        None => format!("{} {}", plan.tool.name(), plan.suite),
    };
    let origin = origin(request, "bootstrap", &address);
    new.set_origin(Origin { proof: Some(vouched.clone()), ..origin });
    let image = new.finish(request.finish)?;
    Ok(Obtained::Made(Box::new(Made {
        image,
        kind: plan.tool.name(),
        address,
        proof: None,
        vouched: Some(vouched),
        counts: None,
        pin: None,
        notes: Vec::new(),
    })))
}

/// What is written down of an image that is made of what is at `source`.
fn origin(request: &Request<'_>, action: &str, source: &str) -> Origin {
    Origin {
        reference: Some(request.reference.to_owned()),
        source: Some(source.to_owned()),
        ..Origin::new(action)
    }
}

/// Exactly what `pin` says.
pub(super) fn pinned(request: &Request<'_>, pin: &Pin, context: &Context) -> Result<Obtained, Error> {
    let sha256 = pin.digest().ok_or_else(|| unusable(format!("{:?} is no sha256 digest", pin.sha256)))?;
    let wanted = match pin.form.as_str() {
        "tar" => Wanted::Tar,
        "disk" => Wanted::Raw,
        "oci-archive" => {
            let held_to = Verification::digest(sha256);
            return from_archive(request, "pinned", (&pin.url, &held_to), None, context);
        }
        _ => return from_registry(request, &pin.url, context),
    };
    let verification = Verification::digest(sha256);
    let item = Item { address: pin.url.clone(), verification, wanted, strip: pin.strip.clone() };
    install(request, "pinned", item, context)
}

/// Whether the day `date` is over.
fn is_past(date: &str) -> bool {
    date.parse::<jiff::civil::Date>().is_ok_and(|date| date < jiff::Zoned::now().date())
}

/// A file to make an image of.
pub(super) struct Item {
    pub(super) address: String,
    pub(super) verification: Verification,
    pub(super) wanted: Wanted,
    pub(super) strip: Option<String>,
}

impl Item {
    fn pin(&self, kind: &str, sha256: Digest) -> Pin {
        let form = match self.wanted {
            Wanted::Tar => "tar",
            Wanted::Raw => "disk",
        };
        Pin {
            kind: kind.to_owned(),
            url: self.address.clone(),
            sha256: sha256.to_string(),
            form: form.to_owned(),
            strip: self.strip.clone(),
        }
    }
}

/// Downloads and installs it.
pub(super) fn install(
    request: &Request<'_>,
    kind: &'static str,
    item: Item,
    context: &Context,
) -> Result<Obtained, Error> {
    let fetching = FetchOptions { partial: request.partial.clone(), ..FetchOptions::default() };
    let incoming = fetch::open(&item.address, &item.verification, &fetching, context)?;
    context.tell(Event::Stage { what: format!("pulling {}", request.name), total: incoming.length() });
    let options = InstallOptions {
        finish: request.finish,
        origin: Some(origin(request, "pull", &fetch::shown_address(&item.address))),
        strip: item.strip.clone(),
    };
    let installed =
        install::image(incoming, request.store, request.name, Some(item.wanted), &options, context)?;
    let pin = installed.proof.sha256.map(|sha256| item.pin(kind, sha256));
    Ok(Obtained::Made(Box::new(Made {
        image: installed.image,
        kind,
        address: fetch::shown_address(&item.address),
        counts: Some(installed.counts),
        vouched: installed.proof.checked.clone(),
        proof: Some(installed.proof),
        pin,
        notes: installed.notes.lines(),
    })))
}
