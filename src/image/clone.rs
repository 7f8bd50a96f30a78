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
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::conditions::check_free;
use super::fault::point;
use super::layers::{Layer, LayerError, LayeredImage, NewStack};
use super::lock::{Hold, lock, lock_name, try_lock_path};
use super::origin::{self, Origin};
use super::snapshot::{Pause, settle};
use super::{Error, Finish, Image, ImageKind, ImageName, NewImage, Store, companions, opened, subvolume};
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
    // All that goes with it is there before it is: a clone that is to be seen is a whole one.
    let companions = companions::copy(store, from, to)?;
    let origin = Origin { parent: Some(from.name.to_string()), ..Origin::new("clone") };
    let making = Making { store, from, to, options, origin };
    let cloned = match from.kind {
        _ if options.copy => making.copy(pause)?,
        ImageKind::Subvolume => match subvolume::clone(store, from, to, options.read_only, &making.origin)? {
            Some(image) => Cloned { image, paused: None },
            None => making.over_one()?,
        },
        ImageKind::Directory => making.over_one()?,
        ImageKind::Layered => {
            let others = LayeredImage::open(&from.path)?.other_entries()?;
            let settled = settle(store, from, pause)?;
            let image = making.over(&settled.layers, &others)?;
            Cloned { image, paused: settled.paused }
        }
        ImageKind::Raw => match making.shared_file()? {
            Some(image) => Cloned { image, paused: None },
            None => making.over_one()?,
        },
        ImageKind::Block => {
            let (what, action) = ("a block device", "a clone in no time");
            return Err(LayerError::Kind { name: from.name.to_string(), what, action });
        }
    };
    companions.keep();
    point("clone-done");
    Ok(cloned)
}

/// A clone that is being made.
struct Making<'a> {
    store: &'a Store,
    from: &'a Image,
    to: &'a ImageName,
    options: CloneOptions,
    origin: Origin,
}

impl Making<'_> {
    /// A layered image over the directory or disk image.
    fn over_one(&self) -> Result<Cloned, LayerError> {
        let from = self.from;
        let _locked = lock(from, Hold::Shared)?;
        let layer = Layer { path: from.path.clone(), disk: from.kind == ImageKind::Raw };
        let image = self.over(&[layer], &[])?;
        Ok(Cloned { image, paused: None })
    }

    /// A layered image over `layers`; it is read-only by leaving the writable one out.
    fn over(&self, layers: &[Layer], others: &[(String, PathBuf)]) -> Result<Image, LayerError> {
        let stack = NewStack::begin(&self.store.pool, self.to)?;
        point("clone-begun");
        stack.fill(layers, others)?;
        if !self.options.read_only {
            stack.make_writable(layers.last())?;
        }
        point("clone-built");
        let _name = lock_name(self.to)?;
        check_free(self.store, self.to)?;
        origin::prepare(self.store, self.to, stack.directory(), &self.origin)?;
        point("clone-recorded");
        let path = stack.show(self.to).inspect_err(|_| origin::withdraw(self.store, self.to))?;
        origin::settle(self.store, self.to, true);
        Ok(Image { name: self.to.clone(), path, kind: ImageKind::Layered })
    }

    /// A file that shares all data with the disk image; `None` where the file system cannot.
    fn shared_file(&self) -> Result<Option<Image>, LayerError> {
        let _locked = lock(self.from, Hold::Shared)?;
        let source = open_disk(self.from)?;
        let new = NewImage::raw(self.store, self.to)?;
        point("clone-begun");
        if rustix::fs::ioctl_ficlone(new.content(), &source).is_err() {
            return Ok(None);
        }
        point("clone-built");
        Ok(Some(self.finish(new)?))
    }

    /// A whole copy, of the same kind; of layers, a directory.
    fn copy(&self, pause: Pause<'_>) -> Result<Cloned, LayerError> {
        let from = self.from;
        match from.kind {
            ImageKind::Directory | ImageKind::Subvolume | ImageKind::Layered => {
                flatten(self.store, from, self.to, self.options.read_only, self.origin.clone(), pause)
            }
            ImageKind::Raw | ImageKind::Block => {
                let (_locked, stopped) = reading(from, pause)?;
                let since = Instant::now();
                let source = open_disk(from)?;
                let new = NewImage::raw(self.store, self.to)?;
                point("clone-begun");
                copy_file(&source, &new.content()).map_err(LayerError::system("copy", &from.path))?;
                let paused = stopped.map(|_stopped| since.elapsed());
                point("clone-built");
                Ok(Cloned { image: self.finish(new)?, paused })
            }
        }
    }

    fn finish(&self, mut new: NewImage) -> Result<Image, Error> {
        new.set_origin(self.origin.clone());
        new.finish(Finish { replace: false, read_only: self.options.read_only })
    }
}

fn open_disk(from: &Image) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_at(rustix::fs::CWD, &from.path, flags, Mode::empty()).map_err(LayerError::system("open", &from.path))
}

/// A directory with all that a machine sees of `from`.
pub(super) fn flatten(
    store: &Store,
    from: &Image,
    to: &ImageName,
    read_only: bool,
    origin: Origin,
    pause: Pause<'_>,
) -> Result<Cloned, LayerError> {
    let (_locked, stopped) = reading(from, pause)?;
    let since = Instant::now();
    let view = opened::look(&from.path)?;
    let source = open_at(&view, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(LayerError::system("open", &from.path))?;
    let mut new = NewImage::directory(store, to)?;
    new.set_origin(origin);
    point("commit-begun");
    // What a machine sees is its own: also what overlays in it wrote.
    let options = CopyTreeOptions { overlay_attributes: true, ..CopyTreeOptions::default() };
    copy_tree(source.as_fd(), new.content(), options, &mut |_| Ok(()))?;
    let paused = stopped.map(|_stopped| since.elapsed());
    point("commit-copied");
    let image = new.finish(Finish { replace: false, read_only })?;
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
