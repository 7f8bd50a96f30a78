//! Frames as no program of a guest's would send them: other senders than the link's, tags of VLANs, fragments. What each comes to
//! without rules, in a zone, and on a bridge of somebody's.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spinney::network::rules;
use spinney::network::rules::machine::{LinkRules, MachineRules, Place};
use spinney::sys::packet_socket::PacketSocket;

use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::network_host::{Namespace, on_own_host, shell};
use crate::network_links::{end, stays, told};
use crate::network_rules::bridges_filter;
use crate::network_zone::{Zone, machine};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 2] = [("senders", senders), ("learned", learned)];
    rows.map(|(name, test)| Test::new(format!("network_frames::{name}"), test)).into()
}

/// What comes after all that is tried, and comes through.
const LAST: u8 = 0;

/// The end of each frame, before its number.
const MARK: &[u8] = b"spinney";

const VLAN: &[u8] = &[0x81, 0x00];
const PROVIDER: &[u8] = &[0x88, 0xa8];

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

/// A frame to all from guest 2, with what is between its addresses and its number.
fn frame(number: u8, from: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&[0xff; 6][..], &mac(from), &rest.concat(), MARK, &[number]].concat()
}

/// An ARP request of `hardware`, from its type on.
fn arp(hardware: u8) -> Vec<u8> {
    [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1][..], &mac(hardware), &[10, 213, 0, 2], &[0; 6], &[10, 213, 0, 3]]
        .concat()
}

/// A packet of IPv4 from guest 2 to guest 3, from its type on: a fragment with others to follow if `more`.
fn ipv4(protocol: u8, more: bool, payload: &[u8]) -> Vec<u8> {
    let length = 20 + u8::try_from(payload.len()).unwrap();
    let flags = if more { 0x20 } else { 0 };
    let header = [0x45, 0, 0, length, 0, 1, flags, 0, 64, protocol, 0, 0, 10, 213, 0, 2, 10, 213, 0, 3];
    [&[8, 0][..], &header, payload].concat()
}

/// A packet of IPv6 from guest 2's link-local address to all nodes: a fragment at `offset`, whose header goes on with `next`.
fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let place = (offset | u16::from(more)).to_be_bytes();
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 2];
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    [
        &[0x86, 0xdd, 0x60, 0, 0, 0][..],
        &length,
        &[44, 255],
        &source,
        &all_nodes,
        &[next, 0],
        &place,
        &[0, 0, 0, 7],
        payload,
    ]
    .concat()
}

fn tag(kind: &[u8], number: u8) -> Vec<u8> {
    [kind, &[0, number]].concat()
}

/// A socket on `host0` of a guest.
fn socket(guest: &Namespace) -> Result<PacketSocket, Stop> {
    let index = guest.script("ip -o link show host0 | cut -d: -f1")?.trim().parse()?;
    Ok(guest.within(|| PacketSocket::tap(index))?)
}

/// Which of `frames` come from `near` to `far`.
fn passes(near: &PacketSocket, far: &PacketSocket, frames: &[(&str, Vec<u8>)]) -> Result<Vec<String>, Stop> {
    frames.iter().try_for_each(|(_, frame)| near.send(frame))?;
    near.send(&frame(LAST, 2, &[&arp(2)]))?;
    let mut seen = Vec::new();
    let mut buffer = [0; 2048];
    while seen.last() != Some(&LAST) {
        let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
        if poll(&mut [PollFd::new(far, PollFlags::IN)], Some(&patience))? == 0 {
            return Err(Stop::Fail(format!("nothing comes after {seen:?}")));
        }
        while let Some(length) = far.receive(&mut buffer)? {
            let marked = buffer[..length].split_last().filter(|(_, rest)| rest.ends_with(MARK));
            seen.extend(marked.map(|(number, _)| *number));
        }
    }
    let came =
        |(number, (name, _)): (u8, &(&str, Vec<u8>))| seen.contains(&number).then(|| (*name).to_owned());
    Ok((1..).zip(frames).filter_map(came).collect())
}

