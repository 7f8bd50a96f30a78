//! A reference to an image.
//!
//! Each layer is unpacked in the layer store under a hidden name, and gets the name of its digest when it is whole and on
//! disk; the image that is being made has its link by then, so that nobody takes it for one that nobody needs. A layer that
//! is there is not fetched again.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::beside::Settings;
use super::credentials::{self, Credentials};
use super::document::{Configuration, Descriptor, Document, LAYERS_LIMIT};
use super::layers::{Layers, unpack};
use super::layout::{Found, Layout, blob};
use super::platform::{choose, go_architecture};
use super::reference::RegistryReference;
use super::registry::Registry;
use super::{Error, Reference, settings};
use crate::archive::{self, Counts};
use crate::image::layers::{LayersLock, collect};
use crate::image::origin::Origin;
use crate::image::{Finish, Image, ImageName, NewImage, Store};
use crate::sys::files::read_at;
use crate::sys::in_root::{Root, absent_is_none};
use crate::sys::in_words;
use crate::transfer::fetch::FetchOptions;
use crate::transfer::flow::flow;
use crate::transfer::verify::Verification;
use crate::transfer::{self, Context, Digest, Event, Incoming, Proof, fetch};

/// What is pulled.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which image.
    pub reference: &'a Reference,
    /// What was typed for it.
    pub origin: &'a str,
    /// Where it is fetched from, as people read it.
    pub source: &'a str,
    /// What it is to be called.
    pub name: &'a ImageName,
    /// For which machines, as uname(2) or Go call them; `None` for this one.
    pub architecture: Option<&'a str>,
    /// It takes the place of an image of the same name.
    pub replace: bool,
    /// How a registry is asked for the first time, and an archive is fetched.
    pub fetching: &'a FetchOptions,
    /// What an archive is held to.
    pub verification: &'a Verification,
}

/// An image that was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// It.
    pub image: Image,
    /// The digest of its manifest; `docker save` writes none.
    pub digest: Option<Digest>,
    /// What was unpacked.
    pub counts: Counts,
    /// How many layers it has, and how many of them were there.
    pub layers: (usize, usize),
    /// What of it is not as it was.
    pub notes: Vec<String>,
    /// Of an archive: its digest, and what it was compared with.
    pub proof: Option<Proof>,
}

/// Where an image is taken from.
enum Place {
    Registry(Box<Registry>),
    Layout(Box<OnDisk>),
}

/// A layout, and which of its images.
struct OnDisk {
    layout: Layout,
    tag: Option<String>,
    /// What an archive was unpacked to, and the proof of it.
    unpacked: Option<(NewImage, Proof)>,
}

/// An image that was found.
struct Resolved {
    digest: Option<Digest>,
    configuration: Configuration,
    layers: Vec<Source>,
}

/// Where a layer is.
enum Source {
    Blob(Descriptor),
    File(PathBuf),
}

/// Makes an image of what `asked` names.
///
/// # Errors
/// When it is not there, not for this host or not what its digests say. There is no image then.
pub fn pull(store: &Store, asked: &Asked<'_>, context: &Context) -> Result<Pulled, transfer::Error> {
    pull_all(store, asked, context).inspect_err(|_| {
        // Layers that came whole belong to nobody. What cannot be removed now is removed by whoever collects next.
        let _ = LayersLock::take(store).and_then(|lock| collect(store, &lock));
    })
}

