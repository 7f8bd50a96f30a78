//! Roots of several layers (systemd.mstack(7)): idmapped each by itself, made one by an overlay; and what such an image, or a
//! disk, mounts in its root.
//!
//! Layers are attached one by one below a directory of the supervisor's mount namespace, since kernels before 6.13 take
//! only what is mounted in the caller's. Once the overlay has them they are let go of ([`Place`]): every process that
//! comes to a mount namespace of its own copies all mounts there are.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::plan::{RootBase, RootPlan, UpperLayer};
use super::root::{self, BINDS, RootError, RootPlaces};
use crate::image::mstack::{DATA, WORK};
use crate::image::opened::AssembledBind;
use crate::image::overlay::{Marks, Overlay, Upper};
use crate::sys::files::{change_owner, make_directory_at, open_at, open_directory_at, remove_directory_at};
use crate::sys::in_root::{Metadata, Root};
use crate::sys::mount::{
    FsContext, MountAttributes, attach_mount, clone_mount, detach_mount, set_mount_attributes,
};
use crate::sys::{SysError, SysResult};

/// Where in the machine's directory layers are attached for a while.
const PLACE: &str = "layers";

/// A directory for mounts that are needed until the root is whole.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// Makes one in `machine`, the machine's directory at `path`.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn make(machine: &OwnedFd, path: &Path) -> SysResult<Self> {
        let directory = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
        attach_mount(&directory, make_directory_at(machine, PLACE, 0o700)?)?;
        Ok(Self { directory, path: path.join(PLACE) })
    }

    /// It.
    pub fn fd(&self) -> &OwnedFd {
        &self.directory
    }

    /// Lets go of all that is mounted there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear(self, machine: &OwnedFd) -> SysResult<()> {
        detach_mount(&self.path)?;
        remove_directory_at(machine, PLACE)
    }
}

/// The overlay of all layers with `upper` on top; where that is not the image's own writable layer, that is a layer too.
pub(super) fn overlay(upper: UpperLayer, places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
    let stack = Stacked { lower: &places.parts.lower, own: places.parts.upper.as_ref(), name: "" };
    match upper {
        UpperLayer::Image => stack.writable(places),
        UpperLayer::Disk | UpperLayer::Memory => {
            let lower = stack.attach_lower(true, places)?;
            root::make_upper(upper, places)?;
            let failed = || places.failed();
            let upper = open_directory_at(places.machine, "upper").map_err(failed())?;
            let data = open_directory_at(&upper, "upper").map_err(failed())?;
            let work = open_directory_at(&upper, "work").map_err(failed())?;
            mount(&lower, Some((&data, &work, true)), places)
        }
    }
}

/// All layers as one tree that nobody can write to.
pub(super) fn merged(places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
    let stack = Stacked { lower: &places.parts.lower, own: places.parts.upper.as_ref(), name: "" };
    stack.merged(places)
}

fn place<'a>(places: &RootPlaces<'a>) -> SysResult<&'a OwnedFd> {
    places.place.ok_or_else(|| SysError::new("openat", PLACE, Errno::NOENT))
}

/// Layers, and the writable one of the image.
struct Stacked<'a> {
    lower: &'a [Root],
    own: Option<&'a Root>,
    /// What the names of its mounts begin with.
    name: &'static str,
}

impl Stacked<'_> {
    /// With the image's own writable layer on top.
    fn writable(&self, places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
        let failed = || places.failed();
        let Some(own) = self.own else { return self.merged(places) };
        let lower = self.attach_lower(false, places)?;
        make_own(own, self.lower.last(), places).map_err(failed())?;
        let point = format!("{}rw", self.name);
        let own = self.attach(own, &point, places)?;
        let data = open_directory_at(&own, DATA).map_err(failed())?;
        let work = open_directory_at(&own, WORK).map_err(failed())?;
        mount(&lower, Some((&data, &work, false)), places)
    }

    /// All of it, not to be written to.
    fn merged(&self, places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
        let lower = self.attach_lower(true, places)?;
        match lower.as_slice() {
            [only] => clone_mount(only, Path::new(""), false).and_then(read_only).map_err(places.failed()),
            _ => mount(&lower, None, places),
        }
    }

    /// Attaches the layers, the lowest first; with what the image's own writable layer has changed if `with_own`.
    fn attach_lower(&self, with_own: bool, places: &RootPlaces<'_>) -> Result<Vec<OwnedFd>, RootError> {
        let data = match self.own.filter(|_| with_own) {
            Some(own) => crate::image::opened::changes(own).map_err(places.failed())?,
            None => None,
        };
        let all = self.lower.iter().chain(&data).enumerate();
        all.map(|(number, layer)| self.attach(layer, &format!("{}{number}", self.name), places)).collect()
    }

    fn attach(&self, layer: &Root, name: &str, places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
        let failed = || places.failed();
        let mount = root::tree(layer, places.ids, false)?;
        let point = place(places).and_then(|place| make_directory_at(place, name, 0o700));
        point.and_then(|point| attach_mount(&mount, point)).map_err(failed())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        open_at(&mount, ".", flags, Mode::empty()).map_err(failed())
    }
}

