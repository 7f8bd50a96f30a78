//! Images as `org.freedesktop.machine1` has them: which there are, what is known of them, and their objects.
//!
//! What is read quickly is read here, at each call: the store is all there is. The rest is in [`super::image_operations`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zbus::{OwnedObjectPath, fdo};

use super::image::ImageObject;
use super::{HOST, PATH};
use crate::image::properties::Properties;
use crate::image::remove::{HiddenEntry, hidden_entries};
use crate::image::store::SEARCH_PATH;
use crate::image::{Image, ImageKind, ImageName, Store, hidden};
use crate::manager::context::Context;
use crate::manager::object_path::encode;
use crate::manager::own;
use crate::manager::problem::{Kind, Problem};
use crate::sys::readiness::watched;
use crate::sys::watch::Watch;

/// How much there is, or may be, where nobody counts.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// What a name is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An image.
    Image(Image),
    /// Something like one, that systemd-importd keeps hidden to make images of.
    Hidden(HiddenEntry),
    /// The host's tree, which systemd-machined counts as one.
    Host,
}

/// What is known of an image without a look into it. Times are in microseconds since 1970, or 0; sizes in bytes, or all ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Facts {
    pub name: String,
    pub path: String,
    pub kind: &'static str,
    pub read_only: bool,
    pub created: u64,
    pub modified: u64,
    pub usage: u64,
    pub limit: u64,
}

/// What the image `name` of `store` is.
///
/// # Errors
/// [`Kind::NoSuchImage`].
pub fn find(store: &Store, name: &str) -> Result<Found, Problem> {
    if name == HOST {
        return Ok(Found::Host);
    }
    if name.starts_with('.') {
        let hidden = kept(store)?.into_iter().find(|entry| entry.name == name);
        return hidden.map(Found::Hidden).ok_or_else(|| Problem::no_image(name));
    }
    // What is no name names no image.
    let parsed: ImageName = name.parse().map_err(|_| Problem::no_image(name))?;
    Ok(Found::Image(store.find(&parsed)?))
}

/// What systemd-importd keeps. What is being made is nobody's to see.
fn kept(store: &Store) -> Result<Vec<HiddenEntry>, Problem> {
    let mut entries = hidden_entries(store)?;
    entries
        .retain(|entry| entry.is_ours() && entry.kind.is_some() && !entry.name.starts_with(hidden::PREFIX));
    Ok(entries)
}

impl Facts {
    /// What is known of the image called `name`, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let store = Store::system();
        find(&store, name).ok().and_then(|found| Self::of(&store, &found))
    }

    /// The same for a property of its object.
    ///
    /// # Errors
    /// UnknownObject where there is none any more.
    pub fn told(name: &str) -> fdo::Result<Self> {
        Self::named(name).ok_or_else(|| fdo::Error::UnknownObject(format!("image {name} is gone")))
    }

    /// What is known of `found`; `None` if it has gone.
    pub fn of(store: &Store, found: &Found) -> Option<Self> {
        let (name, path, kind) = match found {
            Found::Image(image) => (image.name.to_string(), image.path.clone(), image.kind),
            Found::Hidden(entry) => (entry.name.clone(), store.pool.join(&entry.name), entry.kind?),
            Found::Host => (HOST.to_owned(), PathBuf::from("/"), ImageKind::Directory),
        };
        // Its name has no part in what is looked at.
        let image = Image { name: "image".parse().ok()?, path, kind };
        let properties = Properties::of(&image).ok()?;
        Some(Self {
            name,
            path: image.path.display().to_string(),
            kind: kind.word(),
            read_only: properties.read_only,
            created: properties.created.unwrap_or(0),
            modified: properties.modified.unwrap_or(0),
            usage: properties.usage.unwrap_or(UNKNOWN),
            limit: properties.size.unwrap_or(UNKNOWN),
        })
    }
}

