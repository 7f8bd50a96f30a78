//! Who refers to a layer; those that nobody does are removed.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::links::is_same;
use super::place::mount_of;
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
    let listed: Vec<_> = places
        .iter()
        .filter(|place| !may_be_hidden(store, place))
        .filter_map(|place| entries(place).ok().map(|list| (place, list)))
        .collect();
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

/// Whether images that refer to the layers in `place` may be out of sight. Layers are in the state directory because their
/// images are on the same mount: where the pool is another one now, somebody mounted it over them.
fn may_be_hidden(store: &Store, place: &LayerPlace) -> bool {
    let mounts = || Some((mount_of(place).ok()?, mount_of(&open_directory(&store.pool).ok()?).ok()?));
    place.path().starts_with(&store.state) && mounts().is_some_and(|(layers, pool)| layers != pool)
}

/// What cannot be locked, a place, is nobody's.
fn try_lock_any(fd: OwnedFd) -> crate::sys::SysResult<bool> {
    match try_lock(&fd) {
        Err(error) if error.errno() == Errno::BADF => Ok(true),
        locked => locked,
    }
}

/// Every layer of every image and snapshot, with what it is of.
fn all(store: &Store) -> Result<Vec<(Referrer, PathBuf)>, LayerError> {
    let mut found = Vec::new();
    for pool in pools(store) {
        let failed = || LayerError::system("look into", &pool);
        let list = match open_directory(&pool) {
            Err(error) if error.errno() == Errno::NOENT => continue,
            opened => opened.and_then(|directory| entries(&directory)).map_err(failed())?,
        };
        for (name, kind) in list {
            let text = name.to_string_lossy();
            let path = pool.join(&name);
            if let Some(stem) = text.strip_suffix(mstack::SUFFIX).filter(|stem| !stem.is_empty()) {
                found.extend(layers_of(&path)?.into_iter().map(|target| (format!("image {stem}"), target)));
            } else if text.starts_with(".#") && kind == FileType::Directory {
                // One that is being made, or that changed places with one.
                let word = || format!("image {}", text.trim_start_matches(".#"));
                found.extend(layers_of(&path)?.into_iter().map(|target| (word(), target)));
            } else if text.ends_with(".mstack.v") {
                let Some(versions) = open_if_there(&path)? else { continue };
                for (version, _) in entries(&versions).map_err(LayerError::system("look into", &path))? {
                    let layers = layers_of(&path.join(version))?;
                    found.extend(layers.into_iter().map(|target| (format!("image {text}"), target)));
                }
            }
        }
    }
    for store in stores(store) {
        for (image, record) in records::all(&store)? {
            for layer in record.layers(&store) {
                found.push((format!("snapshot {} of {image}", record.name), layer.path));
            }
        }
    }
    Ok(found)
}

/// The directories that images are in, which may refer to layers of `store`.
pub(super) fn pools(store: &Store) -> Vec<PathBuf> {
    let mut pools = Vec::new();
    for store in stores(store) {
        for pool in store.search.into_iter().chain([store.pool]) {
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
    }
    pools
}

/// `store`, and those that share directories with it: each directory of images may have been worked on alone
/// (`--image-root=`), and each of the search path's is the system's too. What one of them refers to, none may remove.
pub(super) fn stores(store: &Store) -> Vec<Store> {
    let mut stores = vec![store.clone()];
    let system = Store::system();
    if store.search.iter().chain([&store.pool]).any(|pool| system.search.contains(pool)) {
        stores.push(system);
    }
    let pools: Vec<PathBuf> = stores.iter().flat_map(|store| store.search.clone()).collect();
    stores.extend(pools.iter().map(|pool| Store::alone(pool)));
    let mut states = BTreeSet::new();
    stores.retain(|store| states.insert(store.state.clone()));
    stores
}

/// Where the layers of the image at `path` are. One that is broken has those that can be told: none of them is lost; of one
/// that cannot be looked into nobody knows, which is an error.
fn layers_of(path: &Path) -> Result<Vec<PathBuf>, LayerError> {
    if let Ok(image) = LayeredImage::open(path) {
        return Ok(image.layers().iter().map(|layer| layer.path.clone()).collect());
    }
    let Some(directory) = open_if_there(path)? else { return Ok(Vec::new()) };
    let told = || -> crate::sys::SysResult<Vec<PathBuf>> {
        let real = super::links::real_path(&directory)?;
        let names = entries(&directory)?.into_iter().map(|(name, _)| name.to_string_lossy().into_owned());
        let layers = names.filter(|name| name.starts_with("layer@"));
        layers.map(|name| super::links::target_of(&directory, &real, &name)).collect()
    };
    told().map_err(LayerError::system("look into", path))
}

/// Opens a directory that may be gone.
pub(super) fn open_if_there(path: &Path) -> Result<Option<OwnedFd>, LayerError> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    match open_at(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(LayerError::system("look into", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::image::layers::{Layer, Record};

    /// A pool that is worked on alone, and as one of the search path of another store.
    #[test]
    fn layers_of_another_store_of_the_pool_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let pool = temporary.path().join("pool");
        let layer = pool.join(".#spinney/layers/1");
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(pool.join(".#spinney/layers/2")).unwrap();
        let alone = Store::at(&pool);
        let whole =
            Store { search: vec![pool.clone()], pool: pool.clone(), state: temporary.path().join("state") };
        {
            let lock = LayersLock::take(&alone).unwrap();
            let layers = [Layer { path: layer.clone(), disk: false }];
            let record = Record::new(&alone, "s1".to_owned(), None, false, &layers);
            record.write(&alone, &"web".parse().unwrap(), &lock).unwrap();
        }
        assert_eq!(dependents(&whole, &layer).unwrap(), ["snapshot s1 of web"]);
        assert_eq!(collect(&whole, &LayersLock::take(&whole).unwrap()).unwrap(), 1);
        assert!(layer.exists());
    }

    /// While an image cannot be looked into, its layers may be any.
    #[test]
    fn nothing_is_removed_while_an_image_cannot_be_read() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        let layer = temporary.path().join(".#spinney/layers/1");
        fs::create_dir_all(&layer).unwrap();
        symlink("n".repeat(300), temporary.path().join("web.mstack")).unwrap();
        assert!(collect(&store, &LayersLock::take(&store).unwrap()).is_err());
        assert!(layer.exists());
        fs::remove_file(temporary.path().join("web.mstack")).unwrap();
        symlink("nothing", temporary.path().join("web.mstack")).unwrap();
        assert_eq!(collect(&store, &LayersLock::take(&store).unwrap()).unwrap(), 1);
    }
}
