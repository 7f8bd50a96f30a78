//! What is to be seen of an image at rest: whether it may be written to, what it takes, when it was made.
//!
//! Read-only is what systemd means by it (image_read_only()): of a subvolume its property; of a disk image that nobody may
//! write to the file; of a block device its own switch; of a directory the immutable attribute of the top one (chattr(1)),
//! which is a mark more than a wall, since what is below it can be changed. What lies below /usr, or on a read-only file
//! system, is read-only whatever is set.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, OFlags, StatVfsMountFlags, StatxFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::error::Error;
use super::lock::{self, Hold};
use super::store::{Image, ImageKind};
use crate::sys::files::{change_mode, entries, open_at};
use crate::sys::{FdPath, SysResult, block_device, btrfs, sys};

/// What is to be seen of an image without reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// It is not to be changed.
    pub read_only: bool,
    /// What it takes on disk, in bytes; `None` where that takes a walk ([`usage`]).
    pub usage: Option<u64>,
    /// How large it looks from within, in bytes: that of a disk.
    pub size: Option<u64>,
    /// When it was made, in microseconds since 1970, where the file system knows it.
    pub created: Option<u64>,
    /// When it was last changed; of trees nobody knows that.
    pub modified: Option<u64>,
}

impl Properties {
    /// Those of `image`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(image: &Image) -> Result<Self, Error> {
        look(image).map_err(Error::system("look at image", &image.path))
    }
}

fn look(image: &Image) -> SysResult<Properties> {
    let opened = open_at(CWD, &image.path, OFlags::PATH, Mode::empty())?;
    let arguments = || FdPath::of(&opened).to_string();
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = sys("statx", rustix::fs::statx(&opened, "", AtFlags::EMPTY_PATH, wanted), arguments)?;
    let created = (stat.stx_mask & StatxFlags::BTIME.bits() != 0)
        .then(|| microseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
    let file = matches!(image.kind, ImageKind::Raw);
    let mut properties = Properties {
        read_only: is_out_of_reach(image, &opened),
        usage: file.then(|| stat.stx_blocks.saturating_mul(512)),
        size: file.then_some(stat.stx_size),
        created: created.flatten(),
        modified: file.then(|| microseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)).flatten(),
    };
    match image.kind {
        // Without the rights to open it, it is not known to be read-only.
        ImageKind::Directory | ImageKind::Layered => {
            let flags = reopen(&opened, OFlags::DIRECTORY)
                .ok()
                .and_then(|directory| rustix::fs::ioctl_getflags(directory).ok());
            properties.read_only |= flags.is_some_and(|flags| flags.contains(IFlags::IMMUTABLE));
        }
        ImageKind::Subvolume => {
            let read_only = reopen(&opened, OFlags::DIRECTORY).and_then(btrfs::is_read_only);
            properties.read_only |= read_only.unwrap_or(false);
        }
        ImageKind::Raw => properties.read_only |= stat.stx_mode & 0o222 == 0,
        ImageKind::Block => {
            let device = reopen(&opened, OFlags::NONBLOCK | OFlags::NOCTTY).ok();
            properties.read_only |= stat.stx_mode & 0o222 == 0
                || device.as_ref().is_some_and(|device| block_device::is_read_only(device).unwrap_or(false));
            properties.size = device.as_ref().and_then(|device| block_device::size(device).ok());
            properties.usage = properties.size;
        }
    }
    Ok(properties)
}

/// Makes `image` read-only, or writable again, as nobody uses it.
///
/// # Errors
/// [`Error::InUse`]; [`Error::OutOfReach`] where it is read-only by where it lies.
pub fn set_read_only(image: &Image, read_only: bool) -> Result<(), Error> {
    let _lock = lock::lock(image, Hold::Exclusive)?;
    let failed = Error::system(if read_only { "make read-only" } else { "make writable" }, &image.path);
    let opened =
        open_at(CWD, &image.path, OFlags::PATH, Mode::empty()).map_err(Error::system("open", &image.path))?;
    if is_out_of_reach(image, &opened) {
        return Err(Error::OutOfReach { name: image.name.to_string(), path: image.path.clone() });
    }
    mark(&opened, image.kind, read_only).map_err(failed)
}

/// Sets the mark of read-only images on `opened`, an `O_PATH` fd.
fn mark(opened: &OwnedFd, kind: ImageKind, read_only: bool) -> SysResult<()> {
    mark_opened(&reopen(opened, OFlags::NONBLOCK | OFlags::NOCTTY)?, kind, read_only)
}

/// The same on an image that is open for reading.
pub(super) fn mark_opened(opened: &OwnedFd, kind: ImageKind, read_only: bool) -> SysResult<()> {
    match kind {
        ImageKind::Directory | ImageKind::Layered => set_immutable(opened, read_only),
        ImageKind::Subvolume => btrfs::set_read_only(opened, read_only),
        ImageKind::Raw => {
            let stat = sys("fstat", rustix::fs::fstat(opened), || FdPath::of(opened).to_string())?;
            change_mode(opened, (stat.st_mode & 0o444) | if read_only { 0 } else { 0o200 })
        }
        ImageKind::Block => block_device::set_read_only(opened, read_only),
    }
}

