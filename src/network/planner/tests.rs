use super::*;
use crate::settings::Payload;

const HOST: HostId = HostId([7; 16]);

fn settings() -> MachineSettings {
    MachineSettings { tree: "/m".into(), ..MachineSettings::built_in() }
}

fn with(change: impl FnOnce(&mut NetworkSettings)) -> MachineSettings {
    let mut settings = settings();
    change(&mut settings.network);
    settings
}

fn command() -> MachineSettings {
    MachineSettings { payload: Payload::Command { argv: vec!["ls".into()], as_pid1: false }, ..settings() }
}

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn leased() -> Addresses {
    let (v4, v6) = (parse("10.213.0.1"), parse("fd00::1"));
    Addresses {
        v4: Some(Family { address: parse("10.213.0.7"), prefix: 22, gateway: Some(v4), host: Some(v4) }),
        v6: Some(Family { address: parse("fd00::7"), prefix: 64, gateway: Some(v6), host: Some(v6) }),
    }
}

fn planned(settings: &MachineSettings) -> Result<NetworkPlan, NetworkPlanError> {
    let leased = lease_of(settings).map(|_| leased());
    plan(settings, &parse("web"), HOST, leased)
}

/// One line a link: what it is, both ends, the machine's addresses with their routers and the host's addresses.
fn lines(settings: &MachineSettings) -> Vec<String> {
    let family = |address: IpAddr, prefix: u8, gateway: Option<IpAddr>, host: Option<IpAddr>| {
        let or_none = |address: Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        format!(" {address}/{prefix} via {} of {}", or_none(gateway), or_none(host))
    };
    let line = |link: &LinkPlan| {
        let kind = match &link.kind {
            LinkKind::Veth => "veth".to_owned(),
            LinkKind::Bridge(bridge) => format!("bridge:{bridge}"),
            LinkKind::Zone(zone) => format!("zone:{zone}"),
            LinkKind::Extra => "extra".to_owned(),
            LinkKind::Macvlan(on) => format!("macvlan:{on}"),
            LinkKind::Ipvlan(on) => format!("ipvlan:{on}"),
            LinkKind::Lent => "lent".to_owned(),
        };
        let macs = [link.host_mac, link.mac].iter().flatten().count();
        let host = link.host.as_ref().map_or("-", InterfaceName::as_str);
        let mut line = format!("{kind} {host} {} {macs}", link.guest);
        if let Some(Family { address, prefix, gateway, host }) = link.addresses.and_then(|both| both.v4) {
            line += &family(address.into(), prefix, gateway.map(IpAddr::V4), host.map(IpAddr::V4));
        }
        if let Some(Family { address, prefix, gateway, host }) = link.addresses.and_then(|both| both.v6) {
            line += &family(address.into(), prefix, gateway.map(IpAddr::V6), host.map(IpAddr::V6));
        }
        line
    };
    planned(settings).unwrap().links.iter().map(line).collect()
}

#[test]
fn modes() {
    let leased = "10.213.0.7/22 via 10.213.0.1 of 10.213.0.1 fd00::7/64 via fd00::1 of fd00::1";
    let table: [(&str, MachineSettings, Vec<String>); 13] = [
        ("a boot", settings(), vec![format!("zone:spinney vb-web host0 2 {leased}")]),
        ("a command", command(), vec![]),
        ("the host's", with(|n| n.namespace = Some(NetworkNamespace::Host)), vec![]),
        ("loopback", with(|n| n.namespace = Some(NetworkNamespace::Private)), vec![]),
        ("a file's", with(|n| n.namespace = Some(NetworkNamespace::Path("/x".into()))), vec![]),
        (
            "a pair",
            with(|n| n.veth = Some(VethAttachment::Alone)),
            vec![format!("veth ve-web host0 2 {leased}")],
        ),
        (
            "a zone",
            with(|n| n.veth = Some(VethAttachment::Zone(parse("lab")))),
            vec![format!("zone:lab vb-web host0 2 {leased}")],
        ),
        (
            "a bridge",
            with(|n| n.veth = Some(VethAttachment::Bridge(parse("br0")))),
            vec!["bridge:br0 vb-web host0 2".to_owned()],
        ),
        (
            "a bridge, with an address",
            with(|n| {
                n.veth = Some(VethAttachment::Bridge(parse("br0")));
                n.addresses = vec![parse("192.168.1.7"), parse("fd09::7/56")];
                n.gateways = vec![parse("192.168.1.1"), parse("fe80::1")];
            }),
            vec![
                "bridge:br0 vb-web host0 2 192.168.1.7/24 via 192.168.1.1 of - fd09::7/56 via fe80::1 of -"
                    .to_owned(),
            ],
        ),
        (
            "others",
            with(|n| {
                n.veth_extra = vec![parse("a:b"), parse("c")];
                n.interfaces = vec![parse("eth1"), parse("eth2:lan")];
                n.macvlan = vec![parse("eth0"), parse("eth0:m")];
                n.ipvlan = vec![parse("eth0")];
            }),
            [
                "extra a b 2",
                "extra c c 2",
                "lent eth1 eth1 0",
                "lent eth2 lan 0",
                "macvlan:eth0 - mv-eth0 1",
                "macvlan:eth0 - m 1",
                "ipvlan:eth0 - iv-eth0 0",
            ]
            .map(str::to_owned)
            .into(),
        ),
        (
            "a macvlan, with an address",
            with(|n| {
                n.macvlan = vec![parse("eth0")];
                n.veth_extra = vec![parse("a")];
                n.addresses = vec![parse("192.168.1.7/25")];
            }),
            vec!["extra a a 2".to_owned(), "macvlan:eth0 - mv-eth0 1 192.168.1.7/25 via - of -".to_owned()],
        ),
        (
            "another router in a zone",
            with(|n| n.gateways = vec![parse("10.213.3.9")]),
            vec![
                "zone:spinney vb-web host0 2 10.213.0.7/22 via 10.213.3.9 of 10.213.0.1 fd00::7/64 via fd00::1 of fd00::1"
                    .to_owned(),
            ],
        ),
        (
            "the host's address of a pair",
            with(|n| {
                n.veth = Some(VethAttachment::Alone);
                n.gateways = vec![parse("10.213.3.9"), parse("fe80::1")];
            }),
            vec![
                "veth ve-web host0 2 10.213.0.7/22 via 10.213.3.9 of 10.213.3.9 fd00::7/64 via fe80::1 of fd00::1"
                    .to_owned(),
            ],
        ),
    ];
    for (name, settings, expected) in table {
        assert_eq!(lines(&settings), expected, "{name}");
    }
}

