use super::*;
use crate::network::lease::Route;

const LAB: &str = "lab";

fn zone(text: &str) -> ZoneName {
    text.parse().unwrap()
}

/// A host and its records, at a time.
struct World {
    records: Records,
    host: HostView,
    pool: Pool,
    live: Vec<String>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let host = HostView { ipv6: true, ..HostView::default() };
        let pool = Pool {
            ipv4: vec!["10.9.0.0/16".parse().unwrap()],
            ipv6: "fd09::/48".parse().ok(),
            ..Pool::default()
        };
        Self { records: Records::default(), host, pool, live: Vec::new(), now: 1_000_000 }
    }

    fn route(&mut self, network: &str, interface: &str) {
        let route = Route { network: network.parse().unwrap(), interface: interface.parse().ok() };
        self.host.routes.push(route);
    }

    /// Addresses of a machine in a zone, or of a pair where the zone is empty: `machine/prefix host` of each family.
    fn take(&mut self, of: &str, name: &str, asked: &[&str]) -> Result<String, String> {
        let addresses: Vec<InterfaceAddress> = asked.iter().map(|text| text.parse().unwrap()).collect();
        let live = self.live.clone();
        let asked = Asked {
            name,
            addresses: &addresses,
            host: &self.host,
            id: HostId([7; 16]),
            pool: &self.pool,
            is_live: &|name| live.iter().any(|live| live == name),
            now: self.now,
        };
        let wanted = if of.is_empty() { Wanted::Pair } else { Wanted::Zone(zone(of)) };
        let found = self.records.acquire(&wanted, &asked).map_err(|error| {
            assert!(!error.hint().is_empty());
            error.to_string()
        })?;
        let mut words = Vec::new();
        if let Some(Family { address, prefix, gateway, host }) = found.v4 {
            assert_eq!(gateway, host);
            words.push(format!("{address}/{prefix} {}", host.unwrap()));
        }
        if let Some(Family { address, prefix, gateway, host }) = found.v6 {
            assert_eq!(gateway, host);
            words.push(format!("{address}/{prefix} {}", host.unwrap()));
        }
        Ok(words.join(" "))
    }

    fn v4(&mut self, of: &str, name: &str) -> String {
        let found = self.take(of, name, &[]).unwrap();
        found.split('/').next().unwrap().to_owned()
    }
}

#[test]
fn a_zone() {
    let mut world = World::new();
    let web = world.take("spinney", "web", &[]).unwrap();
    let number = world.records.zones[&zone("spinney")].leases["web"].number;
    let v4: Subnet = "10.9.0.0/22".parse().unwrap();
    assert_eq!(web, format!("{}/22 10.9.0.1 fd09::{number:x}/64 fd09::1", v4.at(number.into()).unwrap()));
    let db = world.take("spinney", "db", &[]).unwrap();
    assert_ne!(db, web);
    assert_eq!(world.take("spinney", "web", &[]), Ok(web.clone()));
    // Another zone has another network, and the same machine an address of its own there.
    let lab = world.take(LAB, "web", &[]).unwrap();
    assert!(!v4.contains(lab.split('/').next().unwrap().parse().unwrap()));
    // Without IPv6 it has none, and with it the same again.
    world.host.ipv6 = false;
    assert!(web.starts_with(&format!("{} fd09", world.take("spinney", "web", &[]).unwrap())));
    world.host.ipv6 = true;
    assert_eq!(world.take("spinney", "web", &[]), Ok(web));
}

#[test]
fn routes_of_the_host_are_avoided() {
    let mut world = World::new();
    world.route("0.0.0.0/0", "eth0");
    world.route("10.9.0.0/24", "eth0");
    let web = world.v4("spinney", "web");
    assert!(web.starts_with("10.9."), "{web}");
    assert_eq!(world.records.zones[&zone("spinney")].ipv4, "10.9.4.0/22".parse().ok());
    // Its own bridge's route is nobody else's.
    world.route("10.9.4.0/22", "vz-spinney");
    assert_eq!(world.v4("spinney", "web"), web);
    // One that comes later moves the zone, and the machine keeps its number.
    world.route("10.9.4.0/24", "tun0");
    let moved = world.v4("spinney", "web");
    assert_eq!(world.records.zones[&zone("spinney")].ipv4, "10.9.8.0/22".parse().ok());
    let number = |address: &str, network: &str| {
        network.parse::<Subnet>().unwrap().number_of(address.parse().unwrap()).unwrap()
    };
    assert_eq!(number(&moved, "10.9.8.0/22"), number(&web, "10.9.4.0/22"));
    // But not while it has machines: the bridge has its address.
    world.host.bridge = vec![("10.9.4.1".parse().unwrap(), 22), ("fe80::1".parse().unwrap(), 64)];
    assert_eq!(world.v4("spinney", "web"), web);
    world.host.bridge.clear();
    world.route("10.9.0.0/16", "tun1");
    assert_eq!(
        world.take("spinney", "web", &[]).unwrap_err(),
        "no network is left for the zone spinney: the host's routes and other zones have all of the pool"
    );
}

#[test]
fn a_bridge_that_is_there_decides() {
    let mut world = World::new();
    world.host.bridge = vec![
        ("192.168.5.9".parse().unwrap(), 24),
        ("fe80::1".parse().unwrap(), 64),
        ("fd55::9".parse().unwrap(), 64),
    ];
    let web = world.take(LAB, "web", &[]).unwrap();
    assert!(web.starts_with("192.168.5.") && web.contains("/24 192.168.5.9 fd55::"), "{web}");
    assert!(web.ends_with("/64 fd55::9"), "{web}");
    assert_eq!(world.take(LAB, "x", &["192.168.5.1"]).unwrap().split(' ').next(), Some("192.168.5.1/24"));
    assert_eq!(
        world.take(LAB, "x", &["192.168.5.9"]).unwrap_err(),
        "--ip=192.168.5.9 is no machine's to have: it is the host's own"
    );
}

