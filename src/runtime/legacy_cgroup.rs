//! The named v1 hierarchy for guests that know no cgroup v2: systemd before 231 (CentOS 7 has 219, Debian 8 has 215).
//!
//! Such a systemd wants a tmpfs at /sys/fs/cgroup and in it the hierarchy `name=systemd`, which has no controllers: it is
//! there to track processes. Every kernel with CONFIG_CGROUPS_V1 has it, also on a host whose own hierarchy is v2 alone.
//! The machine still lives in its v2 cgroups too, which hold the limits and from which it is killed.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use crate::sys::SysResult;
use crate::sys::files::{
    change_owner, change_owner_at, make_directory_at, open_directory_at, remove_directory_at,
    while_parents_vanish, write_at,
};
use crate::sys::mount::FsContext;

use super::cgroup::{CgroupError, PARENT, PAYLOAD, mount_detached, remove_children, remove_parent_if_empty};

/// The name that systemd looks for.
pub const NAME: &str = "systemd";

/// Opens the hierarchy; the first opener makes it.
fn open() -> SysResult<OwnedFd> {
    FsContext::new("cgroup")?.flag("none")?.set("name", NAME).and_then(mount_detached)
}

/// Makes the cgroup of machine `name`, which belongs to `owner`, and opens it.
///
/// # Errors
/// When the kernel has no v1 hierarchies.
pub fn create(name: &str, owner: u32) -> Result<OwnedFd, CgroupError> {
    let make = || {
        let parent = make_directory_at(open()?, PARENT, 0o755)?;
        let payload = make_directory_at(make_directory_at(parent, name, 0o755)?, PAYLOAD, 0o755)?;
        change_owner(&payload, owner, owner)?;
        for file in ["cgroup.procs", "tasks"] {
            change_owner_at(&payload, file, owner, owner)?;
        }
        Ok(payload)
    };
    while_parents_vanish(make).map_err(|source| CgroupError::Make { name: name.to_owned(), source })
}

/// Opens the cgroup `path`, which begins at the root of the hierarchy with a slash, as /proc/PID/cgroup says it.
///
/// # Errors
/// ENOENT when it is gone.
pub fn find(path: &Path) -> SysResult<OwnedFd> {
    open_directory_at(open()?, path.strip_prefix("/").unwrap_or(path))
}

/// Moves our own process into `cgroup`.
///
/// # Errors
/// When the kernel refuses.
pub fn enter(cgroup: &OwnedFd) -> SysResult<()> {
    write_at(cgroup, "cgroup.procs", b"0")
}

/// Removes what is left of the cgroups of machine `name`, whose processes are dead.
///
/// # Errors
/// When a directory cannot be removed.
pub fn remove(name: &str) -> SysResult<()> {
    let root = open()?;
    let absent = |result: SysResult<OwnedFd>| match result {
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        other => other.map(Some),
    };
    let Some(parent) = absent(open_directory_at(&root, PARENT))? else { return Ok(()) };
    if let Some(outer) = absent(open_directory_at(&parent, name))? {
        remove_children(&outer)?;
        remove_directory_at(&parent, Path::new(name))?;
    }
    remove_parent_if_empty(&root)
}
