//! Into the machine, and out again: a child's part, which resolves paths in the guest's root alone.
//!
//! The guest's root may change the flags of every mount in its mount namespace that are not locked, and a mount that is moved
//! there by fd is not. The kernel locks flags when a mount namespace is copied for another user namespace
//! (mount_namespaces(7)). So the child attaches the mount in a copy of the host's mount namespace, joins the machine's user
//! namespace, copies that mount namespace once more, and takes from there what it moves into the guest's. Nothing but the
//! mount is in that last copy, which is the guest's root's to look into.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::watch;
use crate::archive::notes::shown;
use crate::machine::enter::join;
use crate::machine::error::Error;
use crate::machine::handle::Leader;
use crate::machine::helper::{Failure, Helper};
use crate::supervisor::launch_record::LaunchRecord;
use crate::sys::files::{make_directory_at, open_at, open_directory};
use crate::sys::in_root::{Metadata, Root};
use crate::sys::mount::{
    FsContext, MountAttributes, Propagation, attach_mount, clone_mount, detach_current_directory,
    pivot_root_to_current_directory, set_propagation,
};
use crate::sys::open_files::OpenFiles;
use crate::sys::process::{Namespaces, join_namespaces_of, set_ids, unshare};
use crate::sys::{FdPath, SysResult, sys};

/// A directory that every host has, to mount on in namespaces of our own: one that all may pass through.
const STAGE: &str = "/run";

/// The name there of what is mounted.
const STAGED: &str = "bind";

/// STATX_MNT_ID_UNIQUE (linux/stat.h, Linux 6.8): an ID that is never given again.
const UNIQUE_ID: u32 = 0x4000;

/// What is to be done with a mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) target: &'a Path,
    pub(super) make_target: bool,
    pub(super) private_users: bool,
}

/// Attaches `mount` in the machine; gives its ID.
pub(super) fn attach(
    leader: &Leader,
    record: &LaunchRecord,
    mount: OwnedFd,
    order: &Order<'_>,
) -> Result<u64, Error> {
    in_machine(|| {
        let is_directory = Metadata::of(&mount).map_err(failure("look at the source"))?.is_dir();
        let mount = if order.private_users {
            lock_and_join(leader, mount, is_directory).map_err(failure("take the mount into the machine"))?
        } else {
            join(leader, record).map_err(failure("enter the machine"))?;
            mount
        };
        let root = Root::open("/").map_err(failure("open the machine's root"))?;
        let target = target(&root, order, is_directory)?;
        attach_mount(&mount, &target).map_err(failure("mount in the machine"))?;
        mount_id(&mount).map_err(failure("look at the mount"))
    })
}

/// Unmounts what is mounted at `target` if it is one of `ids`, and says which.
pub(super) fn detach(
    leader: &Leader,
    record: &LaunchRecord,
    target: &Path,
    ids: &[u64],
) -> Result<Option<u64>, Error> {
    in_machine(|| {
        let open_files = OpenFiles::of_this_process().map_err(failure("open /proc/self/fd"))?;
        join(leader, record).map_err(failure("enter the machine"))?;
        let root = Root::open("/").map_err(failure("open the machine's root"))?;
        let Some(place) = root.find(target).map_err(failure("look for the mount"))? else { return Ok(None) };
        let id = mount_id(&place).map_err(failure("look at the mount"))?;
        // Below a bind the ID is the bind's too: only its root is what was asked for.
        if !ids.contains(&id) || !is_mount_root(&place) {
            return Ok(None);
        }
        open_files.detach_mount(&place).map_err(failure("unmount it"))?;
        Ok(Some(id))
    })
}

/// Who owns `target`, in IDs of the guest.
pub(super) fn owner_of_target(
    leader: &Leader,
    record: &LaunchRecord,
    target: &Path,
) -> Result<(u32, u32), Error> {
    in_machine(|| {
        join(leader, record).map_err(failure("enter the machine"))?;
        let root = Root::open("/").map_err(failure("open the machine's root"))?;
        let metadata = root
            .metadata(target)
            .map_err(|_| no_target(target, "--owneridmap needs a target that exists"))?;
        Ok((metadata.stat().st_uid, metadata.stat().st_gid))
    })
}

