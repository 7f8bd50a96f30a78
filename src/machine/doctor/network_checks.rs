//! Why a machine cannot reach the internet: facts to findings, pure.

use super::Finding;
use super::network_facts::NetworkFacts;
use crate::network::rules::Direction;
use crate::network::rules::foreign::Obstacle;
use crate::sys::sysctl;

/// What is odd about the network that was looked at.
pub fn judge(facts: &NetworkFacts) -> Vec<Finding> {
    let Some(behind) = &facts.behind else {
        return vec![Finding::warning(
            "network",
            "this host does not route for the machine: it has the host's network, a bridge of somebody's, or none",
            "machines in a zone (--network-zone=) and with --network-veth have this host as their router",
        )];
    };
    let mut findings = vec![link(facts, behind), routes(facts)];
    findings.extend(forwarding(facts));
    findings.push(own_rules(facts));
    findings.extend(others(facts, behind));
    findings.push(names(facts));
    findings.extend(reverse_path(facts));
    findings.extend(sizes(facts));
    findings
}

fn link(facts: &NetworkFacts, behind: &str) -> Finding {
    let check = "link";
    for (address, interface) in facts.addresses.iter().zip(&facts.routed_to) {
        match interface {
            Some(interface) if interface == behind => {}
            Some(other) => {
                return Finding::problem(
                    check,
                    format!("{address} is the machine's, and this host has a route for it by {other}"),
                    "give the machine another address (--ip=), or the host's pool another network in \
                     /etc/spinney/network.toml",
                );
            }
            None => {
                return Finding::problem(
                    check,
                    format!("this host has no route to {address}: {behind} is down or has lost its address"),
                    format!("ip link set {behind} up, or start the machine again"),
                );
            }
        }
    }
    let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
    Finding::ok(check, format!("{} behind {behind}", addresses.join(", ")))
}

fn routes(facts: &NetworkFacts) -> Finding {
    let check = "default-route";
    match (facts.uplinks4.is_empty(), facts.uplinks6.is_empty()) {
        (true, true) => Finding::problem(
            check,
            "this host has no default route: it does not reach the internet itself",
            "connect the host; `ip route` shows what it knows",
        ),
        (false, true) => Finding::ok(check, format!("IPv4 by {}; none of IPv6", facts.uplinks4.join(", "))),
        (true, false) => Finding::ok(check, format!("IPv6 by {}; none of IPv4", facts.uplinks6.join(", "))),
        (false, false) => Finding::ok(
            check,
            format!("IPv4 by {}, IPv6 by {}", facts.uplinks4.join(", "), facts.uplinks6.join(", ")),
        ),
    }
}

