//! Snapshots, written down: `snapshots/IMAGE/SNAPSHOT.json` in the state directory.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::links::is_same;
use super::references::open_if_there;
use super::{Layer, LayerError, LayersLock};
use crate::image::{ImageName, Store};
use crate::settings::nearest;
use crate::sys::files::{
    entries, make_directories, open_at, read_at, remove_directory_at, remove_file_at, write_all,
};
use crate::sys::{FdPath, SysResult, sys};

/// Far more than a record has.
const LIMIT: usize = 1 << 20;

const SUFFIX: &str = ".json";

/// A snapshot: the layers that the image had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Its name.
    pub name: String,
    /// When it was made, in microseconds since 1970.
    pub created: u64,
    /// What for, in the user's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// It was made by a rollback, of what it took away.
    #[serde(default)]
    pub automatic: bool,
    /// It is a subvolume of btrfs, and not of layers.
    #[serde(default)]
    pub subvolume: bool,
    /// Its layers, the lowest first: relative to the pool where they are in it.
    layers: Vec<LayerReference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerReference {
    path: PathBuf,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disk: bool,
}

impl Record {
    /// A snapshot of `layers`.
    pub fn new(
        store: &Store,
        name: String,
        message: Option<String>,
        automatic: bool,
        layers: &[Layer],
    ) -> Self {
        let mut record =
            Self { name, created: now(), message, automatic, subvolume: false, layers: Vec::new() };
        record.set_layers(store, layers);
        record
    }

    /// Its layers, the lowest first.
    pub fn layers(&self, store: &Store) -> Vec<Layer> {
        let layer = |layer: &LayerReference| Layer { path: store.pool.join(&layer.path), disk: layer.disk };
        self.layers.iter().map(layer).collect()
    }

    fn set_layers(&mut self, store: &Store, layers: &[Layer]) {
        let reference = |layer: &Layer| {
            let path = layer.path.strip_prefix(&store.pool).unwrap_or(&layer.path).to_owned();
            LayerReference { path, disk: layer.disk }
        };
        self.layers = layers.iter().map(reference).collect();
    }

    /// Writes it down as one of `image`.
    ///
    /// # Errors
    /// When it cannot be written to disk.
    pub fn write(&self, store: &Store, image: &ImageName, _lock: &LayersLock) -> Result<(), LayerError> {
        let path = directory(store, image.as_str());
        let written = || -> SysResult<()> {
            let directory = make_directories(&path, 0o700)?;
            let text = serde_json::to_vec(self).unwrap_or_default();
            let (name, temporary) = (format!("{}{SUFFIX}", self.name), format!(".#{}", self.name));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
            let file = open_at(&directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
            write_all(&file, &text)?;
            // After a power cut it is whole, or not there.
            sys("fdatasync", rustix::fs::fdatasync(&file), || FdPath::of(&file).to_string())?;
            sys("renameat", rustix::fs::renameat(&directory, &temporary, &directory, &name), || {
                format!("{}, {temporary:?}, {name:?}", FdPath::of(&directory))
            })
        };
        written().map_err(LayerError::system("write down a snapshot in", &path))
    }

    /// Removes it; its layers go with [`super::collect`].
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, store: &Store, image: &ImageName, _lock: &LayersLock) -> Result<(), LayerError> {
        let path = directory(store, image.as_str());
        let removed = || -> SysResult<()> {
            let directory = make_directories(&path, 0o700)?;
            remove_file_at(&directory, format!("{}{SUFFIX}", self.name))?;
            // The last one's directory goes with it.
            let _ = remove_directory_at(rustix::fs::CWD, &path);
            Ok(())
        };
        removed().map_err(LayerError::system("remove a snapshot from", &path))
    }
}

