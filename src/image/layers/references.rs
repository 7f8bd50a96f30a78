//! Who refers to a layer; those that nobody does are removed.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::links::is_same;
use super::{LayerError, LayerPlace, LayeredImage, LayersLock, records};
use crate::image::{Store, mstack};
use crate::sys::files::{entries, open_at, open_directory, try_lock};

/// What refers to a layer, in words.
type Referrer = String;

/// The images and snapshots whose layer the tree or disk image at `path` is: while there are any, it must not be changed,
/// moved or removed.
///
/// # Errors
/// When a directory of images cannot be read.
pub fn dependents(store: &Store, path: &Path) -> Result<Vec<Referrer>, LayerError> {
    let mut found: Vec<Referrer> = all(store)?
        .into_iter()
        .filter(|(_, target)| is_same(target, path))
        .map(|(referrer, _)| referrer)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Removes the layers that neither an image nor a snapshot refers to, and what killed commands left of others. Says how many.
///
/// # Errors
/// When it cannot be told who refers to what: then none is removed.
pub fn collect(store: &Store, lock: &LayersLock) -> Result<usize, LayerError> {
    let places = LayerPlace::all(store);
    let listed: Vec<_> =
        places.iter().filter_map(|place| entries(place).ok().map(|list| (place, list))).collect();
    if listed.iter().all(|(_, list)| list.is_empty()) {
        return Ok(0);
    }
    let referred: BTreeSet<PathBuf> = all(store)?.into_iter().map(|(_, target)| target).collect();
    let key = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let files: BTreeSet<_> = referred.iter().filter_map(|target| key(target)).collect();
    let mut removed = 0;
    for (place, list) in listed {
        for (name, _) in list {
            let path = place.path().join(&name);
            let name = name.to_string_lossy();
            if name.starts_with(".#") {
                // Of somebody who is about to make one, if it is locked.
                let free = super::freeze::open(place, &name).and_then(try_lock_any);
                if free.unwrap_or(false) && !super::conversion::is_anchor(place, &name) {
                    super::freeze::remove(place, &name).map_err(LayerError::system("remove layer", &path))?;
                }
                continue;
            }
            let is_referred =
                referred.range(path.clone()..).next().is_some_and(|next| next.starts_with(&path))
                    || key(&path).is_some_and(|key| files.contains(&key));
            if !is_referred {
                super::freeze::remove(place, &name).map_err(LayerError::system("remove layer", &path))?;
                removed += 1;
            }
        }
    }
    let _ = lock;
    Ok(removed)
}

/// What cannot be locked, a place, is nobody's.
fn try_lock_any(fd: OwnedFd) -> crate::sys::SysResult<bool> {
    match try_lock(&fd) {
        Err(error) if error.errno() == rustix::io::Errno::BADF => Ok(true),
        locked => locked,
    }
}

/// Every layer of every image and snapshot, with what it is of.
fn all(store: &Store) -> Result<Vec<(Referrer, PathBuf)>, LayerError> {
    let mut found = Vec::new();
    for pool in pools(store) {
        let failed = || LayerError::system("look into", &pool);
        let list = match open_directory(&pool) {
            Err(error) if error.errno() == rustix::io::Errno::NOENT => continue,
            opened => opened.and_then(|directory| entries(&directory)).map_err(failed())?,
        };
        for (name, kind) in list {
            let text = name.to_string_lossy();
            let path = pool.join(&name);
            if let Some(stem) = text.strip_suffix(mstack::SUFFIX).filter(|stem| !stem.is_empty()) {
                found.extend(layers_of(&path).into_iter().map(|target| (format!("image {stem}"), target)));
            } else if text.starts_with(".#") && kind == FileType::Directory {
                // One that is being made, or that changed places with one.
                let word = || format!("image {}", text.trim_start_matches(".#"));
                found.extend(layers_of(&path).into_iter().map(|target| (word(), target)));
            } else if text.ends_with(".mstack.v") {
                let versions = open_directory(&path).and_then(entries).unwrap_or_default();
                let paths = versions.into_iter().map(|(version, _)| path.join(version));
                found.extend(
                    paths.flat_map(|path| layers_of(&path)).map(|target| (format!("image {text}"), target)),
                );
            }
        }
    }
    for (image, record) in records::all(store)? {
        for layer in record.layers(store) {
            found.push((format!("snapshot {} of {image}", record.name), layer.path));
        }
    }
    Ok(found)
}

/// The directories that images are in.
pub(super) fn pools(store: &Store) -> Vec<PathBuf> {
    let mut pools = store.search.clone();
    if !pools.contains(&store.pool) {
        pools.push(store.pool.clone());
    }
    pools
}

/// Where the layers of the image at `path` are. One that is broken has those that can be told: none of them is lost.
fn layers_of(path: &Path) -> Vec<PathBuf> {
    if let Ok(image) = LayeredImage::open(path) {
        return image.layers().iter().map(|layer| layer.path.clone()).collect();
    }
    let Ok(directory) = open_directory(path) else { return Vec::new() };
    let list = entries(&directory).unwrap_or_default();
    let real = super::links::real_path(&directory).unwrap_or_else(|_| path.to_owned());
    let names = list.into_iter().filter(|(name, _)| name.to_string_lossy().starts_with("layer@"));
    names
        .filter_map(|(name, _)| super::links::target_of(&directory, &real, &name.to_string_lossy()).ok())
        .collect()
}

/// Opens a directory that may be gone.
pub(super) fn open_if_there(path: &Path) -> Result<Option<OwnedFd>, LayerError> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    match open_at(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.errno() == rustix::io::Errno::NOENT => Ok(None),
        Err(error) => Err(LayerError::system("look into", path)(error)),
    }
}
