//! A new image of another's state, in no time whatever its size.
//!
//! | what it is of | what it is |
//! |---|---|
//! | a directory | layers: the directory, which nobody may write to any more, and a writable one |
//! | a subvolume of btrfs | a snapshot |
//! | a disk image | a file that shares its data where the file system can, else layers: the disk, and a writable one |
//! | layers | the same layers, and a writable one; what was changed over them becomes one of them |
//!
//! A copy shares nothing that anybody would notice; it takes its time.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::fault::point;
use super::layers::{Layer, LayerError, LayeredImage, NewStack};
use super::lock::{Hold, lock, lock_name, try_lock_path};
use super::origin::{self, Origin};
use super::snapshot::{Pause, settle};
use super::{
    Error, Finish, Image, ImageKind, ImageName, NewImage, Store, companions, opened, properties, subvolume,
};
use crate::archive::copy_tree::{CopyTreeOptions, copy_tree};
use crate::archive::sparse::Map;
use crate::sys::files::open_at;
use crate::sys::{FdPath, SysResult, sys};

/// Bytes that the kernel copies by one call.
const PIECE: usize = 16 << 20;

/// How an image is cloned.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneOptions {
    /// All of it is copied.
    pub copy: bool,
    /// The clone is not to be changed.
    pub read_only: bool,
}

/// A clone.
#[derive(Debug)]
pub struct Cloned {
    /// It.
    pub image: Image,
    /// How long a machine was paused for it.
    pub paused: Option<Duration>,
}

/// Makes an image `to` of `from`.
///
/// # Errors
/// When the name is taken, or somebody writes to `from` who cannot be paused.
pub fn clone(
    store: &Store,
    from: &Image,
    to: &ImageName,
    options: CloneOptions,
    pause: Pause<'_>,
) -> Result<Cloned, LayerError> {
    check_free(store, to)?;
    let cloned = match from.kind {
        _ if options.copy => copy(store, from, to, pause)?,
        ImageKind::Subvolume => match subvolume::clone(store, from, to)? {
            Some(image) => Cloned { image, paused: None },
            None => over_one(store, from, to, options)?,
        },
        ImageKind::Directory => over_one(store, from, to, options)?,
        ImageKind::Layered => {
            let others = LayeredImage::open(&from.path)?.other_entries()?;
            let settled = settle(store, from, pause)?;
            let image = over(store, to, &settled.layers, &others, options)?;
            Cloned { image, paused: settled.paused }
        }
        ImageKind::Raw => match shared_file(store, from, to)? {
            Some(image) => Cloned { image, paused: None },
            None => over_one(store, from, to, options)?,
        },
        ImageKind::Block => {
            let (what, action) = ("a block device", "a clone in no time");
            return Err(LayerError::Kind { name: from.name.to_string(), what, action });
        }
    };
    companions::copy(store, from, to)?;
    let origin = Origin { parent: Some(from.name.to_string()), ..Origin::new("clone") };
    origin::write(store, &cloned.image, &origin)?;
    // Of layers it is said by leaving the writable one out.
    if options.read_only && cloned.image.kind != ImageKind::Layered {
        properties::set_read_only(&cloned.image, true)?;
    }
    point("clone-done");
    Ok(cloned)
}

