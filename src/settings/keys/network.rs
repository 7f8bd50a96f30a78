//! What it gets of the network: `[network]`.

use super::key::{BadValue, Key, Kind, NspawnKey, PutValue, Trust};
use crate::settings::assignment::Given;
use crate::settings::network::{
    InterfaceAddress, InterfacePair, PortMapping, parse_delay, parse_gateway, parse_loss, parse_name_server,
};
use crate::settings::{ValueError, parse_boolean};

const OTHER_FAMILY: &str = "at most one of IPv4 and one of IPv6";

pub(super) static KEYS: &[Key] = &[
    key("private-network", Kind::Boolean, |draft, given| {
        draft.network.private = Some(parse_boolean(given.text)?);
        Ok(())
    })
    .option("--private-network=")
    .nspawn(&[NspawnKey::new("Network", "Private")])
    .default("yes"),
    key("network-namespace-path", Kind::Text, |draft, given| {
        let path = given.host_path(given.text.as_ref()).filter(|_| !given.text.is_empty());
        draft.network.path = Some(path.ok_or_else(|| {
            BadValue::new(
                format!("{:?} is not an absolute path", given.text),
                "a file such as /run/netns/lab, which ip netns add makes",
            )
        })?);
        Ok(())
    })
    .option("--network-namespace-path=")
    .nspawn(&[NspawnKey::new("Network", "NamespacePath")])
    .default("none"),
    key("network-veth", Kind::Boolean, |draft, given| {
        draft.network.veth = Some(parse_boolean(given.text)?);
        Ok(())
    })
    .option("--network-veth")
    .nspawn(&[NspawnKey::new("Network", "VirtualEthernet")])
    .default("no"),
    key("network-veth-extra", Kind::List, |draft, given| {
        pairs(&mut draft.settings.network.veth_extra, given)
    })
    .option("--network-veth-extra=")
    .nspawn(&[NspawnKey::new("Network", "VirtualEthernetExtra")])
    .default("none"),
    key("network-interface", Kind::List, |draft, given| pairs(&mut draft.settings.network.interfaces, given))
        .option("--network-interface=")
        .nspawn(&[NspawnKey::new("Network", "Interface")])
        .default("none"),
    key("network-macvlan", Kind::List, |draft, given| pairs(&mut draft.settings.network.macvlan, given))
        .option("--network-macvlan=")
        .nspawn(&[NspawnKey::new("Network", "MACVLAN")])
        .default("none"),
    key("network-ipvlan", Kind::List, |draft, given| pairs(&mut draft.settings.network.ipvlan, given))
        .option("--network-ipvlan=")
        .nspawn(&[NspawnKey::new("Network", "IPVLAN")])
        .default("none"),
    key("network-bridge", Kind::Text, |draft, given| {
        draft.network.bridge = Some(given.text.parse()?);
        Ok(())
    })
    .option("--network-bridge=")
    .nspawn(&[NspawnKey::new("Network", "Bridge")])
    .default("none"),
    key("network-zone", Kind::Text, |draft, given| {
        draft.network.zone = Some(given.text.parse()?);
        Ok(())
    })
    .option("--network-zone=")
    .nspawn(&[NspawnKey::new("Network", "Zone")])
    .default("spinney for a boot, where nothing else is said"),
    key("port", Kind::List, |draft, given| {
        let mapping: PortMapping = given.text.parse()?;
        let ports = &mut draft.settings.network.ports;
        if let Some(other) = ports.iter().find(|other| other.overlaps(&mapping)) {
            return Err(BadValue::new(
                format!("{mapping} and {other} are of the same port of the host"),
                "a port of the host leads to one port of a machine",
            ));
        }
        ports.push(mapping);
        Ok(())
    })
    .option("--port=")
    .nspawn(&[NspawnKey::new("Network", "Port")])
    .same(is_same_port)
    .default("none"),
    key("ip", Kind::List, |draft, given| {
        let address: InterfaceAddress = given.text.parse()?;
        let addresses = &mut draft.settings.network.addresses;
        if addresses.iter().any(|other| other.address.is_ipv4() == address.address.is_ipv4()) {
            return Err(ValueError::new(given.text, "is a second address of its family", OTHER_FAMILY).into());
        }
        addresses.push(address);
        Ok(())
    })
    .option("--ip=")
    .same(is_same_family)
    .default("chosen from the pool, and kept"),
    key("mac", Kind::Text, |draft, given| {
        draft.settings.network.mac = Some(given.text.parse()?);
        Ok(())
    })
    .option("--mac=")
    .machine_only()
    .default("made of the host's machine ID and the machine's name"),
    key("gateway", Kind::List, |draft, given| {
        let gateway = parse_gateway(given.text)?;
        let gateways = &mut draft.settings.network.gateways;
        if gateways.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            return Err(ValueError::new(given.text, "is a second gateway of its family", OTHER_FAMILY).into());
        }
        gateways.push(gateway);
        Ok(())
    })
    .option("--gateway=")
    .same(is_same_family)
    .default("the host"),
    key("dns", Kind::List, |draft, given| {
        draft.settings.network.dns.push(parse_name_server(given.text)?);
        Ok(())
    })
    .option("--dns=")
    .default("the host's, as they are at the time"),
    key("hosts", Kind::List, |draft, given| {
        draft.settings.network.hosts.push(given.text.parse()?);
        Ok(())
    })
    .option("--hosts=")
    .default("none"),
    key("offer", Kind::List, |draft, given| {
        draft.settings.network.offers.push(given.text.parse()?);
        Ok(())
    })
    .option("--offer=")
    .default("none"),
    key("net-spoofing", Kind::Boolean, |draft, given| {
        draft.settings.network.spoofing = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--net-spoofing=")
    .default("no"),
    key("net-delay", Kind::Text, |draft, given| {
        draft.settings.network.delay = Some(parse_delay(given.text)?).filter(|delay| !delay.is_zero());
        Ok(())
    })
    .option("--net-delay=")
    .default("none"),
    key("net-loss", Kind::Text, |draft, given| {
        draft.settings.network.loss = Some(parse_loss(given.text)?).filter(|loss| *loss != 0);
        Ok(())
    })
    .option("--net-loss=")
    .default("none"),
];

/// A setting that decides who a machine can talk to: never for whoever wrote a file beside a tree to say (systemd.nspawn(5)).
const fn key(name: &'static str, kind: Kind, put: PutValue) -> Key {
    Key::new("network", name, kind, put).trust(Trust::Never)
}

/// systemd-nspawn takes several in one value, with white space between them.
fn pairs(links: &mut Vec<InterfacePair>, given: &Given<'_>) -> Result<(), BadValue> {
    let blank = given.text.trim().is_empty().then_some("");
    for word in blank.into_iter().chain(given.text.split_whitespace()) {
        let pair: InterfacePair = word.parse()?;
        if !links.contains(&pair) {
            links.push(pair);
        }
    }
    Ok(())
}

fn is_same_family(one: &str, other: &str) -> bool {
    one.contains(':') == other.contains(':')
}

fn is_same_port(one: &str, other: &str) -> bool {
    matches!((one.parse::<PortMapping>(), other.parse()), (Ok(one), Ok(other)) if one.overlaps(&other))
}
