//! Carries out what was planned for a disk: loop devices and mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::assemble::{Assembled, Mounted, assemble, furnish};
use super::content::FileSystem;
use super::error::{Error, Refusal};
use super::facts::Layout;
use super::plan::{DiskPlan, Place, Wish, plan};
use super::source::DiskFile;
use super::verity::{Verify, beside, hashes_beside};
use super::verity_setup::VerityDevice;
use super::volume::{HashPlace, Volume};
use super::{facts, grow};
use crate::guest::architecture::Architecture;
use crate::sys::files::open_at;
use crate::sys::loop_device::{LoopDevice, LoopRange};
use crate::sys::mount::{FsContext, MountAttributes};
use crate::sys::{SysError, SysResult};

/// How a disk is to be mounted.
#[derive(Debug, Clone, Default)]
pub struct DiskOptions {
    /// Nothing is written to it, its journals included: several may use it at once so.
    pub read_only: bool,
    /// What its root, or /usr, is verified by.
    pub verify: Verify,
}

/// The file systems of a disk: a detached tree of mounts. Loop devices and all go with the last mount.
#[derive(Debug)]
pub struct DiskMount {
    mount: OwnedFd,
    below: Vec<PathBuf>,
    read_only: bool,
    notes: Vec<String>,
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

    /// Where in it its other file systems are mounted: an overlay over its root alone does not have them.
    pub fn below(&self) -> &[PathBuf] {
        &self.below
    }

    /// What the user should know: what was not mounted, or not verified.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Mounts the disk image or block device at `path`. One that may not be written to is mounted read-only.
///
/// # Errors
/// See [`Error`]; nothing is left.
pub fn mount(path: &Path, options: &DiskOptions) -> Result<DiskMount, Error> {
    let (disk, read_only) = open(path, options.read_only)?;
    let verify = &options.verify;
    let found = match &verify.root_hash {
        Some(_) => None,
        None => beside(path)?,
    };
    let facts = facts::read(&disk);
    let root_hash = verify.root_hash.as_ref().or(found.as_ref());
    let is_bare = matches!(facts.layout, Layout::Bare(_));
    if root_hash.is_none() && (verify.hashes.is_some() || verify.signature.is_some()) {
        return Err(Error::Refused { path: path.to_owned(), refusal: Refusal::NoRootHash });
    }
    let hashes =
        verify.hashes.clone().or_else(|| hashes_beside(path).filter(|_| is_bare && root_hash.is_some()));
    let hashes = hashes.map(open_hashes).transpose()?;
    let wish = Wish { read_only, root_hash, hash_file: hashes.is_some(), host: Architecture::host() };
    let refused = |refusal| Error::Refused { path: path.to_owned(), refusal };
    let plan = plan(&facts, wish).map_err(refused)?;
    Mounter { disk: &disk, path, hashes: hashes.as_ref(), signature: verify.signature.as_deref() }.mount(plan)
}

fn open_hashes(path: PathBuf) -> Result<DiskFile, Error> {
    let opened = open_at(CWD, &path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
    let file =
        opened.and_then(|fd| DiskFile::new(fd).map_err(|errno| SysError::new("lseek", "SEEK_END", errno)));
    file.map_err(|source| Error::HashFile { path, source })
}

/// Opens the disk, for writing where that is wanted and allowed.
fn open(path: &Path, read_only: bool) -> Result<(DiskFile, bool), Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let open = |access: OFlags| open_at(CWD, path, access | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
    // Opened for more than its type, some devices do something.
    let place = open(OFlags::PATH).map_err(failed)?;
    let kind = rustix::fs::fstat(&place).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let device = match kind {
        Ok(FileType::BlockDevice) => true,
        Ok(FileType::RegularFile) => false,
        _ => return Err(Error::NoDisk { path: path.to_owned() }),
    };
    // What the host has mounted changes below who reads it, and is destroyed by who writes it. Loop devices hold the file
    // as it was opened: exclusively, where it is written.
    if device {
        let busy = |error: SysError| match error.errno() {
            Errno::BUSY => Error::DeviceInUse { path: path.to_owned() },
            _ => failed(error),
        };
        open(OFlags::RDONLY | OFlags::EXCL).map_err(busy)?;
    }
    let exclusively = if device { OFlags::EXCL } else { OFlags::empty() };
    let (fd, read_only) = match read_only {
        true => (open(OFlags::RDONLY).map_err(failed)?, true),
        false => match open(OFlags::RDWR | exclusively) {
            Ok(fd) => (fd, false),
            Err(error) if [Errno::ROFS, Errno::ACCESS, Errno::PERM].contains(&error.errno()) => {
                (open(OFlags::RDONLY).map_err(failed)?, true)
            }
            Err(error) => return Err(failed(error)),
        },
    };
    let disk = DiskFile::new(fd).map_err(|errno| failed(SysError::new("lseek", "SEEK_END", errno)))?;
    Ok((disk, read_only))
}

struct Mounter<'a> {
    disk: &'a DiskFile,
    path: &'a Path,
    hashes: Option<&'a DiskFile>,
    signature: Option<&'a [u8]>,
}

impl Mounter<'_> {
    fn mount(&self, plan: DiskPlan) -> Result<DiskMount, Error> {
        let mut notes = plan.notes;
        let root = match &plan.root {
            Some(volume) => self.volume(volume)?,
            None => self.memory()?,
        };
        let read_only = plan.root.as_ref().is_some_and(|root| root.read_only);
        let mut below = Vec::new();
        for (place, volume) in &plan.below {
            match self.volume(volume) {
                Ok(mount) => below.push(Mounted { place: *place, mount }),
                Err(error) if place.is_optional() => notes.push(left_out(*place, &error)),
                Err(error) => return Err(error),
            }
        }
        let Assembled { mount, below } = assemble(root, &below, self.path, !read_only, &mut notes)?;
        if plan.root.is_none() {
            furnish(&mount).map_err(|source| self.no_root(source))?;
        }
        Ok(DiskMount { mount, below, read_only, notes })
    }

