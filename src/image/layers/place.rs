//! The directories that layers are kept in, and the lock on them all.
//!
//! A layer comes from an image by a rename, so it stays on the image's file system: in the state directory where that
//! is on the same one, else in a hidden directory beside the image, which machinectl takes for no image and its `clean`
//! leaves alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::LayerError;
use crate::image::Store;
use crate::sys::files::{make_directories, make_directory_at, open_at, open_directory};
use crate::sys::{FdPath, SysResult, sys};

/// The directory of layers in the state directory, or in [`BESIDE`].
const LAYERS: &str = "layers";

/// Hidden beside images whose file system is not that of the state directory.
pub(in crate::image) const BESIDE: &str = ".#spinney";

/// Held by whoever changes which layers there are, or who refers to them.
#[derive(Debug)]
#[must_use = "dropped, it is let go of"]
pub struct LayersLock {
    _file: OwnedFd,
}

impl LayersLock {
    /// Takes it, after whoever has it; then tidies up after those that were killed with it.
    ///
    /// # Errors
    /// When the state directory cannot be written to.
    pub fn take(store: &Store) -> Result<Self, LayerError> {
        let lock = Self::take_as_is(store).map_err(LayerError::system("lock the layers in", &store.state))?;
        super::conversion::finish_all(store, &lock)?;
        Ok(lock)
    }

    fn take_as_is(store: &Store) -> SysResult<Self> {
        let state = make_directories(&store.state, 0o755)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = open_at(state, "layers.lock", flags, Mode::from_raw_mode(0o600))?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                locked => {
                    sys("flock", locked, || format!("{}, LOCK_EX", FdPath::of(&file)))?;
                    return Ok(Self { _file: file });
                }
            }
        }
    }
}

/// A directory of layers.
#[derive(Debug)]
pub struct LayerPlace {
    path: PathBuf,
    directory: OwnedFd,
}

impl LayerPlace {
    /// That for layers of the images in `pool`, made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of(store: &Store, pool: &Path) -> Result<Self, LayerError> {
        let made = || -> SysResult<Self> {
            let state = make_directories(&store.state, 0o755)?;
            let images = open_directory(pool)?;
            if mount_of(&state)? == mount_of(&images)? {
                let directory = make_directory_at(&state, LAYERS, 0o700)?;
                return Ok(Self { path: store.state.join(LAYERS), directory });
            }
            let hidden = make_directory_at(&images, BESIDE, 0o700)?;
            let directory = make_directory_at(hidden, LAYERS, 0o700)?;
            Ok(Self { path: pool.join(BESIDE).join(LAYERS), directory })
        };
        made().map_err(LayerError::system("make a directory for layers of", pool))
    }

    /// All that there are.
    pub fn all(store: &Store) -> Vec<Self> {
        let mut paths = vec![store.state.join(LAYERS)];
        for pool in store.search.iter().chain([&store.pool]) {
            let path = pool.join(BESIDE).join(LAYERS);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
            .into_iter()
            .filter_map(|path| open_directory(&path).ok().map(|directory| Self { path, directory }))
            .collect()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name that no layer has.
    ///
    /// # Errors
    /// On kernels without getrandom(2).
    pub fn fresh_id() -> SysResult<String> {
        Ok(format!("{:016x}{:016x}", crate::sys::random()?, crate::sys::random()?))
    }
}

impl AsFd for LayerPlace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Device and mount: between two mounts of one file system nothing can be renamed (rename(2), EXDEV).
pub(super) fn mount_of(fd: &impl AsFd) -> SysResult<(u64, u64)> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID);
    let stat = sys("statx", stat, || format!("{}, STATX_MNT_ID", FdPath::of(fd)))?;
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    Ok((device, stat.stx_mnt_id))
}
