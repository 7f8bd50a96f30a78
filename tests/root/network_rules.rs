//! Rules of machines' networks: what they are, what they let pass, and how they get on with others'.

use std::io::ErrorKind;

use spinney::network::nft::Nfnetlink;
use spinney::network::rules;
use spinney::network::rules::base::LAYOUTS;
use spinney::settings::network::{PortMapping, Protocol};

use crate::harness::{Context, Row, Test, TestResult};
use crate::network_host::{on_own_host, shell};
use crate::network_zone::{Zone, connects, machine, pings, serve};

pub fn tests() -> Vec<Test> {
    let single: [Row; 8] = [
        ("listed_by_nft", listed_by_nft),
        ("steps_come_to_the_same", steps_come_to_the_same),
        ("packets", packets),
        ("spoofing", spoofing),
        ("docker", |_| beside("docker", include_str!("firewalls/docker.nft"))),
        ("ufw", |_| beside("ufw", include_str!("firewalls/ufw.nft"))),
        ("firewalld", |_| beside("firewalld", include_str!("firewalls/firewalld.nft"))),
        ("iptables", iptables),
    ];
    single.map(|(name, test)| Test::new(format!("network_rules::{name}"), test)).into()
}

fn port(protocol: Protocol, address: Option<&str>, host: u16, guest: u16) -> PortMapping {
    PortMapping { protocol, address: address.map(|text| text.parse().unwrap()), host, guest, count: 1 }
}

fn ruleset() -> Result<String, String> {
    shell("nft list ruleset")
}

/// `nft` lists each rule as it stands in the source, can load what it lists, and nothing is left at the end.
fn listed_by_nft(_: &Context) -> TestResult {
    on_own_host(|| {
        let mut machine = machine(2);
        machine.ports =
            vec![port(Protocol::Tcp, None, 8080, 80), port(Protocol::Udp, Some("127.0.0.1"), 53, 53)];
        rules::set_machine(&machine)?;
        let listed = ruleset()?;
        let mut nft = Nfnetlink::open()?;
        for layout in LAYOUTS {
            let rules = nft.rules(layout.table.family, layout.table.name, None)?;
            assert_eq!(rules.len(), layout.rules.len());
            for rule in layout.rules {
                let text = rule.text();
                let there = listed.lines().any(|line| line.trim() == text);
                assert!(there, "not listed: {} {}: {text}\n{listed}", layout.table.family, rule.chain);
            }
            for set in layout.sets {
                assert!(listed.contains(&format!("comment \"{}\"", set.comment)), "{}\n{listed}", set.name);
            }
        }
        for element in [
            "elements = { \"vz-lab\" comment \"zone\" }",
            "tcp . 8080 comment \"m2\" : 10.213.0.2 . 80",
            "127.0.0.1 . udp . 53 comment \"m2\" : 10.213.0.2 . 53",
            "10.213.0.2 . 10.213.0.1 . udp . 53 comment \"m2\" : 10.213.0.1 . 40002",
            "\"vb-m2\" . 02:00:00:00:00:02 . 10.213.0.2 comment \"m2\"",
            "\"vb-m2\" . fe80::ff:fe00:2 comment \"m2\"",
        ] {
            assert!(listed.contains(element), "{element}\n{listed}");
        }
        shell("nft list ruleset > /run/listed; nft flush ruleset; nft -f /run/listed; rm /run/listed")?;
        assert_eq!(ruleset()?, listed);
        rules::remove_machine("m2")?;
        assert_eq!(ruleset()?, "");
        Ok(())
    })
}