/// The snapshots of `image`, the oldest first.
///
/// # Errors
/// When one cannot be read.
pub fn of(store: &Store, image: &str) -> Result<Vec<Record>, LayerError> {
    let path = directory(store, image);
    let Some(directory) = open_if_there(&path)? else { return Ok(Vec::new()) };
    let failed = || LayerError::system("look into", &path);
    let mut found = Vec::new();
    for (name, _) in entries(&directory).map_err(failed())? {
        let text = name.to_string_lossy();
        if text.starts_with(".#") || !text.ends_with(SUFFIX) {
            continue;
        }
        let bytes = read_at(&directory, &name, LIMIT).map_err(failed())?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| LayerError::Record { path: path.join(&name), message: error.to_string() })?;
        found.push(record);
    }
    found.sort_by(|one, other| (one.created, &one.name).cmp(&(other.created, &other.name)));
    Ok(found)
}

/// The snapshot `name` of `image`; without a name, the last that somebody asked for.
///
/// # Errors
/// [`LayerError::NoSnapshot`], [`LayerError::NoSnapshots`].
pub fn find(store: &Store, image: &str, name: Option<&str>) -> Result<Record, LayerError> {
    let mut records = of(store, image)?;
    let Some(name) = name else {
        let last = records.into_iter().rfind(|record| !record.automatic);
        return last.ok_or_else(|| LayerError::NoSnapshots { image: image.to_owned() });
    };
    match records.iter().position(|record| record.name == name) {
        Some(place) => Ok(records.swap_remove(place)),
        None => {
            let known = records.iter().map(|record| record.name.as_str());
            let nearest = nearest(name, known).map(str::to_owned);
            Err(LayerError::NoSnapshot { image: image.to_owned(), name: name.to_owned(), nearest })
        }
    }
}

/// All there are, with the images that they are of.
pub(super) fn all(store: &Store) -> Result<Vec<(String, Record)>, LayerError> {
    let path = store.state.join("snapshots");
    let Some(directory) = open_if_there(&path)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (image, _) in entries(&directory).map_err(LayerError::system("look into", &path))? {
        let image = image.to_string_lossy().into_owned();
        found.extend(of(store, &image)?.into_iter().map(|record| (image.clone(), record)));
    }
    Ok(found)
}

/// Makes the snapshots that have the layer `from` have `to`.
pub(super) fn retarget(store: &Store, from: &Path, to: &Path, lock: &LayersLock) -> Result<(), LayerError> {
    for store in &super::references::stores(store) {
        for (image, mut record) in all(store)? {
            let mut layers = record.layers(store);
            let mut touched = false;
            for layer in layers.iter_mut().filter(|layer| is_same(&layer.path, from)) {
                to.clone_into(&mut layer.path);
                touched = true;
            }
            if let (true, Ok(image)) = (touched, image.parse()) {
                record.set_layers(store, &layers);
                record.write(store, &image, lock)?;
            }
        }
    }
    Ok(())
}

/// Forgets the snapshots of an image that is gone; their layers go with [`super::collect`].
///
/// # Errors
/// When they cannot be removed.
pub fn forget(store: &Store, image: &ImageName, _lock: &LayersLock) -> Result<(), LayerError> {
    let path = store.state.join("snapshots");
    let Some(directory) = open_if_there(&path)? else { return Ok(()) };
    crate::sys::files::remove_tree_at(&directory, image.as_str())
        .map_err(LayerError::system("forget the snapshots in", &path))
}

/// The snapshots of an image that is called `new` now are those of that.
///
/// # Errors
/// When there are others of that name.
pub fn rename(store: &Store, old: &ImageName, new: &ImageName, _lock: &LayersLock) -> Result<(), LayerError> {
    let path = store.state.join("snapshots");
    let Some(directory) = open_if_there(&path)? else { return Ok(()) };
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match super::links::rename(&directory, old.as_str(), &directory, new.as_str(), flags) {
        Err(error) if error.errno() == rustix::io::Errno::NOENT => Ok(()),
        renamed => renamed.map_err(LayerError::system("rename the snapshots in", &path)),
    }
}

fn directory(store: &Store, image: &str) -> PathBuf {
    store.state.join("snapshots").join(image)
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
