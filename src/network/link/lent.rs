//! Interfaces of the host that a machine has while it runs.
//!
//! Hardware falls back to the host's first network namespace by itself when the machine's is gone; an interface that is made of
//! software would be gone with it. So both are taken back before, and made what they were: the machine may have changed all that
//! root can change of an interface. Addresses and routes are lost where an interface leaves a namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::settings::network::InterfaceName;
use crate::sys::files::open_at;
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::in_namespace;
use crate::sys::{SysError, SysResult};

use super::condition::{self, Condition};
use super::error::LinkError;
use super::found::{self, Found};
use super::{holding, message};

/// Interfaces that are in a machine's namespace. They are taken back when this is dropped.
#[derive(Debug, Default)]
pub struct Lent {
    /// Keeps the namespace until they are out of it.
    namespace: Option<OwnedFd>,
    /// Their indexes there, their names here, and what they were like.
    links: Vec<(u32, InterfaceName, Condition)>,
}

impl Lent {
    /// Moves `link` into `namespace`, where it is called `guest`.
    pub(super) fn lend(
        &mut self,
        socket: &mut Socket,
        (link, was): (&Found, Condition),
        host: &InterfaceName,
        guest: &InterfaceName,
        namespace: BorrowedFd<'_>,
    ) -> SysResult<()> {
        if self.namespace.is_none() {
            let copy = namespace.try_clone_to_owned();
            self.namespace = Some(copy.map_err(|_| SysError::new("fcntl", "F_DUPFD_CLOEXEC", Errno::MFILE))?);
        }
        let mut requests = Requests::default();
        message::relocate(&mut requests, link.index, namespace, guest);
        socket.carry_out(&requests)?;
        // It may have another index there.
        let there = in_namespace(namespace, || found::expect(&mut Socket::open(ROUTE)?, guest))??;
        self.links.push((there.index, host.clone(), was));
        Ok(())
    }

    /// Moves all back, whatever the machine has called them, and makes them what they were.
    ///
    /// # Errors
    /// The first fault; the rest is taken back all the same.
    pub fn take_back(&mut self) -> Result<(), LinkError> {
        let Some(namespace) = self.namespace.take() else { return Ok(()) };
        let failed = || LinkError::system("take an interface back from the machine");
        let home = open_at(CWD, "/proc/self/ns/net", OFlags::RDONLY, Mode::empty()).map_err(failed())?;
        let lent = std::mem::take(&mut self.links);
        let all = in_namespace(namespace, || {
            let mut socket = Socket::open(ROUTE)?;
            let mut first = Ok(());
            for (index, name, was) in &lent {
                let moved = take_back(&mut socket, *index, home.as_fd(), name, was);
                first = first.and(moved);
            }
            first
        });
        let moved = all.and_then(|all| all);
        let restored = Socket::open(ROUTE).and_then(|mut socket| {
            let mut first = Ok(());
            for (_, name, was) in &lent {
                // The rest all the same.
                let restored = restore(&mut socket, name, was);
                first = first.and(restored);
            }
            first
        });
        moved.and(restored).map_err(failed())
    }
}

/// Moves the link `index` of the namespace that we are in to `home`.
fn take_back(
    socket: &mut Socket,
    index: u32,
    home: BorrowedFd<'_>,
    name: &InterfaceName,
    was: &Condition,
) -> SysResult<()> {
    // A name that is another link's at home would keep it here.
    let listed = condition::all(socket)?;
    let now = listed.iter().find(|(found, _)| found.index == index).map(|(_, now)| now);
    let mut names = Requests::default();
    for other in now.into_iter().flat_map(|now| &now.alternatives) {
        if !was.alternatives.contains(other) {
            message::remove_alternative_name(&mut names, index, other);
        }
    }
    socket.carry_out(&names)?;
    let mut requests = Requests::default();
    message::relocate(&mut requests, index, home, name);
    socket.carry_out(&requests).map(drop)
}

/// Makes the link `name`, which is back, what it was.
fn restore(socket: &mut Socket, name: &InterfaceName, was: &Condition) -> SysResult<()> {
    match condition::look(socket, name)? {
        Some((found, now)) => holding::restore(socket, &found, name, was, &now),
        None => Ok(()),
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Who wants to know asked before.
        let _ = self.take_back();
    }
}
