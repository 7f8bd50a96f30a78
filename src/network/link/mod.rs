//! The links of machines, made by netlink from our own process.
//!
//! A [`Made`] belongs to one boot. What comes once is [`prepare`]d before the first: bridge, forwarding. What goes with the machine
//! is a [`holding::Holding`], written down by its supervisor before it is made.

mod delay;
mod error;
pub mod forwarding;
pub mod found;
mod guest;
pub mod holding;
mod lent;
pub mod lost;
mod message;
pub mod shared;
mod zone;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::network::host::HostNetwork;
use crate::network::plan::{LinkKind, LinkPlan, NetworkPlan};
use crate::settings::network::{InterfaceName, MacAddress};
use crate::sys::SysError;
use crate::sys::files::open_at;
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::{NamespaceId, in_namespace};

use found::Found;
use message::End;
use shared::Shared;

pub use error::LinkError;
pub use lent::Lent;
pub use message::bridge_mac;

/// The links of one boot.
#[derive(Debug, Default)]
pub struct Made {
    /// For each link of the plan, the index of its host's end; 0 where it has none.
    pub host: Vec<u32>,
    /// Interfaces of the host that the machine has, to be taken back.
    pub lent: Lent,
}

/// Looks whether what the plan wants of the host is there, before anything is made; gives the MAC addresses of what is to be lent,
/// in order.
///
/// # Errors
/// What is missing, or taken.
pub fn check(plan: &NetworkPlan) -> Result<Vec<Option<MacAddress>>, LinkError> {
    let mut macs = Vec::new();
    if plan.links.is_empty() {
        return Ok(macs);
    }
    let mut socket =
        Socket::open(ROUTE).map_err(LinkError::system("speak with the kernel about interfaces"))?;
    for link in &plan.links {
        match &link.kind {
            LinkKind::Bridge(name) => {
                bridge(&mut socket, name)?;
            }
            LinkKind::Macvlan(name) | LinkKind::Ipvlan(name) => {
                interface(&mut socket, name)?;
            }
            LinkKind::Lent => {
                if let Some(name) = &link.host {
                    macs.push(interface(&mut socket, name)?.mac);
                }
            }
            LinkKind::Zone(zone) => free(&mut socket, &zone.bridge())?,
            LinkKind::Veth | LinkKind::Extra => {}
        }
        if let (Some(host), true) = (&link.host, link.is_pair()) {
            free(&mut socket, host)?;
        }
    }
    Ok(macs)
}

/// Makes what comes once for all boots: bridge of the zone, forwarding on a `host` like this, which is known of each plan that
/// routes. Gives what could not be switched on the host.
///
/// # Errors
/// When the kernel refuses.
pub fn prepare(
    plan: &NetworkPlan,
    machine: &str,
    namespace: NamespaceId,
    host: Option<&HostNetwork>,
) -> Result<Vec<String>, LinkError> {
    let failed = || LinkError::system("prepare this host's network");
    if !plan.is_routed() && plan.zone().is_none() {
        return Ok(Vec::new());
    }
    let shared = Shared::lock(namespace).map_err(failed())?;
    let mut own = Vec::new();
    if let Some(zone) = plan.zone() {
        let mut socket = Socket::open(ROUTE).map_err(failed())?;
        let addresses = plan.links.iter().find(|link| matches!(link.kind, LinkKind::Zone(_)));
        let addresses = addresses.and_then(|link| link.addresses.as_ref());
        zone::join(&shared, &mut socket, zone, machine, addresses)?;
        own.push(zone.bridge().to_string());
    }
    match host.filter(|_| plan.is_routed()) {
        Some(host) => forwarding::join(&shared, machine, &own, host).map_err(failed()),
        None => Ok(Vec::new()),
    }
}

/// Makes the links of a boot: the machine's ends in `namespace`, which has `lo` alone.
///
/// # Errors
/// When the kernel refuses.
pub fn make(plan: &NetworkPlan, namespace: BorrowedFd<'_>) -> Result<Made, LinkError> {
    let mut made = Made::default();
    if plan.links.is_empty() {
        return Ok(made);
    }
    let mut socket =
        Socket::open(ROUTE).map_err(LinkError::system("speak with the kernel about interfaces"))?;
    for link in &plan.links {
        // What fails leaves nothing: links of ours go with the namespace, and what is lent is taken back.
        let index = make_one(&mut socket, link, namespace, &mut made.lent)?;
        made.host.push(index);
    }
    in_namespace(namespace, || guest::set_up(&plan.links))
        .and_then(|done| done)
        .map_err(LinkError::system("set up the machine's interfaces"))?;
    delay::hold_back(&mut socket, plan, &made.host, namespace)?;
    Ok(made)
}

