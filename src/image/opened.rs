//! An image opened as a root: to look into, or to run.
//!
//! Whatever it is (a directory, a disk image, layers, one of several versions), [`Opened::view`] is its root as one tree
//! to read: for layers an overlay of them that nobody else sees. It needs no cleaning up: mounts are detached, and they,
//! loop devices with them, go with the last fd.
//!
//! A machine's root is put together of the same parts in a mount namespace of the machine's own: [`Opened::assemble`] gives
//! them there. What was looked at is what is run: parts are told by device and inode.
//!
//! The paths of an image are the administrator's, and followed by the host's rules: a layer is a symlink as a rule. What
//! is in a part is a guest's, and reached by [`Root`] alone.
//!
//! | file | what it owns |
//! |---|---|
//! | [`parts`] | the parts of a layered image, opened |
//! | [`aside`] | mounting where nobody sees it |
//! | [`error`] | why an image cannot be opened |

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

pub(super) mod aside;
mod error;
mod parts;

pub use error::OpenError;
use parts::Parts;
pub use parts::changes;

use super::disk::{self, DiskOptions, Verify};
use super::mstack;
use super::store::ImageKind;
use super::versions;
use crate::guest::TreeError;
use crate::sys::files::{entries, make_directory_at, open_directory};
use crate::sys::in_root::Root;
use crate::sys::mount::attach_mount;
use crate::sys::{SysError, SysResult};

/// What may be done to an image by who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written, not even the journal of a disk's file system: several may do so at once.
    ReadOnly,
    /// Its disks are mounted writable, where their file systems are.
    Write,
}

/// An image that has been opened.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    kind: ImageKind,
    view: Root,
    content: Content,
}

/// What is to be known of it beside its view.
#[derive(Debug)]
enum Content {
    Directory,
    Disk {
        read_only: bool,
        notes: Vec<String>,
        /// Where other file systems of the disk are mounted, for a root that does not have them by itself: an overlay.
        below: Vec<PathBuf>,
    },
    Layered(Box<Parts>),
}

/// The parts of a root, in the mount namespace that they were assembled in.
#[derive(Debug)]
pub struct Assembled {
    /// What it is made from, the lowest layer first; one directory at least.
    pub lower: Vec<Root>,
    /// The directory that holds `data` and `work` of the writable layer.
    pub upper: Option<Root>,
    /// /usr, where it is no part of the rest: layers, and such a directory.
    pub usr: Option<(Vec<Root>, Option<Root>)>,
    /// What is mounted in it.
    pub binds: Vec<AssembledBind>,
}

/// Something that is mounted in a root.
#[derive(Debug)]
pub struct AssembledBind {
    /// What.
    pub source: Root,
    /// Where in the guest.
    pub target: PathBuf,
    /// Not to be written to.
    pub read_only: bool,
}

