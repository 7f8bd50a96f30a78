//! What a machine has of the host's network: written down before it is made, and undone from what is written.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::network::plan::{LinkKind, NetworkPlan};
use crate::settings::network::{InterfaceName, ZoneName};
use crate::sys::files::open_at;
use crate::sys::fork::{close_from_but, exit_now, fork};
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::{NamespaceId, in_namespace, open_by_id};
use crate::sys::{SysResult, sys};

use super::condition::{self, Condition};
use super::found::{self, Found};
use super::shared::Shared;
use super::{forwarding, guest, message, zone};

/// Something of the host's network that goes with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The network namespace that is the host's.
    pub namespace: NamespaceId,
    /// The machine.
    pub machine: String,
    /// What.
    pub kind: HoldingKind,
}

/// Kinds of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldingKind {
    /// Packets are let through.
    Forwarding,
    /// A place in a zone, and the zone's bridge where it is the last.
    Zone {
        /// The zone.
        zone: ZoneName,
        /// The machine's port of the bridge.
        port: InterfaceName,
        /// The addresses by which the host knows it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<IpAddr>,
    },
    /// The host's end of a pair.
    Link(InterfaceName),
    /// An interface of the host's that the machine has.
    Lent {
        /// Its name on the host.
        host: InterfaceName,
        /// Its name in the machine.
        guest: InterfaceName,
        /// What it was like.
        #[serde(alias = "mac", deserialize_with = "condition::of_any_version")]
        was: Condition,
    },
}

/// What a machine with this plan will have, in the order of making. What is lent is like `lent` before, in order.
pub fn holdings(
    plan: &NetworkPlan,
    machine: &str,
    namespace: NamespaceId,
    lent: &[Condition],
) -> Vec<Holding> {
    let mut kinds = Vec::new();
    if plan.is_routed() {
        kinds.push(HoldingKind::Forwarding);
    }
    for link in &plan.links {
        if let (LinkKind::Zone(zone), Some(port)) = (&link.kind, &link.host) {
            let addresses = link.addresses.iter().flat_map(guest::own).collect();
            kinds.push(HoldingKind::Zone { zone: zone.clone(), port: port.clone(), addresses });
        }
    }
    let mut lent = lent.iter();
    for link in &plan.links {
        match (&link.kind, &link.host) {
            (LinkKind::Lent, Some(host)) => kinds.push(HoldingKind::Lent {
                host: host.clone(),
                guest: link.guest.clone(),
                was: lent.next().cloned().unwrap_or_default(),
            }),
            (LinkKind::Veth | LinkKind::Bridge(_) | LinkKind::Zone(_) | LinkKind::Extra, Some(host)) => {
                kinds.push(HoldingKind::Link(host.clone()));
            }
            _ => {}
        }
    }
    kinds.into_iter().map(|kind| Holding { namespace, machine: machine.to_owned(), kind }).collect()
}

impl Holding {
    /// Gives back what is left of it, in the network namespace that it is in; with that one all of it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn undo(&self) -> SysResult<()> {
        if NamespaceId::ours()?.is(self.namespace) {
            return self.undo_here();
        }
        match open_by_id(self.namespace)? {
            Some(namespace) => in_namespace(namespace, || self.undo_here())?,
            // Links, rules and switches went with it; our own notes did not.
            None => self.forget(),
        }
    }

    fn undo_here(&self) -> SysResult<()> {
        match &self.kind {
            HoldingKind::Forwarding | HoldingKind::Zone { .. } => {
                // By all that is known of it, which what is written need not say.
                let shared = Shared::lock(NamespaceId::ours()?)?;
                self.leave(&shared)?;
                shared.tidy()
            }
            HoldingKind::Link(name) => remove_link(&mut Socket::open(ROUTE)?, name, &self.machine),
            HoldingKind::Lent { host, guest, was } => give_back(&mut Socket::open(ROUTE)?, host, guest, was),
        }
    }

    /// What of it is shared with other machines.
    fn leave(&self, shared: &Shared) -> SysResult<()> {
        match &self.kind {
            HoldingKind::Forwarding => forwarding::leave(shared, &self.machine),
            HoldingKind::Zone { zone, port, addresses } => {
                zone::leave(shared, zone, &self.machine, (port, addresses))
            }
            HoldingKind::Link(_) | HoldingKind::Lent { .. } => Ok(()),
        }
    }

    fn forget(&self) -> SysResult<()> {
        let thing = match &self.kind {
            HoldingKind::Forwarding => forwarding::THING.to_owned(),
            HoldingKind::Zone { zone, .. } => zone::thing(zone),
            HoldingKind::Link(_) | HoldingKind::Lent { .. } => return Ok(()),
        };
        let Some(shared) = Shared::lock_existing(self.namespace)? else { return Ok(()) };
        if shared.leave(&thing, &self.machine)? && matches!(self.kind, HoldingKind::Forwarding) {
            shared.forget(forwarding::CHANGED)?;
        }
        shared.tidy()
    }
}

