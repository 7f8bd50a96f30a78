//! The bridge of a zone: it comes with the first machine and goes with the last.

use std::net::IpAddr;

use rustix::io::Errno;

use crate::network::plan::Addresses;
use crate::settings::network::{InterfaceName, ZoneName};
use crate::sys::SysResult;
use crate::sys::netlink::{ROUTE, Requests, Socket};

use super::error::LinkError;
use super::found::{self, Found};
use super::shared::Shared;
use super::{deaf, guest, holding, message};

/// The name under which a zone's machines are noted.
pub(super) fn thing(zone: &ZoneName) -> String {
    format!("zone.{zone}")
}

/// The zone that a thing is.
pub(super) fn of_thing(thing: &str) -> Option<ZoneName> {
    thing.strip_prefix("zone.")?.parse().ok()
}

/// Notes `machine` in `zone` and gives the zone's bridge, made if it is not there, with the addresses that its machines have as
/// gateways.
pub(super) fn join(
    shared: &Shared,
    socket: &mut Socket,
    zone: &ZoneName,
    machine: &str,
    addresses: Option<&Addresses>,
) -> Result<Found, LinkError> {
    let name = zone.bridge();
    let failed = || LinkError::system("make the bridge of the zone");
    shared.join(&thing(zone), machine).map_err(failed())?;
    let there = found::find(socket, &name).map_err(failed())?;
    if let Some(other) = there.as_ref().filter(|found| !found.is_bridge_of(zone)) {
        return Err(LinkError::in_the_way(other));
    }
    let bridge = match there {
        Some(bridge) => bridge,
        None => {
            let mut requests = Requests::default();
            message::bridge(&mut requests, zone);
            message::get(&mut requests, &name);
            let made = socket.carry_out(&requests).map_err(failed())?;
            made.iter()
                .find_map(Found::parse)
                .map_or_else(|| found::expect(socket, &name), Ok)
                .inspect(|bridge| drop(deaf::make(socket, &name, bridge.index)))
                .map_err(failed())?
        }
    };
    // Those of a later machine may be more: one of a family that the first had none of.
    let mut requests = Requests::default();
    guest::host_side(&mut requests, bridge.index, &name, addresses);
    if !requests.is_empty() {
        let answers = socket.exchange(requests.bytes()).map_err(failed())?;
        if let Some(refusal) = answers.refusals.iter().find(|refusal| refusal.errno != Errno::EXIST) {
            return Err(failed()(socket.error(refusal, requests.asked(refusal.index))));
        }
    }
    Ok(bridge)
}

/// `machine`, which `had` a port and addresses, leaves `zone`: removes the bridge after the last. One with other ports stays: somebody's of this
/// host, or those of machines that we have lost the list of, since somebody wiped /run.
pub(super) fn leave(
    shared: &Shared,
    zone: &ZoneName,
    machine: &str,
    had: (&InterfaceName, &[IpAddr]),
) -> SysResult<()> {
    let mut socket = Socket::open(ROUTE)?;
    match begin_to_leave(shared, &mut socket, zone, machine, had)? {
        Some(bridge) => holding::remove(&mut socket, &bridge, &zone.bridge()),
        None => Ok(()),
    }
}

/// As [`leave`], but for the bridge: gives it where it is to be removed.
pub(super) fn begin_to_leave(
    shared: &Shared,
    socket: &mut Socket,
    zone: &ZoneName,
    machine: &str,
    (port, addresses): (&InterfaceName, &[IpAddr]),
) -> SysResult<Option<Found>> {
    let is_last = shared.leave(&thing(zone), machine)?;
    if !is_last && addresses.is_empty() {
        return Ok(None);
    }
    let name = zone.bridge();
    let Some(bridge) = found::find(socket, &name)?.filter(|found| found.is_bridge_of(zone)) else {
        return Ok(None);
    };
    if !is_last {
        let mut requests = Requests::default();
        addresses
            .iter()
            .for_each(|address| message::forget_neighbour(&mut requests, bridge.index, &name, *address));
        // One that is not known any more is as good.
        return socket.exchange(requests.bytes()).map(|_| None);
    }
    let mut links = found::all(socket)?.into_iter();
    let others = links.any(|link| link.master == bridge.index && link.name != port.as_str() && !link.going);
    Ok((!others).then_some(bridge))
}
