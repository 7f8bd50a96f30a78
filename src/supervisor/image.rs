//! The image of a machine, opened under its locks.
//!
//! Who may change an image has it alone; who only reads it, for a root that is read-only or thrown away, shares it, as
//! systemd-nspawn does by the same lock files. Layers that are images of their own are shared by whoever runs on them: none
//! of them is changed meanwhile. What others are made from is not to be changed at all.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::image::discover;
use crate::image::disk::Verify;
use crate::image::layers::dependents;
use crate::image::lock::Hold;
use crate::image::opened::{self, Access, Opened};
use crate::image::properties::Properties;
use crate::image::{Image, ImageKind, ImageName, Store};
use crate::settings::{MachineSettings, RootHashSignature, Verity};
use crate::sys::files::read_at;

use super::claimed::Claimed;
use super::error::Error;
use super::facts::access;

/// Opens what a machine of these settings runs from, locked for it.
pub(super) fn open(claimed: &mut Claimed, settings: &MachineSettings) -> Result<Opened, Error> {
    let path = opened::newest_version(&settings.tree)?;
    let kind = opened::kind_at(&path)?;
    let access = access(settings);
    let hold = if access == Access::Write { Hold::Exclusive } else { Hold::Shared };
    if settings.knobs.lock {
        claimed.lock_images(&[(path.clone(), hold)])?;
    }
    if access == Access::Write {
        refuse_layer(&path, kind)?;
    }
    let image = Opened::open_verified(&path, access, &verify(settings)?)?;
    refuse_read_only(settings, &image)?;
    let layers: Vec<(PathBuf, Hold)> = image
        .layers()
        .iter()
        .filter_map(|layer| image_of(layer))
        .map(|layer| (layer, Hold::Shared))
        .collect();
    if settings.knobs.lock && !layers.is_empty() {
        claimed.lock_images(&layers)?;
    }
    Ok(image)
}

/// Longest file that is read for a signature of a root hash.
const SIGNATURE_LIMIT: usize = 1 << 20;

/// What the settings have a disk image verified by.
pub(super) fn verify(settings: &MachineSettings) -> Result<Verify, Error> {
    let Verity { root_hash, hashes, signature } = &settings.verity;
    let signature = match signature {
        None => None,
        Some(RootHashSignature::Bytes(bytes)) => Some(bytes.clone()),
        Some(RootHashSignature::File(path)) => Some(
            read_at(CWD, path, SIGNATURE_LIMIT)
                .map_err(|source| Error::RootHashSignature { path: path.clone(), source })?,
        ),
    };
    let root_hash = root_hash.as_ref().map(|text| text.parse()).transpose().map_err(Error::RootHash)?;
    Ok(Verify { root_hash, hashes: hashes.clone(), signature })
}

/// Where a layer is, if it is an image, which somebody might change. Those that are layers and nothing else are nobody's to
/// change, and stay while an image refers to them.
fn image_of(layer: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(layer).ok()?;
    let target = layer.parent().map_or_else(|| target.clone(), |image| image.join(&target));
    let place = target.parent()?;
    let is_kept = place.ends_with("spinney/layers") || place.ends_with(".#spinney/layers");
    (!is_kept).then_some(target)
}

/// An image that others are made from would change them too; one that is marked read-only is not to be changed. A tree
/// that is no image of a store's is neither.
fn refuse_layer(path: &Path, kind: ImageKind) -> Result<(), Error> {
    let Some((directory, store)) =
        path.parent().and_then(|directory| Some((directory, store_of(directory)?)))
    else {
        return Ok(());
    };
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = file.strip_suffix(kind.suffix()).unwrap_or(file).parse::<ImageName>();
    let image = match name {
        Ok(name) => match discover::find(directory, &name) {
            Ok(Some(image)) => image,
            _ => Image { name, path: path.to_owned(), kind },
        },
        Err(_) => return Ok(()),
    };
    if Properties::of(&image).is_ok_and(|properties| properties.read_only) && kind != ImageKind::Layered {
        return Err(Error::ReadOnlyImage { name: image.name.to_string() });
    }
    let made = dependents(&store, path)?;
    match made.is_empty() {
        true => Ok(()),
        false => Err(Error::HasClones { name: image.name.to_string(), made }),
    }
}

/// The store that has images in `directory`: the system's, or one of `--image-root=` that was ever worked on.
fn store_of(directory: &Path) -> Option<Store> {
    let system = Store::system();
    if system.search.iter().any(|pool| pool == directory) || directory.ends_with("spinney/layers") {
        return Some(system);
    }
    let own = Store::at(directory);
    rustix::fs::stat(&own.state).is_ok().then_some(own)
}

/// An image that cannot be written to boots badly; better said at once.
pub(super) fn refuse_read_only(settings: &MachineSettings, image: &Opened) -> Result<(), Error> {
    if access(settings) == Access::ReadOnly || image.is_writable() {
        return Ok(());
    }
    let path = settings.tree.clone();
    Err(match image.kind() {
        ImageKind::Layered => Error::NoWritableLayer(path),
        ImageKind::Raw | ImageKind::Block => Error::ReadOnlyDisk(path),
        ImageKind::Directory | ImageKind::Subvolume => Error::ReadOnlyTree(path),
    })
}