/// All images, those of systemd-importd and the host among them.
///
/// # Errors
/// When a directory of images cannot be read.
pub fn all() -> Result<Vec<Facts>, Problem> {
    let store = Store::system();
    let images = store.all()?.into_iter().map(Found::Image);
    let kept = kept(&store)?.into_iter().map(Found::Hidden);
    let found = std::iter::once(Found::Host).chain(images).chain(kept);
    // One that is broken, or has just gone, is no reason not to see the others.
    Ok(found.filter_map(|found| Facts::of(&store, &found)).collect())
}

/// A name that no image can have.
pub fn invalid_name(name: &str) -> Problem {
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    Problem::new(Kind::InvalidArgument, format!("Image name '{name}' is invalid."))
}

/// The object of the image called `name`.
pub fn image_path(name: &str) -> OwnedObjectPath {
    // An encoded name is an element of a path.
    OwnedObjectPath::try_from(format!("{PATH}/image/{}", encode(name))).unwrap_or_default()
}

/// The images that have objects.
#[derive(Debug, Default)]
pub struct Images(Mutex<BTreeSet<String>>);

/// One at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes the objects of images that came, and removes those of images that went.
///
/// # Errors
/// When a directory of images cannot be read.
pub async fn announce(context: &Context) -> Result<Vec<Facts>, Problem> {
    let _turn = TURN.lock().await;
    let facts = all()?;
    let now: BTreeSet<String> = facts.iter().map(|facts| facts.name.clone()).collect();
    let before = {
        let mut names = context.images().0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *names, now.clone())
    };
    let server = context.connection().object_server();
    for name in before.difference(&now) {
        // A connection that is gone is seen by who waits for its end.
        let _ = server.remove::<ImageObject, _>(&image_path(name)).await;
        own::image_went(context, name).await;
    }
    for name in now.difference(&before) {
        let _ = server.at(&image_path(name), ImageObject::new(context.clone(), name)).await;
        own::image_came(context, name).await;
    }
    Ok(facts)
}

/// Has objects come and go with the images for as long as the manager runs.
///
/// # Errors
/// When directories cannot be watched.
pub async fn watch(context: Context) -> Result<(), Problem> {
    use std::os::fd::AsFd;
    let failed = |error: &dyn std::error::Error| Problem::of(Kind::Failed, error, None);
    let watch = Watch::new().map_err(|error| failed(&error))?;
    let told = watch.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    let told = watched(told).map_err(|error| failed(&error))?;
    loop {
        watch.clear().map_err(|error| failed(&error))?;
        for directory in SEARCH_PATH.map(Path::new) {
            // One that is not there may come.
            if !watch.add(directory).map_err(|error| failed(&error))?
                && let Some(parent) = directory.parent()
            {
                watch.add(parent).map_err(|error| failed(&error))?;
            }
        }
        announce(&context).await?;
        let mut ready = told.readable().await.map_err(|error| failed(&error))?;
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_are_of() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        for name in ["web", ".tar-https:x", ".#web.0123456789abcdef", ".mine", "layers.mstack"] {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
        }
        std::fs::write(temporary.path().join("disk.raw"), "").unwrap();
        let table = [
            ("web", Some("directory")),
            ("disk", Some("raw")),
            ("layers", Some("mstack")),
            (".tar-https:x", Some("directory")),
            (".host", Some("directory")),
            (".#web.0123456789abcdef", None),
            (".mine", None),
            ("none", None),
            ("../web", None),
            ("", None),
            ("a\nb", None),
        ];
        for (name, expected) in table {
            let found = find(&store, name);
            let facts = found.as_ref().ok().and_then(|found| Facts::of(&store, found));
            assert_eq!(facts.as_ref().map(|facts| facts.kind), expected, "{name:?}");
            match found {
                Ok(_) => assert_eq!(facts.map(|facts| facts.name).as_deref(), Some(name)),
                Err(problem) => assert_eq!(problem.kind, Kind::NoSuchImage, "{name:?}"),
            }
        }
    }
}
