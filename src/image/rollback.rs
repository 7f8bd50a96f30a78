//! An image goes back to one of its snapshots.
//!
//! The layers of the snapshot are put together under a hidden name, with an empty writable layer, and change places with the
//! image by one rename. What was there before is a snapshot of its own, unless nobody wants it.

use super::conditions::{check_writable, free_name, is_there};
use super::fault::point;
use super::layers::freeze::{freeze, share_own_layers};
use super::layers::{LayerError, LayeredImage, LayersLock, NewStack, Record, collect, records};
use super::lock::{Hold, lock};
use super::{Image, ImageKind, Store, subvolume};

/// What came of it.
#[derive(Debug)]
pub struct RolledBack {
    /// Where the image is now.
    pub to: Record,
    /// Where it was, unless that is a snapshot of the user's, or was to be discarded.
    pub kept: Option<Record>,
}

/// Takes `image` back to its snapshot `name`, or to the last that somebody asked for; `discard`s what it is now.
///
/// # Errors
/// When there is no such snapshot, or the image is in use or read-only.
pub fn roll_back(
    store: &Store,
    image: &Image,
    name: Option<&str>,
    discard: bool,
) -> Result<RolledBack, LayerError> {
    let to = records::find(store, image.name.as_str(), name)?;
    check_writable(image)?;
    if image.kind == ImageKind::Subvolume {
        return subvolume::roll_back(store, image, &to.name, discard);
    }
    if image.kind != ImageKind::Layered || to.subvolume {
        return Err(LayerError::NotLayered { name: image.name.to_string() });
    }
    let _locked = lock(image, Hold::Exclusive)?;
    let lock = LayersLock::take(store)?;
    // It may have gone meanwhile.
    let to = records::find(store, image.name.as_str(), Some(&to.name))?;
    let layers = to.layers(store);
    if let Some(gone) = layers.iter().find(|layer| !is_there(&layer.path)) {
        let message = format!("its layer {} is gone", gone.path.display());
        return Err(LayerError::Record { path: image.path.clone(), message });
    }
    let mut now = LayeredImage::open(&image.path)?;
    let others = now.other_entries()?;
    let kept = if discard {
        None
    } else {
        now = share_own_layers(store, now, &lock)?;
        keep(store, image, &now, &lock)?
    };
    point("rollback-kept");
    let mut stack = NewStack::begin(now.pool(), &image.name)?;
    stack.fill(&layers, &others)?;
    stack.make_writable(layers.last())?;
    point("rollback-built");
    stack.exchange(now.path())?;
    point("rollback-swapped");
    drop(stack);
    point("rollback-removed");
    collect(store, &lock)?;
    Ok(RolledBack { to, kept })
}

/// Makes a snapshot of what the image is, unless it has one.
fn keep(
    store: &Store,
    image: &Image,
    now: &LayeredImage,
    lock: &LayersLock,
) -> Result<Option<Record>, LayerError> {
    let top = freeze(store, now, lock)?;
    let layers: Vec<_> = now.layers().iter().cloned().chain(top).collect();
    let known = records::of(store, image.name.as_str())?;
    if known.iter().any(|record| record.layers(store) == layers) {
        return Ok(None);
    }
    let name = free_name(store, &image.name, "before-rollback_")?;
    let record = Record::new(store, name, None, true, &layers);
    record.write(store, &image.name, lock)?;
    Ok(Some(record))
}
