use super::*;
use crate::settings::network::InterfaceName;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn machine(number: u8, place: Place) -> MachineRules {
    MachineRules {
        name: format!("m{number}"),
        links: vec![LinkRules {
            host: name(&format!("vb-m{number}")),
            place,
            mac: Some(MacAddress([2, 0, 0, 0, 0, number])),
            v4: Some([10, 213, 0, number].into()),
            v6: Some(format!("fd00::{number}").parse().unwrap()),
        }],
        ports: Vec::new(),
        dns_port: None,
        dns: Vec::new(),
        shut: Vec::new(),
        partitions: Vec::new(),
        loss: None,
    }
}

fn zone() -> Place {
    Place::Zone(name("vz-lab"))
}

/// Each set with how many elements.
fn counts(elements: &Elements) -> Vec<String> {
    let sets = elements.sets();
    sets.map(|(table, set, elements)| format!("{} {set} {}", table.family, elements.len())).collect()
}

#[test]
fn the_second_machine_of_a_zone_brings_itself_alone() {
    let (one, two) = (machine(2, zone()), machine(3, zone()));
    let (first, both) = (Elements::of([&one]), Elements::of([&one, &two]));
    let expected = [
        "inet ports 1",
        "inet sources4 1",
        "inet sources6 1",
        "bridge addressed 1",
        "bridge guarded 1",
        "bridge known6 1",
        "bridge known_targets6 1",
        "bridge macs 1",
        "bridge sources4 2",
        "bridge sources6 2",
        "bridge targets6 2",
    ];
    assert_eq!(counts(&both.without(&first)), expected);
    let first_alone = counts(&first);
    // And its own, the zone: with its router.
    for of_zone in ["inet inside 1", "inet same 1", "bridge known6 2", "bridge known_targets6 2"] {
        assert!(first_alone.contains(&of_zone.to_owned()), "{first_alone:?}");
    }
    assert_eq!(first_alone.len(), expected.len() + 2);
    assert_eq!(counts(&first.without(&both)), [""; 0]);
}

#[test]
fn machines_of_their_own_are_guarded_as_routers_do() {
    let elements = Elements::of([&machine(2, Place::Alone)]);
    assert_eq!(
        counts(&elements),
        ["inet inside 1", "inet pairs 1", "inet same 1", "inet sources4 1", "inet sources6 1"]
    );
}

#[test]
fn bridges_of_others_have_spoof_protection_alone() {
    let mut machine = machine(2, Place::Bridge(name("br0")));
    machine.links[0].v4 = None;
    machine.links[0].v6 = None;
    assert_eq!(counts(&Elements::of([&machine])), ["inet ports 1", "bridge guarded 1", "bridge macs 1"]);
}

#[test]
fn ports_lead_where_they_shall() {
    let mapping = |protocol, address: Option<&str>, host, guest, count| PortMapping {
        protocol,
        address: address.map(|text| text.parse().unwrap()),
        host,
        guest,
        count,
    };
    let mut machine = machine(2, zone());
    machine.ports = vec![
        mapping(Protocol::Tcp, None, 8080, 80, 2),
        mapping(Protocol::Udp, Some("127.0.0.1"), 53, 53, 1),
        mapping(Protocol::Tcp, Some("::1"), 65535, 65535, 3),
    ];
    let elements = Elements::of([&machine]);
    let v4 = [10, 213, 0, 2];
    let tcp = [6, 0, 0, 0];
    let expected = [
        ([&tcp[..], &[0x1f, 0x90, 0, 0]].concat(), [&v4[..], &[0, 80, 0, 0]].concat()),
        ([&tcp[..], &[0x1f, 0x91, 0, 0]].concat(), [&v4[..], &[0, 81, 0, 0]].concat()),
    ];
    let expected: Vec<_> = expected.iter().map(|(key, data)| (key.as_slice(), data.as_slice())).collect();
    assert_eq!(elements.of_set(INET, "ports4"), expected);
    assert_eq!(elements.of_set(INET, "ports6").len(), 2);
    assert_eq!(elements.of_set(INET, "ports4_at").len(), 1);
    // A row of ports ends where ports do.
    assert_eq!(elements.of_set(INET, "ports6_at").len(), 1);
}

#[test]
fn names_are_asked_for_at_the_machine_s_own_server() {
    let mut machine = machine(2, zone());
    machine.dns = vec!["10.213.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    assert!(Elements::of([&machine]).of_set(INET, "dns4").is_empty());
    machine.dns_port = Some(40000);
    let elements = Elements::of([&machine]);
    let key = [10, 213, 0, 2, 10, 213, 0, 1, 6, 0, 0, 0, 0, 53, 0, 0];
    let data = [10, 213, 0, 1, 0x9c, 0x40, 0, 0];
    assert_eq!(elements.of_set(INET, "dns4").first(), Some(&(&key[..], &data[..])));
    assert_eq!(elements.of_set(INET, "dns6").len(), 2);
}

#[test]
fn a_partition_takes_two() {
    let (mut one, two) = (machine(2, zone()), machine(3, zone()));
    one.partitions = vec!["m3".to_owned()];
    assert!(Elements::of([&one]).of_set(BRIDGE, "partitions").is_empty());
    let elements = Elements::of([&one, &two]);
    assert_eq!(elements.of_set(BRIDGE, "partitions").len(), 2);
    assert_eq!(elements.of_set(INET, "partitions4").len(), 2);
    assert_eq!(elements.of_set(INET, "partitions6").len(), 2);
}

#[test]
fn link_local_addresses_are_the_kernel_s() {
    let address = link_local(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    assert_eq!(address.to_string(), "fe80::5054:ff:fe12:3456");
}
