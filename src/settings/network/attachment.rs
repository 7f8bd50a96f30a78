//! Whose network a machine has, out of all that was said of it, and what of that does not go together.
//!
//! systemd-nspawn takes the networking options of its command line in place of all that a file says of the network. Here it is
//! by parts: who says anew whose network it is says all of it, who says anew what `host0` is leaves other interfaces alone.

use std::path::PathBuf;

use super::{InterfaceName, NetworkNamespace, NetworkSettings, VethAttachment, ZoneName};
use crate::settings::assignment::Assignment;
use crate::settings::draft::GivenBy;
use crate::settings::keys::Key;
use crate::settings::{Payload, SettingsError};

/// What was said, before it is weighed.
#[derive(Debug, Clone, Default)]
pub(in crate::settings) struct Choice {
    /// `--private-network=`
    pub(in crate::settings) private: Option<bool>,
    /// `--network-namespace-path=`
    pub(in crate::settings) path: Option<PathBuf>,
    /// `--network-veth`
    pub(in crate::settings) veth: Option<bool>,
    /// `--network-bridge=`
    pub(in crate::settings) bridge: Option<InterfaceName>,
    /// `--network-zone=`
    pub(in crate::settings) zone: Option<ZoneName>,
}

const PRIVATE: &str = "network.private-network";
const PATH: &str = "network.network-namespace-path";
const VETH: &str = "network.network-veth";
const BRIDGE: &str = "network.network-bridge";
const ZONE: &str = "network.network-zone";
const EXTRA: &str = "network.network-veth-extra";
const INTERFACE: &str = "network.network-interface";
const MACVLAN: &str = "network.network-macvlan";
const IPVLAN: &str = "network.network-ipvlan";

/// What a setting says of the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Whose it is.
    Whole,
    /// What `host0` is.
    Main,
    /// Other interfaces.
    More,
}

impl Part {
    fn of(key: &Key) -> Option<Self> {
        match (key.table, key.name) {
            ("network", "private-network" | "network-namespace-path") => Some(Self::Whole),
            ("network", "network-veth" | "network-bridge" | "network-zone") => Some(Self::Main),
            (
                "network",
                "network-veth-extra" | "network-interface" | "network-macvlan" | "network-ipvlan",
            ) => Some(Self::More),
            _ => None,
        }
    }
}

/// Whether `later`, of a higher layer, takes the place of `earlier` though it is another setting.
pub(in crate::settings) fn is_overruled(earlier: &Assignment, later: &Assignment) -> bool {
    earlier.layer != later.layer
        && match (Part::of(later.key), Part::of(earlier.key)) {
            (Some(Part::Whole), Some(_)) => true,
            (Some(Part::Main), Some(earlier)) => earlier != Part::More,
            (Some(Part::More), Some(earlier)) => earlier == Part::Whole,
            _ => false,
        }
}

impl Choice {
    /// Puts what follows from it into `network`.
    ///
    /// # Errors
    /// For what does not go together.
    pub(in crate::settings) fn decide(
        self,
        network: &mut NetworkSettings,
        payload: &Payload,
        given: &GivenBy<'_>,
    ) -> Result<(), SettingsError> {
        if self.bridge.is_some() && self.zone.is_some() {
            return Err(apart(given, BRIDGE, ZONE, "host0 is in one bridge: give one of them"));
        }
        network.veth = match (self.bridge, self.zone, self.veth) {
            (Some(bridge), ..) => Some(VethAttachment::Bridge(bridge)),
            (_, Some(zone), _) => Some(VethAttachment::Zone(zone)),
            (_, _, Some(true)) => Some(VethAttachment::Alone),
            _ => None,
        };
        let link = first_link(network, given);
        network.namespace = match (self.path, self.private, link) {
            (Some(_), _, Some(link)) => {
                let hint = "the interfaces of that namespace are for its owner to make";
                return Err(apart(given, PATH, link, hint));
            }
            (Some(_), Some(false), None) => {
                return Err(apart(given, PATH, PRIVATE, "--private-network=no is the host's network"));
            }
            (Some(path), ..) => Some(NetworkNamespace::Path(path)),
            // An interface implies a network of its own, whatever a .nspawn file says of that (systemd.nspawn(5)).
            (None, Some(false), Some(_)) if given.is_nspawn(PRIVATE) => Some(NetworkNamespace::Private),
            (None, Some(false), Some(link)) => {
                return Err(apart(given, PRIVATE, link, "the host's network has the host's interfaces"));
            }
            (None, Some(false), None) => Some(NetworkNamespace::Host),
            (None, Some(true), _) | (None, None, Some(_)) => Some(NetworkNamespace::Private),
            // What is said in place of the --network-veth of systemd-nspawn@.service, to have the host's network.
            (None, None, None) if self.veth == Some(false) => Some(NetworkNamespace::Host),
            (None, None, None) => None,
        };
        if network.namespace.is_none() && matches!(payload, Payload::Command { .. }) {
            // Who says so much of a command's network wants it to have one.
            let wants = NEEDS.iter().any(|need| (need.is_given)(network) && given.on_command_line(need.path));
            network.veth = wants.then(|| VethAttachment::Zone(ZoneName::default_zone()));
        }
        refuse_needless(network, payload, given)
    }
}

