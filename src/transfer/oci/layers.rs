//! The layers of an image that is being pulled: unpacked in the layer store, linked into the image.

use std::ffi::OsStr;
use std::io::{BufRead, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::archive::extract::oci_whiteouts;
use crate::archive::shared::{Lender, Shared};
use crate::archive::{self, Counts, Notes};
use crate::image::layers::freeze::NewLayer;
use crate::image::layers::{LayerError, LayerPlace, LayersLock};
use crate::image::merged::View;
use crate::image::overlay::Marks;
use crate::image::{NewImage, Store, mstack};
use crate::sys::files::{open_at, open_directory};
use crate::sys::{FdPath, sys};
use crate::transfer::flow::{Contents, flow};
use crate::transfer::{self, Context, Digest, Event, Incoming};

/// How the names of layers begin that are what they are over certain others only.
const CHAIN: &str = "chain-sha256-";

/// The longest padding after the end of a layer: tar(1) pads to 10 KiB, and to 256 MiB with the largest blocking factor that
/// anybody would give it.
const PADDING: u64 = 256 << 20;

/// The layers of an image that is being made.
pub(super) struct Layers<'a> {
    store: &'a Store,
    new: &'a NewImage,
    context: &'a Context,
    /// Those that there are already, the lowest first.
    below: Vec<OwnedFd>,
    /// What these are together (image-spec, config.md, "Layer ChainID").
    chain: Option<Digest>,
    /// What was unpacked.
    pub(super) counts: Counts,
    /// How many of them were there.
    pub(super) shared: usize,
    /// What of them is not as it was.
    pub(super) notes: Notes,
}

impl<'a> Layers<'a> {
    /// None yet, of the image `new`.
    pub(super) fn new(store: &'a Store, new: &'a NewImage, context: &'a Context) -> Self {
        let (counts, notes) = (Counts::default(), Notes::default());
        Self { store, new, context, below: Vec::new(), chain: None, counts, shared: 0, notes }
    }

    /// Adds layer `number`, counted from the lowest: the one that is there, or else what `open` gives.
    pub(super) fn add(
        &mut self,
        number: usize,
        diff_id: Digest,
        open: impl FnOnce() -> Result<Box<dyn Incoming>, transfer::Error>,
    ) -> Result<(), transfer::Error> {
        let id = format!("sha256-{diff_id}");
        let chain = match self.chain {
            None => diff_id,
            Some(below) => Digest(Sha256::digest(format!("sha256:{below} sha256:{diff_id}")).into()),
        };
        self.chain = Some(chain);
        // A layer that took something from those below is one of this chain alone.
        let in_chain = format!("{CHAIN}{chain}");
        for id in [&id, &in_chain] {
            if self.link_if_there(number, id)? {
                self.shared += 1;
                return Ok(());
            }
        }
        let mut layer = NewLayer::empty(self.store, &self.store.pool, &id).map_err(layer_error)?;
        let incoming = open()?;
        let below = View::of_layers(std::mem::take(&mut self.below), Marks::User);
        let lower = |path: &[Vec<u8>]| directory_of(&below, path);
        let what = format!("pulling layer {} of {}", number + 1, self.new.name());
        self.context.tell(Event::Stage { what, total: incoming.length() });
        let ((extracted, digest), _) = flow(incoming, self.context, |contents| {
            let name = contents.name().to_owned();
            let mut hashed = Hashed { contents, hash: Sha256::new() };
            let options = archive::ExtractOptions {
                devices: true,
                filter: Some(&oci_whiteouts),
                lower: (number > 0).then_some(&lower),
                ..archive::ExtractOptions::default()
            };
            let extracted = unpack(&name, &mut hashed, layer.content(), &options)?;
            // The padding of an archive is of its digest, too.
            let padding = std::io::copy(&mut (&mut hashed).take(PADDING + 1), &mut std::io::sink())
                .map_err(|error| transfer::Error::of_reading(&name, error))?;
            if padding > PADDING {
                return Err(Error::Padding { number: number + 1 }.into());
            }
            Ok((extracted, Digest(hashed.hash.finalize().into())))
        })?;
        if digest != diff_id {
            return Err(Error::Layer { number: number + 1 }.into());
        }
        if extracted.notes.has_faults() {
            let name = format!("layer {}", number + 1);
            return Err(transfer::Error::Incomplete { name, lines: extracted.notes.lines() });
        }
        self.below = below.into_layers();
        if extracted.from_lower {
            layer.call(in_chain);
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
    fn link_if_there(&mut self, number: usize, id: &str) -> Result<bool, transfer::Error> {
        let lock = LayersLock::take(self.store).map_err(layer_error)?;
        let place = LayerPlace::of(self.store, &self.store.pool).map_err(layer_error)?;
        let there = rustix::fs::statat(&place, id, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if there {
            self.link(number, &place.path().join(id))?;
        }
        drop(lock);
        Ok(there)
    }

    fn link(&mut self, number: usize, target: &Path) -> Result<(), transfer::Error> {
        let opened = open_directory(target).map_err(crate::image::Error::system("open", target))?;
        self.below.push(opened);
        let (content, entry) = (self.new.content(), mstack::layer_name(number));
        let made = sys("symlinkat", rustix::fs::symlinkat(target, content, &entry), || {
            format!("{target:?}, {}, {entry:?}", FdPath::of(&content))
        });
        made.map_err(|error| {
            crate::image::Error::system("add a layer to", self.new.name().as_str())(error).into()
        })
    }
}

/// The directory that layers have at `path`.
fn directory_of(layers: &View, path: &[Vec<u8>]) -> Option<OwnedFd> {
    let mut node = layers.root().ok()?;
    for name in path {
        node = layers.child(&node, OsStr::from_bytes(name)).ok()??;
    }
    // Of a file nothing is taken.
    let open = || open_at(node.place(), ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).ok();
    if node.is_directory() { open() } else { None }
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

impl BufRead for Hashed<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.contents.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed is there: this reads nothing.
        if count > 0
            && let Ok(ready) = self.contents.fill_buf()
        {
            self.hash.update(&ready[..count.min(ready.len())]);
        }
        self.contents.consume(count);
    }
}

impl Lender for Hashed<'_> {
    fn lend(&mut self, most: usize) -> std::io::Result<Shared> {
        let bytes = self.contents.lend(most)?;
        self.hash.update(&*bytes);
        Ok(bytes)
    }
}

/// Unpacks `stream`, of which messages speak as `name`.
pub(super) fn unpack(
    name: &str,
    stream: impl Lender,
    target: BorrowedFd<'_>,
    options: &archive::ExtractOptions<'_>,
) -> Result<archive::Extracted, transfer::Error> {
    archive::extract_lent(stream, target, options).map_err(|error| match error {
        archive::Error::Input(error) => transfer::Error::of_reading(name, error),
        source => transfer::Error::Unpack { name: name.to_owned(), source },
    })
}

fn layer_error(error: LayerError) -> transfer::Error {
    crate::image::Error::from(error).into()
}