#[test]
fn networks_that_are_set() {
    let mut world = World::new();
    let before = world.v4(LAB, "web");
    let networks = crate::network::pool::ZoneNetworks { ipv4: "192.168.7.0/24".parse().ok(), ipv6: None };
    world.pool.zones.insert(zone(LAB), networks);
    let after = world.v4(LAB, "web");
    assert!(after.starts_with("192.168.7.") && before.starts_with("10.9."), "{before} {after}");
}

#[test]
fn addresses_that_were_asked_for() {
    let mut world = World::new();
    world.v4("spinney", "db");
    let found = world.take("spinney", "web", &["10.9.0.50"]).unwrap();
    assert_eq!(found, "10.9.0.50/22 10.9.0.1 fd09::32/64 fd09::1");
    // It is kept, also when it is not asked for again.
    assert_eq!(world.take("spinney", "web", &[]), Ok(found));
    let both = world.take("spinney", "web", &["10.9.0.50/22", "fd09::abcd"]).unwrap();
    assert_eq!(both, "10.9.0.50/22 10.9.0.1 fd09::abcd/64 fd09::1");
    world.live = vec!["web".to_owned()];
    for (address, expected) in [
        ("10.9.0.50", "--ip=10.9.0.50 is the address of web, which runs"),
        ("fd09::abcd", "--ip=fd09::abcd is the address of web, which runs"),
        ("10.9.0.1", "--ip=10.9.0.1 is no machine's to have: it is the host's own"),
        ("10.9.0.0", "--ip=10.9.0.0 is no machine's to have: it is the network's"),
        ("10.9.3.255", "--ip=10.9.3.255 is no machine's to have: it is for all of the network"),
        ("10.9.4.1", "--ip=10.9.4.1 is not in the zone spinney, whose network is 10.9.0.0/22"),
        ("fd0a::1", "--ip=fd0a::1 is not in the zone spinney, whose network is fd09::/64"),
    ] {
        assert_eq!(world.take("spinney", "x", &[address]).unwrap_err(), expected);
    }
    assert!(!world.records.zones[&zone("spinney")].leases.contains_key("x"));
    // Who does not run makes way, and has another address later.
    world.live.clear();
    assert!(world.take("spinney", "x", &["10.9.0.50"]).unwrap().starts_with("10.9.0.50/22"));
    world.live = vec!["x".to_owned()];
    assert_ne!(world.v4("spinney", "web"), "10.9.0.50");
}

#[test]
fn those_who_are_gone_longest_make_way() {
    let mut world = World::new();
    world.pool.ipv4 = vec!["10.9.0.0/29".parse().unwrap()];
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        all.push(world.v4("spinney", name));
        world.now += 2 * FRESH;
    }
    all.sort();
    assert_eq!(all, ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]);
    world.live = ["a", "c", "d", "e"].map(str::to_owned).into();
    let b = world.v4("spinney", "b");
    world.live.push("a".to_owned());
    assert_eq!(world.v4("spinney", "f"), b);
    world.live = ["a", "c", "d", "e", "f"].map(str::to_owned).into();
    assert_eq!(
        world.take("spinney", "g", &[]).unwrap_err(),
        "no address is left in 10.9.0.0/29: all are those of machines that run"
    );
    // A use of today is not worth a write.
    let before = world.records.clone();
    world.v4("spinney", "f");
    assert_eq!(world.records, before);
    // The pool is one network: another zone takes it when nobody lives there.
    assert!(world.take(LAB, "x", &[]).unwrap_err().starts_with("no network is left for the zone lab"));
    world.live.clear();
    assert!(world.v4(LAB, "x").starts_with("10.9.0."));
    assert!(!world.records.zones.contains_key(&zone("spinney")));
}

#[test]
fn pairs() {
    let mut world = World::new();
    let web = world.take("", "web", &[]).unwrap();
    assert_eq!(web, "10.9.255.242/28 10.9.255.241 fd09:0:0:ffff::2/64 fd09:0:0:ffff::1");
    assert_eq!(
        world.take("", "db", &[]).unwrap(),
        "10.9.255.226/28 10.9.255.225 fd09:0:0:fffe::2/64 fd09:0:0:fffe::1"
    );
    world.route("10.9.255.240/28", "ve-web");
    assert_eq!(world.take("", "web", &[]), Ok(web));
    world.route("10.9.255.240/30", "eth0");
    assert_eq!(world.v4("", "web"), "10.9.255.210");
    for (asked, expected) in [
        ("192.168.9.7", Ok("192.168.9.7/24 192.168.9.1")),
        ("192.168.9.1", Ok("192.168.9.1/24 192.168.9.2")),
        ("192.168.9.6/30", Ok("192.168.9.6/30 192.168.9.5")),
        (
            "10.9.255.245/28",
            Err("the network of --ip=10.9.255.245 overlaps 10.9.255.240/30, which the host knows elsewhere"),
        ),
        (
            "192.168.9.7/32",
            Err("--ip=192.168.9.7 is no machine's to have: its network has no room for the host"),
        ),
    ] {
        let mut found = world.take("", "web", &[asked]);
        if let Ok(text) = &mut found {
            text.truncate(text.find(" fd09").unwrap());
        }
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{asked}");
    }
    assert_eq!(world.records.forget("web"), [None]);
    assert_eq!(world.records.forget("web"), []);
}
