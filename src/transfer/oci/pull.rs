//! A reference to an image.
//!
//! Each layer is unpacked in the layer store under a hidden name, and gets the name of its digest when it is whole and on
//! disk; the image that is being made has its link by then, so that nobody takes it for one that nobody needs. A layer that
//! is there is not fetched again.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use sha2::{Digest as _, Sha256};

use super::credentials::{self, Credentials};
use super::document::{Configuration, Descriptor, Document, LAYERS_LIMIT};
use super::layout::{Found, Layout, blob};
use super::platform::{choose, go_architecture};
use super::reference::RegistryReference;
use super::registry::Registry;
use super::{Error, Reference, settings};
use crate::archive::extract::oci_whiteouts;
use crate::archive::{self, Counts, Notes};
use crate::image::layers::freeze::NewLayer;
use crate::image::layers::{LayerError, LayerPlace, LayersLock, collect};
use crate::image::origin::Origin;
use crate::image::{Finish, Image, ImageName, NewImage, Store, mstack};
use crate::sys::files::{open_directory, read_at, remove_file_at, replace_at};
use crate::sys::in_root::{Root, absent_is_none};
use crate::sys::{FdPath, SysResult, in_words, sys};
use crate::transfer::flow::{Contents, flow};
use crate::transfer::verify::Verification;
use crate::transfer::{self, Context, Digest, Event, Incoming, fetch};

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
    /// What an archive was unpacked to.
    _unpacked: Option<NewImage>,
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
    context.tell(Event::Stage { what: format!("asking for {}", asked.reference), total: None });
    let place = Place::open(store, asked, context)?;
    let resolved = place.resolve(asked.architecture)?;
    let mut new = NewImage::layered(store, asked.name)?;
    let (counts, shared, layer_notes) = {
        let mut layers = Layers {
            store,
            new: &new,
            context,
            counts: Counts::default(),
            shared: 0,
            notes: Notes::default(),
        };
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
    origin.digest = resolved.digest.map(|digest| format!("sha256:{digest}"));
    origin.proof = Some("the digests of its manifest".to_owned());
    new.set_origin(origin);
    let (settings, lost) = settings::settings(&resolved.configuration.run);
    let settings = Settings::write(store, asked.name, settings)?;
    context.tell(Event::Stage { what: format!("writing {} to disk", asked.name), total: None });
    let image = new.finish(Finish { replace: asked.replace, read_only: true })?;
    settings.keep().map_err(crate::image::Error::system("write the settings of", &image.path))?;
    let mut notes = layer_notes.lines();
    notes.extend(lost.into_iter().map(|what| format!("{what} of its configuration has no setting here")));
    Ok(Pulled { image, digest: resolved.digest, counts, layers: (resolved.layers.len(), shared), notes })
}

impl Place {
    fn open(store: &Store, asked: &Asked<'_>, context: &Context) -> Result<Self, transfer::Error> {
        match asked.reference {
            Reference::Registry(reference) => {
                let credentials = credentials_for(reference)?;
                Ok(Self::Registry(Box::new(Registry::new(reference.clone(), credentials)?)))
            }
            Reference::Layout { directory, tag } => {
                let root = Root::open(directory).map_err(crate::image::Error::system("open", directory))?;
                let layout = Layout::new(root, directory);
                Ok(Self::Layout(Box::new(OnDisk { layout, tag: tag.clone(), _unpacked: None })))
            }
            Reference::Archive { file, tag } => {
                let (layout, unpacked) = archived(store, asked, file, context)?;
                Ok(Self::Layout(Box::new(OnDisk { layout, tag: tag.clone(), _unpacked: Some(unpacked) })))
            }
        }
    }