/// Makes what is missing of a writable layer (systemd.mstack(7)): its root is as that of the layer below, with the ids that
/// files of the image have on disk.
fn make_own(own: &Root, below: Option<&Root>, places: &RootPlaces<'_>) -> SysResult<()> {
    let (uid, gid, mode) = match below {
        Some(below) => {
            let stat = *Metadata::of(below)?.stat();
            (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
        }
        None => (0, 0, 0o755),
    };
    let directory = open_at(own, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let base = places.ids.map_or(0, |ids| ids.tree_base);
    for (name, mode, uid, gid) in [(DATA, mode, uid, gid), (WORK, 0o700, base, base)] {
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                let made = open_directory_at(&directory, name)?;
                change_owner(&made, uid, gid)?;
                crate::sys::files::change_mode(&made, mode)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(SysError::new("mkdirat", format!("{:?}, {name:?}", own.path()), errno)),
        }
    }
    Ok(())
}

fn mount(
    lower: &[OwnedFd],
    upper: Option<(&OwnedFd, &OwnedFd, bool)>,
    places: &RootPlaces<'_>,
) -> Result<OwnedFd, RootError> {
    use std::os::fd::AsFd;
    let upper =
        upper.map(|(data, work, volatile)| Upper { data: data.as_fd(), work: work.as_fd(), volatile });
    let overlay = Overlay { lower, upper, marks: Marks::User };
    root::as_guest(places, || overlay.mount(place(places)?))
}

/// Attaches what the image mounts in its root where [`super::prepare`] finds it, each by its number: /usr first, where that is
/// no part of the rest, then its binds.
pub(super) fn mount_binds(plan: &RootPlan, places: &RootPlaces<'_>) -> Result<(), RootError> {
    let parts = places.parts;
    if parts.usr.is_none() && parts.binds.is_empty() {
        return Ok(());
    }
    let failed = || places.failed();
    let binds = FsContext::new("tmpfs").and_then(|context| context.set("mode", "0700"));
    let binds = binds.and_then(|context| context.mount(MountAttributes::empty())).map_err(failed())?;
    root::attach(places, BINDS, &binds).map_err(failed())?;
    let thrown_away = plan.base != RootBase::Tree && plan.base != RootBase::Overlay(UpperLayer::Image);
    let mut mounts = Vec::new();
    if let Some((lower, own)) = &parts.usr {
        let stack = Stacked { lower, own: own.as_ref(), name: "usr-" };
        let merged = match thrown_away || plan.read_only {
            true => stack.merged(places)?,
            false => stack.writable(places)?,
        };
        let merged = attach_apart(merged, "usr", places).map_err(failed())?;
        let usr = merged.open_path("usr").and_then(|usr| clone_mount(usr, Path::new(""), false));
        mounts.push(usr.map_err(failed())?);
    }
    for (number, bind) in parts.binds.iter().enumerate() {
        let mount = match thrown_away && !bind.read_only && !plan.read_only {
            true => over(bind, number, places)?,
            false => root::tree(&bind.source, places.ids, true)?,
        };
        mounts.push(mount);
    }
    for (number, mount) in mounts.iter().enumerate() {
        root::no_devices(mount, places).map_err(failed())?;
        make_directory_at(&binds, number.to_string(), 0o700)
            .and_then(|point| attach_mount(mount, point))
            .map_err(failed())?;
    }
    Ok(())
}

/// A bind of a machine whose changes are thrown away: a layer over it. On a file system that cannot be a layer, such as that of
/// an EFI partition, it is read-only.
fn over(bind: &AssembledBind, number: usize, places: &RootPlaces<'_>) -> Result<OwnedFd, RootError> {
    let failed = || places.failed();
    let stack = Stacked { lower: std::slice::from_ref(&bind.source), own: None, name: "bind-" };
    let lower = stack.attach(&bind.source, &format!("bind-{number}"), places)?;
    let upper = || -> SysResult<(OwnedFd, OwnedFd)> {
        let memory = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
        attach_mount(&memory, make_directory_at(place(places)?, format!("bind-{number}-upper"), 0o700)?)?;
        let stat = *Metadata::of(&lower)?.stat();
        let data = make_directory_at(&memory, DATA, stat.st_mode & 0o7777)?;
        let work = make_directory_at(&memory, WORK, 0o700)?;
        // As the lower layer shows them: ids of the machine on the host.
        change_owner(&data, stat.st_uid, stat.st_gid)?;
        let base = places.ids.map_or(0, |ids| ids.base);
        change_owner(&work, base, base)?;
        Ok((data, work))
    };
    let (data, work) = upper().map_err(failed())?;
    match mount(std::slice::from_ref(&lower), Some((&data, &work, true)), places) {
        Err(RootError::Mount { source, .. }) if matches!(source.errno(), Errno::INVAL | Errno::OPNOTSUPP) => {
            clone_mount(&lower, Path::new(""), false).and_then(read_only).map_err(failed())
        }
        mounted => mounted,
    }
}

/// Attaches a mount for a while, to take a part of it.
fn attach_apart(mount: OwnedFd, name: &str, places: &RootPlaces<'_>) -> SysResult<Root> {
    attach_mount(&mount, make_directory_at(place(places)?, name, 0o700)?)?;
    Ok(Root::from_fd(mount, name))
}

fn read_only(mount: OwnedFd) -> SysResult<OwnedFd> {
    set_mount_attributes(&mount, MountAttributes::MOUNT_ATTR_RDONLY, MountAttributes::empty(), false)?;
    Ok(mount)
}
