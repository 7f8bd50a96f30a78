//! The links of machines, made by netlink from our own process.
//!
//! A [`Made`] belongs to one boot. What comes once is [`prepare`]d before the first: bridge, forwarding. What goes with the machine
//! is a [`holding::Holding`], written down by its supervisor before it is made.

pub mod condition;
mod deaf;
mod delay;
mod error;
pub mod forwarding;
pub mod found;
mod guest;
pub mod holding;
mod host_side;
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
use crate::settings::network::InterfaceName;
use crate::sys::SysError;
use crate::sys::files::open_at;
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::{NamespaceId, in_namespace};

use condition::Condition;
use found::Found;
use host_side::Side;
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
    /// What the user should know of them.
    pub warnings: Vec<String>,
}

/// Looks whether what the plan of `machine` wants of the host is there, before anything is made; gives what is to be lent as it
/// is, in order.
///
/// # Errors
/// What is missing, or taken.
pub fn check(plan: &NetworkPlan, machine: &str) -> Result<Vec<Condition>, LinkError> {
    let mut lent = Vec::new();
    if plan.links.is_empty() {
        return Ok(lent);
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
                    lent.push(to_lend(&mut socket, name)?.1);
                }
            }
            LinkKind::Zone(zone) => free(&mut socket, &zone.bridge(), |found| found.is_bridge_of(zone))?,
            LinkKind::Veth | LinkKind::Extra => {}
        }
        if let (Some(host), true) = (&link.host, link.is_pair()) {
            free(&mut socket, host, |found| found.is_of(machine))?;
        }
    }
    Ok(lent)
}

/// Makes what comes once for all boots: the bridge of the zone. Notes what is to be [`forward`]ed on a `host` like this, which is known
/// of each plan that routes.
///
/// # Errors
/// When the kernel refuses.
pub fn prepare(
    plan: &NetworkPlan,
    machine: &str,
    namespace: NamespaceId,
    host: Option<&HostNetwork>,
) -> Result<(), LinkError> {
    let failed = || LinkError::system("prepare this host's network");
    if !plan.is_routed() && plan.zone().is_none() {
        return Ok(());
    }
    let shared = Shared::lock(namespace).map_err(failed())?;
    if let Some(zone) = plan.zone() {
        let mut socket = Socket::open(ROUTE).map_err(failed())?;
        let addresses = plan.links.iter().find(|link| matches!(link.kind, LinkKind::Zone(_)));
        let addresses = addresses.and_then(|link| link.addresses.as_ref());
        zone::join(&shared, &mut socket, zone, machine, addresses)?;
    }
    match host.filter(|_| plan.is_routed()) {
        Some(host) => forwarding::join(&shared, machine, host).map_err(failed()),
        None => Ok(()),
    }
}

/// Has the host forward packets of machines, once rules keep all others from passing too. Gives the switches that cannot be set.
///
/// # Errors
/// When /run cannot be read or written.
pub fn forward(plan: &NetworkPlan) -> Result<Vec<String>, LinkError> {
    if !plan.is_routed() {
        return Ok(Vec::new());
    }
    let own: Vec<String> = plan.zone().map(|zone| zone.bridge().to_string()).into_iter().collect();
    let failed = || LinkError::system("have this host forward packets");
    let namespace = NamespaceId::ours().map_err(failed())?;
    let shared = Shared::lock(namespace).map_err(failed())?;
    forwarding::set(&shared, &own).map_err(failed())
}

/// Follows what has become of this host's interfaces and switches since: notes it, has rules know by `tell`, and sets what is to
/// be set. Does not wait: an error of EWOULDBLOCK says that somebody else is at it.
///
/// # Errors
/// When the kernel does not list something, or /run cannot be written.
pub fn follow<E: From<SysError>>(tell: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    match Shared::try_lock_existing(NamespaceId::ours()?)? {
        None => tell(),
        Some(shared) => {
            forwarding::follow(&shared)?;
            tell()?;
            forwarding::set(&shared, &[])?;
            Ok(())
        }
    }
}

