//! What of a directory is an image (systemd's image_find() and image_discover(); machinectl(1), systemd.v(7),
//! systemd.mstack(7)).
//!
//! Symlinks are the administrator's, and followed: that is how a tree elsewhere, or a block device, becomes an image.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::error::Error;
use super::name::ImageName;
use super::store::{Image, ImageKind};
use super::versions;
use crate::sys::btrfs;
use crate::sys::files::{entries, open_directory};
use crate::sys::{FdPath, SysError, SysResult};

/// What may follow the name, in the order in which it is looked for.
const SUFFIXES: [&str; 3] = ["", ".raw", ".mstack"];

/// The image `name` in `directory`, if there is one.
///
/// # Errors
/// When the directory cannot be searched.
pub fn find(directory: &Path, name: &ImageName) -> Result<Option<Image>, Error> {
    let failed = || Error::system("look for images in", directory);
    let Some(opened) = open(directory).map_err(failed())? else { return Ok(None) };
    for versioned in [false, true] {
        for suffix in SUFFIXES {
            let found = match versioned {
                false => plain(&opened, name, suffix).map_err(failed())?,
                true => newest(&opened, name, suffix),
            };
            if let Some((entry, kind)) = found {
                return Ok(Some(Image { name: name.clone(), path: directory.join(entry), kind }));
            }
        }
    }
    Ok(None)
}

/// All images of `directory`.
///
/// # Errors
/// When it cannot be read.
pub fn all(directory: &Path) -> Result<Vec<Image>, Error> {
    let failed = || Error::system("look for images in", directory);
    let Some(opened) = open(directory).map_err(failed())? else { return Ok(Vec::new()) };
    let list = entries(&opened).map_err(failed())?;
    let of =
        |entry: &str| [Some(entry), name_of(entry)].into_iter().flatten().map(str::parse).collect::<Vec<_>>();
    let names: BTreeSet<ImageName> =
        list.iter().filter_map(|(entry, _)| entry.to_str()).flat_map(of).filter_map(Result::ok).collect();
    Ok(names.iter().filter_map(|name| find(directory, name).ok().flatten()).collect())
}

/// Of which image `entry` may be.
fn name_of(entry: &str) -> Option<&str> {
    let stem = entry.strip_suffix(".v").unwrap_or(entry);
    let name = SUFFIXES.iter().skip(1).find_map(|suffix| stem.strip_suffix(suffix)).unwrap_or(stem);
    (!name.is_empty()).then_some(name)
}

fn open(directory: &Path) -> SysResult<Option<OwnedFd>> {
    match open_directory(directory) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `NAMESUFFIX` itself.
fn plain(directory: &OwnedFd, name: &ImageName, suffix: &str) -> SysResult<Option<(PathBuf, ImageKind)>> {
    let entry = format!("{name}{suffix}");
    // These are other images' names, or those of versions.
    if suffix.is_empty() && (entry.ends_with(".v") || entry.ends_with(".mstack")) {
        return Ok(None);
    }
    Ok(kind_of(directory, Path::new(&entry), suffix)?.map(|kind| (PathBuf::from(entry), kind)))
}

/// The newest in `NAMESUFFIX.v/`. What of it cannot be read counts as not there.
fn newest(directory: &OwnedFd, name: &ImageName, suffix: &str) -> Option<(PathBuf, ImageKind)> {
    let versions = format!("{name}{suffix}.v");
    // Its own link may be the administrator's too.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let opened = crate::sys::files::open_at(directory, &versions, flags, rustix::fs::Mode::empty()).ok()?;
    let list = entries(&opened).ok()?;
    let of_kind = |entry: &str| kind_of(&opened, Path::new(entry), suffix).ok().flatten();
    let names = list.iter().filter_map(|(entry, _)| entry.to_str()).filter(|entry| of_kind(entry).is_some());
    let entry = versions::pick((name.as_str(), suffix), versions::own_architecture(), names)?;
    Some((Path::new(&versions).join(entry), of_kind(entry)?))
}

/// What `entry`, whose name ends with `suffix`, is an image of.
fn kind_of(directory: impl AsFd, entry: &Path, suffix: &str) -> SysResult<Option<ImageKind>> {
    let stat = match rustix::fs::statat(&directory, entry, AtFlags::empty()) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => {
            return Err(SysError::new("newfstatat", format!("{}, {entry:?}", FdPath::of(&directory)), errno));
        }
    };
    Ok(match (FileType::from_raw_mode(stat.st_mode), suffix) {
        (FileType::Directory, "")
            if stat.st_ino == btrfs::SUBVOLUME_INODE && btrfs::is_at(directory, entry) =>
        {
            Some(ImageKind::Subvolume)
        }
        (FileType::Directory, "") => Some(ImageKind::Directory),
        (FileType::Directory, ".mstack") => Some(ImageKind::Layered),
        (FileType::RegularFile, ".raw") => Some(ImageKind::Raw),
        (FileType::BlockDevice, "") => Some(ImageKind::Block),
        _ => None,
    })
}