/// Step by step, or all anew: the rules are the same.
fn steps_come_to_the_same(_: &Context) -> TestResult {
    on_own_host(|| {
        let anew = || -> Result<String, String> {
            let listed = ruleset()?;
            shell("nft flush ruleset")?;
            let done = rules::repair().map_err(|error| error.to_string())?;
            assert!(done.is_some());
            assert_eq!(rules::repair().map_err(|error| error.to_string())?, None);
            assert_eq!(sorted(&ruleset()?), sorted(&listed));
            Ok(listed)
        };
        for number in 2..=4 {
            rules::set_machine(&machine(number))?;
        }
        let three = anew()?;
        rules::partition("m2", "m3", false)?;
        anew()?;
        rules::change_machine("m4", |machine| machine.ports = vec![port(Protocol::Tcp, None, 8080, 80)])?;
        anew()?;
        rules::change_machine("m4", |machine| machine.ports = vec![port(Protocol::Tcp, None, 8080, 81)])?;
        assert!(anew()?.contains("10.213.0.4 . 81"));
        rules::change_machine("m4", |machine| machine.ports.clear())?;
        rules::partition("m3", "m2", true)?;
        assert_eq!(sorted(&anew()?), sorted(&three));
        let mut lossy = machine(5);
        lossy.loss = Some(500);
        rules::set_machine(&lossy)?;
        let drops = "iifname \"vb-m5\" numgen random mod 100000 < 500 drop comment \"m5\"";
        assert!(anew()?.contains(drops));
        rules::remove_machine("m5")?;
        assert_eq!(sorted(&anew()?), sorted(&three));
        // Of a killed supervisor, whose rules somebody had changed.
        shell("nft delete element inet spinney dns4 '{ 10.213.0.2 . 10.213.0.1 . udp . 53 }'")?;
        rules::remove_machine("m2")?;
        assert!(!anew()?.contains("m2"));
        rules::remove_machine("m3")?;
        rules::remove_machine("m2")?;
        assert_eq!(Nfnetlink::open()?.tables()?.len(), 2);
        rules::remove_machine("m4")?;
        assert_eq!(Nfnetlink::open()?.tables()?, []);
        Ok(())
    })
}

/// Elements of sets are listed in the order of their hashes, some in a line.
fn sorted(listed: &str) -> Vec<String> {
    let part = |part: &str| part.replace("elements = {", "").replace(" }", "").trim().to_owned();
    let mut parts: Vec<String> = listed.split([',', '\n']).map(part).collect();
    parts.sort();
    parts
}

/// Sets whether bridges pass packets to routers' rules; says whether they can.
pub fn bridges_filter(how: &str) -> bool {
    let set = |family| std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}"), how).is_ok();
    set("iptables") & set("ip6tables")
}

/// Out by masquerade, in by ports alone, to siblings unless they are kept apart, to the host not at all.
fn packets(_: &Context) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let [one, two] = zone.guests.as_slice() else { unreachable!() };
        bridges_filter("0");
        let mut first = machine(2);
        first.ports =
            vec![port(Protocol::Tcp, None, 8080, 80), port(Protocol::Tcp, Some("127.0.0.1"), 8081, 80)];
        rules::set_machine(&first)?;
        rules::set_machine(&machine(3))?;
        one.within(|| serve("[::]:80"));
        zone.lan.within(|| serve("[::]:7"));
        serve("[::]:22");
        // Outwards, under an address of the host.
        assert_eq!(one.within(|| connects("192.0.2.2:7")), Ok("::ffff:192.0.2.1".to_owned()));
        assert_eq!(one.within(|| connects("[2001:db8::2]:7")), Ok("2001:db8::1".to_owned()));
        assert!(pings(one, "10.213.0.1", "3") && pings(one, "fd00:213::1", "3"));
        // Inwards by ports: from the LAN, the host, its loopback, a sibling, and itself.
        let masqueraded = Ok("::ffff:10.213.0.1".to_owned());
        assert_eq!(zone.lan.within(|| connects("192.0.2.1:8080")), Ok("::ffff:192.0.2.2".to_owned()));
        assert_eq!(zone.lan.within(|| connects("[2001:db8::1]:8080")), Ok("2001:db8::2".to_owned()));
        assert_eq!(connects("192.0.2.1:8080"), Ok("::ffff:192.0.2.1".to_owned()));
        assert_eq!(connects("[2001:db8::1]:8080"), Ok("2001:db8::1".to_owned()));
        assert_eq!(connects("127.0.0.1:8080"), masqueraded);
        assert_eq!(connects("127.0.0.1:8081"), masqueraded);
        assert_eq!(two.within(|| connects("192.0.2.1:8080")), masqueraded);
        assert_eq!(one.within(|| connects("192.0.2.1:8080")), masqueraded);
        // Docker has bridges pass packets to routers' rules (br_netfilter). Only itself a machine does not reach then: a bridge
        // sends nothing back to where it came from.
        if bridges_filter("1") {
            assert!(two.within(|| connects("192.0.2.1:8080")).is_ok());
            assert!(pings(one, "10.213.0.3", "3"));
            bridges_filter("0");
        }
        assert_eq!(zone.lan.within(|| connects("192.0.2.1:8081")), Err(ErrorKind::ConnectionRefused));
        // By no other way, and to nothing of the host's.
        zone.lan.script("ip route add 10.213.0.0/22 via 192.0.2.1")?;
        assert!(!pings(&zone.lan, "10.213.0.2", "0.4"));
        assert_eq!(one.within(|| connects("10.213.0.1:22")), Err(ErrorKind::HostUnreachable));
        assert_eq!(one.within(|| connects("192.0.2.1:22")), Err(ErrorKind::HostUnreachable));
        assert!(one.within(|| connects("[fd00:213::1]:22")).is_err());
        one.script("echo 1 >/proc/sys/net/ipv4/conf/host0/route_localnet; ip route add 127.9.0.0/16 via 10.213.0.1 table 9; ip rule add to 127.9.0.0/16 table 9 pref 0")?;
        assert!(one.within(|| connects("127.9.0.1:22")).is_err());
        // A port goes while the machine runs.
        rules::change_machine("m2", |machine| machine.ports.clear())?;
        assert_eq!(zone.lan.within(|| connects("192.0.2.1:8080")), Err(ErrorKind::ConnectionRefused));
        // Siblings, unless they are kept apart.
        assert!(pings(one, "10.213.0.3", "3") && pings(two, "fd00:213::2", "3"));
        rules::partition("m2", "m3", false)?;
        assert!(!pings(one, "10.213.0.3", "0.4") && !pings(two, "fd00:213::2", "0.4"));
        assert!(pings(one, "192.0.2.2", "3"));
        rules::partition("m2", "m3", true)?;
        assert!(pings(one, "10.213.0.3", "3") && pings(two, "fd00:213::2", "3"));
        rules::remove_machine("m2")?;
        rules::remove_machine("m3")?;
        Ok(())
    })
}

