//! Interfaces of the host that a machine has while it runs.
//!
//! Hardware falls back to the host's first network namespace by itself when the machine's is gone; an interface that is made of
//! software would be gone with it. So both are taken back before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::settings::network::InterfaceName;
use crate::sys::files::open_at;
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::in_namespace;
use crate::sys::{SysError, SysResult};

use super::error::LinkError;
use super::found::{self, Found};
use super::message;

/// Interfaces that are in a machine's namespace. They are taken back when this is dropped.
#[derive(Debug, Default)]
pub struct Lent {
    /// Keeps the namespace until they are out of it.
    namespace: Option<OwnedFd>,
    /// Their indexes there, and their names here.
    links: Vec<(u32, InterfaceName)>,
}

impl Lent {
    /// Moves `link` into `namespace`, where it is called `guest`.
    pub(super) fn lend(
        &mut self,
        socket: &mut Socket,
        link: &Found,
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
        self.links.push((there.index, host.clone()));
        Ok(())
    }

    /// Moves all back, whatever the machine has called them, under the names that they had.
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
            for (index, name) in &lent {
                let mut requests = Requests::default();
                message::relocate(&mut requests, *index, home.as_fd(), name);
                first = first.and(socket.carry_out(&requests).map(drop));
            }
            first
        });
        all.and_then(|all| all).map_err(failed())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Who wants to know asked before.
        let _ = self.take_back();
    }
}
