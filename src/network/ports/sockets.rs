//! The sockets that others come by: on the host for ports, in the machine for offers.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::settings::network::{Endpoint, PortMapping, Protocol};
use crate::sys::files::remove_file_at;
use crate::sys::in_root::Root;
use crate::sys::inet::{Binding, Transport, listen};
use crate::sys::network::in_namespace;
use crate::sys::process::{as_filesystem_user, ends_within, pidfd_open};
use crate::sys::stream_socket::listen_at;
use crate::sys::{FdPath, SysError, SysResult, sys};

use super::error::PortsError;
use super::holder::{self, Holder};

/// Connections that wait to be accepted; net.core.somaxconn may say less.
const BACKLOG: i32 = 4096;

/// How long a proxy is waited for whose supervisor was killed: it is being killed too.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Binds all ports of the host that `mapping` names, for this machine.
///
/// # Errors
/// The first that is not to be had, and who has it.
pub(super) fn bind_host(machine: &str, mapping: &PortMapping) -> Result<Vec<OwnedFd>, PortsError> {
    (0..mapping.count).map(|offset| bind_one(machine, mapping, offset)).collect()
}

/// Waits for the end of a proxy of a machine of this name: its supervisor, if it had one still, would not have let us come so far.
fn has_ended(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    match pidfd_open(pid) {
        Ok(process) => ends_within(&process, PATIENCE).unwrap_or(false),
        // Between our look and now.
        Err(error) => error.errno() == Errno::SRCH,
    }
}

fn bind_one(machine: &str, mapping: &PortMapping, offset: u16) -> Result<OwnedFd, PortsError> {
    let (number, guest) = (mapping.host.saturating_add(offset), mapping.guest.saturating_add(offset));
    let transport = transport(mapping.protocol);
    let binding = Binding { both_families: mapping.address.is_none(), any_address: false, backlog: BACKLOG };
    let address = mapping.address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let mut bound = listen(transport, SocketAddr::new(address, number), binding);
    if bound.as_ref().is_err_and(|error| error.errno() == Errno::ADDRINUSE)
        && holder::proxy(mapping.protocol, number, machine).is_some_and(has_ended)
    {
        bound = listen(transport, SocketAddr::new(address, number), binding);
    }
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
    /// Who may remove it.
    base: u32,
}

/// Makes the Unix socket `path` in the machine, whose root is `root` and whose IDs begin at `base`. Where it comes to lie is the
/// guest's to say, so this is done with no more power over files than its root has, and follows no link.
///
/// # Errors
/// When something that is no socket is there, or the machine's file system does not take it.
pub(super) fn bind_path(root: &Root, base: u32, path: &Path) -> Result<(OwnedFd, Inside), PortsError> {
    let made = as_filesystem_user(base, || -> SysResult<(OwnedFd, Inside)> {
        let invalid = || SysError::new("bind", format!("{path:?}"), Errno::INVAL);
        let below = RUN.iter().find_map(|run| path.strip_prefix(run).ok()).ok_or_else(invalid)?;
        let name = below.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
        // /var/run is a link to it by hier(7).
        let mut directory = root.open_path_no_symlinks("run")?;
        for part in below.parent().into_iter().flat_map(Path::components) {
            directory = make_below(&directory, part.as_os_str())?;
        }
        // That of the boot before, or of a service that is to be replaced by this.
        remove_socket(&directory, Path::new(name))?;
        let socket = listen_at(&directory, name, SOCKET_MODE, BACKLOG)?;
        Ok((socket, Inside { directory, name: name.into(), base }))
    });
    made.map_err(|error| match error.errno() {
        Errno::ADDRINUSE => PortsError::InUseInside(Endpoint::Unix(path.to_owned())),
        _ => PortsError::system("make a socket in the machine")(error),
    })
}

/// Opens the directory `name`, which is made if it is missing: no link, and nothing that is mounted there.
fn make_below(directory: &OwnedFd, name: &OsStr) -> SysResult<OwnedFd> {
    let describe = || format!("{}, {name:?}", FdPath::of(directory));
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(SysError::new("mkdirat", describe(), errno)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    sys("openat2", rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve), || {
        format!("{}, RESOLVE_NO_SYMLINKS|RESOLVE_NO_XDEV", describe())
    })
}

/// Removes `name` if it is a socket.
fn remove_socket(directory: &OwnedFd, name: &Path) -> SysResult<()> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Socket) => remove_file_at(directory, name),
        _ => Ok(()),
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // The machine may have removed it, or be gone.
        let _ = as_filesystem_user(self.base, || remove_socket(&self.directory, &self.name));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_guest_leads_nowhere() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can become another");
            return;
        }
        const BASE: u32 = 524_288;
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path();
        let run = tree.join("run");
        for path in ["run", "run/own", "host", "run/of-root"] {
            std::fs::create_dir_all(tree.join(path)).unwrap();
        }
        for path in ["run", "run/own"] {
            std::os::unix::fs::chown(tree.join(path), Some(BASE), Some(BASE)).unwrap();
        }
        symlink("../host", run.join("relative")).unwrap();
        symlink("/host", run.join("absolute")).unwrap();
        std::fs::write(run.join("file.sock"), "kept").unwrap();
        symlink("file.sock", run.join("link.sock")).unwrap();
        let root = Root::open(tree).unwrap();
        let rows = [
            ("/run/a.sock", Ok("a.sock")),
            ("/var/run/b.sock", Ok("b.sock")),
            ("/run/own/new/c.sock", Ok("own/new/c.sock")),
            ("/run/relative/d.sock", Err(Errno::LOOP)),
            ("/run/absolute/e.sock", Err(Errno::LOOP)),
            // What only root of the host may write to.
            ("/run/of-root/f.sock", Err(Errno::ACCESS)),
            ("/run/file.sock", Err(Errno::ADDRINUSE)),
            ("/run/link.sock", Err(Errno::ADDRINUSE)),
        ];
        for (path, expected) in rows {
            for _ in 0..2 {
                let made = bind_path(&root, BASE, Path::new(path));
                match (&made, expected) {
                    (Ok(_), Ok(place)) => {
                        let found = std::fs::symlink_metadata(run.join(place)).unwrap();
                        assert_eq!((found.uid(), found.gid()), (BASE, BASE), "{path}");
                    }
                    (Err(PortsError::System { source, .. }), Err(errno)) => {
                        assert_eq!(source.errno(), errno, "{path}");
                    }
                    (Err(PortsError::InUseInside(_)), Err(Errno::ADDRINUSE)) => {}
                    _ => panic!("{path}: {made:?}"),
                }
                drop(made);
                assert!(expected.is_err() || !run.join(expected.unwrap_or_default()).exists(), "{path}");
            }
        }
        assert_eq!(std::fs::read_dir(tree.join("host")).unwrap().count(), 0);
        assert_eq!(std::fs::read(run.join("file.sock")).unwrap(), b"kept");
        // Root's power is back.
        std::fs::write(run.join("of-root/x"), "").unwrap();
    }

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