fn pull_all(store: &Store, asked: &Asked<'_>, context: &Context) -> Result<Pulled, transfer::Error> {
    context.tell(Event::Stage { what: format!("asking for {}", asked.source), total: None });
    let place = Place::open(store, asked, context)?;
    let resolved = place.resolve(asked)?;
    let mut new = NewImage::layered(store, asked.name)?;
    let (counts, shared, layer_notes) = {
        let mut layers = Layers::new(store, &new, context);
        let diff_ids = &resolved.configuration.diff_ids;
        for (number, (source, diff_id)) in resolved.layers.iter().zip(diff_ids).enumerate() {
            context.check()?;
            layers.add(number, *diff_id, || place.layer(source, context))?;
        }
        (layers.counts, layers.shared, layers.notes)
    };
    let mut origin = Origin::new("pull");
    origin.reference = Some(asked.origin.to_owned());
    origin.source = Some(asked.source.to_owned());
    let proof = match &place {
        Place::Layout(on_disk) => on_disk.unpacked.as_ref().map(|(_, proof)| proof.clone()),
        Place::Registry(_) => None,
    };
    let digest = proof.as_ref().and_then(|proof| proof.sha256).or(resolved.digest);
    origin.digest = digest.map(|digest| format!("sha256:{digest}"));
    let checked = proof.as_ref().and_then(|proof| proof.checked.clone());
    origin.proof = Some(checked.unwrap_or_else(|| "the digests of its manifest".to_owned()));
    new.set_origin(origin);
    let (settings, lost) = settings::settings(&resolved.configuration.run);
    let settings = Settings::write(store, asked.name, settings)?;
    context.tell(Event::Stage { what: format!("writing {} to disk", asked.name), total: None });
    let image = new.finish(Finish { replace: asked.replace, read_only: true })?;
    let mut notes = layer_notes.lines();
    // The image is there.
    if let Err(error) = settings.keep() {
        notes.push(format!("its settings are those of the image before: {}", in_words(&error)));
    }
    notes.extend(lost.into_iter().map(|what| format!("{what} of its configuration has no setting here")));
    let layers = (resolved.layers.len(), shared);
    Ok(Pulled { image, digest: resolved.digest, counts, layers, notes, proof })
}

impl Place {
    fn open(store: &Store, asked: &Asked<'_>, context: &Context) -> Result<Self, transfer::Error> {
        match asked.reference {
            Reference::Registry(reference) => {
                let credentials = credentials_for(reference)?;
                Ok(Self::Registry(Box::new(Registry::new(reference.clone(), credentials, context)?)))
            }
            Reference::Layout { directory, tag } => {
                let root = Root::open(directory).map_err(crate::image::Error::system("open", directory))?;
                let layout = Layout::new(root, directory);
                Ok(Self::Layout(Box::new(OnDisk { layout, tag: tag.clone(), unpacked: None })))
            }
            Reference::Archive { file, tag } => {
                let (layout, new, proof) = archived(store, asked, file, context)?;
                let unpacked = Some((new, proof));
                Ok(Self::Layout(Box::new(OnDisk { layout, tag: tag.clone(), unpacked })))
            }
        }
    }

    /// Finds the image for the architecture that was asked for.
    fn resolve(&self, asked: &Asked<'_>) -> Result<Resolved, transfer::Error> {
        let ours = rustix::system::uname();
        let wanted =
            asked.architecture.or(ours.machine().to_str().ok()).map(go_architecture).unwrap_or_default();
        let (bytes, digest) = match self {
            Self::Registry(registry) => registry.manifest(asked.fetching)?,
            Self::Layout(on_disk) => match on_disk.layout.find(on_disk.tag.as_deref())? {
                Found::Manifest(found) => (on_disk.layout.document(&found, "manifest")?, found.digest),
                Found::Saved { config, layers } => {
                    let configuration = Configuration::parse(&on_disk.layout.small(&config)?)?;
                    let layers = layers.into_iter().map(Source::File).collect();
                    return Resolved { digest: None, configuration, layers }.checked(wanted);
                }
            },
        };
        let (manifest, digest) = match Document::parse(&bytes)? {
            Document::Manifest(manifest) => (manifest, digest),
            Document::Index(images) => {
                let chosen = choose(&images, wanted)?;
                let bytes = match self {
                    Self::Registry(registry) => registry.manifest_of(chosen)?,
                    Self::Layout(on_disk) => on_disk.layout.document(chosen, "manifest")?,
                };
                match Document::parse(&bytes)? {
                    Document::Manifest(manifest) => (manifest, chosen.digest),
                    Document::Index(_) => {
                        let what = "an index in an index".to_owned();
                        return Err(Error::Document { document: "manifest", what }.into());
                    }
                }
            }
        };
        manifest.check()?;
        let bytes = match self {
            Self::Registry(registry) => registry.document(&manifest.config)?,
            Self::Layout(on_disk) => on_disk.layout.document(&manifest.config, "configuration")?,
        };
        let configuration = Configuration::parse(&bytes)?;
        let layers = manifest.layers.into_iter().map(Source::Blob).collect();
        Resolved { digest: Some(digest), configuration, layers }.checked(wanted)
    }

