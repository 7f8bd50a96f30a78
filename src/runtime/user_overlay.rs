//! `--overlay=` and `--overlay-ro=`: overlays of the user's own directories.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::files::{make_directory_at, open_at};
use crate::sys::in_root::Metadata;
use crate::sys::mount::{FsContext, MountAttributes};
use crate::sys::{SysError, SysResult};

use super::prepare::PrepareContext;
use super::root::{temporary_directory, tree_layer};

/// A path of the host, or with `true` of the tree.
type Place = (PathBuf, bool);

/// The detached overlay of `lower` (lowest first) and `upper`. Ids of the host's directories are as on disk
/// (systemd-nspawn(1)).
///
/// # Errors
/// When a layer is missing or the kernel will not stack them.
pub fn mount(
    index: usize,
    lower: &[Place],
    upper_place: Option<&Option<Place>>,
    context: &PrepareContext<'_>,
) -> SysResult<OwnedFd> {
    let layers = lower.iter().map(|place| open_lower(place, context)).collect::<SysResult<Vec<OwnedFd>>>()?;
    // overlayfs takes the uppermost layer first. Paths through our own fds hold no separator of its.
    let stack: Vec<String> = layers.iter().rev().map(through_fd).collect();
    let mut overlay =
        FsContext::new("overlay")?.set("source", "spinney")?.set("lowerdir", &stack.join(":"))?;
    let (upper, work) = match upper_place {
        None => (None, None),
        Some(Some(place)) => {
            let directory = open(place, context)?;
            // A link of the tree may lead there too. Beside it is not the tree any more.
            if place.1 && Metadata::of(&directory)?.is_same(&Metadata::of(context.tree)?) {
                let arguments = format!("{:?}, the tree itself as upper layer", place.0);
                return Err(SysError::new("openat", arguments, Errno::INVAL));
            }
            // The work directory must be on the upper layer's file system: beside it, under a hidden name.
            let work = beside(&directory)?;
            (Some(directory), Some(work))
        }
        Some(None) => {
            let scratch = context
                .scratch
                .ok_or_else(|| SysError::new("openat", "the scratch directory", Errno::NOENT))?;
            let root = context.ids.map_or(0, |(map, _)| map.base);
            let upper = temporary_directory(scratch, &format!("overlay-{index}"), root)?;
            let work = temporary_directory(scratch, &format!("overlay-{index}-work"), root)?;
            (Some(upper), Some(work))
        }
    };
    if let (Some(upper), Some(work)) = (&upper, &work) {
        overlay = overlay.set("upperdir", &through_fd(upper))?.set("workdir", &through_fd(work))?;
    }
    let read_only =
        if upper_place.is_none() { MountAttributes::MOUNT_ATTR_RDONLY } else { MountAttributes::empty() };
    let in_tree = lower.iter().chain(upper_place.into_iter().flatten()).any(|(_, in_tree)| *in_tree);
    overlay.mount(read_only | context.no_devices(in_tree))
}

/// Layers of the tree have the guest's ids, as the root has.
fn open_lower((path, in_tree): &Place, context: &PrepareContext<'_>) -> SysResult<OwnedFd> {
    match in_tree {
        true => tree_layer(context.mounts)?.open_file(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()),
        false => open_at(CWD, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()),
    }
}

fn open((path, in_tree): &Place, context: &PrepareContext<'_>) -> SysResult<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if *in_tree {
        context.tree.open_file(path, flags, Mode::empty())
    } else {
        open_at(CWD, path, flags, Mode::empty())
    }
}

fn through_fd(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// `.#NAMEwork` beside the directory `upper`, as systemd-nspawn names it.
fn beside(upper: &OwnedFd) -> SysResult<OwnedFd> {
    let parent = open_at(upper, "..", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let path = std::fs::read_link(through_fd(upper)).unwrap_or_default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    make_directory_at(parent, Path::new(&format!(".#{name}work")), 0o700)
}