/// The setting of an interface that is asked for.
fn first_link(network: &NetworkSettings, given: &GivenBy<'_>) -> Option<&'static str> {
    let veth = network.veth.as_ref().map(|veth| match veth {
        VethAttachment::Bridge(_) => BRIDGE,
        VethAttachment::Zone(_) => ZONE,
        VethAttachment::Alone => VETH,
    });
    let more = [
        (EXTRA, &network.veth_extra),
        (INTERFACE, &network.interfaces),
        (MACVLAN, &network.macvlan),
        (IPVLAN, &network.ipvlan),
    ];
    let more = more.into_iter().filter(|(_, links)| !links.is_empty()).map(|(path, _)| path);
    veth.into_iter().chain(more).max_by_key(|path| (given.on_command_line(path), *path != VETH))
}

/// What a setting is no use without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// `host0`, or else one other interface that can be given an address.
    Link,
    /// `host0`, or else one macvlan.
    OwnMac,
    /// The same, with an address that we know.
    Address,
    /// `host0`.
    Host0,
    /// `host0`, with an address that we know.
    Host0Address,
}

/// A setting that needs an interface.
struct Need {
    path: &'static str,
    needed: Needed,
    is_given: fn(&NetworkSettings) -> bool,
    take_away: fn(&mut NetworkSettings),
}

const fn need(
    path: &'static str,
    needed: Needed,
    is_given: fn(&NetworkSettings) -> bool,
    take_away: fn(&mut NetworkSettings),
) -> Need {
    Need { path, needed, is_given, take_away }
}

const NEEDS: &[Need] = &[
    need("network.ip", Needed::Link, |n| !n.addresses.is_empty(), |n| n.addresses.clear()),
    need("network.mac", Needed::OwnMac, |n| n.mac.is_some(), |n| n.mac = None),
    need("network.gateway", Needed::Address, |n| !n.gateways.is_empty(), |n| n.gateways.clear()),
    need("network.dns", Needed::Address, |n| !n.dns.is_empty(), |n| n.dns.clear()),
    need("network.hosts", Needed::Address, |n| !n.hosts.is_empty(), |n| n.hosts.clear()),
    need("network.port", Needed::Host0Address, |n| !n.ports.is_empty(), |n| n.ports.clear()),
    need("network.net-spoofing", Needed::Host0, |n| n.spoofing, |n| n.spoofing = false),
    need("network.net-delay", Needed::Host0, |n| n.delay.is_some(), |n| n.delay = None),
    need("network.net-loss", Needed::Host0, |n| n.loss.is_some(), |n| n.loss = None),
];

/// Refuses what cannot be had with the network that was chosen, where whoever chose that said so; what a lower layer gave for
/// another choice, or for boots, is not in force.
fn refuse_needless(
    network: &mut NetworkSettings,
    payload: &Payload,
    given: &GivenBy<'_>,
) -> Result<(), SettingsError> {
    let chosen = [PRIVATE, PATH, VETH, BRIDGE, ZONE, EXTRA, INTERFACE, MACVLAN, IPVLAN]
        .into_iter()
        .filter_map(|path| given.layer(path))
        .max();
    let attachment = network.attachment_for(payload);
    let others =
        [&network.interfaces, &network.macvlan, &network.ipvlan].iter().map(|links| links.len()).sum();
    let alone: usize = if attachment.is_some() { 0 } else { others };
    let host0_address = match attachment {
        Some(VethAttachment::Alone | VethAttachment::Zone(_)) => true,
        Some(VethAttachment::Bridge(_)) => !network.addresses.is_empty(),
        None => false,
    };
    for need in NEEDS {
        let met = match need.needed {
            Needed::Link => attachment.is_some() || alone == 1,
            Needed::OwnMac => attachment.is_some() || alone == 1 && network.macvlan.len() == 1,
            Needed::Address => host0_address || alone == 1 && !network.addresses.is_empty(),
            Needed::Host0 => attachment.is_some(),
            Needed::Host0Address => host0_address,
        };
        if met || !(need.is_given)(network) {
            continue;
        }
        if given.layer(need.path).is_some_and(|layer| chosen.is_some_and(|chosen| layer >= chosen)) {
            let name = given.name(need.path);
            return Err(SettingsError::combination(
                format!(
                    "{name} needs an interface{}",
                    if met_with_address(need.needed) { " with an address of ours" } else { "" }
                ),
                hint(need.needed),
            ));
        }
        (need.take_away)(network);
    }
    Ok(())
}

fn met_with_address(needed: Needed) -> bool {
    matches!(needed, Needed::Address | Needed::Host0Address)
}

fn hint(needed: Needed) -> &'static str {
    match needed {
        Needed::Link | Needed::Address => {
            "give --network-zone=, --network-veth or --network-bridge=, or one other interface, with --ip="
        }
        Needed::OwnMac => {
            "give --network-zone=, --network-veth or --network-bridge=, or one --network-macvlan="
        }
        Needed::Host0 => "give --network-zone=, --network-veth or --network-bridge=",
        Needed::Host0Address => "give --network-zone= or --network-veth, or --network-bridge= with --ip=",
    }
}

fn apart(given: &GivenBy<'_>, one: &str, other: &str, hint: &'static str) -> SettingsError {
    SettingsError::combination(
        format!("{} and {} do not go together", given.name(one), given.name(other)),
        hint,
    )
}
