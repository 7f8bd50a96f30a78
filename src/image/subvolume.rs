//! Images that are subvolumes of btrfs: the file system keeps their states, as snapshots of its own.
//!
//! A snapshot is one transaction of the file system, so machines that run need not be paused for it. Subvolumes within
//! a subvolume are empty directories in its snapshots (btrfs-subvolume(8)).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::conditions::{check_free, free_name, is_there};
use super::fault::point;
use super::layers::links::rename;
use super::layers::{Layer, LayerError, LayerPlace, LayersLock, Record, collect, records};
use super::lock::{Hold, lock, lock_name};
use super::origin::{self, Origin};
use super::rollback::RolledBack;
use super::{Error, Image, ImageKind, ImageName, Store, hidden, properties};
use crate::sys::btrfs;
use crate::sys::files::{open_directory, remove_tree_at};

/// A subvolume under a hidden name: removed when dropped without another.
struct Hidden {
    pool: OwnedFd,
    name: String,
    lock: Option<OwnedFd>,
    shown: bool,
}

impl Hidden {
    /// One that is a snapshot of the subvolume at `source`; `None` where that is on another file system.
    fn snapshot(pool: &Path, name: &ImageName, source: &Path) -> Result<Option<Self>, LayerError> {
        let failed = || LayerError::system("make a snapshot of", source);
        let directory = hidden::pool(pool).map_err(failed())?;
        let from = open_directory(source).map_err(failed())?;
        loop {
            let hidden = hidden::fresh_name(name).map_err(failed())?;
            match btrfs::snapshot(&from, &directory, &hidden, false) {
                Ok(()) => {}
                Err(error) if matches!(error.errno(), Errno::XDEV | Errno::NOTTY | Errno::INVAL) => {
                    return Ok(None);
                }
                Err(error) => return Err(failed()(error)),
            }
            // Swept before it was locked, it is made again.
            if let Some(lock) = hidden::claimed(&directory, &hidden).map_err(failed())? {
                return Ok(Some(Self { pool: directory, name: hidden, lock: Some(lock), shown: false }));
            }
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        drop(self.lock.take());
        if !self.shown {
            // What is left is unlocked: the next command removes it.
            let _ = remove_tree_at(&self.pool, &self.name);
        }
    }
}

/// A clone of the subvolume `from`; `None` where the pool is on another file system.
pub(super) fn clone(
    store: &Store,
    from: &Image,
    to: &ImageName,
    read_only: bool,
    origin: &Origin,
) -> Result<Option<Image>, LayerError> {
    let Some(mut new) = Hidden::snapshot(&store.pool, to, &from.path)? else { return Ok(None) };
    point("clone-built");
    let path = store.pool.join(to.as_str());
    let _name = lock_name(to)?;
    check_free(store, to)?;
    if let Some(content) = &new.lock {
        origin::prepare(store, to, content, origin)?;
        // A subvolume can be renamed whatever its property is.
        if read_only {
            properties::mark_opened(content, ImageKind::Subvolume, true)
                .map_err(LayerError::system("make image", &path))?;
        }
    }
    point("clone-recorded");
    match rename(&new.pool, &new.name, &new.pool, to.as_str(), RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(error) => {
            origin::withdraw(store, to);
            return Err(match error.errno() {
                Errno::EXIST => Error::Exists { name: to.to_string(), path }.into(),
                _ => LayerError::system("make image", path)(error),
            });
        }
    }
    new.shown = true;
    origin::settle(store, to, true);
    Ok(Some(Image { name: to.clone(), path, kind: ImageKind::Subvolume }))
}

/// Makes a snapshot of `image`, which nobody can write to, among the layers.
pub(super) fn snapshot(store: &Store, image: &Image, _lock: &LayersLock) -> Result<Layer, LayerError> {
    let failed = || LayerError::system("make a snapshot of", &image.path);
    let place = LayerPlace::of(store, image.path.parent().unwrap_or(Path::new("/")))?;
    let id = LayerPlace::fresh_id().map_err(failed())?;
    let source = open_directory(&image.path).map_err(failed())?;
    btrfs::snapshot(&source, &place, &id, true).map_err(failed())?;
    point("layer-made");
    Ok(Layer { path: place.path().join(id), disk: false })
}

/// Takes `image` back to the snapshot `name`, as [`super::rollback::roll_back`] does.
pub(super) fn roll_back(
    store: &Store,
    image: &Image,
    name: &str,
    discard: bool,
) -> Result<RolledBack, LayerError> {
    let _locked = lock(image, Hold::Exclusive)?;
    let lock = LayersLock::take(store)?;
    let to = records::find(store, image.name.as_str(), Some(name))?;
    let layer = to.layers(store).pop().filter(|layer| to.subvolume && is_there(&layer.path));
    let layer = layer.ok_or_else(|| LayerError::Record {
        path: image.path.clone(),
        message: format!("snapshot {name} has no subvolume"),
    })?;
    let kept = if discard {
        None
    } else {
        let now = snapshot(store, image, &lock)?;
        let name = free_name(store, &image.name, "before-rollback_")?;
        let mut record = Record::new(store, name, None, true, &[now]);
        record.subvolume = true;
        record.write(store, &image.name, &lock)?;
        Some(record)
    };
    point("rollback-kept");
    let pool = image.path.parent().unwrap_or(Path::new("/"));
    let failed = || LayerError::system("change", &image.path);
    let entry = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(new) = Hidden::snapshot(pool, &image.name, &layer.path)? else {
        let message = "its subvolume is on another file system".to_owned();
        return Err(LayerError::Record { path: layer.path, message });
    };
    point("rollback-built");
    rename(&new.pool, &new.name, &new.pool, &entry, RenameFlags::EXCHANGE).map_err(failed())?;
    point("rollback-swapped");
    drop(new);
    point("rollback-removed");
    collect(store, &lock)?;
    Ok(RolledBack { to, kept })
}