impl Opened {
    /// Opens the image at `path`: a directory, a layered image by its suffix, a disk image, a block device, or a directory of
    /// versions of one of these.
    ///
    /// # Errors
    /// When it is none of these, or cannot be mounted.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        Self::open_verified(path, access, &Verify::default())
    }

    /// The same, of a disk image that is verified.
    ///
    /// # Errors
    /// As [`Opened::open`], and when it is verified by something and no disk image.
    pub fn open_verified(path: &Path, access: Access, verify: &Verify) -> Result<Self, OpenError> {
        let path = newest_version(path)?;
        let (kind, file_type) = kind_of(&path)?;
        if !verify.is_empty() && !matches!(kind, ImageKind::Raw | ImageKind::Block) {
            return Err(OpenError::NothingToVerify { path });
        }
        let (view, content) = match (kind, file_type) {
            (ImageKind::Layered, _) => {
                let (view, parts) = Parts::open(&path, access)?;
                (view, Content::Layered(Box::new(parts)))
            }
            (_, FileType::Directory) => {
                let tree = crate::guest::Tree::open(&path)?;
                (tree.root, Content::Directory)
            }
            _ => {
                let mount = disk::mount(
                    &path,
                    &DiskOptions { read_only: access == Access::ReadOnly, verify: verify.clone() },
                )?;
                let read_only = mount.is_read_only();
                // Who writes to the disk has its mounts as they are.
                let below = if access == Access::Write { Vec::new() } else { mount.below().to_vec() };
                let notes = mount.notes().to_vec();
                (Root::from_fd(mount.into_fd(), &path), Content::Disk { read_only, notes, below })
            }
        };
        Ok(Self { path, kind, view, content })
    }

    /// Where it is: of several versions, the one that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// Its root as one tree, to read.
    pub fn view(&self) -> &Root {
        &self.view
    }

    /// The same, alone: it stays as long as it is open.
    pub fn into_view(self) -> Root {
        self.view
    }

    /// Whether it is a directory and nothing more: the tree is the root itself.
    pub fn is_plain(&self) -> bool {
        matches!(self.content, Content::Directory)
    }

    /// Whether a machine could change it: its file system, or a writable layer that it has.
    pub fn is_writable(&self) -> bool {
        let stat = rustix::fs::fstatvfs(&self.view);
        let read_only = || stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        match &self.content {
            Content::Directory => !read_only(),
            Content::Disk { read_only, .. } => !read_only,
            Content::Layered(parts) => parts.is_writable(),
        }
    }

    /// Whether a part of its root is /usr alone: see [`Assembled::usr`].
    pub fn has_own_usr(&self) -> bool {
        matches!(&self.content, Content::Layered(parts) if parts.has_own_usr())
    }

    /// Whether its root is a directory that is mounted as it is: no layer, and not to be read only.
    pub fn is_one_tree(&self) -> bool {
        match &self.content {
            Content::Directory | Content::Disk { .. } => true,
            Content::Layered(parts) => parts.is_one_tree(),
        }
    }

    /// Where its layers are, the lowest first; empty for one without layers.
    pub fn layers(&self) -> Vec<PathBuf> {
        match &self.content {
            Content::Layered(parts) => parts.layers(),
            _ => Vec::new(),
        }
    }

    /// The directory of the writable layer, if it has one.
    pub fn writable_layer(&self) -> Option<PathBuf> {
        match &self.content {
            Content::Layered(parts) => parts.writable_layer(),
            _ => None,
        }
    }

    /// What the user should know of it: what of a disk is not mounted, or not verified.
    pub fn notes(&self) -> &[String] {
        match &self.content {
            Content::Disk { notes, .. } => notes,
            _ => &[],
        }
    }

    /// Where its binds go, and whether they are read-only, in the order of [`Assembled::binds`], after /usr where that is
    /// none of its root's.
    pub fn binds(&self) -> Vec<(PathBuf, bool)> {
        match &self.content {
            Content::Layered(parts) => parts.binds(),
            Content::Disk { below, .. } => below.iter().map(|target| (target.clone(), false)).collect(),
            Content::Directory => Vec::new(),
        }
    }

    /// Its parts as our present mount namespace has them. Disks are attached below `place`, an empty directory of ours there.
    ///
    /// # Errors
    /// When the image is not what it was any more.
    pub fn assemble(&self, place: impl AsFd) -> Result<Assembled, OpenError> {
        let alone = |root| Assembled { lower: vec![root], upper: None, usr: None, binds: Vec::new() };
        match &self.content {
            Content::Directory => {
                let again =
                    crate::guest::Tree { root: self.view.try_clone().map_err(TreeError::from)? }.reopen()?;
                Ok(alone(again.root))
            }
            Content::Disk { below, .. } => {
                let failed = || OpenError::system("mount", &self.path);
                let point = make_directory_at(&place, "disk", 0o700).map_err(failed())?;
                attach_mount(&self.view, point).map_err(failed())?;
                let bind = |target: &PathBuf| {
                    let source = self.view.subroot(target)?;
                    Ok(AssembledBind { source, target: target.clone(), read_only: false })
                };
                let binds = below.iter().map(bind).collect::<SysResult<Vec<_>>>().map_err(failed())?;
                Ok(Assembled { binds, ..alone(self.view.try_clone().map_err(failed())?) })
            }
            Content::Layered(parts) => parts.assemble(&self.path, &place),
        }
    }
}

/// The root of the image at `path` as one tree, to read.
///
/// # Errors
/// As [`Opened::open`].
pub fn look(path: &Path) -> Result<Root, OpenError> {
    Opened::open(path, Access::ReadOnly).map(Opened::into_view)
}

/// What the image at `path` is by its name and type.
///
/// # Errors
/// When there is none.
pub fn kind_at(path: &Path) -> Result<ImageKind, OpenError> {
    kind_of(path).map(|(kind, _)| kind)
}

/// In a directory of versions the one that is meant (systemd.v(7)); any other path as it is.
///
/// # Errors
/// When there is no version for this machine.
pub fn newest_version(path: &Path) -> Result<PathBuf, OpenError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(divided) = name.and_then(versions::divide) else { return Ok(path.to_owned()) };
    let directory = match open_directory(path) {
        Ok(directory) => directory,
        Err(error) if error.errno() == Errno::NOTDIR => return Ok(path.to_owned()),
        Err(error) if error.errno() == Errno::NOENT => {
            return Err(TreeError::Missing { path: path.to_owned() }.into());
        }
        Err(error) => return Err(OpenError::system("look into", path)(error)),
    };
    let picked = pick_version(&directory, divided).map_err(OpenError::system("look into", path))?;
    picked.map(|name| path.join(name)).ok_or_else(|| OpenError::NoVersion { path: path.to_owned() })
}

fn pick_version(directory: &OwnedFd, divided: (&str, &str)) -> SysResult<Option<String>> {
    let names: Vec<String> =
        entries(directory)?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect();
    let picked = versions::pick(divided, versions::own_architecture(), names.iter().map(String::as_str));
    Ok(picked.map(str::to_owned))
}

fn kind_of(path: &Path) -> Result<(ImageKind, FileType), OpenError> {
    let file_type = match rustix::fs::stat(path) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Err(TreeError::Missing { path: path.to_owned() }.into()),
        Err(Errno::NOTDIR) => return Err(TreeError::NotADirectory { path: path.to_owned() }.into()),
        Err(errno) => {
            let error = SysError::new("newfstatat", format!("{path:?}"), errno);
            return Err(OpenError::system("look at", path)(error));
        }
    };
    let kind = match file_type {
        FileType::Directory if is_layered(path) => ImageKind::Layered,
        FileType::Directory => ImageKind::Directory,
        FileType::RegularFile => ImageKind::Raw,
        FileType::BlockDevice => ImageKind::Block,
        _ => return Err(TreeError::NotADirectory { path: path.to_owned() }.into()),
    };
    Ok((kind, file_type))
}

/// Whether the directory `path` is a layered image, by its name.
fn is_layered(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    name.len() > mstack::SUFFIX.len() && name.ends_with(mstack::SUFFIX.as_bytes())
}
