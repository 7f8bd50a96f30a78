//! The host's side of links once both ends are up: frames pass at once, and the first one asks nobody where its neighbour is.

use crate::network::plan::{LinkKind, LinkPlan};
use crate::settings::network::MacAddress;
use crate::sys::SysResult;
use crate::sys::netlink::{Requests, Socket};

use super::{guest, message};

/// The host's side of a link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Side {
    /// The host's end; 0 where there is none.
    pub(super) end: u32,
    /// What is on the machine's network: the end, or its bridge.
    pub(super) on: u32,
    /// The hardware address of that.
    pub(super) mac: Option<MacAddress>,
}

/// Has frames pass over all pairs, whose other ends are up, and the host know where its machine is.
///
/// An end that was brought up before the other drops what is sent until the kernel's link watch comes to it: in a moment, on a busy
/// host some ten milliseconds later, and as much as a second later where both ends have the same index (linkwatch_urgent_event()). Who
/// asks for a link has that done (rtnl_getlink(), Linux 6.8). A port first: its bridge has its carrier from it.
///
/// What the host has asked before that is lost too, and would be asked again a second later: it is told.
pub(super) fn begin(socket: &mut Socket, links: &[LinkPlan], sides: &[Side]) -> SysResult<()> {
    let mut requests = Requests::default();
    for (link, side) in links.iter().zip(sides).filter(|(link, _)| link.is_pair()) {
        let Some(host) = &link.host else { continue };
        message::get(&mut requests, host);
        match &link.kind {
            LinkKind::Zone(zone) => {
                message::get(&mut requests, &zone.bridge());
                guest::machine_known(&mut requests, side.on, &zone.bridge(), link);
            }
            LinkKind::Veth => guest::machine_known(&mut requests, side.on, host, link),
            _ => {}
        }
    }
    match requests.is_empty() {
        true => Ok(()),
        // What is refused comes by itself, and later.
        false => socket.exchange(requests.bytes()).map(drop),
    }
}
