//! The sockets that others come by: on the host for ports, in the machine for offers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::settings::network::{Endpoint, PortMapping, Protocol};
use crate::sys::files::{change_owner_at, remove_file_at};
use crate::sys::in_root::Root;
use crate::sys::inet::{Binding, Transport, listen};
use crate::sys::network::in_namespace;
use crate::sys::process::with_filesystem_ids;
use crate::sys::stream_socket::listen_at;
use crate::sys::{SysError, SysResult};

use super::error::PortsError;
use super::holder::{self, Holder};

/// Connections that wait to be accepted; net.core.somaxconn may say less.
const BACKLOG: i32 = 4096;

/// Where Unix sockets may be offered: what is there is the machine's run, and not its image.
const RUN: [&str; 2] = ["/run", "/var/run"];

/// The guest's programs are all meant to connect, whoever they run as, as they may to a port.
const SOCKET_MODE: u32 = 0o666;

/// Directories that are missing above a Unix socket.
const DIRECTORY_MODE: u32 = 0o755;

/// The transport that a protocol names.
pub(super) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

/// Binds all ports of the host that `mapping` names.
///
/// # Errors
/// The first that is not to be had, and who has it.
pub(super) fn bind_host(mapping: &PortMapping) -> Result<Vec<OwnedFd>, PortsError> {
    (0..mapping.count).map(|offset| bind_one(mapping, offset)).collect()
}

fn bind_one(mapping: &PortMapping, offset: u16) -> Result<OwnedFd, PortsError> {
    let (number, guest) = (mapping.host.saturating_add(offset), mapping.guest.saturating_add(offset));
    let transport = transport(mapping.protocol);
    let binding = Binding { both_families: mapping.address.is_none(), any_address: false, backlog: BACKLOG };
    let address = mapping.address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let mut bound = listen(transport, SocketAddr::new(address, number), binding);
    if mapping.address.is_none()
        && bound
            .as_ref()
            .is_err_and(|error| matches!(error.errno(), Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
    {
        // A host without IPv6.
        bound = listen(transport, (Ipv4Addr::UNSPECIFIED, number).into(), binding);
    }
    bound.map_err(|error| match (error.errno(), mapping.address) {
        (Errno::ADDRINUSE, _) => {
            let (_, holder) = holder::find(mapping.protocol, number, 1).unwrap_or((number, Holder::Somebody));
            PortsError::InUse { protocol: mapping.protocol, number, guest, holder }
        }
        (Errno::ADDRNOTAVAIL, Some(address)) => PortsError::NotOurs { address },
        _ => PortsError::system("bind a port of the host")(error),
    })
}

/// Makes the sockets of a port that is offered, in the machine's network namespace: at both loopback addresses where none
/// is given.
///
/// # Errors
/// When somebody in the machine has it.
pub(super) fn bind_inside(
    namespace: BorrowedFd<'_>,
    endpoint: &Endpoint,
) -> Result<Vec<OwnedFd>, PortsError> {
    let (protocol, address, number) = match endpoint {
        Endpoint::Tcp(address, number) => (Protocol::Tcp, address, number),
        Endpoint::Udp(address, number) => (Protocol::Udp, address, number),
        Endpoint::Unix(_) => return Ok(Vec::new()),
    };
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses = address.map_or(loopback.to_vec(), |address| vec![address]);
    // Its interfaces may be down still.
    let binding = Binding { both_families: false, any_address: true, backlog: BACKLOG };
    let bind = |address: &IpAddr| listen(transport(protocol), SocketAddr::new(*address, *number), binding);
    let made = in_namespace(namespace, || addresses.iter().map(bind).collect::<Vec<_>>())
        .map_err(PortsError::system("enter the machine's network namespace"))?;
    let sockets: SysResult<Vec<OwnedFd>> = made
        .into_iter()
        // A machine without IPv6 has the other address.
        .filter(|made| !made.as_ref().is_err_and(|error| error.errno() == Errno::AFNOSUPPORT))
        .collect();
    sockets.map_err(|error| match error.errno() {
        Errno::ADDRINUSE => PortsError::InUseInside(endpoint.clone()),
        _ => PortsError::system("bind a port in the machine")(error),
    })
}

/// Whether a Unix socket may be offered at `path`.
pub(super) fn may_be_at(path: &Path) -> bool {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.components().all(plain)
        && RUN.iter().any(|run| path.strip_prefix(run).is_ok_and(|rest| rest.file_name().is_some()))
}

/// A Unix socket in the machine, which goes with this.
#[derive(Debug)]
pub(super) struct Inside {
    directory: OwnedFd,
    name: PathBuf,
}

/// Makes the Unix socket `path` in the machine, whose root is `root` and whose IDs begin at `base`.
///
/// # Errors
/// When something that is no socket is there, or the machine's file system does not take it.
pub(super) fn bind_path(root: &Root, base: u32, path: &Path) -> Result<(OwnedFd, Inside), PortsError> {
    let failed = || PortsError::system("make a socket in the machine");
    let made = with_filesystem_ids(base, || -> SysResult<(OwnedFd, Inside)> {
        let above = path.parent().unwrap_or(Path::new("/"));
        let directory = root.mkdir_all(above, Mode::from_raw_mode(DIRECTORY_MODE))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| SysError::new("bind", format!("{path:?}"), Errno::INVAL))?;
        let is_socket = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        if rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_socket) {
            // That of the boot before, or of a service that is to be replaced by this.
            remove_file_at(&directory, name)?;
        }
        let socket = listen_at(&directory, name, SOCKET_MODE, BACKLOG)?;
        // Where fsuid did not count, as without an idmapped mount.
        let _ = change_owner_at(&directory, name, base, base);
        Ok((socket, Inside { directory, name: name.into() }))
    });
    made.map_err(failed())?.map_err(|error| match error.errno() {
        Errno::ADDRINUSE => PortsError::InUseInside(Endpoint::Unix(path.to_owned())),
        _ => failed()(error),
    })
}

impl Drop for Inside {
    fn drop(&mut self) {
        // The machine may have removed it, or be gone.
        let _ = remove_file_at(&self.directory, &self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_sockets() {
        for (path, expected) in [
            ("/run/x.sock", true),
            ("/run/postgresql/.s.PGSQL.5432", true),
            ("/var/run/x", true),
            ("/run", false),
            ("/run/", false),
            ("/run/../etc/x", false),
            ("/runx/x", false),
            ("run/x", false),
            ("/etc/x", false),
        ] {
            assert_eq!(may_be_at(Path::new(path)), expected, "{path}");
        }
    }
}