/// Nobody gets around the rules about senders by tags or fragments.
fn senders(_: &Context) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let [one, two] = zone.guests.as_slice() else { unreachable!() };
        // Otherwise packets of IP whose checksums are wrong go no further, whoever sends them.
        bridges_filter("0");
        let (near, far) = (socket(one)?, socket(two)?);
        let (none, five) = (tag(VLAN, 0), tag(VLAN, 5));
        let udp = |from: u8| [0, from, 0, 68, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let tcp = [0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 9, 0, 0, 0, 0];
        let advertisement = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        // What it is, from whom and what is sent; whether it passes in a zone, and on a bridge of somebody's.
        type Case<'a> = (&'a str, u8, Vec<Vec<u8>>, bool, bool);
        let table: [Case<'_>; 17] = [
            ("itself", 2, vec![arp(2)], true, true),
            ("another in ARP", 2, vec![arp(9)], false, false),
            ("another in the frame", 9, vec![arp(2)], false, false),
            ("tagged", 2, vec![five.clone(), arp(2)], false, true),
            ("tagged, another", 2, vec![five.clone(), arp(9)], false, false),
            ("of a priority", 2, vec![none.clone(), arp(2)], false, true),
            ("of a priority, another", 2, vec![none.clone(), arp(9)], false, false),
            ("tagged twice", 2, vec![five.clone(), five.clone(), arp(2)], false, false),
            ("of two priorities, another", 2, vec![none.clone(), none.clone(), arp(9)], false, false),
            ("of a provider's customer", 2, vec![tag(PROVIDER, 0), none.clone(), arp(9)], false, false),
            ("TCP", 2, vec![ipv4(6, false, &tcp)], true, true),
            ("TCP, tagged", 2, vec![five, ipv4(6, false, &tcp)], false, true),
            ("UDP", 2, vec![ipv4(17, true, &udp(66))], true, true),
            ("a server's UDP, in fragments", 2, vec![ipv4(17, true, &udp(67))], false, false),
            (
                "an advertisement, its first fragment",
                2,
                vec![fragment(58, 0, true, &advertisement)],
                false,
                false,
            ),
            ("the rest of options", 2, vec![fragment(60, 8, false, &advertisement)], false, false),
            ("the rest of a datagram", 2, vec![fragment(17, 8, false, &advertisement)], true, true),
        ];
        let frames: Vec<(&str, Vec<u8>)> = (1..)
            .zip(&table)
            .map(|(number, (name, from, rest, ..))| {
                let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
                (*name, frame(number, *from, &rest))
            })
            .collect();
        let names = |passes: fn(&Case<'_>) -> bool| -> Vec<String> {
            table.iter().filter(|case| passes(case)).map(|(name, ..)| (*name).to_owned()).collect()
        };
        // The control: all of it passes a bridge.
        assert_eq!(passes(&near, &far, &frames)?, names(|_| true));
        rules::set_machine(&machine(2))?;
        assert_eq!(passes(&near, &far, &frames)?, names(|(_, _, _, zone, _)| *zone));
        let bridge = Place::Bridge("vz-lab".parse()?);
        let link = LinkRules { place: bridge, v4: None, v6: None, ..machine(2).links[0].clone() };
        rules::set_machine(&MachineRules { links: vec![link], ..machine(2) })?;
        assert_eq!(passes(&near, &far, &frames)?, names(|(.., bridge)| *bridge));
        rules::remove_machine("m2")?;
        Ok(())
    })
}

/// The bridge of a zone learns no address that a machine makes up, and not without an end of one that may.
fn learned(context: &Context) -> TestResult {
    const MANY: u32 = 6000;
    let learned = |port: &str| -> Result<usize, Stop> {
        Ok(shell(&format!("bridge fdb show brport {port} | grep -vc permanent || true"))?.trim().parse()?)
    };
    let limited = bounded()?;
    for (options, expected) in
        [(&["--network-zone=lab"][..], 0), (&["--network-zone=lab", "--net-spoofing"], 4096)]
    {
        let machine = stays(context, options)?;
        let port = told(&machine.name)?.plan.links.remove(0).host.ok_or("no host's end")?.to_string();
        let own = machine.says("cat /sys/class/net/host0/ifindex")?.trim().parse()?;
        let leader = std::fs::File::open(format!("/proc/{}/ns/net", machine.state()?.leader))?;
        let sent = spinney::sys::network::in_namespace(leader, || -> Result<(), String> {
            let socket = PacketSocket::tap(own).map_err(|error| error.to_string())?;
            for number in 0..MANY {
                let [a, b, c, d] = number.to_be_bytes();
                let frame = [&[0xff; 6][..], &[2, 1, a, b, c, d], &arp(2)].concat();
                socket.send(&frame).map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        sent.map_err(|error| error.to_string())??;
        let count = learned(&port)?;
        match (expected, limited) {
            (0, _) => assert!(count <= 1, "{count}"),
            (most, true) => assert!((most / 2..=most).contains(&count), "{count}"),
            (_, false) => println!("this kernel's bridges learn without an end (before Linux 6.7)"),
        }
        end(machine)?;
    }
    Ok(())
}

/// Whether this kernel's bridges can be told how many addresses they learn at the most (Linux 6.7).
fn bounded() -> Result<bool, Stop> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 7))
}
