//! Which two states are compared: an image and what is below it, or a snapshot, or another image.

use std::os::fd::OwnedFd;

use crate::image::disk::{self, DiskOptions};
use crate::image::layers::{Layer, LayerError, LayeredImage, records};
use crate::image::merged::View;
use crate::image::opened::OpenError;
use crate::image::overlay::Marks;
use crate::image::{Error, Image, ImageKind, Store, origin};
use crate::sys::files::open_directory;

/// Two states.
#[derive(Debug)]
pub struct Sides {
    /// The one before.
    pub old: View,
    /// The one now.
    pub new: View,
    /// What the one before is, in words.
    pub against: String,
}

/// The state of `image` and that which it is compared with: `against`, a snapshot of it or another image, else what is
/// below its writable layer; where it has none, the image that it is a copy of.
///
/// # Errors
/// When there is nothing to compare it with.
pub fn sides(store: &Store, image: &Image, against: Option<&str>) -> Result<Sides, LayerError> {
    let (layers, changes) = parts(image)?;
    let new = view(image.kind, &layers, changes)?;
    let (old, against) = match against {
        None if image.kind != ImageKind::Layered => {
            let nothing = || LayerError::NothingBelow { name: image.name.to_string() };
            let parent = origin::of(store, image).and_then(|origin| origin.parent).ok_or_else(nothing)?;
            of_image(store, &parent)?.ok_or_else(nothing)?
        }
        None => (view(image.kind, &layers, None)?, "its layers".to_owned()),
        Some(name) => other(store, image, name)?,
    };
    Ok(Sides { old, new, against })
}

fn other(store: &Store, image: &Image, name: &str) -> Result<(View, String), LayerError> {
    match records::find(store, image.name.as_str(), Some(name)) {
        Ok(record) => {
            let kind = if record.subvolume { ImageKind::Subvolume } else { ImageKind::Layered };
            let view = view(kind, &record.layers(store), None)?;
            return Ok((view, format!("snapshot {name}")));
        }
        Err(LayerError::NoSnapshot { .. }) => {}
        Err(error) => return Err(error),
    }
    of_image(store, name)?.ok_or_else(|| LayerError::NothingCalled { name: name.to_owned() })
}

/// The present state of the image `name`, if there is one.
fn of_image(store: &Store, name: &str) -> Result<Option<(View, String)>, LayerError> {
    let other = match name.parse().ok().map(|name| store.find(&name)) {
        Some(Ok(other)) => other,
        None | Some(Err(Error::NoImage { .. })) => return Ok(None),
        Some(Err(error)) => return Err(error.into()),
    };
    let (layers, changes) = parts(&other)?;
    Ok(Some((view(other.kind, &layers, changes)?, format!("image {name}"))))
}

/// What an image is made of: layers, and what was changed over them.
fn parts(image: &Image) -> Result<(Vec<Layer>, Option<OwnedFd>), LayerError> {
    match image.kind {
        ImageKind::Layered => {
            let layered = LayeredImage::open(&image.path)?;
            let changes = layered.changes()?;
            Ok((layered.layers().to_vec(), changes))
        }
        kind => {
            let disk = matches!(kind, ImageKind::Raw | ImageKind::Block);
            Ok((vec![Layer { path: image.path.clone(), disk }], None))
        }
    }
}

fn view(kind: ImageKind, layers: &[Layer], changes: Option<OwnedFd>) -> Result<View, LayerError> {
    let mut opened = layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if kind != ImageKind::Layered
        && let Some(tree) = opened.pop()
    {
        return Ok(View::of_tree(tree));
    }
    opened.extend(changes);
    Ok(View::of_layers(opened, Marks::User))
}

fn open(layer: &Layer) -> Result<OwnedFd, LayerError> {
    if layer.disk {
        let mount = disk::mount(&layer.path, &DiskOptions { read_only: true, ..DiskOptions::default() })
            .map_err(OpenError::from)?;
        return Ok(mount.into_fd());
    }
    open_directory(&layer.path).map_err(LayerError::system("open layer", &layer.path))
}
