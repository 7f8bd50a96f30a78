//! Images that are being made: under a hidden name, locked, and gone with whoever makes them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::Error;
use super::fault;
use super::lock::{self, Hold};
use super::name::ImageName;
use super::properties;
use super::store::{Image, ImageKind, Store};
use crate::sys::files::{
    make_directories, make_directory_at, open_at, open_directory_at, remove_tree_at, try_lock,
};
use crate::sys::{FdPath, SysError, SysResult, btrfs, sys};

/// An image that nobody sees yet. Dropped before [`NewImage::finish`], it is removed; killed, it is unlocked, and whoever
/// comes next removes it.
#[derive(Debug)]
pub struct NewImage {
    store: Store,
    name: ImageName,
    kind: ImageKind,
    pool: OwnedFd,
    hidden: String,
    content: OwnedFd,
    finished: bool,
}

/// How an image is finished.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish {
    /// Takes the place of an image of the same name.
    pub replace: bool,
    /// It is not to be changed any more.
    pub read_only: bool,
}

impl NewImage {
    /// Begins a directory, where the file system has them a subvolume.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(store: &Store, name: &ImageName) -> Result<Self, Error> {
        Self::begin(store, name, ImageKind::Directory)
    }

    /// Begins a disk image.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn raw(store: &Store, name: &ImageName) -> Result<Self, Error> {
        Self::begin(store, name, ImageKind::Raw)
    }

    /// Begins a layered image: an empty directory for its layers.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn layered(store: &Store, name: &ImageName) -> Result<Self, Error> {
        Self::begin(store, name, ImageKind::Layered)
    }

    fn begin(store: &Store, name: &ImageName, kind: ImageKind) -> Result<Self, Error> {
        let failed = || Error::system("make an image in", &store.pool);
        let pool = make_directories(&store.pool, 0o700).map_err(failed())?;
        let hidden = format!(".#{name}.{:016x}", crate::sys::random().map_err(failed())?);
        let mut kind = kind;
        let content = match kind {
            ImageKind::Raw => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                open_at(&pool, &hidden, flags, Mode::from_raw_mode(0o600))
            }
            ImageKind::Directory if btrfs::is_on(&pool) => match btrfs::create(&pool, &hidden) {
                Ok(subvolume) => {
                    kind = ImageKind::Subvolume;
                    Ok(subvolume)
                }
                Err(_) => make_directory_at(&pool, &hidden, 0o755),
            },
            _ => make_directory_at(&pool, &hidden, 0o755),
        }
        .map_err(failed())?;
        let new =
            Self { store: store.clone(), name: name.clone(), kind, pool, hidden, content, finished: false };
        // Nobody else knows the name.
        try_lock(&new.content).map_err(failed())?;
        Ok(new)
    }

    /// Its directory, or the file of a disk image.
    pub fn content(&self) -> BorrowedFd<'_> {
        self.content.as_fd()
    }

    /// What it will be called.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// Brings it to disk and gives it its name, which the caller has locked if others may be at it too. What it replaces is there until then, and nobody sees none.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken and not to be replaced, [`Error::InUse`] where somebody uses what has it.
    pub fn finish(mut self, how: Finish) -> Result<Image, Error> {
        let name = format!("{}{}", self.name, self.kind.suffix());
        let path = self.store.pool.join(&name);
        let failed = || Error::system("finish image", &path);
        let old = self.replaced(how)?;
        let _old = old.as_ref().map(|image| lock::lock(image, Hold::Exclusive)).transpose()?;
        let marks_first = matches!(self.kind, ImageKind::Raw | ImageKind::Subvolume);
        if how.read_only {
            properties::mark(&self.content, self.kind, true).map_err(failed())?;
            if !marks_first {
                // What is immutable cannot be renamed: now it is known that this file system has the mark.
                properties::mark(&self.content, self.kind, false).map_err(failed())?;
            }
        }
        sys("syncfs", rustix::fs::syncfs(&self.content), || FdPath::of(&self.content).to_string())
            .map_err(failed())?;
        fault::point("synced");
        if let Some(old) = &old {
            allow_renaming(&self.pool, old);
        }
        let same_name = old.as_ref().is_some_and(|image| image.path == path);
        let (flags, call) = match same_name {
            // The hidden name is that of the old one then.
            true => (RenameFlags::EXCHANGE, "RENAME_EXCHANGE"),
            false => (RenameFlags::NOREPLACE, "RENAME_NOREPLACE"),
        };
        match rustix::fs::renameat_with(&self.pool, &self.hidden, &self.pool, &name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::Exists { name: self.name.to_string(), path }),
            Err(errno) => {
                let call = format!("{:?}, {name:?}, {call}", self.hidden);
                return Err(failed()(SysError::new("renameat2", call, errno)));
            }
        }
        self.finished = !same_name;
        fault::point("renamed");
        if let Some(old) = old.filter(|_| !same_name) {
            self.hide(&old).map_err(failed())?;
        }
        let sync = || sys("fsync", rustix::fs::fsync(&self.pool), || FdPath::of(&self.pool).to_string());
        sync().map_err(failed())?;
        if how.read_only && !marks_first {
            properties::mark(&self.content, self.kind, true).map_err(failed())?;
        }
        let (name, kind) = (self.name.clone(), self.kind);
        // The old one, if there was one, goes with us; its name is gone already.
        drop(self);
        Ok(Image { name, path, kind })
    }

    /// The image that has the name, if it may be replaced.
    fn replaced(&self, how: Finish) -> Result<Option<Image>, Error> {
        match self.store.find(&self.name) {
            Err(Error::NoImage { .. }) => Ok(None),
            // What lies elsewhere is not ours to take away.
            Ok(image) if how.replace && image.path.parent() == Some(&*self.store.pool) => Ok(Some(image)),
            Ok(Image { path, .. }) => Err(Error::Exists { name: self.name.to_string(), path }),
            Err(error) => Err(error),
        }
    }

    /// Takes the name of `old`, which is another than ours since it is of another kind: from now on it is hidden.
    fn hide(&mut self, old: &Image) -> SysResult<()> {
        let Some(name) = old.path.file_name() else { return Ok(()) };
        let hidden = format!(".#{}.{:016x}", self.name, crate::sys::random()?);
        let renamed = rustix::fs::renameat(&self.pool, name, &self.pool, &hidden);
        sys("renameat", renamed, || format!("{name:?}, {hidden:?}"))?;
        self.hidden = hidden;
        self.finished = false;
        Ok(())
    }
}

/// Takes the mark of read-only images off a directory. Where that is not possible, renaming says so.
fn allow_renaming(pool: &OwnedFd, image: &Image) {
    if matches!(image.kind, ImageKind::Directory | ImageKind::Layered)
        && let Some(name) = image.path.file_name()
        && let Ok(directory) = open_directory_at(pool, name)
    {
        let _ = properties::set_immutable(directory, false);
    }
}

impl Drop for NewImage {
    fn drop(&mut self) {
        if !self.finished {
            // What is left is unlocked: the next command removes it.
            let _ = remove_tree_at(&self.pool, &self.hidden);
        }
    }
}