/// Undoes `holdings`, but for what takes the kernel long: a link some 20 ms, a bridge 30. A child of ours sees to that while we go on
/// and end. It removes links by their indexes, so that a next machine may have their names, and has the lock that others wait for only
/// where a bridge goes. What it leaves where it is killed goes with the machine's namespace, or with [`sweep`]. Done so only
/// where all is in our network namespace; gives what it waits for then: it has `kept` open until we have closed that, so that the wait
/// for the last end of a socket is its own. It does `after` when that is closed.
///
/// # Errors
/// When there can be no child, or something cannot be undone: all of it may be undone once more.
pub fn undo_later(
    holdings: &[Holding],
    kept: Option<BorrowedFd<'_>>,
    after: impl FnOnce(),
) -> SysResult<Option<OwnedFd>> {
    let namespace = NamespaceId::ours()?;
    if !holdings.iter().all(|holding| holding.namespace.is(namespace)) {
        return Ok(None);
    }
    let shared = Shared::lock(namespace)?;
    let mut socket = Socket::open(ROUTE)?;
    let (mut links, mut bridges) = (Vec::new(), Vec::new());
    for holding in holdings.iter().rev() {
        match &holding.kind {
            HoldingKind::Forwarding => forwarding::leave(&shared, &holding.machine)?,
            HoldingKind::Zone { zone, port, addresses } => {
                let had = (port, addresses.as_slice());
                let bridge = zone::begin_to_leave(&shared, &mut socket, zone, &holding.machine, had)?;
                bridges.extend(bridge.map(|bridge| (bridge, zone.bridge())));
            }
            HoldingKind::Link(name) => {
                let link = found::find(&mut socket, name)?.filter(|found| found.is_of(&holding.machine));
                links.extend(link.map(|link| (link, name.clone())));
            }
            HoldingKind::Lent { .. } => holding.undo_here()?,
        }
    }
    let mut marks = Requests::default();
    links
        .iter()
        .for_each(|(link, name): &(Found, InterfaceName)| message::going(&mut marks, link.index, name));
    // One that has gone by itself need not be marked.
    if !marks.is_empty() {
        socket.exchange(marks.bytes())?;
    }
    let shared = match bridges.is_empty() {
        true => shared.tidy().map(|()| None)?,
        false => Some(shared),
    };
    let pipe = || sys("pipe2", pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned());
    let ((closes, closed), (ends, ended)) = (pipe()?, pipe()?);
    fork(move || {
        let lock = shared.as_ref().map(Shared::fd);
        let kept: Vec<_> = lock.into_iter().chain(kept).chain([ends.as_fd()]).collect();
        let detached = detach(&kept);
        let waits = detached.is_ok();
        let removed = detached.and_then(|()| {
            let mut socket = Socket::open(ROUTE)?;
            let first = bridges.iter().try_for_each(|(bridge, name)| remove(&mut socket, bridge, name));
            // Others may go on.
            let tidied = shared.map_or(Ok(()), Shared::tidy);
            let links = links.iter().try_for_each(|(link, name)| remove(&mut socket, link, name));
            first.and(tidied).and(links)
        });
        // Our parent has the other end, if it has not let go of it yet. Who is not detached has it too, and would wait for himself.
        if waits {
            let _ = rustix::io::retry_on_intr(|| rustix::io::read(&ends, &mut [0_u8; 1]));
        }
        after();
        exit_now(i32::from(removed.is_err()))
    })?;
    drop(closed);
    // Until it has closed all that it has of ours: locks that we let go of would still be held.
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(&closes, &mut [0_u8; 1]));
    Ok(Some(ended))
}

