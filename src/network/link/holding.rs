//! What a machine has of the host's network: written down before it is made, and undone from what is written.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::network::plan::{LinkKind, NetworkPlan};
use crate::settings::network::{InterfaceName, MacAddress, ZoneName};
use crate::sys::fork::{close_from_but, exit_now, fork};
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::network::{in_namespace, open_by_number};
use crate::sys::{SysResult, sys};

use super::found::{self, Found};
use super::shared::{self, Shared};
use super::{forwarding, message, zone};

/// Something of the host's network that goes with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The network namespace that is the host's, by its number.
    pub namespace: u64,
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
    },
    /// The host's end of a pair.
    Link(InterfaceName),
    /// An interface of the host's that the machine has.
    Lent {
        /// Its name on the host.
        host: InterfaceName,
        /// Its name in the machine.
        guest: InterfaceName,
        /// Its MAC address.
        mac: Option<MacAddress>,
    },
}

/// What a machine with this plan will have, in the order of making. The MAC addresses of what is lent are `macs`', in order.
pub fn holdings(
    plan: &NetworkPlan,
    machine: &str,
    namespace: u64,
    macs: &[Option<MacAddress>],
) -> Vec<Holding> {
    let mut kinds = Vec::new();
    if plan.is_routed() {
        kinds.push(HoldingKind::Forwarding);
    }
    for link in &plan.links {
        if let (LinkKind::Zone(zone), Some(port)) = (&link.kind, &link.host) {
            kinds.push(HoldingKind::Zone { zone: zone.clone(), port: port.clone() });
        }
    }
    let mut macs = macs.iter().copied();
    for link in &plan.links {
        match (&link.kind, &link.host) {
            (LinkKind::Lent, Some(host)) => kinds.push(HoldingKind::Lent {
                host: host.clone(),
                guest: link.guest.clone(),
                mac: macs.next().flatten(),
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
        if shared::namespace()? == self.namespace {
            return self.undo_here();
        }
        match open_by_number(self.namespace)? {
            Some(namespace) => in_namespace(namespace, || self.undo_here())?,
            // Links, rules and switches went with it; our own notes did not.
            None => self.forget(),
        }
    }

    fn undo_here(&self) -> SysResult<()> {
        match &self.kind {
            HoldingKind::Forwarding | HoldingKind::Zone { .. } => {
                let shared = Shared::lock(self.namespace)?;
                self.leave(&shared)?;
                shared.tidy()
            }
            HoldingKind::Link(name) => remove_link(&mut Socket::open(ROUTE)?, name),
            HoldingKind::Lent { host, guest, mac } => {
                give_name_back(&mut Socket::open(ROUTE)?, host, guest, *mac)
            }
        }
    }

    /// What of it is shared with other machines.
    fn leave(&self, shared: &Shared) -> SysResult<()> {
        match &self.kind {
            HoldingKind::Forwarding => forwarding::leave(shared, &self.machine),
            HoldingKind::Zone { zone, port } => zone::leave(shared, zone, &self.machine, port),
            HoldingKind::Link(_) | HoldingKind::Lent { .. } => Ok(()),
        }
    }

    fn forget(&self) -> SysResult<()> {
        let thing = match &self.kind {
            HoldingKind::Forwarding => forwarding::THING.to_owned(),
            HoldingKind::Zone { zone, .. } => zone::thing(zone),
            HoldingKind::Link(_) | HoldingKind::Lent { .. } => return Ok(()),
        };
        let shared = Shared::lock(self.namespace)?;
        if shared.leave(&thing, &self.machine)? && matches!(self.kind, HoldingKind::Forwarding) {
            shared.forget(forwarding::CHANGED)?;
        }
        shared.tidy()
    }
}

/// Has a child of ours undo `holdings`, the last first, while we go on and end: the kernel takes 20 ms to remove a link and 30 to
/// remove a bridge. Until then it has the lock that a machine of the same name waits for; what it leaves where it is killed goes with
/// the machine's namespace, or with [`sweep`]. Says whether it is done so: only where all is in our network namespace, and there is
/// something in it for which a next machine would take the lock.
///
/// # Errors
/// When there can be no child: nothing is undone.
pub fn undo_later(holdings: &[Holding]) -> SysResult<bool> {
    let Some(first) = holdings.first() else { return Ok(true) };
    let locks =
        |holding: &Holding| matches!(holding.kind, HoldingKind::Forwarding | HoldingKind::Zone { .. });
    let here = holdings.iter().all(|holding| holding.namespace == first.namespace);
    if !here || !holdings.iter().any(locks) || shared::namespace()? != first.namespace {
        return Ok(false);
    }
    let shared = Shared::lock(first.namespace)?;
    let (closes, closed) = sys("pipe2", pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())?;
    fork(|| {
        // Nobody is to wait for the end of a pipe that we have, and no terminal's signals are for us.
        let quiet = crate::sys::files::open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty());
        let detached = quiet.and_then(|null| {
            let _ = rustix::process::setsid();
            let dup = |result| sys("dup2", result, String::new);
            dup(rustix::stdio::dup2_stdin(&null))?;
            dup(rustix::stdio::dup2_stdout(&null))?;
            dup(rustix::stdio::dup2_stderr(&null))?;
            drop(null);
            close_from_but(3, shared.fd())
        });
        let undone = holdings.iter().rev().fold(detached, |result, holding| {
            let undone = if locks(holding) { holding.leave(&shared) } else { holding.undo_here() };
            result.and(undone)
        });
        exit_now(i32::from(undone.and(shared.tidy()).is_err()))
    })?;
    drop(closed);
    // Until it has closed all that it has of ours: locks that we let go of would still be held.
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(&closes, &mut [0_u8; 1]));
    Ok(true)
}

/// Removes what machines have left in our network namespace of which nothing else is left: those that are not `alive`.
///
/// # Errors
/// The first fault.
pub fn sweep(alive: impl Fn(&str) -> bool) -> SysResult<()> {
    let namespace = shared::namespace()?;
    let Some(shared) = Shared::lock_existing(namespace)? else { return Ok(()) };
    for thing in shared.things()? {
        for machine in shared.users(&thing)?.into_iter().filter(|machine| !alive(machine)) {
            if thing == forwarding::THING {
                forwarding::leave(&shared, &machine)?;
            } else if let Some(zone) = zone::of_thing(&thing) {
                // Its port has gone with its namespace.
                zone::leave(&shared, &zone, &machine, &zone.bridge())?;
            }
        }
    }
    shared.tidy()
}

/// Removes the link `name` if it is ours; that it goes by itself meanwhile, with the machine's namespace, is as good.
pub(super) fn remove_link(socket: &mut Socket, name: &InterfaceName) -> SysResult<()> {
    match found::find(socket, name)?.filter(|found| found.ours) {
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

/// Hardware that was in a namespace which is gone falls back to the first one of all, under the name that it had: if that is
/// where we are, it is given the name that it had before.
fn give_name_back(
    socket: &mut Socket,
    host: &InterfaceName,
    guest: &InterfaceName,
    mac: Option<MacAddress>,
) -> SysResult<()> {
    if host == guest || found::find(socket, host)?.is_some() {
        return Ok(());
    }
    match found::find(socket, guest)?.filter(|found| mac.is_some() && found.mac == mac && !found.ours) {
        Some(link) => rename(socket, &link, host),
        None => Ok(()),
    }
}

fn rename(socket: &mut Socket, link: &Found, name: &InterfaceName) -> SysResult<()> {
    let mut requests = Requests::default();
    message::rename(&mut requests, link.index, name);
    socket.carry_out(&requests).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::{Addresses, Family, LinkPlan};

    #[test]
    fn in_the_order_of_making() {
        let link = |kind, host: Option<&str>, guest: &str| LinkPlan {
            kind,
            host: host.map(|name| name.parse().unwrap()),
            host_alternative: None,
            host_mac: None,
            guest: guest.parse().unwrap(),
            guest_alternative: None,
            mac: None,
            addresses: None,
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
        let mac = Some(MacAddress([2, 0, 0, 0, 0, 1]));
        let kinds: Vec<_> =
            holdings(&plan, "web", 7, &[mac]).into_iter().map(|holding| holding.kind).collect();
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(
            kinds,
            [
                HoldingKind::Forwarding,
                HoldingKind::Zone { zone, port: name("vb-web") },
                HoldingKind::Link(name("vb-web")),
                HoldingKind::Link(name("x0")),
                HoldingKind::Lent { host: name("eth1"), guest: name("wan"), mac },
            ]
        );
        assert_eq!(holdings(&NetworkPlan::default(), "web", 7, &[]), []);
        let written = serde_json::to_string(&holdings(&plan, "web", 7, &[mac])[4]).unwrap();
        assert_eq!(
            written,
            "{\"namespace\":7,\"machine\":\"web\",\"kind\":{\"lent\":{\"host\":\"eth1\",\"guest\":\"wan\",\"mac\":[2,0,0,0,0,1]}}}"
        );
    }
}