fn in_machine<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Error>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let started = Helper::start(None, |_, _| work());
    let (mut helper, _) = started.map_err(Error::system("start a process for the machine"))?;
    helper.report(watch(), &mut |_| {})
}

fn failure(action: &'static str) -> impl FnOnce(crate::sys::SysError) -> Failure {
    move |error| Failure::from(Error::System { action, source: error })
}

/// Goes into the machine with `mount`, whose flags are locked on the way.
fn lock_and_join(leader: &Leader, mount: OwnedFd, is_directory: bool) -> SysResult<OwnedFd> {
    unshare(Namespaces::NEWNS)?;
    set_propagation(open_directory(Path::new("/"))?, Propagation::Private, true)?;
    let stage = FsContext::new("tmpfs")?.set("mode", "0755")?.mount(MountAttributes::empty())?;
    attach_mount(&stage, open_directory(Path::new(STAGE))?)?;
    let point = if is_directory {
        make_directory_at(&stage, STAGED, 0o755)?
    } else {
        open_at(&stage, STAGED, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::empty())?
    };
    attach_mount(mount, point)?;
    leave_all_but(&stage)?;
    join_namespaces_of(&leader.pidfd, Namespaces::NEWUSER)?;
    set_ids(0, 0, &[])?;
    unshare(Namespaces::NEWNS)?;
    let locked = clone_mount(CWD, &Path::new("/").join(STAGED), true)?;
    join_namespaces_of(&leader.pidfd, Namespaces::NEWNS)?;
    Ok(locked)
}

/// Makes `stage` the root of our mount namespace, and lets all of the host's mounts go from it.
///
/// The copy of it that is made next belongs to the machine's user namespace. Such a one the guest's root may find (ioctl_nsfs(2),
/// NS_MNT_GET_NEXT, Linux 6.12) and join: there must be nothing in it that the machine does not get anyway.
fn leave_all_but(stage: &OwnedFd) -> SysResult<()> {
    sys("fchdir", rustix::process::fchdir(stage), || FdPath::of(stage).to_string())?;
    pivot_root_to_current_directory()?;
    detach_current_directory()?;
    sys("chdir", rustix::process::chdir("/"), || "\"/\"".to_owned())
}

/// The place to mount on.
fn target(root: &Root, order: &Order<'_>, is_directory: bool) -> Result<OwnedFd, Failure> {
    let path = order.target;
    let found = root.find(path).map_err(failure("open the target"))?;
    let (is_directory_there, place) = match found {
        Some(place) => (Metadata::of(&place).map_err(failure("look at the target"))?.is_dir(), place),
        None if !order.make_target => return Err(no_target(path, "--mkdir makes it")),
        None if is_directory => {
            (true, root.mkdir_all(path, Mode::from_raw_mode(0o755)).map_err(cannot_make(path))?)
        }
        None => (false, root.ensure_file(path).map_err(cannot_make(path))?),
    };
    if is_directory_there == is_directory {
        return Ok(place);
    }
    let kind = |is_directory| if is_directory { "a directory" } else { "no directory" };
    Err(Failure::new(
        format!("{} is {}, and the source is {}", name(path), kind(is_directory_there), kind(is_directory)),
        Some("a directory is mounted on a directory, anything else on a file"),
    ))
}

fn no_target(path: &Path, hint: &'static str) -> Failure {
    Failure::new(format!("{} does not exist in the machine", name(path)), Some(hint))
}

fn cannot_make(path: &Path) -> impl FnOnce(crate::sys::SysError) -> Failure {
    move |error| {
        let hint = (error.errno() == Errno::ROFS).then_some("that file system of the machine is read-only");
        Failure::new(format!("cannot make {} in the machine: {}", name(path), error.errno()), hint)
    }
}

fn name(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

fn statx(fd: impl AsFd, mask: StatxFlags) -> SysResult<rustix::fs::Statx> {
    let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, mask);
    sys("statx", stat, || format!("{}, STATX_MNT_ID", FdPath::of(&fd)))
}

fn mount_id(fd: impl AsFd) -> SysResult<u64> {
    // Where both are asked for and known, the kernel gives the unique one.
    let mask = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(UNIQUE_ID);
    Ok(statx(fd, mask)?.stx_mnt_id)
}

fn is_mount_root(fd: impl AsFd) -> bool {
    use rustix::fs::StatxAttributes;
    statx(fd, StatxFlags::empty()).is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