    /// Finds the image for `architecture`.
    fn resolve(&self, architecture: Option<&str>) -> Result<Resolved, transfer::Error> {
        let ours = rustix::system::uname();
        let wanted = architecture.or(ours.machine().to_str().ok()).map(go_architecture).unwrap_or_default();
        let (bytes, digest) = match self {
            Self::Registry(registry) => registry.manifest()?,
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
) -> Result<(Layout, NewImage), transfer::Error> {
    let new = NewImage::directory(store, asked.name)?;
    let options = fetch::FetchOptions::default();
    let incoming = fetch::open(&file.to_string_lossy(), &Verification::none(), &options, context)?;
    context.tell(Event::Stage { what: format!("reading {}", asked.reference), total: incoming.length() });
    flow(incoming, context, |contents| {
        let name = contents.name().to_owned();
        unpack(&name, contents, new.content(), &archive::ExtractOptions::default())
    })?;
    let opened = new.content().try_clone_to_owned();
    let opened =
        opened.map_err(|source| transfer::Error::Read { name: asked.reference.to_string(), source })?;
    Ok((Layout::new(Root::from_fd(opened, file), file), new))
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

/// The layers of an image that is being made.
struct Layers<'a> {
    store: &'a Store,
    new: &'a NewImage,
    context: &'a Context,
    counts: Counts,
    shared: usize,
    notes: Notes,
}

impl Layers<'_> {
    /// Adds layer `number`, counted from the lowest: the one that is there, or else what `open` gives.
    fn add(
        &mut self,
        number: usize,
        diff_id: Digest,
        open: impl FnOnce() -> Result<Box<dyn Incoming>, transfer::Error>,
    ) -> Result<(), transfer::Error> {
        let id = format!("sha256-{diff_id}");
        if self.link_if_there(number, &id)? {
            self.shared += 1;
            return Ok(());
        }
        let layer = NewLayer::empty(self.store, &self.store.pool, &id).map_err(layer_error)?;
        let incoming = open()?;
        let what = format!("pulling layer {} of {}", number + 1, self.new.name());
        self.context.tell(Event::Stage { what, total: incoming.length() });
        let ((extracted, digest), _) = flow(incoming, self.context, |contents| {
            let name = contents.name().to_owned();
            let mut hashed = Hashed { contents, hash: Sha256::new() };
            let options = archive::ExtractOptions {
                devices: true,
                filter: Some(&oci_whiteouts),
                ..archive::ExtractOptions::default()
            };
            let extracted = unpack(&name, &mut hashed, layer.content(), &options)?;
            // The padding of an archive is of its digest, too.
            std::io::copy(&mut hashed, &mut std::io::sink())
                .map_err(|error| transfer::Error::of_reading(&name, error))?;
            Ok((extracted, Digest(hashed.hash.finalize().into())))
        })?;
        if digest != diff_id {
            return Err(Error::Layer { number: number + 1 }.into());
        }
        if extracted.notes.has_faults() {
            let name = format!("layer {}", number + 1);
            return Err(transfer::Error::Incomplete { name, lines: extracted.notes.lines() });
        }
        self.counts.files += extracted.counts.files;
        self.counts.directories += extracted.counts.directories;
        self.counts.bytes += extracted.counts.bytes;
        self.notes.merge(extracted.notes);
        layer.sync().map_err(layer_error)?;
        let lock = LayersLock::take(self.store).map_err(layer_error)?;
        let layer = layer.finish(&lock).map_err(layer_error)?;
        self.link(number, &layer.path)
    }

    /// Refers to the layer `id` if there is one.
    fn link_if_there(&self, number: usize, id: &str) -> Result<bool, transfer::Error> {
        let lock = LayersLock::take(self.store).map_err(layer_error)?;
        let place = LayerPlace::of(self.store, &self.store.pool).map_err(layer_error)?;
        let there = rustix::fs::statat(&place, id, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if there {
            self.link(number, &place.path().join(id))?;
        }
        drop(lock);
        Ok(there)
    }

    fn link(&self, number: usize, target: &Path) -> Result<(), transfer::Error> {
        let (content, entry) = (self.new.content(), mstack::layer_name(number));
        let made = sys("symlinkat", rustix::fs::symlinkat(target, content, &entry), || {
            format!("{target:?}, {}, {entry:?}", FdPath::of(&content))
        });
        made.map_err(|error| {
            crate::image::Error::system("add a layer to", self.new.name().as_str())(error).into()
        })
    }
}

/// What is read of a layer, hashed.
struct Hashed<'a> {
    contents: &'a mut Contents,
    hash: Sha256,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.contents.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

fn unpack(
    name: &str,
    stream: impl Read,
    target: BorrowedFd<'_>,
    options: &archive::ExtractOptions<'_>,
) -> Result<archive::Extracted, transfer::Error> {
    archive::extract(stream, target, options).map_err(|error| match error {
        archive::Error::Input(error) => transfer::Error::of_reading(name, error),
        source => transfer::Error::Unpack { name: name.to_owned(), source },
    })
}

fn layer_error(error: LayerError) -> transfer::Error {
    crate::image::Error::from(error).into()
}

/// The settings beside an image that is being made. What a person wrote there stays as it is.
struct Settings<'a> {
    store: &'a Store,
    file: String,
    state: SettingsState,
}

/// What is in the way of them, and what is done about it.
enum SettingsState {
    /// Those of a person, or none: nothing.
    Untouched,
    /// Nothing was; they are written, and removed unless the image comes to be.
    Written,
    /// Those of an image that it takes the place of: they become these, or none, when it has.
    Former(Option<String>),
}

impl<'a> Settings<'a> {
    fn write(store: &'a Store, name: &ImageName, text: Option<String>) -> Result<Self, crate::image::Error> {
        const LIMIT: usize = 1 << 20;
        let file = format!("{name}.nspawn");
        let failed =
            || crate::image::Error::system("write the settings of the image to", store.pool.join(&file));
        let pool = open_directory(&store.pool).map_err(failed())?;
        let state = match (absent_is_none(read_at(&pool, &file, LIMIT)), text) {
            (Ok(None), Some(text)) => {
                replace_at(pool, &file, text.as_bytes(), 0o644).map_err(failed())?;
                SettingsState::Written
            }
            (Ok(Some(there)), text) if there.starts_with(settings::HEAD.as_bytes()) => {
                SettingsState::Former(text)
            }
            _ => SettingsState::Untouched,
        };
        Ok(Self { store, file, state })
    }

    /// The image is there.
    fn keep(mut self) -> SysResult<()> {
        match std::mem::replace(&mut self.state, SettingsState::Untouched) {
            SettingsState::Untouched | SettingsState::Written => Ok(()),
            SettingsState::Former(Some(text)) => {
                replace_at(open_directory(&self.store.pool)?, &self.file, text.as_bytes(), 0o644)
            }
            SettingsState::Former(None) => remove_file_at(open_directory(&self.store.pool)?, &self.file),
        }
    }
}

impl Drop for Settings<'_> {
    fn drop(&mut self) {
        if matches!(self.state, SettingsState::Written)
            && let Ok(pool) = open_directory(&self.store.pool)
        {
            let _ = remove_file_at(pool, &self.file);
        }
    }
}