/// # Errors
/// [`Error::Exists`].
pub(super) fn check_free(store: &Store, name: &ImageName) -> Result<(), LayerError> {
    match store.find(name) {
        Ok(image) => Err(Error::Exists { name: name.to_string(), path: image.path }.into()),
        Err(Error::NoImage { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A layered image over the directory or disk image `from`.
fn over_one(
    store: &Store,
    from: &Image,
    to: &ImageName,
    options: CloneOptions,
) -> Result<Cloned, LayerError> {
    let _locked = lock(from, Hold::Shared)?;
    let layer = Layer { path: from.path.clone(), disk: from.kind == ImageKind::Raw };
    let image = over(store, to, &[layer], &[], options)?;
    Ok(Cloned { image, paused: None })
}

/// A layered image over `layers`.
fn over(
    store: &Store,
    to: &ImageName,
    layers: &[Layer],
    others: &[(String, std::path::PathBuf)],
    options: CloneOptions,
) -> Result<Image, LayerError> {
    let stack = NewStack::begin(&store.pool, to)?;
    point("clone-begun");
    stack.fill(layers, others)?;
    if !options.read_only {
        stack.make_writable(layers.last())?;
    }
    point("clone-built");
    let _name = lock_name(to)?;
    check_free(store, to)?;
    let path = stack.show(to)?;
    Ok(Image { name: to.clone(), path, kind: ImageKind::Layered })
}

/// A file that shares all data with the disk image `from`; `None` where the file system cannot.
fn shared_file(store: &Store, from: &Image, to: &ImageName) -> Result<Option<Image>, LayerError> {
    let _locked = lock(from, Hold::Shared)?;
    let source = open_disk(from)?;
    let new = NewImage::raw(store, to)?;
    point("clone-begun");
    if rustix::fs::ioctl_ficlone(new.content(), &source).is_err() {
        return Ok(None);
    }
    point("clone-built");
    Ok(Some(new.finish(Finish::default())?))
}

fn open_disk(from: &Image) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_at(rustix::fs::CWD, &from.path, flags, Mode::empty()).map_err(LayerError::system("open", &from.path))
}

/// A whole copy of `from`, of the same kind; of layers, a directory.
fn copy(store: &Store, from: &Image, to: &ImageName, pause: Pause<'_>) -> Result<Cloned, LayerError> {
    match from.kind {
        ImageKind::Directory | ImageKind::Subvolume | ImageKind::Layered => flatten(store, from, to, pause),
        ImageKind::Raw | ImageKind::Block => {
            let (_locked, stopped) = reading(from, pause)?;
            let since = Instant::now();
            let source = open_disk(from)?;
            let new = NewImage::raw(store, to)?;
            point("clone-begun");
            copy_file(&source, &new.content()).map_err(LayerError::system("copy", &from.path))?;
            let paused = stopped.map(|_stopped| since.elapsed());
            point("clone-built");
            Ok(Cloned { image: new.finish(Finish::default())?, paused })
        }
    }
}

/// A directory with all that a machine sees of `from`.
pub(super) fn flatten(
    store: &Store,
    from: &Image,
    to: &ImageName,
    pause: Pause<'_>,
) -> Result<Cloned, LayerError> {
    let (_locked, stopped) = reading(from, pause)?;
    let since = Instant::now();
    let view = opened::look(&from.path)?;
    let source = open_at(&view, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(LayerError::system("open", &from.path))?;
    let new = NewImage::directory(store, to)?;
    point("commit-begun");
    // What a machine sees is its own: also what overlays in it wrote.
    let options = CopyTreeOptions { overlay_attributes: true, ..CopyTreeOptions::default() };
    copy_tree(source.as_fd(), new.content(), options, &mut |_| Ok(()))?;
    let paused = stopped.map(|_stopped| since.elapsed());
    point("commit-copied");
    let image = new.finish(Finish::default())?;
    point("commit-done");
    Ok(Cloned { image, paused })
}

/// Keeps `image` as it is: locked, or the machine that writes to it paused.
type Reading = (Option<super::lock::ImageLock>, Option<Box<dyn std::any::Any>>);

fn reading(image: &Image, pause: Pause<'_>) -> Result<Reading, LayerError> {
    match try_lock_path(&image.path, Hold::Shared)? {
        Some(locked) => Ok((Some(locked), None)),
        None => Ok((None, Some(pause(image)?))),
    }
}

/// Copies a file or device of whatever size, holes as holes.
fn copy_file(from: &OwnedFd, to: &impl AsFd) -> SysResult<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    // A device has no size but its end.
    let end = rustix::fs::seek(from, rustix::fs::SeekFrom::End(0));
    let size = sys("lseek", end, || format!("{}, SEEK_END", FdPath::of(from)))?;
    let map = Map::of(from, size);
    let whole = [(0, size)];
    let mut buffer = Vec::new();
    for (offset, length) in map.as_ref().map_or(&whole[..], Map::pieces) {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let (mut read, mut write) = (at, at);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut write), piece) {
                Ok(count) if count > 0 => at += count as u64,
                _ => {
                    buffer.resize(piece, 0);
                    let count = rustix::io::pread(from, &mut buffer[..piece], at);
                    let count = sys("pread64", count, || FdPath::of(from).to_string())?;
                    let wrote = rustix::io::pwrite(to, &buffer[..count], at);
                    match sys("pwrite64", wrote, || FdPath::of(to).to_string())? {
                        0 => break,
                        wrote => at += wrote as u64,
                    }
                }
            }
        }
    }
    sys("ftruncate", rustix::fs::ftruncate(to, size), || FdPath::of(to).to_string())
}