/// Makes the links of a boot of `machine`: the machine's ends in `namespace`, which has `lo` alone.
///
/// # Errors
/// When the kernel refuses.
pub fn make(plan: &NetworkPlan, machine: &str, namespace: BorrowedFd<'_>) -> Result<Made, LinkError> {
    let mut made = Made::default();
    if plan.links.is_empty() {
        return Ok(made);
    }
    let mut socket =
        Socket::open(ROUTE).map_err(LinkError::system("speak with the kernel about interfaces"))?;
    let mut sides = Vec::new();
    for link in &plan.links {
        // What fails leaves nothing: links of ours go with the namespace, and what is lent is taken back.
        let side = make_one(&mut socket, (link, machine), namespace, &mut made.lent)?;
        let index = side.end;
        if let (LinkKind::Veth | LinkKind::Extra, Some(host)) = (&link.kind, &link.host) {
            let heard = deaf::make(&mut socket, host, index);
            // Rules are about the others, and drop such messages.
            made.warnings.extend(heard.filter(|_| link.kind == LinkKind::Extra));
        }
        made.host.push(index);
        sides.push(side);
    }
    let macs: Vec<_> = sides.iter().map(|side| side.mac).collect();
    in_namespace(namespace, || guest::set_up(&plan.links, &macs))
        .and_then(|done| done)
        .map_err(LinkError::system("set up the machine's interfaces"))?;
    host_side::begin(&mut socket, &plan.links, &sides)
        .map_err(LinkError::system("set up the host's ends of links"))?;
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

/// Makes one link.
fn make_one(
    socket: &mut Socket,
    (link, machine): (&LinkPlan, &str),
    namespace: BorrowedFd<'_>,
    lent: &mut Lent,
) -> Result<Side, LinkError> {
    let guest = End { name: &link.guest, mac: link.mac };
    let mut requests = Requests::default();
    match (&link.kind, &link.host) {
        (LinkKind::Lent, Some(host)) => {
            let (found, was) = to_lend(socket, host)?;
            lent.lend(socket, (&found, was), host, &link.guest, namespace)
                .map_err(|source| LinkError::Lend { name: host.to_string(), source })?;
            Ok(Side::default())
        }
        (LinkKind::Macvlan(parent), _) => {
            message::macvlan(&mut requests, interface(socket, parent)?.index, guest, namespace);
            carry_out(socket, &requests, "macvlan")?;
            Ok(Side::default())
        }
        (LinkKind::Ipvlan(parent), _) => {
            message::ipvlan(&mut requests, interface(socket, parent)?.index, guest, namespace);
            carry_out(socket, &requests, "ipvlan")?;
            Ok(Side::default())
        }
        (kind, Some(host)) => {
            let bridge = match kind {
                LinkKind::Bridge(name) => Some(bridge(socket, name)?),
                LinkKind::Zone(zone) => Some(bridge(socket, &zone.bridge())?),
                _ => None,
            };
            pair(socket, (link, machine), host, bridge, namespace)
        }
        (_, None) => Ok(Side::default()),
    }
}

/// Makes a pair. One of the same name is ours from a life before, whose namespace the kernel is taking apart, and in the way.
fn pair(
    socket: &mut Socket,
    (link, machine): (&LinkPlan, &str),
    host: &InterfaceName,
    bridge: Option<Found>,
    namespace: BorrowedFd<'_>,
) -> Result<Side, LinkError> {
    let mut requests = Requests::default();
    let end = End { name: host, mac: link.host_mac };
    let owner = message::owned_by_machine(machine);
    let port_of = bridge.as_ref().map(|bridge| bridge.index);
    message::veth(&mut requests, end, &owner, port_of, End { name: &link.guest, mac: link.mac }, namespace);
    if let Some(alternative) = &link.host_alternative {
        message::alternative_name(&mut requests, host, alternative);
    }
    message::get(&mut requests, host);
    let made = match socket.carry_out(&requests) {
        Err(error) if error.errno() == Errno::EXIST => {
            free(socket, host, |found| found.is_of(machine))?;
            holding::remove_link(socket, host, machine).map_err(failed_kind("veth"))?;
            socket.carry_out(&requests)
        }
        made => made,
    };
    let end = made.map_err(failed_kind("veth"))?.iter().find_map(Found::parse).unwrap_or_default();
    let index = end.index;
    if matches!(link.kind, LinkKind::Veth) {
        let failed = || LinkError::system("give the host's end its addresses");
        let mut requests = Requests::default();
        guest::host_side(&mut requests, index, host, link.addresses.as_ref());
        socket.carry_out(&requests).map_err(failed())?;
        forwarding::own(host.as_str());
    }
    let (on, mac) = bridge.map_or((end.index, end.mac), |bridge| (bridge.index, bridge.mac));
    Ok(Side { end: index, on, mac })
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

/// Refuses a name that a link has, unless that one is our own.
fn free(socket: &mut Socket, name: &InterfaceName, is_own: impl Fn(&Found) -> bool) -> Result<(), LinkError> {
    let found = found::find(socket, name).map_err(LinkError::system("look for an interface"))?;
    found.filter(|found| !is_own(found)).map_or(Ok(()), |found| Err(LinkError::in_the_way(&found)))
}

/// An interface of the host's, and what it is like. One that has a machine at its other end is not the host's to lend.
fn to_lend(socket: &mut Socket, name: &InterfaceName) -> Result<(Found, Condition), LinkError> {
    let found = condition::look(socket, name).map_err(LinkError::system("look for an interface"))?;
    match found {
        None => Err(LinkError::NoInterface { name: name.to_string() }),
        Some((found, _)) if found.ours => Err(LinkError::in_the_way(&found)),
        Some(found) => Ok(found),
    }
}
