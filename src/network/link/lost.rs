//! Links of ours that no list has any more: somebody wiped /run, and the machine died that would have written it anew.

use std::time::Duration;

use crate::settings::network::{InterfaceName, ZoneName};
use crate::sys::SysResult;
use crate::sys::netlink::{ROUTE, Socket};
use crate::sys::network::NamespaceId;

use super::found::{self, Found};
use super::shared::Shared;
use super::{holding, zone};

/// How often it is looked whether the ports of a bridge are gone: they go with the network namespace of a machine, some
/// milliseconds after it.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: u32 = 100;

/// Removes bridges of zones that no list has and that have no port. Says whether no link of ours is left in our network
/// namespace: then no machine is there, and nothing that rules could be about.
///
/// # Errors
/// When links cannot be listed or removed.
pub fn sweep() -> SysResult<bool> {
    let mut socket = Socket::open(ROUTE)?;
    for bridge in lost(&mut socket)? {
        let Ok(name) = bridge.name.parse::<InterfaceName>() else { continue };
        let mut looks = 0;
        while looks < LOOKS && has_ports(&mut socket, &bridge)? {
            std::thread::sleep(LOOK);
            looks += 1;
        }
        // With the lock: nobody joins it meanwhile.
        let shared = Shared::lock(NamespaceId::ours()?)?;
        let still = lost_of(&mut socket, Some(&shared))?.iter().any(|one| one.index == bridge.index);
        if still && !has_ports(&mut socket, &bridge)? {
            holding::remove(&mut socket, &bridge, &name)?;
        }
        shared.tidy()?;
    }
    Ok(!found::all(&mut socket)?.iter().any(|link| link.ours))
}

fn has_ports(socket: &mut Socket, bridge: &Found) -> SysResult<bool> {
    Ok(found::all(socket)?.iter().any(|link| link.master == bridge.index))
}

fn lost(socket: &mut Socket) -> SysResult<Vec<Found>> {
    let shared = Shared::lock_existing(NamespaceId::ours()?)?;
    lost_of(socket, shared.as_ref())
}

/// Bridges of ours that are not in `shared`.
fn lost_of(socket: &mut Socket, shared: Option<&Shared>) -> SysResult<Vec<Found>> {
    let things = shared.map(Shared::things).transpose()?.unwrap_or_default();
    let listed: Vec<InterfaceName> =
        things.iter().filter_map(|thing| zone::of_thing(thing)).map(|zone| zone.bridge()).collect();
    let bridges =
        found::all(socket)?.into_iter().filter(|link| link.ours && ZoneName::of_bridge(&link.name).is_some());
    Ok(bridges.filter(|link| !listed.iter().any(|name| name.as_str() == link.name)).collect())
}