fn forwarding(facts: &NetworkFacts) -> Vec<Finding> {
    let check = "forwarding";
    let families = [("IPv4", &facts.not_forwarding4), ("IPv6", &facts.not_forwarding6)];
    let off = families.into_iter().filter(|(_, off)| !off.is_empty());
    let mut findings: Vec<Finding> = off
        .map(|(family, off)| {
            let interfaces: Vec<&str> = off.iter().map(|(interface, _)| interface.as_str()).collect();
            let mut sysctls: Vec<String> =
                off.iter().map(|(_, switch)| sysctl::assignment(switch, "1")).collect();
            // One for all.
            sysctls.dedup();
            let verb = if interfaces.len() == 1 { "does" } else { "do" };
            Finding::problem(
                check,
                format!("{} {verb} not forward {family}", interfaces.join(", ")),
                sysctls.join(" && "),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(check, "on"));
    }
    findings
}

fn own_rules(facts: &NetworkFacts) -> Finding {
    let check = "rules";
    match facts.in_force {
        Some(true) => Finding::ok(check, "in force"),
        Some(false) => Finding::problem(
            check,
            "somebody removed or changed rules of tables inet spinney and bridge spinney",
            "the machine's supervisor mends them within a minute; `nft monitor` shows who changes them",
        ),
        None => Finding::warning(
            check,
            "the rules cannot be listed",
            "this needs root, and nf_tables in the kernel (modprobe nf_tables)",
        ),
    }
}

fn others(facts: &NetworkFacts, behind: &str) -> Vec<Finding> {
    let check = "firewall";
    let mut findings: Vec<Finding> =
        facts.obstacles.iter().map(|obstacle| dropped(obstacle, behind)).collect();
    if let Some(legacy) = &facts.legacy {
        findings.push(Finding::warning(
            check,
            legacy.as_str(),
            "iptables-legacy -S FORWARD shows whether they do",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, "no other table surely drops what the machine sends or gets"));
    }
    findings
}

fn dropped(obstacle: &Obstacle, behind: &str) -> Finding {
    let Obstacle { family, table, chain, direction, policy } = obstacle;
    let what = match direction {
        Direction::From => "sends",
        Direction::To => "gets",
    };
    let why = if *policy { "its policy" } else { "a rule" };
    let (table, chain) = (table.escape_debug(), chain.escape_debug());
    let side = match direction {
        Direction::From => "iifname",
        Direction::To => "oifname",
    };
    Finding::problem(
        "firewall",
        format!("chain {family} {table} {chain} drops what the machine {what}, by {why}"),
        format!("nft insert rule {family} {table} {chain} {side} {behind} accept"),
    )
}

fn names(facts: &NetworkFacts) -> Finding {
    let check = "names";
    if facts.servers.is_empty() {
        return Finding::problem(
            check,
            "this host knows no name server: /etc/resolv.conf names none",
            "name one there, or for the machine with --dns=",
        );
    }
    let told = |answered: bool| -> Vec<String> {
        let servers = facts.servers.iter().filter(|(_, there)| *there == answered);
        servers.map(|(server, _)| server.ip().to_string()).collect()
    };
    match (told(true), told(false)) {
        (up, down) if down.is_empty() => Finding::ok(check, format!("{} answers", up.join(", "))),
        (up, down) if up.is_empty() => Finding::problem(
            check,
            format!("no name server of this host answers: {}", down.join(", ")),
            "name one that does in /etc/resolv.conf, or for the machine with --dns=",
        ),
        (up, down) => Finding::warning(
            check,
            format!("{} does not answer; {} does", down.join(", "), up.join(", ")),
            "each question that is put to the first one waits for it",
        ),
    }
}

fn reverse_path(facts: &NetworkFacts) -> Option<Finding> {
    (facts.uplinks4.len() > 1 && !facts.strict.is_empty()).then(|| {
        let switches = facts
            .strict
            .iter()
            .map(|interface| sysctl::assignment(&format!("ipv4/conf/{interface}/rp_filter"), "2"));
        Finding::warning(
            "rp-filter",
            format!(
                "answers that come by another interface than they would leave by are dropped: {}",
                facts.strict.join(", ")
            ),
            switches.collect::<Vec<_>>().join(" && "),
        )
    })
}

fn sizes(facts: &NetworkFacts) -> Option<Finding> {
    let (inside, outside) = facts.mtu.filter(|(inside, outside)| inside > outside)?;
    Some(Finding::warning(
        "mtu",
        format!(
            "packets of the machine may have {inside} bytes, and leave in {outside}: where ICMP is dropped, connections hang"
        ),
        format!("in the machine: ip link set host0 mtu {outside}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::doctor::Verdict;
    use crate::network::nft::Family;

    fn well() -> NetworkFacts {
        NetworkFacts {
            behind: Some("vz-lab".to_owned()),
            addresses: vec!["10.213.0.2".parse().unwrap()],
            routed_to: vec![Some("vz-lab".to_owned())],
            uplinks4: vec!["eth0".to_owned()],
            in_force: Some(true),
            servers: vec![("192.0.2.53:53".parse().unwrap(), true)],
            mtu: Some((1500, 1500)),
            ..NetworkFacts::default()
        }
    }

    fn off(interface: &str, switch: &str) -> (String, String) {
        (interface.to_owned(), switch.to_owned())
    }

    #[test]
    fn a_switch_for_all_is_told_once() {
        let all = ["eth0", "vz-lab"].map(|name| off(name, "ipv6/conf/all/forwarding"));
        let findings = forwarding(&NetworkFacts { not_forwarding6: all.into(), ..well() });
        let hints: Vec<_> = findings.iter().map(|finding| finding.hint.as_deref()).collect();
        assert_eq!(hints, [Some("sysctl net.ipv6.conf.all.forwarding=1")]);
    }

    fn obstacle() -> Obstacle {
        let (table, chain) = ("filter".to_owned(), "FORWARD".to_owned());
        Obstacle { family: Family::Ip, table, chain, direction: Direction::To, policy: true }
    }

    #[test]
    fn each_fault_is_found_and_has_a_hint() {
        assert!(judge(&well()).iter().all(|finding| finding.verdict == Verdict::Ok), "{:?}", judge(&well()));
        type Break = fn(&mut NetworkFacts);
        let table: [(Break, &str, Verdict, &str); 14] = [
            (
                |facts| facts.behind = None,
                "network",
                Verdict::Warning,
                "this host does not route for the machine",
            ),
            (|facts| facts.routed_to = vec![None], "link", Verdict::Problem, "vz-lab is down"),
            (|facts| facts.routed_to = vec![Some("eth0".to_owned())], "link", Verdict::Problem, "by eth0"),
            (|facts| facts.uplinks4.clear(), "default-route", Verdict::Problem, "no default route"),
            (
                |facts| facts.not_forwarding4 = vec![off("eth0", "ipv4/conf/eth0/forwarding")],
                "forwarding",
                Verdict::Problem,
                "eth0 does not forward IPv4",
            ),
            (
                |facts| {
                    facts.not_forwarding6 =
                        ["eth0", "vz-lab"].map(|name| off(name, "ipv6/conf/all/forwarding")).into();
                },
                "forwarding",
                Verdict::Problem,
                "eth0, vz-lab do not forward IPv6",
            ),
            (|facts| facts.in_force = Some(false), "rules", Verdict::Problem, "somebody removed"),
            (|facts| facts.in_force = None, "rules", Verdict::Warning, "cannot be listed"),
            (
                |facts| facts.obstacles = vec![obstacle()],
                "firewall",
                Verdict::Problem,
                "chain ip filter FORWARD drops what the machine gets, by its policy",
            ),
            (|facts| facts.legacy = Some("legacy".to_owned()), "firewall", Verdict::Warning, "legacy"),
            (|facts| facts.servers.clear(), "names", Verdict::Problem, "names none"),
            (
                |facts| facts.servers[0].1 = false,
                "names",
                Verdict::Problem,
                "no name server of this host answers: 192.0.2.53",
            ),
            (
                |facts| {
                    facts.uplinks4.push("eth1".to_owned());
                    facts.strict = vec!["eth1".to_owned()];
                },
                "rp-filter",
                Verdict::Warning,
                "dropped: eth1",
            ),
            (|facts| facts.mtu = Some((1500, 1420)), "mtu", Verdict::Warning, "leave in 1420"),
        ];
        for (fault, check, verdict, text) in table {
            let mut facts = well();
            fault(&mut facts);
            let findings = judge(&facts);
            let odd: Vec<&Finding> =
                findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
            let [finding] = odd.as_slice() else { panic!("{check}: {odd:?}") };
            assert_eq!((finding.check, finding.verdict), (check, verdict));
            assert!(finding.text.contains(text) && finding.hint.is_some(), "{finding:?}");
        }
    }
}
