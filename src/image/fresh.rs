//! Images that are being made: under a hidden name, locked, and gone with whoever makes them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::Error;
use super::fault::point;
use super::layers::{self, LayersLock};
use super::lock::{ImageLock, NameLock, lock_name};
use super::name::ImageName;
use super::origin::{self, Origin};
use super::remove::{place, unlock_top};
use super::store::{Image, ImageKind, Store};
use super::{hidden, properties, users};
use crate::sys::files::{open_at, remove_tree_at};
use crate::sys::{FdPath, SysError, btrfs, sys};

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
    origin: Option<Box<Origin>>,
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
        let pool = hidden::pool(&store.pool).map_err(failed())?;
        let kind = match kind {
            ImageKind::Directory if btrfs::is_on(&pool) => ImageKind::Subvolume,
            kind => kind,
        };
        let (hidden, content) = hidden::make(&pool, name, kind).map_err(failed())?;
        Ok(Self {
            store: store.clone(),
            name: name.clone(),
            kind,
            pool,
            hidden,
            content,
            origin: None,
            finished: false,
        })
    }

    /// Where it comes from, to be written down when it is finished.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(Box::new(origin));
    }

    /// Its directory, or the file of a disk image.
    pub fn content(&self) -> BorrowedFd<'_> {
        self.content.as_fd()
    }

    /// A file without a name on the same file system, for what has to be whole before it can be made use of.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn spool(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        open_at(&self.pool, ".", flags, Mode::from_raw_mode(0o600))
            .map_err(Error::system("make a file in", &self.store.pool))
    }

    /// What it will be called.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// Brings it to disk and gives it its name. What it replaces is whole until then, and removed after.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken and not to be replaced, [`Error::InUse`] where what it would replace is
    /// in use.
    pub fn finish(mut self, how: Finish) -> Result<Image, Error> {
        let entry = format!("{}{}", self.name, self.kind.suffix());
        let image = Image { name: self.name.clone(), path: self.store.pool.join(&entry), kind: self.kind };
        let failed = || Error::system("finish image", &image.path);
        let _name = wait_for_name(&self.name)?;
        let old = self.taken(how.replace)?;
        // A file is marked before it is seen; a directory with its mark cannot be renamed.
        let mark = |opened: &OwnedFd| properties::mark_opened(opened, self.kind, true);
        if how.read_only && self.kind == ImageKind::Raw {
            mark(&self.content).map_err(failed())?;
        }
        sys("syncfs", rustix::fs::syncfs(&self.content), || FdPath::of(&self.content).to_string())
            .map_err(failed())?;
        point("finish-synced");
        if let Some(origin) = &self.origin {
            origin::prepare(&self.store, &self.name, &self.content, origin)?;
        }
        point("finish-recorded");
        if let Err(error) = self.show(&entry, &image, old.as_ref()) {
            origin::withdraw(&self.store, &self.name);
            return Err(error);
        }
        point("finish-shown");
        let whole = || {
            if how.read_only && self.kind != ImageKind::Raw {
                mark(&self.content)?;
            }
            sys("fsync", rustix::fs::fsync(&self.pool), || FdPath::of(&self.pool).to_string())
        };
        if let Err(error) = whole() {
            self.take_back(&entry, old.as_ref());
            origin::withdraw(&self.store, &self.name);
            return Err(failed()(error));
        }
        self.finished = true;
        origin::settle(&self.store, &self.name, self.origin.is_some());
        if let Some((old, _lock)) = old {
            // Its snapshots are no states of the new one; what cannot be forgotten now is in the way of no one.
            if self.store.state.exists()
                && let Ok(layers) = LayersLock::take(&self.store)
            {
                let _ = layers::records::forget(&self.store, &self.name, &layers);
                let _ = layers::collect(&self.store, &layers);
            }
            point("finish-replaced");
            // Of the same kind, it has the hidden name now.
            let left = if old.path == image.path { Ok(self.hidden.clone()) } else { self.hide(&old) };
            // The new one is there: what is left of the old one under a hidden name goes with the next command.
            match left {
                Ok(left) => drop(remove_tree_at(&self.pool, &left)),
                Err(error) => return Err(error),
            }
        }
        Ok(image)
    }

    /// The image that has the name, locked, where it is to be replaced.
    fn taken(&self, replace: bool) -> Result<Option<(Image, ImageLock)>, Error> {
        let there = match self.store.find(&self.name) {
            Ok(there) => there,
            Err(Error::NoImage { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // One that is elsewhere would hide the new one.
        if !replace || there.path.parent() != Some(&self.store.pool) {
            return Err(Error::Exists { name: self.name.to_string(), path: there.path });
        }
        let lock = users::lock_unused(&self.store, &there)?;
        Ok(Some((there, lock)))
    }

    /// Gives it its name, in one step.
    fn show(&self, entry: &str, image: &Image, old: Option<&(Image, ImageLock)>) -> Result<(), Error> {
        let same = old.is_some_and(|(old, _)| old.path == image.path);
        let flags = if same { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        if same {
            unlock_top(&self.pool, entry, self.kind);
        }
        match rustix::fs::renameat_with(&self.pool, &self.hidden, &self.pool, entry, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(Error::Exists { name: self.name.to_string(), path: image.path.clone() }),
            Err(errno) => {
                let call = format!("{:?}, {entry:?}, {flags:?}", self.hidden);
                Err(Error::system("finish image", &image.path)(SysError::new("renameat2", call, errno)))
            }
        }
    }

    /// Takes its name from it again, and gives that back to what had it: it does not stay unless it is all that was asked for.
    fn take_back(&self, entry: &str, old: Option<&(Image, ImageLock)>) {
        let path = self.store.pool.join(entry);
        let flags = match old {
            Some((old, _)) if old.path == path => RenameFlags::EXCHANGE,
            _ => RenameFlags::NOREPLACE,
        };
        unlock_top(&self.pool, entry, self.kind);
        let _ = rustix::fs::renameat_with(&self.pool, entry, &self.pool, &self.hidden, flags);
    }

    /// Hides an image of another kind that had the name.
    fn hide(&self, old: &Image) -> Result<String, Error> {
        let hidden = || {
            let (directory, entry) = place(&old.path)?;
            unlock_top(&directory, &entry, old.kind);
            Ok(hidden::hide(&directory, &entry, &old.name)?.0)
        };
        hidden().map_err(Error::system("remove", &old.path))
    }
}

/// The lock of a name, for which others have it only while they give it.
fn wait_for_name(name: &ImageName) -> Result<NameLock, Error> {
    const LOOKS: u32 = 300;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 1..LOOKS {
        match lock_name(name) {
            Err(Error::Busy { .. }) => std::thread::sleep(PAUSE),
            taken => return taken,
        }
    }
    lock_name(name)
}

impl Drop for NewImage {
    fn drop(&mut self) {
        if !self.finished {
            // What is left is unlocked: the next command removes it.
            let _ = remove_tree_at(&self.pool, &self.hidden);
        }
    }
}