/// Opens the network namespace of `path`.
///
/// # Errors
/// When it is not there, or is none.
pub fn open_namespace(path: &Path) -> Result<OwnedFd, LinkError> {
    let opened = open_at(CWD, path, OFlags::RDONLY, Mode::empty());
    let joined = opened.and_then(|namespace| in_namespace(&namespace, || ()).map(|()| namespace));
    joined.map_err(|source| LinkError::NoNamespace { path: path.to_owned(), source })
}

/// Makes one link; gives the index of its host's end.
fn make_one(
    socket: &mut Socket,
    link: &LinkPlan,
    namespace: BorrowedFd<'_>,
    lent: &mut Lent,
) -> Result<u32, LinkError> {
    let guest = End { name: &link.guest, mac: link.mac };
    let mut requests = Requests::default();
    match (&link.kind, &link.host) {
        (LinkKind::Lent, Some(host)) => {
            let found = interface(socket, host)?;
            lent.lend(socket, &found, host, &link.guest, namespace)
                .map_err(|source| LinkError::Lend { name: host.to_string(), source })?;
            Ok(0)
        }
        (LinkKind::Macvlan(parent), _) => {
            message::macvlan(&mut requests, interface(socket, parent)?.index, guest, namespace);
            carry_out(socket, &requests, "macvlan")?;
            Ok(0)
        }
        (LinkKind::Ipvlan(parent), _) => {
            message::ipvlan(&mut requests, interface(socket, parent)?.index, guest, namespace);
            carry_out(socket, &requests, "ipvlan")?;
            Ok(0)
        }
        (kind, Some(host)) => {
            let bridge = match kind {
                LinkKind::Bridge(name) => Some(bridge(socket, name)?.index),
                LinkKind::Zone(zone) => Some(bridge(socket, &zone.bridge())?.index),
                _ => None,
            };
            pair(socket, link, host, bridge, namespace)
        }
        (_, None) => Ok(0),
    }
}

/// Makes a pair. One of the same name is ours from a life before, whose namespace the kernel is taking apart, and in the way.
fn pair(
    socket: &mut Socket,
    link: &LinkPlan,
    host: &InterfaceName,
    bridge: Option<u32>,
    namespace: BorrowedFd<'_>,
) -> Result<u32, LinkError> {
    let mut requests = Requests::default();
    let end = End { name: host, mac: link.host_mac };
    message::veth(&mut requests, end, bridge, End { name: &link.guest, mac: link.mac }, namespace);
    if let Some(alternative) = &link.host_alternative {
        message::alternative_name(&mut requests, host, alternative);
    }
    message::get(&mut requests, host);
    let made = match socket.carry_out(&requests) {
        Err(error) if error.errno() == Errno::EXIST => {
            free(socket, host)?;
            holding::remove_link(socket, host).map_err(failed_kind("veth"))?;
            socket.carry_out(&requests)
        }
        made => made,
    };
    let index =
        made.map_err(failed_kind("veth"))?.iter().find_map(Found::parse).map_or(0, |found| found.index);
    if matches!(link.kind, LinkKind::Veth) {
        let failed = || LinkError::system("give the host's end its addresses");
        let mut requests = Requests::default();
        guest::host_side(&mut requests, index, host, link.addresses.as_ref());
        socket.carry_out(&requests).map_err(failed())?;
        forwarding::own(host.as_str());
    }
    Ok(index)
}

fn carry_out(socket: &mut Socket, requests: &Requests, kind: &'static str) -> Result<(), LinkError> {
    socket.carry_out(requests).map(drop).map_err(failed_kind(kind))
}

/// EOPNOTSUPP is what the kernel says to kinds of links that it has not.
fn failed_kind(kind: &'static str) -> impl FnOnce(SysError) -> LinkError {
    move |source| match source.errno() {
        Errno::OPNOTSUPP => LinkError::NoSuchKind { kind, source },
        _ => LinkError::System { action: "make the machine's interfaces", source },
    }
}

fn interface(socket: &mut Socket, name: &InterfaceName) -> Result<Found, LinkError> {
    let found = found::find(socket, name).map_err(LinkError::system("look for an interface"))?;
    found.ok_or_else(|| LinkError::NoInterface { name: name.to_string() })
}

fn bridge(socket: &mut Socket, name: &InterfaceName) -> Result<Found, LinkError> {
    let found = found::find(socket, name).map_err(LinkError::system("look for a bridge"))?;
    let found = found.ok_or_else(|| LinkError::NoBridge { name: name.to_string() })?;
    match found.kind.as_deref() {
        Some("bridge") => Ok(found),
        _ => Err(LinkError::NotABridge { name: name.to_string() }),
    }
}

/// Refuses a name that somebody else's link has.
fn free(socket: &mut Socket, name: &InterfaceName) -> Result<(), LinkError> {
    let found = found::find(socket, name).map_err(LinkError::system("look for an interface"))?;
    match found {
        Some(found) if !found.ours => Err(LinkError::Taken { name: name.to_string() }),
        _ => Ok(()),
    }
}