/// Has a child nothing of ours but `kept`: nobody is to wait for the end of a pipe that we had, and no terminal's signals are for it.
pub fn detach(kept: &[BorrowedFd<'_>]) -> SysResult<()> {
    let null = open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
    // A leader of a group has a session of its own already.
    let _ = rustix::process::setsid();
    let dup = |result| sys("dup2", result, String::new);
    dup(rustix::stdio::dup2_stdin(&null))?;
    dup(rustix::stdio::dup2_stdout(&null))?;
    dup(rustix::stdio::dup2_stderr(&null))?;
    drop(null);
    close_from_but(3, kept)
}

/// Removes what machines have left in our network namespace of which nothing else is left: those that are not `alive`.
///
/// # Errors
/// The first fault.
pub fn sweep(alive: impl Fn(&str) -> bool) -> SysResult<()> {
    let namespace = NamespaceId::ours()?;
    let Some(shared) = Shared::lock_existing(namespace)? else { return Ok(()) };
    for thing in shared.things()? {
        for machine in shared.users(&thing)?.into_iter().filter(|machine| !alive(machine)) {
            if thing == forwarding::THING {
                forwarding::leave(&shared, &machine)?;
            } else if let Some(zone) = zone::of_thing(&thing) {
                // Its port has gone with its namespace.
                zone::leave(&shared, &zone, &machine, (&zone.bridge(), &[]))?;
            }
        }
    }
    shared.tidy()
}

/// Removes the link `name` if `machine` has it; that it goes by itself meanwhile, with the machine's namespace, is as good.
pub(super) fn remove_link(socket: &mut Socket, name: &InterfaceName, machine: &str) -> SysResult<()> {
    match found::find(socket, name)?.filter(|found| found.is_of(machine)) {
        Some(link) => remove(socket, &link, name),
        None => Ok(()),
    }
}

pub(super) fn remove(socket: &mut Socket, link: &Found, name: &InterfaceName) -> SysResult<()> {
    let mut requests = Requests::default();
    message::remove(&mut requests, link.index, name);
    gone_is_well(socket.carry_out(&requests).map(drop))
}

fn gone_is_well(result: SysResult<()>) -> SysResult<()> {
    match result {
        Err(error) if error.errno() == rustix::io::Errno::NODEV => Ok(()),
        result => result,
    }
}

/// Hardware that was in a namespace which is gone falls back to the first one of all, as it was there: if that is where we are, it
/// is made what it `was`. One that was taken back before is that.
fn give_back(
    socket: &mut Socket,
    host: &InterfaceName,
    guest: &InterfaceName,
    was: &Condition,
) -> SysResult<()> {
    if let Some((found, now)) = condition::look(socket, host)? {
        // Somebody else's may have the name by now.
        return if was.is_of_same(&now) { restore(socket, &found, host, was, &now) } else { Ok(()) };
    }
    // By whichever name: the machine may have given it another one.
    let there = match condition::look(socket, guest)? {
        Some((found, now)) if was.is_of_same(&now) => Some((found, now)),
        _ => condition::all(socket)?.into_iter().find(|(_, now)| was.is_of_same(now)),
    };
    let Some((found, now)) = there else { return Ok(()) };
    let mut requests = Requests::default();
    message::rename(&mut requests, found.index, host);
    socket.carry_out(&requests)?;
    restore(socket, &found, host, was, &now)
}

pub(super) fn restore(
    socket: &mut Socket,
    link: &Found,
    name: &InterfaceName,
    was: &Condition,
    now: &Condition,
) -> SysResult<()> {
    socket.carry_out(&was.requests(now, link.index, name)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::{Addresses, Family, LinkPlan};

    const HOST: NamespaceId = NamespaceId { number: 7, cookie: 8 };

    #[test]
    fn in_the_order_of_making() {
        let link = |kind, host: Option<&str>, guest: &str| LinkPlan {
            host: host.map(|name| name.parse().unwrap()),
            ..LinkPlan::new(kind, guest.parse().unwrap())
        };
        let zone: ZoneName = "lab".parse().unwrap();
        let v4 = Family { address: "10.0.0.2".parse().unwrap(), prefix: 24, gateway: None, host: None };
        let addressed = LinkPlan {
            addresses: Some(Addresses { v4: Some(v4), v6: None }),
            ..link(LinkKind::Zone(zone.clone()), Some("vb-web"), "host0")
        };
        let plan = NetworkPlan {
            links: vec![
                addressed,
                link(LinkKind::Extra, Some("x0"), "x1"),
                link(LinkKind::Macvlan("eth0".parse().unwrap()), None, "mv-eth0"),
                link(LinkKind::Lent, Some("eth1"), "wan"),
            ],
            ..NetworkPlan::default()
        };
        let was = Condition { mtu: 1500, ..Condition::default() };
        let kinds: Vec<_> = holdings(&plan, "web", HOST, std::slice::from_ref(&was))
            .into_iter()
            .map(|holding| holding.kind)
            .collect();
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(
            kinds,
            [
                HoldingKind::Forwarding,
                HoldingKind::Zone {
                    zone,
                    port: name("vb-web"),
                    addresses: vec!["10.0.0.2".parse().unwrap()]
                },
                HoldingKind::Link(name("vb-web")),
                HoldingKind::Link(name("x0")),
                HoldingKind::Lent { host: name("eth1"), guest: name("wan"), was: was.clone() },
            ]
        );
        assert_eq!(holdings(&NetworkPlan::default(), "web", HOST, &[]), []);
        let written =
            serde_json::to_string(&holdings(&plan, "web", HOST, std::slice::from_ref(&was))[4]).unwrap();
        assert_eq!(
            written,
            "{\"namespace\":{\"number\":7,\"cookie\":8},\"machine\":\"web\",\"kind\":{\"lent\":{\"host\":\"eth1\",\"guest\":\"wan\",\"was\":{\"mac\":null,\"mtu\":1500,\"group\":0,\"queue\":0,\"flags\":0}}}}"
        );
    }
}
