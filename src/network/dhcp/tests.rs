//! Packets of clients, and what comes of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use proptest::prelude::*;

use super::frame::{Asked, Ends};
use super::server::AddressServer;
use super::v4::{Kind, Request};
use super::*;
use crate::network::plan::Family;
use crate::network::service::{Links, Service};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaf];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 5);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last)
}

fn facts() -> Facts {
    Facts {
        mac: MAC,
        addresses: Addresses {
            v4: Some(Family { address: ADDRESS, prefix: 22, gateway: Some(GATEWAY), host: Some(GATEWAY) }),
            v6: Some(Family { address: v6(5), prefix: 64, gateway: Some(v6(1)), host: Some(v6(1)) }),
        },
        dns: vec![GATEWAY.into(), v6(1).into()],
        domain: Some("spinney.internal".to_owned()),
        hostname: "demo".to_owned(),
    }
}

/// A client's DHCPv4 message with these options.
fn v4_message(current: Ipv4Addr, relay: [u8; 4], mac: [u8; 6], options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0];
    message.extend_from_slice(&current.octets());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&relay);
    message.extend_from_slice(&mac);
    message.resize(236, 0);
    message.extend_from_slice(&[99, 130, 83, 99]);
    message.extend_from_slice(options);
    message
}

/// A server's message: its kind, whose address it gives, the options but for those two.
type Said = (u8, Ipv4Addr, Vec<(u8, Vec<u8>)>);

fn said(message: &[u8]) -> Said {
    assert!(message.len() >= 300);
    assert_eq!((message[0], &message[4..8]), (2, &[0xde, 0xad, 0xbe, 0xef][..]));
    let given = Ipv4Addr::from(<[u8; 4]>::try_from(&message[16..20]).unwrap());
    let mut options = Vec::new();
    let mut rest = &message[240..];
    while rest[0] != 255 {
        let size = usize::from(rest[1]);
        options.push((rest[0], rest[2..2 + size].to_vec()));
        rest = &rest[2 + size..];
    }
    assert_eq!(options[0].0, 53);
    (options.remove(0).1[0], given, options)
}

