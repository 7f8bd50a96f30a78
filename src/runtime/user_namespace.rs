//! User namespaces with given maps (user_namespaces(7)).

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;

use crate::sys::files::{open_at, write_all};
use crate::sys::fork::exit_now;
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, die_with_parent, set_ids, unshare, wait_for_end,
};
use crate::sys::{SysResult, sys};

/// `count` ids from `inside` on are `outside` and following in the parent namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMapping {
    /// First id in the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

/// Who makes a user namespace, and so whose budget of inotify, fanotify and namespaces (namespaces(7),
/// /proc/sys/user) its processes use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creator {
    /// This host id, which shares its budget with nobody.
    Id(u32),
    /// Root, where others are not let (unprivileged user namespaces switched off), or where nothing will run in it.
    Root,
}

/// Makes a user namespace that maps `uids` and `gids`. No process stays in it: the fd keeps it.
///
/// # Errors
/// EPERM for [`Creator::Id`] where unprivileged users may not make one; ENOSPC when the budget is used up.
pub fn create(creator: Creator, uids: IdMapping, gids: IdMapping) -> SysResult<OwnedFd> {
    begin(creator)?.finish(uids, gids).map(|(namespace, _)| namespace)
}

/// A user namespace in the making: a child of ours is at it while we do something else.
#[derive(Debug)]
pub struct Beginning {
    creator: Creator,
    from_child: OwnedFd,
    holder: Holder,
}

/// The child that made a user namespace, on its way out; reaped when dropped.
#[derive(Debug)]
pub struct Holder {
    child: Pid,
    /// The child ends with this.
    to_child: Option<OwnedFd>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.to_child.take());
        // It has nothing to say any more; that it is gone is all we want.
        let _ = wait_for_end(self.child);
    }
}

/// Begins a user namespace.
///
/// # Errors
/// When no child can be made.
pub fn begin(creator: Creator) -> SysResult<Beginning> {
    let (for_child, to_child) = pipe()?;
    let (from_child, for_parent) = pipe()?;
    let options = CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: None };
    match clone_process(options)? {
        Cloned::Parent(child) => {
            Ok(Beginning { creator, from_child, holder: Holder { child, to_child: Some(to_child) } })
        }
        Cloned::Child => {
            drop((to_child, from_child));
            hold_namespace(creator, &for_child, &for_parent)
        }
    }
}

impl Beginning {
    /// Gives it its maps, and lets its child go.
    ///
    /// # Errors
    /// As [`create`].
    pub fn finish(mut self, uids: IdMapping, gids: IdMapping) -> SysResult<(OwnedFd, Holder)> {
        let namespace = match read_errno(&self.from_child) {
            Ok(()) => map(self.holder.child, uids, gids)?,
            Err(errno) => {
                return sys("unshare", Err(errno), || format!("CLONE_NEWUSER as {:?}", self.creator));
            }
        };
        drop(self.holder.to_child.take());
        Ok((namespace, self.holder))
    }
}

/// The child: makes the namespace and stays in it until the parent has it open.
fn hold_namespace(creator: Creator, wait: &OwnedFd, tell: &OwnedFd) -> ! {
    let made = die_with_parent()
        .and_then(|()| match creator {
            Creator::Id(id) => set_ids(id, id, &[]),
            Creator::Root => Ok(()),
        })
        .and_then(|()| unshare(Namespaces::NEWUSER));
    let errno = made.err().map_or(0, |error| error.errno().raw_os_error());
    let told = write_all(tell, &errno.to_ne_bytes());
    // Ends with the parent's end of the pipe, whatever became of it.
    let _ = rustix::io::read(wait, &mut [0_u8; 1]);
    exit_now(i32::from(told.is_err()))
}

fn read_errno(from_child: &OwnedFd) -> Result<(), rustix::io::Errno> {
    let mut errno = [0_u8; 4];
    match rustix::io::retry_on_intr(|| rustix::io::read(from_child, &mut errno))? {
        4 => match i32::from_ne_bytes(errno) {
            0 => Ok(()),
            raw => Err(rustix::io::Errno::from_raw_os_error(raw)),
        },
        _ => Err(rustix::io::Errno::CHILD),
    }
}

fn map(child: Pid, uids: IdMapping, gids: IdMapping) -> SysResult<OwnedFd> {
    let process = open_at(
        CWD,
        format!("/proc/{}", child.as_raw_nonzero()),
        OFlags::PATH | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    for (file, mapping) in [("gid_map", gids), ("uid_map", uids)] {
        let line = format!("{} {} {}\n", mapping.inside, mapping.outside, mapping.count);
        write_all(open_at(&process, file, OFlags::WRONLY, Mode::empty())?, line.as_bytes())?;
    }
    open_at(&process, "ns/user", OFlags::RDONLY, Mode::empty())
}

fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    sys("pipe2", rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())
}
