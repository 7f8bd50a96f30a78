use super::*;
use crate::network::nft::Family;

fn rule(chain: &str, steps: Vec<Step>) -> Rule {
    let (table, chain) = ("filter".to_owned(), chain.to_owned());
    Rule { family: Family::Ip, table, chain, handle: 1, steps, comment: None }
}

/// `iif NAME`, `!iif NAME`, `oif NAME`, `ct` and the like, then a verdict.
fn parse(text: &str) -> Vec<Step> {
    let mut words = text.split(' ');
    let mut steps = vec![Step::Harmless];
    while let Some(word) = words.next() {
        let mut chain = || words.next().unwrap().to_owned();
        match word {
            "iif" | "!iif" | "oif" => {
                let key = if word == "oif" { 7 } else { 6 };
                let name = chain();
                let value = match name.strip_suffix('*') {
                    Some(start) => start.as_bytes().to_vec(),
                    None => format!("{name}\0\0").into_bytes(),
                };
                steps.push(Step::Meta { key, register: 1 });
                steps.push(Step::Compare { register: 1, how: u32::from(word == "!iif"), value });
            }
            "nfproto" => {
                steps.push(Step::Meta { key: 15, register: 1 });
                steps.push(Step::Compare { register: 1, how: 0, value: vec![2] });
            }
            "accept" => steps.push(Step::Verdict(Seen::Accept)),
            "drop" => steps.push(Step::Verdict(Seen::Drop)),
            "return" => steps.push(Step::Verdict(Seen::Return)),
            "queue" => steps.push(Step::Verdict(Seen::Other)),
            "reject" => steps.push(Step::Reject),
            "jump" => steps.push(Step::Verdict(Seen::Jump(chain()))),
            "goto" => steps.push(Step::Verdict(Seen::Goto(chain()))),
            other => steps.push(Step::Other(other.to_owned())),
        }
    }
    steps
}

/// What becomes of a packet from vz-lab in the chain `base` of these: `CHAIN: RULE; RULE`.
fn fate(drops: bool, chains: &[&str]) -> Fate {
    let list = |name: &str| {
        let text = chains.iter().find_map(|chain| chain.strip_prefix(&format!("{name}: "))).unwrap_or("");
        text.split("; ").filter(|text| !text.is_empty()).map(|text| rule(name, parse(text))).collect()
    };
    Rules::new("vz-lab", Direction::From, list).base_chain("base", drops)
}

#[test]
fn what_surely_becomes_of_a_packet() {
    let (passes, policy, by_rule) =
        (Fate::Passes, Fate::Dropped { policy: true }, Fate::Dropped { policy: false });
    let table: &[(&str, bool, &[&str], Fate)] = &[
        ("an empty chain", false, &[], passes),
        ("an empty chain that drops", true, &[], policy),
        ("another interface", true, &["base: iif docker0 accept"], policy),
        ("this interface", true, &["base: iif vz-lab accept"], passes),
        ("interfaces like this one", true, &["base: iif vz-* accept"], passes),
        ("any but this one", true, &["base: !iif vz-lab accept"], policy),
        ("any but another", true, &["base: !iif eth0 accept"], passes),
        ("where it leaves is not known", true, &["base: oif vz-lab accept"], policy),
        ("other conditions", true, &["base: ct accept; nfproto accept"], policy),
        ("a rejection at the end", false, &["base: ct accept; iif lo accept; reject"], by_rule),
        ("a rejection of some", false, &["base: ct reject; ct drop"], passes),
        ("a register with something else", true, &["base: iif vz-lab nfproto accept"], policy),
        (
            "Docker",
            true,
            &[
                "base: jump DOCKER-USER; jump ISOLATION; oif docker0 jump DOCKER; iif docker0 accept",
                "DOCKER-USER: return",
                "ISOLATION: iif docker0 jump ISOLATION-2; return",
            ],
            policy,
        ),
        (
            "Docker, opened",
            true,
            &["base: jump DOCKER-USER", "DOCKER-USER: iif vz-lab accept; return"],
            passes,
        ),
        (
            "firewalld",
            false,
            &[
                "base: ct accept; jump POLICIES; reject",
                "POLICIES: iif eth0 goto x; goto public",
                "public: jump deny; ct accept; reject",
            ],
            by_rule,
        ),
        ("a program decides", true, &["base: queue"], passes),
        ("chains in a circle, which the kernel refuses", true, &["base: jump base"], passes),
    ];
    for (name, drops, chains, expected) in table {
        assert_eq!(fate(*drops, chains), *expected, "{name}");
    }
}