#[test]
fn dhcp_v4_dialogues() {
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    let other = Ipv4Addr::new(192, 168, 1, 9);
    let server = [&[54, 4][..], &GATEWAY.octets()].concat();
    let wants = |address: Ipv4Addr| [&[50, 4][..], &address.octets()].concat();
    type Row = (&'static str, Ipv4Addr, Vec<u8>, Option<(u8, Ipv4Addr, Ipv4Addr)>);
    let table: [Row; 15] = [
        ("discover", NONE, vec![53, 1, 1], Some((2, ADDRESS, ADDRESS))),
        ("discover, in two messages", NONE, vec![53, 1, 1, 80, 0], Some((5, ADDRESS, ADDRESS))),
        (
            "discover of what it had elsewhere",
            NONE,
            [vec![53, 1, 1], wants(other)].concat(),
            Some((2, ADDRESS, ADDRESS)),
        ),
        (
            "selecting",
            NONE,
            [vec![53, 1, 3], server.clone(), wants(ADDRESS)].concat(),
            Some((5, ADDRESS, ADDRESS)),
        ),
        (
            "selecting another server",
            NONE,
            [vec![53, 1, 3, 54, 4, 1, 2, 3, 4], wants(ADDRESS)].concat(),
            None,
        ),
        (
            "selecting what was not offered",
            NONE,
            [vec![53, 1, 3], server.clone(), wants(other)].concat(),
            Some((6, NONE, Ipv4Addr::BROADCAST)),
        ),
        ("after a reboot", NONE, [vec![53, 1, 3], wants(ADDRESS)].concat(), Some((5, ADDRESS, ADDRESS))),
        (
            "after a reboot elsewhere",
            NONE,
            [vec![53, 1, 3], wants(other)].concat(),
            Some((6, NONE, Ipv4Addr::BROADCAST)),
        ),
        ("renewing", ADDRESS, vec![53, 1, 3], Some((5, ADDRESS, ADDRESS))),
        ("renewing another", other, vec![53, 1, 3], Some((6, NONE, Ipv4Addr::BROADCAST))),
        ("inform", ADDRESS, vec![53, 1, 8], Some((5, NONE, ADDRESS))),
        ("inform of another", other, vec![53, 1, 8], None),
        ("release", ADDRESS, [vec![53, 1, 7], server.clone()].concat(), None),
        ("decline", NONE, [vec![53, 1, 4], server, wants(ADDRESS)].concat(), None),
        ("a server's", NONE, vec![53, 1, 2], None),
    ];
    for (name, current, mut options, expected) in table {
        options.push(255);
        let request = Request::read(&v4_message(current, [0; 4], MAC, &options)).unwrap();
        let answer = v4::answer(&request, &facts());
        let found = answer.map(|answer| {
            assert_eq!(answer.server, GATEWAY);
            let (kind, given, options) = said(&answer.message);
            assert_eq!(
                options.iter().any(|(number, _)| *number == 51),
                matches!(kind, 2 | 5) && name != "inform"
            );
            (kind, given, answer.to)
        });
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn dhcp_v4_options_are_those_asked_for() {
    let asked = |facts: &Facts, options: &[u8]| {
        let request = Request::read(&v4_message(Ipv4Addr::UNSPECIFIED, [0; 4], MAC, options)).unwrap();
        said(&v4::answer(&request, facts).unwrap().message).2
    };
    let gateway = GATEWAY.octets().to_vec();
    let search = b"\x07spinney\x08internal\0".to_vec();
    let all = [
        (54, gateway.clone()),
        (51, vec![255; 4]),
        (1, vec![255, 255, 252, 0]),
        (3, gateway.clone()),
        (6, gateway.clone()),
        (15, b"spinney.internal".to_vec()),
        (119, search.clone()),
        (12, b"demo".to_vec()),
        (28, vec![10, 213, 3, 255]),
    ];
    assert_eq!(asked(&facts(), &[53, 1, 1, 255]), all);
    assert_eq!(
        asked(&facts(), &[53, 1, 1, 55, 4, 119, 200, 1, 1, 61, 2, 7, 8, 255]),
        [
            (54, gateway.clone()),
            (61, vec![7, 8]),
            (51, vec![255; 4]),
            (1, vec![255, 255, 252, 0]),
            (119, search)
        ]
    );
    // A gateway elsewhere has a route of its own.
    let mut elsewhere = facts();
    elsewhere.addresses.v4 =
        Some(Family { address: ADDRESS, prefix: 32, gateway: Some(Ipv4Addr::new(10, 0, 0, 1)), host: None });
    let routes = vec![32, 10, 0, 0, 1, 0, 0, 0, 0, 0, 10, 0, 0, 1];
    assert!(asked(&elsewhere, &[53, 1, 1, 255]).contains(&(121, routes)));
    // What does not fit is left out, and the message stays as short as all clients take it.
    let mut long = facts();
    long.hostname = "x".repeat(300);
    long.dns = vec![GATEWAY.into(); 200];
    let options = asked(&long, &[53, 1, 1, 255]);
    assert!(options.iter().all(|(number, _)| !matches!(number, 6 | 12)), "{options:?}");
}

#[test]
fn dhcp_v4_requests_that_are_none() {
    let none = Ipv4Addr::UNSPECIFIED;
    let discover: &[u8] = &[53, 1, 1, 255];
    let good = v4_message(none, [0; 4], MAC, discover);
    let changed = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    for (name, message) in [
        ("empty", Vec::new()),
        ("an answer", changed(0, 2)),
        ("no Ethernet", changed(1, 6)),
        ("a long address", changed(2, 16)),
        ("no cookie", changed(236, 0)),
        ("no kind", v4_message(none, [0; 4], MAC, &[255])),
        ("a kind that is none", v4_message(none, [0; 4], MAC, &[53, 1, 9, 255])),
        ("over a relay", v4_message(none, [10, 0, 0, 1], MAC, discover)),
        ("an option that has no end", v4_message(none, [0; 4], MAC, &[53, 1, 1, 50, 4, 1])),
    ] {
        assert_eq!(Request::read(&message), None, "{name}");
    }
    assert_eq!(Request::read(&good).map(|request| request.kind), Some(Kind::Discover));
    let other = Request::read(&v4_message(none, [0; 4], OWN, discover)).unwrap();
    assert_eq!(v4::answer(&other, &facts()), None, "another MAC address");
    assert_eq!(
        v4::answer(
            &Request::read(&good).unwrap(),
            &Facts { addresses: Addresses { v4: None, v6: None }, ..facts() }
        ),
        None
    );
}

fn v6_option(number: u8, value: &[u8]) -> Vec<u8> {
    [&[0, number, 0, u8::try_from(value.len()).unwrap()][..], value].concat()
}

#[test]
fn dhcp_v6_dialogues() {
    let client = v6_option(1, &[0, 3, 0, 1, 9, 9]);
    let server = v6_option(2, &[&[0, 3, 0, 1][..], &OWN].concat());
    let stranger = v6_option(2, &[0, 3, 0, 1, 1, 1]);
    let address = |address: Ipv6Addr, seconds: [u8; 4]| {
        v6_option(5, &[&address.octets()[..], &seconds, &seconds].concat())
    };
    let held = |has: &[u8]| v6_option(3, &[&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0][..], has].concat());
    let given = |more: &[u8]| {
        let ours = address(v6(5), [255; 4]);
        v6_option(3, &[&[0, 0, 0, 7][..], &[255; 8], &ours, more].concat())
    };
    let status = |code: u8| v6_option(13, &[0, code]);
    let rest = [v6_option(23, &v6(1).octets()), v6_option(24, b"\x07spinney\x08internal\0")].concat();
    let ours = address(v6(5), [0; 4]);
    let other = address(v6(9), [0; 4]);
    let elsewhere = address(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 5), [0; 4]);
    let prefix = v6_option(25, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let no_prefix = v6_option(25, &[&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &status(6)].concat());
    type Row = (&'static str, u8, Vec<Vec<u8>>, Option<(u8, Vec<Vec<u8>>)>);
    let pair = || vec![client.clone(), server.clone()];
    let with = |more: &[&Vec<u8>]| [pair(), more.iter().map(|part| (*part).clone()).collect()].concat();
    let table: [Row; 15] = [
        ("solicit", 1, vec![client.clone(), held(&[])], Some((2, with(&[&given(&[])])))),
        (
            "solicit, in two messages",
            1,
            vec![client.clone(), v6_option(14, &[]), held(&[]), prefix],
            Some((7, with(&[&v6_option(14, &[]), &given(&[]), &no_prefix]))),
        ),
        ("solicit of nobody", 1, vec![held(&[])], None),
        ("solicit with a server", 1, vec![client.clone(), server.clone(), held(&[])], None),
        ("request", 3, with(&[&held(&ours)]), Some((7, with(&[&given(&[])])))),
        ("request to another", 3, vec![client.clone(), stranger, held(&[])], None),
        ("renew of another address", 5, with(&[&held(&other)]), Some((7, with(&[&given(&other)])))),
        ("rebind", 6, vec![client.clone(), held(&ours)], Some((7, with(&[&given(&[])])))),
        ("confirm", 4, vec![client.clone(), held(&ours)], Some((7, with(&[&status(0)])))),
        ("confirm of a neighbour", 4, vec![client.clone(), held(&other)], Some((7, with(&[&status(0)])))),
        ("confirm of elsewhere", 4, vec![client.clone(), held(&elsewhere)], Some((7, with(&[&status(4)])))),
        ("confirm of nothing", 4, vec![client.clone(), held(&[])], None),
        ("release", 8, with(&[&held(&ours)]), Some((7, with(&[&status(0)])))),
        ("information", 11, Vec::new(), Some((7, vec![server.clone()]))),
        ("a relay's", 12, vec![client.clone()], None),
    ];
    for (name, kind, options, expected) in table {
        let message = [vec![kind, 1, 2, 3], options.concat()].concat();
        let found = v6::answer(&v6::Request::read(&message).unwrap(), &facts(), OWN);
        let expected =
            expected.map(|(kind, options)| [vec![kind, 1, 2, 3], options.concat(), rest.clone()].concat());
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(v6::Request::read(&[1, 1, 2, 3, 0, 1, 0, 9, 0]), None, "an option that has no end");
}

#[test]
fn advertisements() {
    let message = router::advertisement(&facts()).unwrap();
    let mut expected = vec![134, 0, 0, 0, 64, 0xc0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[3, 4, 64, 0x80]);
    expected.extend_from_slice(&[255; 8]);
    expected.extend_from_slice(&[0; 4]);
    expected.extend_from_slice(&v6(0).octets());
    expected.extend_from_slice(&[25, 3, 0, 0, 255, 255, 255, 255]);
    expected.extend_from_slice(&v6(1).octets());
    expected.extend_from_slice(&[31, 4, 0, 0, 255, 255, 255, 255]);
    expected.extend_from_slice(b"\x07spinney\x08internal\0\0\0\0\0\0\0");
    assert_eq!(message, expected);
    let v4_only = Facts { addresses: Addresses { v6: None, ..facts().addresses }, ..facts() };
    assert_eq!(router::advertisement(&v4_only), None);
}

/// A client's frame: what our own writer makes of a server's, with the ports the other way round.
fn to_server(frame: Vec<u8>, udp: usize) -> Vec<u8> {
    let mut frame = frame;
    let port: Vec<u8> = frame[udp..udp + 2].to_vec();
    frame.splice(udp + 2..udp + 4, port);
    frame
}

fn frames() -> [(&'static str, Vec<u8>, bool); 6] {
    let local: Ipv6Addr = "fe80::af".parse().unwrap();
    let v4 = |mac| {
        let ends = Ends { from: (mac, Ipv4Addr::UNSPECIFIED), to: (frame::BROADCAST, Ipv4Addr::BROADCAST) };
        to_server(frame::dhcp_v4(&ends, b"message").unwrap(), 34)
    };
    let six = Ends { from: (MAC, local), to: ([0x33, 0x33, 0, 1, 0, 2], "ff02::1:2".parse().unwrap()) };
    let fragment = {
        let mut frame = v4(MAC);
        frame[21] = 8;
        frame
    };
    [
        ("DHCPv4", v4(MAC), true),
        ("of another MAC address", v4(OWN), false),
        ("a fragment", fragment, false),
        ("DHCPv6", to_server(frame::dhcp_v6(&six, b"message").unwrap(), 54), true),
        ("a solicitation", frame::icmp_v6(&six, vec![133, 0, 0, 0, 0, 0, 0, 0]).unwrap(), true),
        ("an echo", frame::icmp_v6(&six, vec![128, 0, 0, 0, 0, 0, 0, 0]).unwrap(), false),
    ]
}

#[test]
fn frames_are_read_as_they_are_written() {
    let local: Ipv6Addr = "fe80::af".parse().unwrap();
    let expected = [
        Some(Asked::V4(b"message")),
        None,
        None,
        Some(Asked::V6(local, b"message")),
        Some(Asked::Router(Some(local))),
        None,
    ];
    for ((name, bytes, _), expected) in frames().iter().zip(expected) {
        assert_eq!(frame::read(bytes, MAC), expected, "{name}");
        for length in 0..bytes.len() {
            assert_eq!(frame::read(&bytes[..length], MAC), None, "{name}, {length} bytes of it");
        }
    }
    let mut wrong = frames()[4].1.clone();
    wrong[60] ^= 1;
    assert_eq!(frame::read(&wrong, MAC), None, "a wrong checksum");
    // tcpdump's words of such a header: 10.213.0.1.67 > 10.213.0.5.68, whose checksums are right.
    let ends = Ends { from: (OWN, GATEWAY), to: (MAC, ADDRESS) };
    let sent = frame::dhcp_v4(&ends, b"xyz").unwrap();
    assert_eq!(wire::checksum(&[&sent[14..34]]), 0);
    let pseudo = [&sent[26..34], &[0, 17], &sent[38..40]].concat();
    assert_eq!(wire::checksum(&[&pseudo, &sent[34..]]), 0);
}

/// What the kernel would make of a filter: how many bytes of the frame pass.
fn run(program: &[crate::sys::seccomp::SockFilter], frame: &[u8]) -> u32 {
    let (mut accumulator, mut x, mut at) = (0_u32, 0_usize, 0_usize);
    let load = |offset: usize, size: usize| {
        let bytes = frame.get(offset..offset + size)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    loop {
        let instruction = program[at];
        at += 1;
        let k = usize::try_from(instruction.k).unwrap();
        let loaded = match instruction.code {
            filter::LOAD_WORD => load(k, 4),
            filter::LOAD_HALF => load(k, 2),
            filter::LOAD_BYTE => load(k, 1),
            filter::LOAD_HALF_AT_X => load(k + x, 2),
            filter::LOAD_X_HEADER => {
                let Some(byte) = frame.get(k) else { return 0 };
                x = usize::from(byte & 0xf) * 4;
                continue;
            }
            filter::IF_EQUAL | filter::IF_BITS => {
                let holds = match instruction.code {
                    filter::IF_EQUAL => accumulator == instruction.k,
                    _ => accumulator & instruction.k != 0,
                };
                at += usize::from(if holds { instruction.jt } else { instruction.jf });
                continue;
            }
            filter::RETURN => return instruction.k,
            other => panic!("instruction {other:#x}"),
        };
        match loaded {
            Some(number) => accumulator = number,
            // A load from outside of the packet ends the program with 0.
            None => return 0,
        }
    }
}

#[test]
fn the_filter_passes_what_is_read() {
    for (name, bytes, passes) in frames() {
        assert_eq!(run(&filter::program(MAC), &bytes) != 0, passes, "{name}");
    }
}

#[test]
fn no_interface_is_not_all_of_them() {
    let link = crate::network::plan::LinkPlan {
        host: Some("ve-demo".parse().unwrap()),
        mac: Some("02:00:00:00:00:af".parse().unwrap()),
        addresses: Some(facts().addresses),
        ..crate::network::plan::LinkPlan::new(crate::network::plan::LinkKind::Veth, "host0".parse().unwrap())
    };
    let plan = NetworkPlan { links: vec![link], ..NetworkPlan::default() };
    let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
    for host in [&[][..], &[0]] {
        let links = Links { namespace: namespace.as_fd(), host };
        let mut server = AddressServer::of(&plan, "demo", &links).unwrap();
        assert!(server.interest().is_empty());
        // The loop calls it at once to hear of it.
        assert!(server.deadline().is_some_and(|deadline| deadline <= std::time::Instant::now()));
        let warnings = server.warnings();
        assert!(warnings[0].starts_with("the machine gets no answers by DHCP: "), "{warnings:?}");
        assert_eq!((warnings.len(), server.deadline()), (1, None));
    }
}

#[test]
fn link_local_addresses_of_a_router() {
    const ADDRESSES: &str = "00000000000000000000000000000001 01 80 10 80       lo\n\
        fd000001000000000000000000000001 05 40 00 80 vz-spinney\n\
        fe800000000000000000000000000001 05 40 20 80 vz-spinney\n";
    assert_eq!(server::link_local(ADDRESSES, "vz-spinney"), Some("fe80::1".parse().unwrap()));
    assert_eq!(server::link_local(ADDRESSES, "lo"), None);
    assert_eq!(server::link_local("x\n\n", "x"), None);
}

proptest! {
    /// Whatever a guest sends, nothing falls over, and what is answered is a frame that Ethernet carries.
    #[test]
    fn hostile_frames(kind in 0_usize..6, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
                      tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = frames()[kind].1.clone();
        bytes.extend_from_slice(&tail);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = frame::read(&bytes, MAC);
    }

    #[test]
    fn hostile_messages(head in 0_usize..3, tail in prop::collection::vec(any::<u8>(), 0..600)) {
        let message = match head {
            0 => v4_message(Ipv4Addr::UNSPECIFIED, [0; 4], MAC, &[&[53, 1, 1][..], &tail].concat()),
            1 => [&[1, 0, 0, 0][..], &v6_option(1, &[1]), &tail].concat(),
            _ => tail,
        };
        if let Some(answer) = Request::read(&message).and_then(|request| v4::answer(&request, &facts())) {
            prop_assert!((300..=1472).contains(&answer.message.len()));
        }
        if let Some(answer) = v6::Request::read(&message).and_then(|request| v6::answer(&request, &facts(), OWN)) {
            prop_assert!(answer.len() <= 1400, "{}", answer.len());
        }
    }
}
