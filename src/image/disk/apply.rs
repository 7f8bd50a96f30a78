//! Carries out what was planned for a disk: loop devices and mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::content::{Content, FileSystem};
use super::error::{Error, Refusal};
use super::plan::{Volume, options_of};
use super::source::{DiskFile, Source};
use crate::sys::SysError;
use crate::sys::files::open_at;
use crate::sys::loop_device::{LoopDevice, LoopRange};
use crate::sys::mount::{FsContext, MountAttributes};

/// How a disk is to be mounted.
#[derive(Debug, Clone, Default)]
pub struct DiskOptions {
    /// Nothing is written to it, its journals included: several may use it at once so.
    pub read_only: bool,
}

/// The file systems of a disk: a detached tree of mounts. Loop devices and all go with the last mount.
#[derive(Debug)]
pub struct DiskMount {
    mount: OwnedFd,
    read_only: bool,
}

impl DiskMount {
    /// Its root: a detached mount, which attach_mount and map_mount_ids take.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// The same, alone.
    pub fn into_fd(self) -> OwnedFd {
        self.mount
    }

    /// Whether the root cannot be written: it was to be so, or its file system or partition is.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}

/// Mounts the disk image or block device at `path`.
///
/// # Errors
/// See [`Error`]; nothing is left.
pub fn mount(path: &Path, options: &DiskOptions) -> Result<DiskMount, Error> {
    let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let opened = open_at(CWD, path, access | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
    let file = opened.map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let disk = DiskFile::new(file).map_err(|errno| match errno {
        Errno::NOTBLK => Error::NoDisk { path: path.to_owned() },
        errno => Error::Open { path: path.to_owned(), source: SysError::new("lseek", "SEEK_END", errno) },
    })?;
    let Content::FileSystem { kind, .. } = Content::of(&disk) else {
        return Err(Error::Refused { path: path.to_owned(), refusal: Refusal::Nothing });
    };
    let read_only = options.read_only || !kind.is_writable();
    let volume = Volume {
        partition: None,
        offset: 0,
        length: disk.length(),
        sector: 512,
        file_system: kind,
        read_only,
        options: options_of(kind, read_only),
        attributes: MountAttributes::MOUNT_ATTR_NODEV,
    };
    let mount = mount_volume(&disk, path, &volume)?;
    Ok(DiskMount { mount, read_only })
}

fn mount_volume(disk: &DiskFile, path: &Path, volume: &Volume) -> Result<OwnedFd, Error> {
    let range = LoopRange {
        offset: volume.offset,
        length: volume.length,
        sector: volume.sector,
        read_only: volume.read_only,
    };
    let device = LoopDevice::attach(disk.fd().as_fd(), range)
        .map_err(|source| Error::Loop { path: path.to_owned(), source })?;
    mount_device(&device, volume).map_err(|source| {
        let (path, kind) = (path.to_owned(), volume.file_system);
        match (source.call(), source.errno()) {
            ("fsopen", Errno::NODEV) => Error::KernelLacks { path, kind },
            _ => Error::Mount { path, kind, source },
        }
    })
}

fn mount_device(device: &LoopDevice, volume: &Volume) -> Result<OwnedFd, SysError> {
    let kind = match volume.file_system {
        FileSystem::Other(_) => return Err(SysError::new("fsopen", "", Errno::NODEV)),
        kind => kind.name(),
    };
    let mut context = FsContext::new(kind)?.set("source", &device.source().to_string_lossy())?;
    let mut attributes = volume.attributes;
    if volume.read_only {
        context = context.flag("ro")?;
        attributes |= MountAttributes::MOUNT_ATTR_RDONLY;
    }
    for option in &volume.options {
        context = match option.split_once('=') {
            Some((key, value)) => context.set(key, value)?,
            None => context.flag(option)?,
        };
    }
    context.mount(attributes)
}
