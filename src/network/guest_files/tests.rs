//! Plans and trees, and the files that come of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::guest::network::Configured;
use crate::network::plan::{Family, LinkKind};
use crate::settings::network::{MacAddress, ZoneName};

fn plan(v6: bool) -> NetworkPlan {
    let gateway: Ipv6Addr = "fd00:1::1".parse().unwrap();
    let link = LinkPlan {
        host: Some("ve-demo".parse().unwrap()),
        mac: Some(MacAddress([2, 0, 0, 0, 0, 0xaf])),
        addresses: Some(Addresses {
            v4: Some(Family {
                address: Ipv4Addr::new(10, 213, 0, 5),
                prefix: 22,
                gateway: Some(Ipv4Addr::new(10, 213, 0, 1)),
                host: None,
            }),
            v6: v6.then(|| Family {
                address: "fd00:1::5".parse().unwrap(),
                prefix: 64,
                gateway: Some(gateway),
                host: None,
            }),
        }),
        ..LinkPlan::new(LinkKind::Zone(ZoneName::default_zone()), "host0".parse().unwrap())
    };
    let extra = LinkPlan {
        kind: LinkKind::Extra,
        guest: "extra".parse().unwrap(),
        mac: None,
        addresses: None,
        ..link.clone()
    };
    let mut dns = vec![IpAddr::from([10, 213, 0, 1])];
    dns.extend(v6.then_some(IpAddr::V6(gateway)));
    NetworkPlan {
        links: vec![link, extra],
        dns,
        domain: Some("spinney.internal".to_owned()),
        ..NetworkPlan::default()
    }
}

fn all(words: &[&str]) -> NetworkFacts {
    let configured = Some(Configured(words.iter().map(|word| (*word).to_owned()).collect()));
    NetworkFacts {
        networkd: configured.clone(),
        network_manager: configured,
        resolved: true,
        ..NetworkFacts::default()
    }
}

fn paths(plan: &NetworkPlan, tree: &NetworkFacts) -> Vec<String> {
    files(plan, tree).iter().map(|file| file.path.display().to_string()).collect()
}

#[test]
fn files_for_what_is_there_and_free() {
    const NETWORKD: &str = "/run/systemd/network/00-spinney-host0.network";
    const PROFILE: &str = "/run/NetworkManager/system-connections/spinney-host0.nmconnection";
    const MANAGED: &str = "/run/NetworkManager/conf.d/90-spinney-host0.conf";
    const RESOLVED: &str = "/run/systemd/resolved.conf.d/50-spinney.conf";
    let table: [(&str, NetworkPlan, NetworkFacts, &[&str]); 6] = [
        ("all", plan(true), all(&[]), &[NETWORKD, PROFILE, MANAGED, RESOLVED]),
        ("patterns", plan(true), all(&["h*", "*", "eth0"]), &[NETWORKD, PROFILE, MANAGED, RESOLVED]),
        ("theirs by name", plan(true), all(&["host0"]), &[RESOLVED]),
        ("theirs by MAC address", plan(true), all(&["02:00:00:00:00:AF"]), &[RESOLVED]),
        ("a tree without any", plan(true), NetworkFacts::default(), &[]),
        ("no network of ours", NetworkPlan::default(), all(&[]), &[]),
    ];
    for (name, plan, tree, expected) in table {
        assert_eq!(paths(&plan, &tree), expected, "{name}");
    }
    // An unaddressed link is the guest's own business.
    let mut bare = plan(true);
    bare.links[0].addresses = Some(Addresses { v4: None, v6: None });
    assert_eq!(paths(&bare, &all(&[])), [RESOLVED]);
}

#[test]
fn contents() {
    let contents = |v6, index: usize| files(&plan(v6), &all(&[]))[index].contents.clone();
    assert_eq!(
        contents(true, 0).strip_prefix(HEAD).unwrap(),
        "[Match]\nName=host0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nKeepConfiguration=static\n\
         IPv6DuplicateAddressDetection=0\nLinkLocalAddressing=ipv6\nDNS=10.213.0.1\nDNS=fd00:1::1\n\
         Domains=spinney.internal\n\n[Address]\nAddress=10.213.0.5/22\nDuplicateAddressDetection=none\n\n\
         [Route]\nGateway=10.213.0.1\nGatewayOnLink=yes\n\n[Address]\nAddress=fd00:1::5/64\n\
         DuplicateAddressDetection=none\n\n[Route]\nGateway=fd00:1::1\nGatewayOnLink=yes\n"
    );
    assert_eq!(
        contents(false, 0).strip_prefix(HEAD).unwrap(),
        "[Match]\nName=host0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nKeepConfiguration=static\n\
         IPv6DuplicateAddressDetection=0\nLinkLocalAddressing=no\nDNS=10.213.0.1\nDomains=spinney.internal\n\n\
         [Address]\nAddress=10.213.0.5/22\nDuplicateAddressDetection=none\n\n\
         [Route]\nGateway=10.213.0.1\nGatewayOnLink=yes\n"
    );
    assert_eq!(
        contents(true, 1).strip_prefix(HEAD).unwrap(),
        "[connection]\nid=host0\ntype=ethernet\ninterface-name=host0\nautoconnect-priority=100\n\n[ethernet]\n\n\
         [ipv4]\nmethod=manual\naddress1=10.213.0.5/22,10.213.0.1\ndns=10.213.0.1;\ndns-search=spinney.internal;\n\
         dad-timeout=0\n\n[ipv6]\nmethod=manual\naddress1=fd00:1::5/64,fd00:1::1\ndns=fd00:1::1;\n\
         dns-search=spinney.internal;\naddr-gen-mode=eui64\nip6-privacy=0\n"
    );
    assert!(contents(false, 1).ends_with("\n[ipv6]\nmethod=ignore\n"));
    assert_eq!(
        contents(true, 3).strip_prefix(HEAD).unwrap(),
        "[Resolve]\nDNS=10.213.0.1 fd00:1::1\nDomains=spinney.internal\n"
    );
    assert_eq!(
        files(&plan(true), &all(&[])).iter().map(|file| file.mode).collect::<Vec<_>>(),
        [0o644, 0o600, 0o644, 0o644]
    );
}
