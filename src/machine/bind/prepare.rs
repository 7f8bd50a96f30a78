//! The detached mount of a bind, its IDs mapped: host root's part. What `--bind=` means by each mapping is said in
//! `runtime/prepare.rs`, which does the same before a machine runs.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::BindRequest;
use crate::archive::notes::shown;
use crate::machine::handle::{Leader, MachineHandle};
use crate::machine::helper::Failure;
use crate::runtime::user_namespace::{Creator, IdMapping, create};
use crate::settings::BindIds;
use crate::sys::files::open_at;
use crate::sys::in_root::Metadata;
use crate::sys::mount::{
    MountAttributes, Propagation, clone_mount, map_mount_ids, set_mount_attributes, set_propagation,
};
use crate::sys::process::pidfd_send_signal;
use crate::sys::{SysError, SysResult};

/// Makes the mount. `owner` is that of the target, in the guest's IDs.
pub(super) fn mount(
    machine: &MachineHandle,
    leader: &Leader,
    request: &BindRequest,
    (ids, private_users): (BindIds, bool),
    owner: (u32, u32),
) -> Result<OwnedFd, Failure> {
    let source = &request.source;
    let name = shown(source.as_os_str().as_bytes());
    let failed = |error: SysError| match error.errno() {
        Errno::NOENT => Failure::new(format!("{name} does not exist"), None),
        _ => Failure::of(&error, None::<String>),
    };
    let mount = clone_mount(CWD, source, request.recursive).map_err(failed)?;
    set_propagation(&mount, Propagation::Private, request.recursive).map_err(failed)?;
    if request.read_only {
        let read_only = MountAttributes::MOUNT_ATTR_RDONLY;
        set_mount_attributes(&mount, read_only, MountAttributes::empty(), request.recursive)
            .map_err(failed)?;
    }
    let namespace = match (ids, private_users) {
        (BindIds::NoIdmap, _) | (BindIds::Idmap, false) => return Ok(mount),
        (BindIds::Idmap, true) => user_namespace(leader).map_err(failed)?,
        (BindIds::RootIdmap | BindIds::OwnerIdmap, _) => {
            let base = if private_users { machine.state().id_base } else { 0 };
            let stat = *Metadata::of(&mount).map_err(failed)?.stat();
            let one =
                |inside, guest: u32| IdMapping { inside, outside: base.saturating_add(guest), count: 1 };
            create(Creator::Root, one(stat.st_uid, owner.0), one(stat.st_gid, owner.1)).map_err(failed)?
        }
    };
    map_mount_ids(&mount, namespace, request.recursive).map_err(|error| match error.errno() {
        Errno::INVAL | Errno::OPNOTSUPP => not_mappable(source, &name, request.recursive),
        Errno::PERM => Failure::new(
            format!("the IDs of {name} are mapped already"),
            Some("--noidmap mounts it as it is"),
        ),
        _ => failed(error),
    })?;
    Ok(mount)
}

/// Whether it is the source's own file system that cannot be mapped, or one below it.
fn not_mappable(source: &Path, name: &str, recursive: bool) -> Failure {
    let alone = recursive
        && clone_mount(CWD, source, false)
            .and_then(|mount| {
                let one = IdMapping { inside: 0, outside: 1, count: 1 };
                map_mount_ids(mount, create(Creator::Root, one, one)?, false)
            })
            .is_ok();
    if alone {
        return Failure::new(
            format!("something that is mounted below {name} cannot map IDs"),
            Some("--norbind leaves out what is mounted below, --noidmap maps no IDs"),
        );
    }
    Failure::new(
        format!("the file system of {name} cannot map IDs"),
        Some("--noidmap mounts it with the host's IDs, which are nobody's in the machine"),
    )
}

/// The machine's user namespace, as that of its leader.
fn user_namespace(leader: &Leader) -> SysResult<OwnedFd> {
    let path = format!("/proc/{}/ns/user", leader.pid.as_raw_nonzero());
    let namespace = open_at(CWD, path, OFlags::RDONLY, Mode::empty())?;
    // If it lives still, the pid was its own when we opened that.
    pidfd_send_signal(&leader.pidfd, 0)?;
    Ok(namespace)
}
