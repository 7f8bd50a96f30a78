//! Snapshots: the state of an image, kept under a name.
//!
//! Of a layered image that no machine writes to, its writable layer becomes one more read-only one and an empty one takes its
//! place: nothing is copied. While a machine writes to it, the machine is paused and its writable layer copied, since the kernel
//! lets nobody take that from under it; the snapshot is what a power cut would leave. A directory or a disk image becomes
//! a layered one with its first snapshot, by renames; a subvolume of btrfs stays one.

use std::any::Any;
use std::time::{Duration, Instant};

use super::conditions::{check_writable, free_name};
use super::fault::point;
use super::layers::freeze::{NewLayer, freeze, share_own_layers};
use super::layers::{Layer, LayerError, LayeredImage, LayersLock, Record, conversion, records};
use super::lock::{Hold, ImageLock, lock, try_lock_path};
use super::{Image, ImageKind, ImageName, Store, subvolume};

/// Stops the machine that writes to an image, until what it gives is dropped; fails where it knows of none.
pub type Pause<'a> = &'a dyn Fn(&Image) -> Result<Box<dyn Any>, LayerError>;

/// What a snapshot is to be called.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Its name; without one, the time.
    pub name: Option<ImageName>,
    /// What for, in the user's words.
    pub message: Option<String>,
}

/// What was made.
#[derive(Debug)]
pub struct Taken {
    /// The snapshot.
    pub record: Record,
    /// The image was a directory or disk image before, and is a layered one now.
    pub converted: bool,
    /// How long a machine was paused for it.
    pub paused: Option<Duration>,
}

/// The layers of an image's present state, to which nobody writes.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) layers: Vec<Layer>,
    pub(super) paused: Option<Duration>,
    /// Until somebody refers to the layers.
    pub(super) lock: LayersLock,
    _image: Option<ImageLock>,
}

/// Makes a snapshot of `image`.
///
/// # Errors
/// When the name is taken, the image is read-only, or in use by who cannot be paused.
pub fn take(store: &Store, image: &Image, asked: Asked, pause: Pause<'_>) -> Result<Taken, LayerError> {
    check_writable(image)?;
    let name = match asked.name {
        Some(name) => name.to_string(),
        None => free_name(store, &image.name, "")?,
    };
    let taken = |records: &[Record]| records.iter().any(|record| record.name == name);
    let exists = || LayerError::SnapshotExists { image: image.name.to_string(), name: name.clone() };
    if taken(&records::of(store, image.name.as_str())?) {
        return Err(exists());
    }
    let (settled, converted) = match image.kind {
        ImageKind::Layered => (settle(store, image, pause)?, false),
        ImageKind::Subvolume => {
            let lock = LayersLock::take(store)?;
            let layers = vec![subvolume::snapshot(store, image, &lock)?];
            (Settled { layers, paused: None, lock, _image: None }, false)
        }
        ImageKind::Directory | ImageKind::Raw => (convert(store, image)?, true),
        ImageKind::Block => {
            let (what, action) = ("a block device", "spinney snapshot");
            return Err(LayerError::Kind { name: image.name.to_string(), what, action });
        }
    };
    point("before-record");
    if taken(&records::of(store, image.name.as_str())?) {
        return Err(exists());
    }
    let mut record = Record::new(store, name.clone(), asked.message, false, &settled.layers);
    record.subvolume = image.kind == ImageKind::Subvolume;
    record.write(store, &image.name, &settled.lock)?;
    point("recorded");
    Ok(Taken { record, converted, paused: settled.paused })
}

/// Removes the snapshot `name` of `image`, and layers that were of it alone.
///
/// # Errors
/// When there is none.
pub fn delete(store: &Store, image: &ImageName, name: &str) -> Result<(), LayerError> {
    let lock = LayersLock::take(store)?;
    records::find(store, image.as_str(), Some(name))?.remove(store, image, &lock)?;
    super::layers::collect(store, &lock)?;
    Ok(())
}

/// Makes what was changed over the layers of the layered `image` a layer too.
pub(super) fn settle(store: &Store, image: &Image, pause: Pause<'_>) -> Result<Settled, LayerError> {
    // Shared, so that those who read it may go on: the files that they read stay.
    let Some(locked) = try_lock_path(&image.path, Hold::Shared)? else {
        return settle_running(store, image, pause);
    };
    let lock = LayersLock::take(store)?;
    let mut layered = LayeredImage::open(&image.path)?;
    let top = if super::properties::Properties::of(image)?.read_only {
        // As it is marked, its directory cannot be changed either.
        match NewLayer::copy_of_changes(store, &layered)? {
            Some(new) => Some(new.finish(&lock)?),
            None => None,
        }
    } else {
        layered = share_own_layers(store, layered, &lock)?;
        freeze(store, &layered, &lock)?
    };
    let layers = layered.layers().iter().cloned().chain(top).collect();
    Ok(Settled { layers, paused: None, lock, _image: Some(locked) })
}

fn settle_running(store: &Store, image: &Image, pause: Pause<'_>) -> Result<Settled, LayerError> {
    let layered = LayeredImage::open(&image.path)?;
    let stopped = pause(image)?;
    point("paused");
    let since = Instant::now();
    let copied = NewLayer::copy_of_changes(store, &layered);
    drop(stopped);
    let paused = Some(since.elapsed());
    let new = copied?;
    let lock = LayersLock::take(store)?;
    let top = new.map(|new| new.finish(&lock)).transpose()?;
    let layers = layered.layers().iter().cloned().chain(top).collect();
    Ok(Settled { layers, paused, lock, _image: None })
}

fn convert(store: &Store, image: &Image) -> Result<Settled, LayerError> {
    if let Ok(target) = rustix::fs::readlink(&image.path, Vec::new()) {
        use std::os::unix::ffi::OsStringExt;
        let target = std::ffi::OsString::from_vec(target.into_bytes()).into();
        return Err(LayerError::Elsewhere { name: image.name.to_string(), target });
    }
    let locked = lock(image, Hold::Exclusive)?;
    let lock = LayersLock::take(store)?;
    let layered = conversion::convert(store, image, &lock)?;
    Ok(Settled { layers: layered.layers().to_vec(), paused: None, lock, _image: Some(locked) })
}
