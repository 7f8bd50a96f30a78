//! The host hears nothing of machines about routes: no router advertisements, no redirects, on any interface whose other end a
//! machine has.
//!
//! These are switches of the interface and go with it. Where /proc/sys may not be written, as in a container, IPv4's are set by
//! netlink (IFLA_INET_CONF); IPv6 has no such way. Interfaces that rules are about are safe then all the same: those drop such
//! messages. Others, of `--network-veth-extra=`, are not, which the user is told.

use rustix::io::Errno;

use crate::settings::network::InterfaceName;
use crate::sys::netlink::{Requests, Socket};
use crate::sys::sysctl;

use super::message;

/// Each is to be 0 (Documentation/networking/ip-sysctl.rst).
const SWITCHES: [(&str, &str); 3] =
    [("ipv6", "accept_ra"), ("ipv6", "accept_redirects"), ("ipv4", "accept_redirects")];

/// Makes the host deaf on the link `index` of its own, which it calls `host`; says what could not be done.
pub(super) fn make(socket: &mut Socket, host: &InterfaceName, index: u32) -> Option<String> {
    let mut open = Vec::new();
    for (family, name) in SWITCHES {
        let path = format!("{family}/conf/{host}/{name}");
        match sysctl::write(&path, "0") {
            Ok(()) => {}
            // A kernel without IPv6.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(_) => open.push((family, path)),
        }
    }
    if open.iter().any(|(family, _)| *family == "ipv4") {
        let mut requests = Requests::default();
        message::no_redirects(&mut requests, index, host);
        // What that came to is seen below.
        let _ = socket.carry_out(&requests);
    }
    // Some hosts have it off for all of their interfaces.
    open.retain(|(_, path)| sysctl::number(path).is_some_and(|number| number != 0));
    let paths: Vec<String> = open.into_iter().map(|(_, path)| path.replace('/', ".")).collect();
    (!paths.is_empty()).then(|| {
        format!(
            "the machine may tell this host routes over {host}: net.{} cannot be set to 0 here",
            paths.join(", net.")
        )
    })
}
