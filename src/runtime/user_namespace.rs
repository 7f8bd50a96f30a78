//! User namespaces with given maps (user_namespaces(7)).

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;

use crate::sys::files::{open_at, write_all};
use crate::sys::fork::exit_now;
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, die_with_parent, join_user_namespace, pidfd_open,
    set_ids, unshare, wait_for_end,
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
    holder: Holder,
}

/// The child that made a user namespace, and more in it if told to; ends and is reaped when dropped.
#[derive(Debug)]
pub struct Holder {
    child: Pid,
    /// It is in the machine's user namespace.
    in_user_namespace: bool,
    /// The child ends with this.
    to_child: Option<OwnedFd>,
    from_child: OwnedFd,
}

/// Namespaces that a process holds, for others to join (setns(2) with a pidfd, Linux 5.8).
#[derive(Debug)]
pub struct Made {
    /// The process.
    pub pidfd: OwnedFd,
    /// Those of its namespaces that are there to be joined, its user namespace among them.
    pub namespaces: Namespaces,
    /// Its network namespace, if that is one of them.
    pub network: Option<OwnedFd>,
}

impl Holder {
    /// Has the child make `namespaces` in its user namespace, while we do something else.
    ///
    /// # Errors
    /// EPIPE when it is dead.
    pub fn make(&self, namespaces: Namespaces) -> SysResult<()> {
        match &self.to_child {
            Some(pipe) => write_all(pipe, &namespaces.bits().to_ne_bytes()),
            None => Ok(()),
        }
    }

    /// Waits for what [`Holder::make`] began. `None` if it failed: whoever wants the namespaces makes them then, and
    /// fails with a message.
    ///
    /// # Errors
    /// When the child cannot be opened.
    pub fn made(&self, namespaces: Namespaces) -> SysResult<Option<Made>> {
        match read_errno(&self.from_child) {
            Ok(()) => {
                let user = if self.in_user_namespace { Namespaces::NEWUSER } else { Namespaces::empty() };
                let network = match namespaces.contains(Namespaces::NEWNET) {
                    true => Some(open_namespace(self.child, "net")?),
                    false => None,
                };
                Ok(Some(Made { pidfd: pidfd_open(self.child)?, namespaces: namespaces | user, network }))
            }
            Err(_) => Ok(None),
        }
    }

    /// Lets the child end; it is not waited for yet.
    pub fn release(&mut self) {
        if let Some(pipe) = self.to_child.take() {
            // By a word and not by the end of the pipe alone, of which later children of ours have copies. A dead one
            // needs none.
            let _ = write_all(pipe, &[0]);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release();
        // It has nothing to say any more; that it is gone is all we want.
        let _ = wait_for_end(self.child);
    }
}

/// Has a child make `namespaces` in the user namespace `user`, or in ours: for a machine whose user namespace is there.
///
/// # Errors
/// When no child can be made.
pub fn hold(user: Option<&OwnedFd>, namespaces: Namespaces) -> SysResult<Holder> {
    let (for_child, to_child) = pipe()?;
    let (from_child, for_parent) = pipe()?;
    let options = CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: None };
    match clone_process(options)? {
        Cloned::Parent(child) => {
            let in_user_namespace = user.is_some();
            Ok(Holder { child, in_user_namespace, to_child: Some(to_child), from_child })
        }
        Cloned::Child => {
            drop((to_child, from_child));
            let made = die_with_parent()
                .and_then(|()| user.map_or(Ok(()), join_user_namespace))
                .and_then(|()| make_in_user_namespace(namespaces));
            tell_errno(&for_parent, made);
            let _ = rustix::io::read(&for_child, &mut [0_u8; 1]);
            exit_now(0)
        }
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
            let to_child = Some(to_child);
            let holder = Holder { child, in_user_namespace: true, to_child, from_child };
            Ok(Beginning { creator, holder })
        }
        Cloned::Child => {
            drop((to_child, from_child));
            hold_namespace(creator, &for_child, &for_parent)
        }
    }
}

impl Beginning {
    /// Gives it its maps.
    ///
    /// # Errors
    /// As [`create`].
    pub fn finish(self, uids: IdMapping, gids: IdMapping) -> SysResult<(OwnedFd, Holder)> {
        let namespace = match read_errno(&self.holder.from_child) {
            Ok(()) => map(self.holder.child, uids, gids)?,
            Err(errno) => {
                return sys("unshare", Err(errno), || format!("CLONE_NEWUSER as {:?}", self.creator));
            }
        };
        Ok((namespace, self.holder))
    }
}

/// The child: makes the namespace, and others in it that the parent asks for, and stays until the parent has what it wants.
fn hold_namespace(creator: Creator, wait: &OwnedFd, tell: &OwnedFd) -> ! {
    let made = die_with_parent()
        .and_then(|()| match creator {
            Creator::Id(id) => set_ids(id, id, &[]),
            Creator::Root => Ok(()),
        })
        .and_then(|()| unshare(Namespaces::NEWUSER));
    tell_errno(tell, made);
    // All reads end with the parent's end of the pipe too, whatever became of it.
    let mut wanted = [0_u8; size_of::<u32>()];
    if rustix::io::read(wait, &mut wanted) == Ok(wanted.len()) {
        tell_errno(tell, make_in_user_namespace(Namespaces::from_bits_retain(u32::from_ne_bytes(wanted))));
        let _ = rustix::io::read(wait, &mut [0_u8; 1]);
    }
    exit_now(0)
}

/// Makes `namespaces` as the root of the user namespace, which has its map by now.
fn make_in_user_namespace(namespaces: Namespaces) -> SysResult<()> {
    set_ids(0, 0, &[])?;
    unshare(namespaces)?;
    if namespaces.contains(Namespaces::NEWNET) { crate::sys::network::loopback_up() } else { Ok(()) }
}

/// A parent that does not hear it any more will not mind.
fn tell_errno(tell: &OwnedFd, result: SysResult<()>) {
    let errno = result.err().map_or(0, |error| error.errno().raw_os_error());
    let _ = write_all(tell, &errno.to_ne_bytes());
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

fn open_namespace(process: Pid, name: &str) -> SysResult<OwnedFd> {
    open_at(CWD, format!("/proc/{}/ns/{name}", process.as_raw_nonzero()), OFlags::RDONLY, Mode::empty())
}

fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    sys("pipe2", rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())
}
