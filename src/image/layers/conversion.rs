//! A directory or disk image becomes the lowest layer of a layered image of the same name, by renames.
//!
//! The steps, of which each leaves an image of that name which is what it was:
//!
//! 1. a link where the layer will be leads to the image: `layers/ID -> .#ID/tree -> POOL/NAME`;
//! 2. `POOL/NAME.mstack` appears, over that layer: there are two now, which are the same;
//! 3. who had the image as a layer has `layers/ID` instead;
//! 4. `layers/ID` and `POOL/NAME` change places, which is one rename: the layer is where it is to be, and what is left in the
//!    pool is the link `.#ID/tree`, which leads nowhere from there;
//! 5. that and `.#ID` are removed.
//!
//! Killed in between, it is gone on with under the next lock; before step 2, gone back on.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;

use super::links::{link, rename};
use super::references::pools;
use super::{Layer, LayerError, LayerPlace, LayeredImage, LayersLock, NewStack, records};
use crate::image::fault::point;
use crate::image::lock::{Hold, try_lock_path};
use crate::image::{Image, ImageKind, Store, mstack};
use crate::sys::SysResult;
use crate::sys::files::{
    entries, make_directory_at, open_directory, open_directory_at, remove_file_at, remove_tree_at,
};

/// The link in the directory of a conversion.
const TREE: &str = "tree";

/// Makes `image` a layered one. The caller has it locked for itself.
///
/// # Errors
/// When a step fails; the image is there then, whole, as it was or layered.
pub fn convert(store: &Store, image: &Image, lock: &LayersLock) -> Result<LayeredImage, LayerError> {
    let pool = image.path.parent().unwrap_or(Path::new("/"));
    let failed = || LayerError::system("make layers of", &image.path);
    let place = LayerPlace::of(store, pool)?;
    let disk = image.kind == ImageKind::Raw;
    let suffix = if disk { ".raw" } else { "" };
    let id = format!("{}{suffix}", LayerPlace::fresh_id().map_err(failed())?);
    let layer = Layer { path: place.path().join(&id), disk };
    let anchor = format!(".#{id}");
    let linked = || -> SysResult<()> {
        let directory = make_directory_at(&place, &anchor, 0o700)?;
        link(&directory, TREE, &image.path)?;
        link(&place, &id, &Path::new(&anchor).join(TREE))
    };
    linked().map_err(failed())?;
    point("convert-linked");
    let stack = NewStack::begin(pool, &image.name)?;
    stack.fill(std::slice::from_ref(&layer), &[])?;
    stack.make_writable(Some(&layer))?;
    point("convert-stack");
    let shown = match stack.show(&image.name) {
        Ok(shown) => shown,
        Err(error) => {
            let _ = abandon(&place, &anchor, &id);
            return Err(error);
        }
    };
    point("convert-shown");
    go_on(store, &place, &anchor, lock)?;
    point("convert-done");
    LayeredImage::open(&shown)
}

/// Whether the hidden directory `name` of `place` is that of a conversion.
pub(super) fn is_anchor(place: &LayerPlace, name: &str) -> bool {
    tree_of(place, name).is_some()
}

/// Goes on with conversions that were killed.
pub(super) fn finish_all(store: &Store, lock: &LayersLock) -> Result<(), LayerError> {
    for place in LayerPlace::all(store) {
        let failed = || LayerError::system("look into", place.path());
        for (name, _) in entries(&place).map_err(failed())? {
            let name = name.to_string_lossy().into_owned();
            let Some((tree, id)) = tree_of(&place, &name).zip(name.strip_prefix(".#")) else { continue };
            match is_link(&place, id) && !is_shown(store, &place.path().join(id)) {
                true => abandon(&place, &name, id).map_err(failed())?,
                // Somebody uses it meanwhile: another time.
                false => match try_lock_path(&tree, Hold::Exclusive) {
                    Ok(None) => {}
                    Ok(Some(_lock_of_image)) => go_on(store, &place, &name, lock)?,
                    // What is left in the pool leads nowhere.
                    Err(_) => go_on(store, &place, &name, lock)?,
                },
            }
        }
    }
    Ok(())
}

/// Steps 3 to 5.
fn go_on(store: &Store, place: &LayerPlace, anchor: &str, lock: &LayersLock) -> Result<(), LayerError> {
    let Some((tree, id)) = tree_of(place, anchor).zip(anchor.strip_prefix(".#")) else { return Ok(()) };
    let failed = || LayerError::system("make layers of", &tree);
    let layer = place.path().join(id);
    let name = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let pool = open_directory(tree.parent().unwrap_or(Path::new("/"))).map_err(failed())?;
    if is_link(place, id) {
        for image in images(store) {
            if !image.layers().iter().any(|other| other.path == layer) {
                image.retarget(&tree, &layer)?;
            }
        }
        records::retarget(store, &tree, &layer, lock)?;
        point("convert-retargeted");
        rename(place, id, &pool, &name, RenameFlags::EXCHANGE).map_err(failed())?;
        point("convert-swapped");
    }
    let left = rustix::fs::readlinkat(&pool, &name, Vec::new());
    if left.is_ok_and(|left| left.as_bytes() == format!("{anchor}/{TREE}").as_bytes()) {
        remove_file_at(&pool, &name).map_err(failed())?;
    }
    remove_tree_at(place, anchor).map_err(failed())
}

/// Goes back on step 1.
fn abandon(place: &LayerPlace, anchor: &str, id: &str) -> SysResult<()> {
    remove_file_at(place, id)?;
    remove_tree_at(place, anchor)
}

fn is_link(place: &LayerPlace, id: &str) -> bool {
    rustix::fs::readlinkat(place, id, Vec::new()).is_ok()
}

/// Whether an image has the layer.
fn is_shown(store: &Store, layer: &Path) -> bool {
    images(store).iter().any(|image| image.layers().iter().any(|other| other.path == layer))
}

/// The layered images that can be read.
fn images(store: &Store) -> Vec<LayeredImage> {
    let list = |pool: &PathBuf| -> Vec<PathBuf> {
        let names = open_directory(pool).and_then(entries).unwrap_or_default();
        let names = names.into_iter().filter(|(name, _)| name.to_string_lossy().ends_with(mstack::SUFFIX));
        names.map(|(name, _)| pool.join(name)).collect()
    };
    pools(store).iter().flat_map(list).filter_map(|path| LayeredImage::open(&path).ok()).collect()
}

/// The image that the conversion of `anchor` is of.
fn tree_of(place: &LayerPlace, anchor: &str) -> Option<PathBuf> {
    let directory: OwnedFd = open_directory_at(place, anchor).ok()?;
    let target = rustix::fs::readlinkat(&directory, TREE, Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}
