//! Images that are being made: under a hidden name, locked, and gone with whoever makes them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::Error;
use super::name::ImageName;
use super::store::{Image, ImageKind, Store};
use crate::sys::files::{make_directories, make_directory_at, open_at, remove_tree_at, try_lock};
use crate::sys::{FdPath, SysError, sys};

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
        let content = match kind {
            ImageKind::Raw => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                open_at(&pool, &hidden, flags, Mode::from_raw_mode(0o600))
            }
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

    /// Brings it to disk and gives it its name.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken and not to be replaced.
    pub fn finish(mut self, how: Finish) -> Result<Image, Error> {
        let suffix = match self.kind {
            ImageKind::Raw => ".raw",
            ImageKind::Layered => ".mstack",
            _ => "",
        };
        let name = format!("{}{suffix}", self.name);
        let path = self.store.pool.join(&name);
        let failed = || Error::system("finish image", &path);
        sys("syncfs", rustix::fs::syncfs(&self.content), || FdPath::of(&self.content).to_string())
            .map_err(failed())?;
        let flags = if how.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&self.pool, &self.hidden, &self.pool, &name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::Exists { name: self.name.to_string(), path }),
            Err(errno) => {
                let call = format!("{:?}, {name:?}", self.hidden);
                return Err(failed()(SysError::new("renameat2", call, errno)));
            }
        }
        self.finished = true;
        sys("fsync", rustix::fs::fsync(&self.pool), || FdPath::of(&self.pool).to_string())
            .map_err(failed())?;
        Ok(Image { name: self.name.clone(), path, kind: self.kind })
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