#[test]
fn leases() {
    let asked = with(|n| n.addresses = vec![parse("10.213.0.9")]);
    let (wanted, addresses) = lease_of(&asked).unwrap();
    assert_eq!((wanted, addresses.len()), (Wanted::Zone(parse("spinney")), 1));
    let pair = with(|n| n.veth = Some(VethAttachment::Alone));
    assert_eq!(lease_of(&pair).map(|(wanted, _)| wanted), Some(Wanted::Pair));
    assert_eq!(lease_of(&with(|n| n.veth = Some(VethAttachment::Bridge(parse("br0"))))), None);
    assert_eq!(lease_of(&command()), None);
}

#[test]
fn names_of_the_machine() {
    let with_dns = |mut settings: MachineSettings| {
        settings.network.dns = vec![parse("9.9.9.9")];
        planned(&settings).unwrap()
    };
    let zone = with_dns(settings());
    assert_eq!(zone.domain.as_deref(), Some("spinney.internal"));
    assert_eq!(zone.dns, ["10.213.0.1", "fd00::1"].map(parse::<IpAddr>));
    assert_eq!(zone.upstream_dns, [parse::<IpAddr>("9.9.9.9")]);
    let pair = with_dns(with(|n| n.veth = Some(VethAttachment::Alone)));
    assert_eq!((pair.domain, pair.dns.len()), (None, 2));
    let bridge = with_dns(with(|n| {
        n.veth = Some(VethAttachment::Bridge(parse("br0")));
        n.addresses = vec![parse("192.168.1.7")];
    }));
    assert_eq!((bridge.dns, bridge.upstream_dns), (vec![parse::<IpAddr>("9.9.9.9")], vec![]));
}

#[test]
fn what_was_asked_for_is_in_the_plan() {
    let plan = planned(&with(|n| {
        n.mac = Some(parse("02:00:00:00:00:09"));
        n.ports = vec![parse("80")];
        n.offers = vec![parse("5432")];
        n.hosts = vec![parse("db:10.0.0.9")];
        n.spoofing = true;
        n.delay = Some(std::time::Duration::from_millis(5));
        n.loss = Some(500);
    }))
    .unwrap();
    assert_eq!(plan.links[0].mac, Some(parse("02:00:00:00:00:09")));
    assert_eq!(plan.links[0].host_mac, Some(mac(HOST, "web", MacOf::Host)));
    assert_eq!((plan.ports.len(), plan.offers.len(), plan.hosts.len(), plan.spoofing), (1, 1, 1, true));
    assert_eq!(plan.faults, Faults { delay: Some(5000), loss: Some(500) });
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<NetworkPlan>(&text).unwrap(), plan);
}

#[test]
fn long_names() {
    let long: MachineName = parse("a-machine-with-a-long-name.example");
    let plan = plan(&settings(), &long, HOST, Some(leased())).unwrap();
    let link = &plan.links[0];
    assert_eq!(link.host_alternative.as_deref(), Some("vb-a-machine-with-a-long-name.example"));
    assert!(link.host.as_ref().unwrap().as_str().starts_with("vb-a-machin"));
    let macvlan = planned(&with(|n| n.macvlan = vec![parse("a-long-device-a")])).unwrap();
    assert_eq!(macvlan.links[0].guest_alternative.as_deref(), Some("mv-a-long-device-a"));
}

#[test]
fn refusals() {
    let rows: [(MachineSettings, &str); 7] = [
        (
            with(|n| {
                n.interfaces = vec![parse("eth0:host0")];
                n.veth = Some(VethAttachment::Alone);
            }),
            "two interfaces are called host0 in the machine",
        ),
        (
            with(|n| n.macvlan = vec![parse("eth0"), parse("eth0:mv-eth0")]),
            "two interfaces are called mv-eth0 in the machine",
        ),
        (
            with(|n| n.veth_extra = vec![parse("a:b"), parse("a:c")]),
            "two interfaces are called a on the host",
        ),
        (
            with(|n| n.gateways = vec![parse("10.214.0.1")]),
            "--gateway=10.214.0.1 is not in the network of 10.213.0.7/22",
        ),
        (
            with(|n| n.gateways = vec![parse("fd01::1")]),
            "--gateway=fd01::1 is not in the network of fd00::7/64",
        ),
        (
            with(|n| n.gateways = vec![parse("10.213.0.7")]),
            "--gateway=10.213.0.7 is the machine's own address",
        ),
        (
            with(|n| {
                n.veth = Some(VethAttachment::Bridge(parse("br0")));
                n.addresses = vec![parse("192.168.1.7")];
                n.gateways = vec![parse("fd00::1")];
            }),
            "--gateway=fd00::1 leads nowhere: the machine has no address of its family",
        ),
    ];
    for (settings, expected) in rows {
        let error = planned(&settings).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.hint().is_empty());
    }
}