/// Sets or clears the immutable attribute of a directory.
pub(super) fn set_immutable(directory: impl AsFd, immutable: bool) -> SysResult<()> {
    let before = sys("ioctl", rustix::fs::ioctl_getflags(&directory), || {
        format!("{}, FS_IOC_GETFLAGS", FdPath::of(&directory))
    })?;
    let mut after = before;
    after.set(IFlags::IMMUTABLE, immutable);
    if after == before {
        return Ok(());
    }
    sys("ioctl", rustix::fs::ioctl_setflags(&directory, after), || {
        format!("{}, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL {immutable}", FdPath::of(&directory))
    })
}

fn is_out_of_reach(image: &Image, opened: &OwnedFd) -> bool {
    image.path.starts_with("/usr")
        || rustix::fs::fstatvfs(opened).is_ok_and(|stat| {
            stat.f_flag.contains(StatVfsMountFlags::RDONLY) && image.kind != ImageKind::Block
        })
}

/// Opens for reading what an `O_PATH` fd is of: nothing else can be there meanwhile.
fn reopen(opened: &OwnedFd, flags: OFlags) -> SysResult<OwnedFd> {
    use std::os::fd::AsRawFd;
    open_at(CWD, format!("/proc/self/fd/{}", opened.as_raw_fd()), OFlags::RDONLY | flags, Mode::empty())
}

fn microseconds(seconds: i64, nanoseconds: u32) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(seconds + u64::from(nanoseconds / 1000))
}

/// What a tree takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// Bytes, files with several names once.
    pub bytes: u64,
    /// Files of all kinds, directories too.
    pub files: u64,
    /// Not all of it was seen: it took too long, or could not be read.
    pub partial: bool,
}

/// What `image` takes on disk. A tree is walked, for `patience` at most, on its own mount.
pub fn usage(image: &Image, patience: Duration) -> Option<Usage> {
    if let Some(bytes) = Properties::of(image).ok().and_then(|properties| properties.usage) {
        return Some(Usage { bytes, files: 1, partial: false });
    }
    let root = open_at(CWD, &image.path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let device = rustix::fs::fstat(&root).ok()?.st_dev;
    let mut usage = Usage::default();
    let mut links = std::collections::HashSet::new();
    let until = Instant::now() + patience;
    // Names from the root, not fds: a tree may be deeper than there are fds.
    let mut directories: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(path) = directories.pop() {
        let opened = open_below(&root, &path);
        let (Ok(directory), true) = (opened, Instant::now() < until) else {
            usage.partial = true;
            continue;
        };
        for (name, _) in entries(&directory).unwrap_or_default() {
            let Ok(stat) = rustix::fs::statat(&directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) else {
                usage.partial = true;
                continue;
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            // On btrfs a subvolume has a device number of its own, and is part of the image.
            if is_directory && stat.st_dev != device && stat.st_ino != btrfs::SUBVOLUME_INODE {
                continue;
            }
            if !is_directory && stat.st_nlink > 1 && !links.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            usage.files += 1;
            usage.bytes = usage.bytes.saturating_add(stat.st_blocks.unsigned_abs().saturating_mul(512));
            if is_directory {
                let mut below = path.clone();
                below.push(b'/');
                below.extend(name.as_bytes());
                directories.push(below);
            }
        }
    }
    Some(usage)
}

/// Opens `path` below `root` without following a link. What is longer than a path may be is not opened.
fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks() {
        let temporary = tempfile::tempdir().unwrap();
        let tree = temporary.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::write(tree.join("a/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(tree.join("a/file"), tree.join("a/b/link")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("a/root")).unwrap();
        let image = Image { name: "tree".parse().unwrap(), path: tree, kind: ImageKind::Directory };
        let usage = usage(&image, Duration::from_secs(10)).unwrap();
        assert_eq!((usage.files, usage.partial), (5, false));
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        let late = super::usage(&image, Duration::ZERO).unwrap();
        assert_eq!(late, Usage { bytes: 0, files: 0, partial: true });
    }

    #[test]
    fn files() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("disk.raw");
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let image = Image { name: "disk".parse().unwrap(), path, kind: ImageKind::Raw };
        let properties = || Properties::of(&image).unwrap();
        assert_eq!(
            (properties().read_only, properties().usage, properties().size),
            (false, Some(0), Some(1 << 20))
        );
        let opened = open_at(CWD, &image.path, OFlags::PATH, Mode::empty()).unwrap();
        mark(&opened, ImageKind::Raw, true).unwrap();
        assert!(properties().read_only);
        mark(&opened, ImageKind::Raw, false).unwrap();
        assert!(!properties().read_only);
    }
}
