//! What the user wants of the network: systemd-nspawn(1)'s networking options, and ours for addresses, names and ports.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::ValueError;

/// `--network-*`, `--port=`, `--ip=` and the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// Whose network namespace the machine has; `None` is what its payload gets by default.
    pub namespace: Option<NetworkNamespace>,
    /// The interface `host0` of the machine.
    pub veth: Option<VethAttachment>,
    /// More pairs of interfaces (`--network-veth-extra=HOST[:MACHINE]`).
    pub veth_extra: Vec<InterfacePair>,
    /// Interfaces of the host that are the machine's while it runs (`--network-interface=HOST[:MACHINE]`).
    pub interfaces: Vec<InterfacePair>,
    /// macvlan interfaces on interfaces of the host (`--network-macvlan=HOST[:MACHINE]`).
    pub macvlan: Vec<InterfacePair>,
    /// ipvlan interfaces on interfaces of the host (`--network-ipvlan=HOST[:MACHINE]`).
    pub ipvlan: Vec<InterfacePair>,
    /// `--ip=ADDRESS[/PREFIX]`, of `host0`: in place of addresses of the pool, at most one of each family.
    pub addresses: Vec<InterfaceAddress>,
    /// `--mac=`, of `host0`.
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
    pub delay: Option<std::time::Duration>,
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

/// An interface of the host, and what it is in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePair {
    /// On the host.
    pub host: InterfaceName,
    /// In the machine; by default what systemd-nspawn names it.
    pub guest: Option<InterfaceName>,
}

/// Name of a network interface: at most 15 bytes (IFNAMSIZ of linux/if.h without its NUL), no `/`, white space, control
/// characters or `%`, and not all digits, `.` or `..` (dev_valid_name() of the kernel, ifname_valid() of systemd).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Longest name in bytes.
    pub const LONGEST: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = !text.is_empty()
            && text.len() <= Self::LONGEST
            && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'))
            && !text.bytes().all(|byte| byte.is_ascii_digit())
            && !matches!(text, "." | ".." | "all" | "default");
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            ValueError::new(
                text,
                "is not an interface name",
                "at most 15 letters, digits and signs, for example eth0",
            )
        })
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a zone: a label of the domain name system in lower case, at most 12 characters, so that its bridge, `vz-ZONE`, has a name
/// that is not shortened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// Longest name in bytes.
    pub const LONGEST: usize = 12;

    /// That of booted machines which ask for none.
    pub fn default_zone() -> Self {
        Self("spinney".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bridge on the host, `vz-ZONE` (systemd-nspawn(1)).
    pub fn bridge(&self) -> InterfaceName {
        InterfaceName(format!("vz-{}", self.0))
    }

    /// The domain that its machines are named in: `internal` is set aside for this (ICANN board resolution 2024.07.29.06).
    pub fn domain(&self) -> String {
        format!("{}.internal", self.0)
    }
}

impl FromStr for ZoneName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = !text.is_empty()
            && text.len() <= Self::LONGEST
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            ValueError::new(
                text,
                "is not a zone",
                "at most 12 lower case letters, digits and '-', for example lab",
            )
        })
    }
}

impl TryFrom<String> for ZoneName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that its network shares; `None`: as its zone has it, otherwise /24 or /64.
    pub prefix: Option<u8>,
}

/// A name and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// A host name, in lower case.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// Protocols whose ports are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `--port=[tcp|udp:][ADDRESS:]HOST[-END][:GUEST[-END]]`: ports of the host that lead to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The address of the host it is at; `None` is all of both families.
    pub address: Option<IpAddr>,
    /// The first port of the host.
    pub host: u16,
    /// The port of the machine that it leads to.
    pub guest: u16,
    /// How many ports in a row, at least 1.
    pub count: u16,
}

/// Something of the host's that is offered inside of a machine: the reverse of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Where it is in the machine: a port of its loopback, or a path.
    pub inside: Endpoint,
    /// What it leads to on the host.
    pub outside: Endpoint,
}

/// One side of an [`Offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// A TCP port; the address is the loopback's where none is said.
    Tcp(Option<IpAddr>, u16),
    /// A UDP port.
    Udp(Option<IpAddr>, u16),
    /// A stream socket of the file system.
    Unix(PathBuf),
}