    fn layer(&self, source: &Source, context: &Context) -> Result<Box<dyn Incoming>, transfer::Error> {
        match (self, source) {
            (Self::Registry(registry), Source::Blob(descriptor)) => registry.layer(descriptor, context),
            (Self::Layout(on_disk), Source::Blob(descriptor)) => {
                on_disk.layout.layer(&blob(descriptor.digest), Some(descriptor.digest))
            }
            (Self::Layout(on_disk), Source::File(path)) => on_disk.layout.layer(path, None),
            (Self::Registry(_), Source::File(path)) => {
                let what = format!("a registry has no files such as {path:?}");
                Err(Error::Document { document: "manifest", what }.into())
            }
        }
    }
}

impl Resolved {
    /// Itself, if it makes sense and is for `wanted`.
    fn checked(self, wanted: &str) -> Result<Self, transfer::Error> {
        let (layers, diff_ids) = (self.layers.len(), self.configuration.diff_ids.len());
        if layers != diff_ids || layers == 0 {
            let what = format!("it has {diff_ids} layers, and the manifest {layers}");
            return Err(Error::Document { document: "configuration", what }.into());
        }
        if layers > LAYERS_LIMIT {
            return Err(Error::Document {
                document: "configuration",
                what: "it has too many layers".to_owned(),
            }
            .into());
        }
        let platform = &self.configuration.platform;
        let other = |is: &str, ours: &str| !is.is_empty() && is != ours;
        if other(&platform.architecture, wanted) || other(&platform.os, "linux") {
            let there = vec![format!("{}/{}", platform.os, platform.architecture)];
            return Err(Error::Platform { architecture: wanted.to_owned(), there }.into());
        }
        Ok(self)
    }
}

/// Unpacks an archive of images, for as long as it is needed.
fn archived(
    store: &Store,
    asked: &Asked<'_>,
    file: &Path,
    context: &Context,
) -> Result<(Layout, NewImage, Proof), transfer::Error> {
    let new = NewImage::directory(store, asked.name)?;
    let incoming = fetch::open(&file.to_string_lossy(), asked.verification, asked.fetching, context)?;
    context.tell(Event::Stage { what: format!("reading {}", asked.source), total: incoming.length() });
    let (_, proof) = flow(incoming, context, |contents| {
        let name = contents.name().to_owned();
        unpack(&name, contents, new.content(), &archive::ExtractOptions::default())
    })?;
    let opened = new.content().try_clone_to_owned();
    let opened = opened.map_err(|source| transfer::Error::Read { name: asked.source.to_owned(), source })?;
    Ok((Layout::new(Root::from_fd(opened, file), file), new, proof))
}

/// Who we are to the registry of `reference`, as the first file that knows it says.
fn credentials_for(reference: &RegistryReference) -> Result<Option<Credentials>, Error> {
    let uid = rustix::process::geteuid().as_raw();
    for path in credentials::places(|name| std::env::var(name).ok().filter(|value| !value.is_empty()), uid) {
        let read = absent_is_none(read_at(CWD, &path, credentials::LIMIT));
        let bytes =
            read.map_err(|error| Error::Credentials { path: path.clone(), what: in_words(&error) })?;
        let Some(bytes) = bytes else { continue };
        if let Some(found) = credentials::find(&path, &bytes, reference)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
