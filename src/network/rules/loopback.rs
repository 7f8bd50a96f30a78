//! Ports of the host's loopback: what comes from 127.0.0.1 leaves by another interface than `lo` only where that one says so
//! (route_localnet, Documentation/networking/ip-sysctl.rst). The setting goes with the interface. Nothing of 127.0.0.0/8 gets in
//! there for that: see `early` in [`super::base`].

use rustix::io::Errno;

use super::machine::{MachineRules, Place};
use crate::sys::sysctl;

/// Has ports of the host's loopback lead to `machine`, if it has ports. Says what of it could not be done.
pub(super) fn open(machine: &MachineRules) -> Option<String> {
    let main = machine.main().filter(|link| link.v4.is_some() && !machine.ports.is_empty())?;
    let interface = match &main.place {
        Place::Alone => &main.host,
        Place::Zone(bridge) => bridge,
        Place::Bridge(_) => return None,
    };
    match sysctl::write(&format!("ipv4/conf/{interface}/route_localnet"), "1") {
        Ok(()) => None,
        // Of rules alone, before there are links.
        Err(error) if error.errno() == Errno::NOENT => None,
        Err(error) => Some(format!("ports do not answer at 127.0.0.1: {error}")),
    }
}
