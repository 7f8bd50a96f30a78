//! Removal of an image and all that is its own, and of what is hidden in a pool.
//!
//! First it gets a hidden name, and that is on disk before anything of it goes: nobody, after no power cut, sees half of it
//! under its name. What is killed on the way is swept by the next command.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FileType;

use super::error::Error;
use super::fault::point;
use super::layers::{self, LayersLock};
use super::name::ImageName;
use super::properties::{Properties, set_immutable};
use super::store::{Image, ImageKind, Store};
use super::{companions, hidden, lock, origin, users};
use crate::sys::files::{entries, open_directory, open_directory_at, remove_tree_at};
use crate::sys::{FdPath, SysResult, sys};

/// Removes `image`, its settings, snapshots and layers that are no one else's, and what is known of it. Of an image with
/// versions, the version that it is now. With `force` also one that is read-only.
///
/// # Errors
/// [`Error::InUse`] with who uses it, [`Error::ReadOnly`], [`Error::OutOfReach`].
pub fn remove(store: &Store, image: &Image, force: bool) -> Result<(), Error> {
    let is_link = rustix::fs::lstat(&image.path)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    // What a link leads to is not removed.
    if !is_link {
        check(image, force)?;
    }
    let lock = users::lock_unused(store, image)?;
    let layers = store.state.exists().then(|| LayersLock::take(store)).transpose()?;
    let failed = || Error::system("remove image", &image.path);
    let (directory, entry) = place(&image.path).map_err(failed())?;
    unlock_top(&directory, &entry, image.kind);
    let (hidden, locked) = hidden::hide(&directory, &entry, &image.name).map_err(failed())?;
    sys("fsync", rustix::fs::fsync(&directory), || FdPath::of(&directory).to_string()).map_err(failed())?;
    point("remove-hidden");
    let is_last = matches!(store.find(&image.name), Err(Error::NoImage { .. }));
    let mut result = Ok(());
    if is_last {
        result = result.and(companions::remove(store, image));
        result = result.and(origin::remove(store, &image.name));
    }
    result = result.and(remove_tree_at(&directory, &hidden).map_err(failed()));
    drop((locked, lock));
    if let Some(layers) = &layers {
        if is_last {
            result = result.and(layers::records::forget(store, &image.name, layers).map_err(Error::from));
        }
        result = result.and(layers::collect(store, layers).map(drop).map_err(Error::from));
    }
    result
}

fn check(image: &Image, force: bool) -> Result<(), Error> {
    let name = || image.name.to_string();
    if image.path.starts_with("/usr") {
        return Err(Error::OutOfReach { name: name(), path: image.path.clone() });
    }
    if image.path.starts_with("/dev") {
        return Err(Error::Device { path: image.path.clone() });
    }
    match !force && Properties::of(image)?.read_only {
        true => Err(Error::ReadOnly { name: name() }),
        false => Ok(()),
    }
}

/// The directory of `path`, and its name there.
pub(super) fn place(path: &Path) -> SysResult<(OwnedFd, String)> {
    let entry = path.file_name().unwrap_or(OsStr::new(".")).to_string_lossy().into_owned();
    Ok((open_directory(path.parent().unwrap_or(Path::new("/")))?, entry))
}

/// Takes off the mark of a read-only directory, which cannot be renamed with it. Says whether it was there.
pub(super) fn unlock_top(directory: &OwnedFd, entry: &str, kind: ImageKind) -> bool {
    if !matches!(kind, ImageKind::Directory | ImageKind::Layered) {
        return false;
    }
    let Ok(top) = open_directory_at(directory, entry) else { return false };
    let immutable =
        rustix::fs::ioctl_getflags(&top).is_ok_and(|flags| flags.contains(rustix::fs::IFlags::IMMUTABLE));
    immutable && set_immutable(&top, false).is_ok()
}

/// Something hidden in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenEntry {
    /// Its name, with the dot.
    pub name: String,
    /// What it is; `None` for what is no image, such as a lock file.
    pub kind: Option<ImageKind>,
    /// Somebody works on it.
    pub in_use: bool,
}

/// How names begin that spinney and systemd hide: what is being made, and downloads of systemd-importd (pull-tar.c, pull-raw.c).
/// Anything else with a dot is somebody's: a directory of images may be one of other things too.
const OURS: [&str; 6] = [hidden::PREFIX, ".tar-", ".raw-", ".oci-", ".dkr-", ".settings-"];

impl HiddenEntry {
    /// Whether it is what spinney or systemd hides, and not somebody's own.
    pub fn is_ours(&self) -> bool {
        OURS.iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// What is hidden in the pool: images that are being made or were left, downloads that systemd-importd keeps, throw-away
/// copies of systemd-nspawn, lock files. Not our own state.
///
/// # Errors
/// When the pool cannot be read.
pub fn hidden_entries(store: &Store) -> Result<Vec<HiddenEntry>, Error> {
    let pool = match open_directory(&store.pool) {
        Ok(pool) => pool,
        Err(error) if error.errno() == rustix::io::Errno::NOENT => return Ok(Vec::new()),
        Err(error) => return Err(Error::system("look for images in", &store.pool)(error)),
    };
    let list = entries(&pool).map_err(Error::system("look for images in", &store.pool))?;
    let mut found: Vec<HiddenEntry> = list
        .into_iter()
        .filter_map(|(entry, kind)| Some((entry.into_string().ok()?, kind)))
        .filter(|(entry, _)| entry.starts_with('.') && *entry != *layers::place::BESIDE)
        .map(|(name, kind)| {
            let path = store.pool.join(&name);
            let kind = match kind {
                FileType::Directory if name.ends_with(".mstack") => Some(ImageKind::Layered),
                FileType::Directory => Some(ImageKind::Directory),
                FileType::RegularFile if name.ends_with(".raw") || hidden::name_of(&name).is_some() => {
                    Some(ImageKind::Raw)
                }
                _ => None,
            };
            let flocked = hidden::is_locked(&pool, &name);
            let lock_file = name.strip_prefix(hidden::PREFIX).and_then(|name| name.strip_suffix(".lck"));
            let locked = match lock_file {
                Some(of) => lock::held(&store.pool.join(of)).is_some() || lock::is_held(&pool, &name),
                None => lock::held(&path).is_some(),
            };
            HiddenEntry { name, kind, in_use: flocked || locked }
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Removes a hidden entry of the pool, if nobody works on it. Says whether it did.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_hidden(store: &Store, entry: &HiddenEntry) -> Result<bool, Error> {
    let path = store.pool.join(&entry.name);
    let failed = || Error::system("remove", &path);
    let pool = open_directory(&store.pool).map_err(failed())?;
    let Some(kind) = entry.kind else {
        return hidden::remove_if_free(&pool, &entry.name).map_err(failed());
    };
    let Some(_lock) = lock::try_lock_path(&path, lock::Hold::Exclusive)? else { return Ok(false) };
    unlock_top(&pool, &entry.name, kind);
    let removed = hidden::remove_if_free(&pool, &entry.name).map_err(failed())?;
    Ok(removed)
}

/// The name under which what is hidden as `entry` was known.
pub fn name_of_hidden(entry: &str) -> Option<ImageName> {
    hidden::name_of(entry)?.parse().ok()
}