/// Nobody is who he is not: not by hardware address, IPv4, ARP, IPv6 or neighbour messages. Whoever may be is.
fn spoofing(_: &Context) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let [one, two] = zone.guests.as_slice() else { unreachable!() };
        let mut free = machine(2);
        free.links[0].mac = None;
        rules::set_machine(&free)?;
        // The third one, who is not there, is 10.213.0.4, fd00:213::4 and fe80::ff:fe00:4.
        rules::set_machine(&machine(3))?;
        rules::set_machine(&machine(4))?;
        one.script("ip address add 10.213.0.4/22 dev host0; ip address add fd00:213::4/64 dev host0 nodad; ip address add fe80::ff:fe00:4/64 dev host0 nodad; ip address add fe80::1234/64 dev host0 nodad")?;
        let forget = || two.script("ip neighbour flush all");
        let stolen = ["10.213.0.4", "fd00:213::4", "fe80::ff:fe00:4%host0"];
        // The control: what is refused below does work where it may.
        for address in stolen {
            assert!(pings(two, address, "3"), "{address}");
        }
        forget()?;
        rules::set_machine(&machine(2))?;
        for address in stolen {
            // Asked for it, and as the source of what is sent.
            assert!(!pings(two, address, "0.4"), "{address}");
            let source = address.trim_end_matches("%host0");
            let to = match address.contains('%') {
                true => "fe80::ff:fe00:3%host0",
                false if address.contains(':') => "fd00:213::3",
                false => "10.213.0.3",
            };
            assert!(!pings(one, &format!("-I {source} {to}"), "0.4"), "from {address}");
            let known = two.script(&format!("ip neighbour show {source} | grep -c lladdr || true"))?;
            assert_eq!(known.trim(), "0", "{address}");
        }
        // Its own, and a link-local one that nobody has, are fine.
        for address in ["10.213.0.2", "fd00:213::2", "fe80::ff:fe00:2%host0", "fe80::1234%host0"] {
            assert!(pings(two, address, "3"), "{address}");
        }
        one.script("ip link set host0 down; ip link set host0 address 02:00:00:00:00:04; ip link set host0 up; ip address flush dev host0 scope global; ip address add 10.213.0.2/22 dev host0")?;
        assert!(!pings(one, "10.213.0.1", "0.4"));
        one.script("ip link set host0 address 02:00:00:00:00:02")?;
        assert!(pings(one, "10.213.0.1", "3"));
        for name in ["m2", "m3", "m4"] {
            rules::remove_machine(name)?;
        }
        Ok(())
    })
}

