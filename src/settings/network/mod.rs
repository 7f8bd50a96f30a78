//! What the user wants of the network: systemd-nspawn(1)'s networking options, and ours for addresses, names and ports.
//!
//! | file | what it owns |
//! |---|---|
//! | [`interface`] | names of interfaces and zones, `HOST[:MACHINE]` |
//! | [`address`] | `--ip=`, `--mac=`, `--gateway=`, `--dns=`, `--hosts=` |
//! | [`port`] | `--port=` |
//! | [`offer`] | `--offer=` |
//! | [`fault`] | `--net-delay=`, `--net-loss=` |
//! | [`attachment`] | whose network it has, out of all that was said; what does not go together |

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

mod address;
mod attachment;
mod fault;
mod interface;
mod offer;
mod port;

pub use address::{HostEntry, InterfaceAddress, MacAddress, parse_gateway, parse_name_server};
pub(super) use attachment::{Choice, is_overruled};
pub use fault::{parse_delay, parse_loss};
pub use interface::{InterfaceName, InterfacePair, ZoneName};
pub use offer::{Endpoint, Offer};
pub use port::{PortMapping, Protocol};

use super::Payload;

/// `--network-*`, `--port=`, `--ip=` and the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// Whose network namespace the machine has; `None` is what its payload gets by default:
    /// [`NetworkSettings::namespace_for`].
    pub namespace: Option<NetworkNamespace>,
    /// The interface `host0` of the machine: [`NetworkSettings::attachment_for`] knows what it is by default.
    pub veth: Option<VethAttachment>,
    /// More pairs of interfaces (`--network-veth-extra=HOST[:MACHINE]`).
    pub veth_extra: Vec<InterfacePair>,
    /// Interfaces of the host that are the machine's while it runs (`--network-interface=HOST[:MACHINE]`).
    pub interfaces: Vec<InterfacePair>,
    /// macvlan interfaces on interfaces of the host (`--network-macvlan=HOST[:MACHINE]`).
    pub macvlan: Vec<InterfacePair>,
    /// ipvlan interfaces on interfaces of the host (`--network-ipvlan=HOST[:MACHINE]`).
    pub ipvlan: Vec<InterfacePair>,
    /// `--ip=ADDRESS[/PREFIX]`, of `host0`: in place of addresses of the pool, at most one of each family. Without a
    /// `host0`, of the only other interface.
    pub addresses: Vec<InterfaceAddress>,
    /// `--mac=`, of the same interface.
    pub mac: Option<MacAddress>,
    /// `--gateway=`, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// `--dns=`: name servers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// `--hosts=NAME:ADDRESS`: more names that the machine resolves.
    pub hosts: Vec<HostEntry>,
    /// `--port=`: ports of the host that lead to the machine.
    pub ports: Vec<PortMapping>,
    /// `--offer=`: ports and sockets of the host that are offered inside.
    pub offers: Vec<Offer>,
    /// Whether the machine may send from other addresses than its own.
    pub spoofing: bool,
    /// `--net-delay=`, in microseconds, on what the machine sends and receives.
    pub delay: Option<Duration>,
    /// `--net-loss=`, in thousandths of a percent, of what the machine sends and receives.
    pub loss: Option<u32>,
}

/// Whose network namespace a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// The host's.
    Host,
    /// Its own.
    Private,
    /// That of this file, such as `ip netns add` makes (`--network-namespace-path=`).
    Path(PathBuf),
}

/// Where the host's end of the pair is whose other end is `host0` in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VethAttachment {
    /// On its own (`--network-veth`).
    Alone,
    /// In a bridge of the host (`--network-bridge=`).
    Bridge(InterfaceName),
    /// In the bridge of a zone, which comes with its first machine and goes with the last (`--network-zone=`).
    Zone(ZoneName),
}

impl NetworkSettings {
    /// Whose network namespace a machine with this payload has: its own, where nobody says otherwise.
    pub fn namespace_for(&self, _payload: &Payload) -> NetworkNamespace {
        self.namespace.clone().unwrap_or(NetworkNamespace::Private)
    }

    /// What `host0` is for a machine with this payload. Where nothing at all is said of its network, a booted machine is in
    /// the zone `spinney`, and a command has nothing but its loopback.
    pub fn attachment_for(&self, payload: &Payload) -> Option<VethAttachment> {
        let unsaid = self.namespace.is_none() && self.veth.is_none() && !self.has_more_links();
        match payload {
            Payload::Boot { .. } if unsaid => Some(VethAttachment::Zone(ZoneName::default_zone())),
            _ => self.veth.clone(),
        }
    }

    /// Whether it has other interfaces than `host0`.
    fn has_more_links(&self) -> bool {
        [&self.veth_extra, &self.interfaces, &self.macvlan, &self.ipvlan]
            .iter()
            .any(|links| !links.is_empty())
    }
}
