//! An image of a machine's present state: one plain tree, or the layers that it is made of.

use super::clone::{CloneOptions, Cloned, clone, flatten};
use super::conditions::check_free;
use super::layers::LayerError;
use super::origin::Origin;
use super::snapshot::Pause;
use super::{Image, ImageKind, ImageName, Store};

/// Makes an image `to` of what `from` is now: a directory, or as it is, `layered`, sharing its layers.
///
/// # Errors
/// When the name is taken, or somebody writes to `from` who cannot be paused.
pub fn commit(
    store: &Store,
    from: &Image,
    to: &ImageName,
    layered: bool,
    read_only: bool,
    pause: Pause<'_>,
) -> Result<Cloned, LayerError> {
    if layered {
        if from.kind != ImageKind::Layered {
            return Err(LayerError::NotLayered { name: from.name.to_string() });
        }
        return clone(store, from, to, CloneOptions { copy: false, read_only }, pause);
    }
    check_free(store, to)?;
    let origin = Origin { parent: Some(from.name.to_string()), ..Origin::new("commit") };
    flatten(store, from, to, read_only, origin, pause)
}