/// Beside a firewall that drops what it does not know: packets pass, and its rules are as before; also once somebody else has
/// flushed all rules and loaded his own again.
fn beside(name: &str, firewall: &str) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let one = &zone.guests[0];
        let load = || shell(&format!("nft -f - <<'END'\n{firewall}\nEND"));
        load()?;
        let before = ruleset()?;
        one.within(|| serve("[::]:80"));
        zone.lan.within(|| serve("[::]:7"));
        shell("echo 0 >/proc/sys/net/ipv4/conf/vz-lab/rp_filter")?;
        let mut machine = machine(2);
        machine.ports = vec![port(Protocol::Tcp, None, 8080, 80)];
        let passes = || {
            assert_eq!(one.within(|| connects("192.0.2.2:7")), Ok("::ffff:192.0.2.1".to_owned()), "{name}");
            assert_eq!(one.within(|| connects("[2001:db8::2]:7")), Ok("2001:db8::1".to_owned()), "{name}");
            assert_eq!(zone.lan.within(|| connects("192.0.2.1:8080")), Ok("::ffff:192.0.2.2".to_owned()));
            assert!(pings(one, "10.213.0.1", "3"), "{name}");
        };
        assert!(one.within(|| connects("192.0.2.2:7")).is_err(), "{name} drops nothing");
        rules::set_machine(&machine)?;
        passes();
        // Theirs are as before, but for counters and ours.
        let without_ours: Vec<String> = bare(&ruleset()?);
        assert_eq!(without_ours, bare(&before));
        shell("nft flush ruleset")?;
        load()?;
        assert!(rules::repair()?.is_some());
        passes();
        rules::remove_machine("m2")?;
        assert_eq!(bare(&ruleset()?), bare(&before));
        assert!(!ruleset()?.contains("spinney"));
        Ok(())
    })
}

/// What is listed without counts, our tables and our rules.
fn bare(listed: &str) -> Vec<String> {
    let mut ours = false;
    let mut lines = Vec::new();
    for line in listed.lines() {
        ours = (ours || line.starts_with("table inet spinney") || line.starts_with("table bridge spinney"))
            && line != "}"
            || line.contains("comment \"spinney ");
        if ours || line == "}" {
            ours &= !line.contains("comment \"spinney ");
            continue;
        }
        let mut words = Vec::new();
        let mut rest = line.split(' ').peekable();
        while let Some(word) = rest.next() {
            words.push(word);
            if matches!(word, "packets" | "bytes")
                && rest.peek().is_some_and(|next| next.parse::<u64>().is_ok())
            {
                rest.next();
            }
        }
        lines.push(words.join(" "));
    }
    lines
}

/// iptables-nft still lists and saves the chains that rules of ours are in.
fn iptables(_: &Context) -> TestResult {
    on_own_host(|| {
        shell(
            "iptables -P FORWARD DROP; iptables -A FORWARD -i eth0 -m conntrack --ctstate NEW -m comment --comment mine -j ACCEPT; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I INPUT -s 192.0.2.7 -j DROP",
        )?;
        let before = shell("iptables-save | grep -v '^#'")?;
        rules::set_machine(&machine(2))?;
        let listed = shell("iptables -S")?;
        for rule in [
            "-A FORWARD -i vz-lab -m comment --comment \"spinney vz-lab\" -j ACCEPT",
            "-A FORWARD -o vz-lab -m comment --comment \"spinney vz-lab\" -j ACCEPT",
        ] {
            assert!(listed.contains(rule), "{listed}");
        }
        // Saved and loaded again, they are ours still.
        shell("iptables-save > /run/saved; iptables-restore /run/saved; rm /run/saved")?;
        rules::repair()?;
        rules::remove_machine("m2")?;
        assert_eq!(shell("iptables-save | grep -v '^#'")?, before);
        Ok(())
    })
}