    /// An empty root, for a disk that has /usr alone.
    fn memory(&self) -> Result<OwnedFd, Error> {
        let mounted = FsContext::new("tmpfs")
            .and_then(|context| context.set("mode", "0755"))
            .and_then(|context| context.mount(MountAttributes::MOUNT_ATTR_NODEV));
        mounted.map_err(|source| self.no_root(source))
    }

    fn no_root(&self, source: SysError) -> Error {
        Error::Mount { path: self.path.to_owned(), volume: "an empty root for".to_owned(), source }
    }

    fn volume(&self, volume: &Volume) -> Result<OwnedFd, Error> {
        let device = self.device(volume.offset, volume.length, volume)?;
        let verified = match &volume.verity {
            Some(hashes) => {
                let hash_device = match (hashes.place, self.hashes) {
                    (HashPlace::Disk { offset, length }, _) => self.device(offset, length, volume)?,
                    (HashPlace::File, file) => {
                        let file = file.unwrap_or(self.disk);
                        self.device_of(file, LoopRange { offset: 0, length: 0, read_only: true })?
                    }
                };
                let opened = VerityDevice::open(&device, &hash_device, &hashes.root_hash, self.signature);
                Some(opened.map_err(|why| Error::Verity { path: self.path.to_owned(), why })?)
            }
            None => None,
        };
        let source = verified.as_ref().map_or_else(|| device.source(), VerityDevice::source);
        let mount = mount_device(&source, volume).map_err(|source| self.failed(volume, source))?;
        if volume.grow {
            // A file system that stays as small as it was is none the worse.
            let _ = grow::to_device(&mount, volume.file_system, &device);
        }
        Ok(mount)
    }

    fn device(&self, offset: u64, length: u64, volume: &Volume) -> Result<LoopDevice, Error> {
        self.device_of(self.disk, LoopRange { offset, length, read_only: volume.read_only })
    }

    fn device_of(&self, file: &DiskFile, range: LoopRange) -> Result<LoopDevice, Error> {
        LoopDevice::attach(file.fd().as_fd(), range)
            .map_err(|source| Error::Loop { path: self.path.to_owned(), source })
    }

    fn failed(&self, volume: &Volume, source: SysError) -> Error {
        let path = self.path.to_owned();
        match (source.call(), source.errno()) {
            ("fsopen", Errno::NODEV) => Error::KernelLacks { path, kind: volume.file_system },
            _ => Error::Mount { path, volume: volume.describe(), source },
        }
    }
}

fn left_out(place: Place, error: &Error) -> String {
    format!("nothing is mounted at /{}: {error}", place.path())
}

fn mount_device(source: &Path, volume: &Volume) -> SysResult<OwnedFd> {
    let kind = match volume.file_system {
        FileSystem::Other(_) => return Err(SysError::new("fsopen", "", Errno::NODEV)),
        kind => kind.name(),
    };
    let mut context = FsContext::new(kind)?.set("source", &source.to_string_lossy())?;
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

/// What facts and plan are of a disk that is not mounted, for those who only look.
///
/// # Errors
/// When it cannot be opened.
pub fn look(path: &Path) -> Result<facts::Facts, Error> {
    open(path, true).map(|(disk, _)| facts::read(&disk))
}
