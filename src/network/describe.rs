//! The plan of a network in words, for `spinney explain`: JSON that people can read too.

use std::fmt::Display;

use serde_json::{Value, json};

use super::plan::{Family, LinkKind, LinkPlan, Namespace, NetworkPlan};

/// The plan as JSON.
pub fn describe(plan: &NetworkPlan) -> Value {
    let whose = match &plan.namespace {
        Namespace::Host => "the host's".to_owned(),
        Namespace::Private if plan.links.is_empty() => "its own, with loopback only".to_owned(),
        Namespace::Private => "its own".to_owned(),
        Namespace::Path(path) => format!("that of {}", path.display()),
    };
    json!({
        "namespace": whose,
        "links": plan.links.iter().map(link).collect::<Vec<_>>(),
        "dns": words(&plan.dns),
        "upstream-dns": words(&plan.upstream_dns),
        "domain": plan.domain,
        "hosts": words(&plan.hosts),
        "ports": words(&plan.ports),
        "offers": words(&plan.offers),
        "spoofing": plan.spoofing.then_some(true),
        "delay": plan.faults.delay.map(|microseconds| format!("{}ms each way", thousandths(microseconds))),
        "loss": plan.faults.loss.map(|loss| format!("{}% each way", thousandths(loss.into()))),
    })
}

fn words<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// `1.5` for 1500.
fn thousandths(number: u64) -> String {
    let text = format!("{}.{:03}", number / 1000, number % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `host0: a pair with vb-web, in the bridge vz-spinney of the zone spinney, 02:…, 10.213.0.7/22 via 10.213.0.1`.
fn link(link: &LinkPlan) -> String {
    let host = link.host.as_ref().map_or("?", |host| host.as_str());
    let mut text = format!("{}: ", link.guest);
    text += &match &link.kind {
        LinkKind::Veth => format!("a pair with {host}"),
        LinkKind::Bridge(bridge) => format!("a pair with {host}, in the bridge {bridge}"),
        LinkKind::Zone(zone) => {
            format!("a pair with {host}, in the bridge {} of the zone {zone}", zone.bridge())
        }
        LinkKind::Extra => format!("a pair with {host}, without addresses"),
        LinkKind::Macvlan(on) => format!("a macvlan on {on}"),
        LinkKind::Ipvlan(on) => format!("an ipvlan on {on}"),
        LinkKind::Lent => format!("the host's {host}"),
    };
    for alternative in [&link.host_alternative, &link.guest_alternative].into_iter().flatten() {
        text += &format!(" ({alternative})");
    }
    text += &link.mac.map(|mac| format!(", {mac}")).unwrap_or_default();
    if let Some(addresses) = link.addresses {
        text += &addresses.v4.map(|family| network(&family)).unwrap_or_default();
        text += &addresses.v6.map(|family| network(&family)).unwrap_or_default();
    }
    text
}

fn network<A: Display>(family: &Family<A>) -> String {
    let via = family.gateway.as_ref().map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    format!(", {}/{}{via}", family.address, family.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::{Addresses, Faults};

    #[test]
    fn in_words() {
        let link = LinkPlan {
            host: "vb-web".parse().ok(),
            mac: "02:00:00:00:00:07".parse().ok(),
            addresses: Some(Addresses {
                v4: Some(Family {
                    address: "10.0.0.7".parse().unwrap(),
                    prefix: 22,
                    gateway: "10.0.0.1".parse().ok(),
                    host: None,
                }),
                v6: None,
            }),
            ..LinkPlan::new(LinkKind::Zone("lab".parse().unwrap()), "host0".parse().unwrap())
        };
        let plan = NetworkPlan {
            links: vec![link],
            ports: vec!["80".parse().unwrap()],
            faults: Faults { delay: Some(1500), loss: Some(250) },
            ..NetworkPlan::default()
        };
        let told = describe(&plan);
        assert_eq!(
            told["links"][0],
            "host0: a pair with vb-web, in the bridge vz-lab of the zone lab, 02:00:00:00:00:07, 10.0.0.7/22 via 10.0.0.1"
        );
        assert_eq!((&told["ports"][0], &told["spoofing"]), (&json!("tcp:80:80"), &Value::Null));
        assert_eq!((&told["delay"], &told["loss"]), (&json!("1.5ms each way"), &json!("0.25% each way")));
        assert_eq!(describe(&NetworkPlan::default())["namespace"], "its own, with loopback only");
    }
}
