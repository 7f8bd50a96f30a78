//! Joining a machine's namespaces, by the pidfd of its leader (setns(2), Linux 5.8).

use super::handle::Leader;
use crate::supervisor::launch_record::LaunchRecord;
use crate::sys::SysResult;
use crate::sys::process::{Namespaces, join_namespaces_of, set_ids};

/// Joins all namespaces of the machine and becomes its root. For a child of ours that has no threads: it cannot come
/// back. The pid namespace is that of children it clones after this; it itself stays invisible to the guest.
///
/// What it opens from here on it opens with the guest's rights and by the guest's paths. What it has open already is the
/// host's: it must neither run a program of the guest with it nor let the guest name it (/proc/self/fd).
///
/// # Errors
/// When the leader is gone, or we are not root.
pub fn join(leader: &Leader, record: &LaunchRecord) -> SysResult<()> {
    let namespaces = Namespaces::from_bits_retain(record.namespaces);
    join_namespaces_of(&leader.pidfd, namespaces)?;
    if namespaces.contains(Namespaces::NEWUSER) { set_ids(0, 0, &[]) } else { Ok(()) }
}
