//! Which rules are in force, told: what is in our tables, as nft's language has it, and whose it is; and chains of others that our
//! packets come through.
//!
//! It is read from the kernel, and compared with what should be there. What somebody else has put into our tables is shown as that;
//! names and comments of others are as they wrote them, not fit for a terminal.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::super::nft::dump::{Rule, Step};
use super::super::nft::object::{DataType, Set};
use super::super::nft::{Nfnetlink, NftError};
use super::apply::inside;
use super::base::LAYOUTS;
use super::element::Elements;
use super::error::RulesError;
use super::fate::Direction;
use super::machine::MachineRules;
use super::store::Store;
use super::{foreign, verify};

/// All that is to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listing {
    /// Whether all of ours is there, and no more.
    pub in_force: bool,
    /// What is in our tables for machines.
    pub elements: Vec<Line>,
    /// The rules of our chains, which are the same whatever machines there are.
    pub chains: Vec<ChainRule>,
    /// Chains of others.
    pub others: Vec<Other>,
}

/// An element of a set of ours, or a rule for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// A machine, `zone`, or two machines (`web - db`); `None` for what is not ours.
    pub of: Option<String>,
    /// Family and name.
    pub table: String,
    /// Its set, map or chain.
    pub set: String,
    /// As nft has it.
    pub element: String,
    /// What it is there for.
    pub meaning: String,
    /// Whether it is there.
    pub state: State,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    InForce,
    /// It should be, and is not.
    Missing,
    /// It should not be: somebody else has put it there.
    NotOurs,
}

/// A rule of a chain of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainRule {
    /// Family and name of its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// As nft has it.
    pub rule: String,
}

/// A chain of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Family and name of its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// The interface that machines are behind.
    pub interface: String,
    /// What it does to them.
    pub does: Does,
}

/// What a chain of others does to packets of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// It lets them pass, by a rule that we have put at its head.
    LetsPassForUs,
    /// It drops what they send.
    DropsFrom,
    /// It drops what they get.
    DropsTo,
}

/// Looks, at what concerns `machine` or at all.
///
/// # Errors
/// When there are no rules for a machine of this name, or the kernel does not list any.
pub fn look(machine: Option<&str>) -> Result<Listing, RulesError> {
    let unknown = |name: &str| RulesError::Unknown(name.to_owned());
    let Some(store) = Store::find()? else {
        return machine
            .map_or(Ok(Listing { in_force: true, ..Listing::default() }), |name| Err(unknown(name)));
    };
    let machines = store.machines()?;
    let only = match machine {
        Some(name) => {
            let found = machines.iter().find(|machine| machine.name == name);
            Some(found.ok_or_else(|| unknown(name))?)
        }
        None => None,
    };
    let mut nft = Nfnetlink::open()?;
    let wanted = Elements::of(&machines);
    let mut listing = Listing { in_force: verify::in_force(&mut nft, &wanted)?, ..Listing::default() };
    let concerned = only.map(|machine| Elements::of([machine]));
    listing.elements = elements(&mut nft, &wanted)?;
    listing.elements.extend(losses(&mut nft)?);
    let interfaces = inside(concerned.as_ref().unwrap_or(&wanted));
    if let (Some(machine), Some(concerned)) = (only, &concerned) {
        let own = of_sets(concerned);
        listing.elements.retain(|line| {
            own.contains_key(&(line.table.clone(), line.set.clone(), line.element.clone()))
                || line.state == State::NotOurs
                || line.of.as_deref().is_some_and(|of| concerns(machine, of))
        });
    } else {
        listing.chains = chains();
    }
    listing.others = others(&mut nft, &interfaces)?;
    Ok(listing)
}

/// Whether `of`, as elements have it, is a machine or a pair that it is one of.
fn concerns(machine: &MachineRules, of: &str) -> bool {
    of.split(" - ").any(|name| name == machine.name)
}

/// Table, set and element, as texts.
type Place = (String, String, String);

/// What should be there, and whose it is.
fn of_sets(elements: &Elements) -> BTreeMap<Place, String> {
    let mut all = BTreeMap::new();
    for (table, name, elements) in elements.sets() {
        let sets = LAYOUTS.iter().filter(|layout| layout.table == table).flat_map(|layout| layout.sets);
        let Some(set) = sets.into_iter().find(|set| set.name == name) else { continue };
        for element in elements {
            let text = in_words(set, &element.key, &element.data);
            all.insert((format!("{} {}", table.family, table.name), name.to_owned(), text), element.comment);
        }
    }
    all
}

fn elements(nft: &mut Nfnetlink, wanted: &Elements) -> Result<Vec<Line>, NftError> {
    let mut should = of_sets(wanted);
    let mut lines = Vec::new();
    for layout in LAYOUTS {
        let table = format!("{} {}", layout.table.family, layout.table.name);
        for set in layout.sets {
            let mut found: Vec<String> = nft
                .elements(layout.table.family, layout.table.name, set.name)?
                .iter()
                .map(|element| in_words(set, &element.key, &element.data))
                .collect();
            found.sort();
            let mut line = |of: Option<String>, element: String, state| {
                let (table, meaning) = (table.clone(), meaning(set).to_owned());
                lines.push(Line { of, table, set: set.name.to_owned(), element, meaning, state });
            };
            for element in found {
                let of = should.remove(&(table.clone(), set.name.to_owned(), element.clone()));
                let state = if of.is_some() { State::InForce } else { State::NotOurs };
                line(of, element, state);
            }
            let missing: Vec<Place> =
                should.keys().filter(|(of, name, _)| *of == table && name == set.name).cloned().collect();
            for place in missing {
                line(should.remove(&place), place.2, State::Missing);
            }
        }
    }
    Ok(lines)
}

/// Rules by which packets are lost on purpose: the only ones that are of one machine.
fn losses(nft: &mut Nfnetlink) -> Result<Vec<Line>, NftError> {
    let mut lines = Vec::new();
    for layout in LAYOUTS {
        for rule in nft.rules(layout.table.family, layout.table.name, None)? {
            if !layout.chains.iter().any(|chain| chain.name == rule.chain) {
                let element = loss(&rule);
                lines.push(Line {
                    of: rule.comment,
                    table: format!("{} {}", layout.table.family, layout.table.name),
                    set: rule.chain,
                    element,
                    meaning: "lost on purpose".to_owned(),
                    state: State::InForce,
                });
            }
        }
    }
    Ok(lines)
}

/// A rule that compares the name of an interface, and a random number of 100,000.
fn loss(rule: &Rule) -> String {
    let mut compared = rule.steps.iter().filter_map(|step| match step {
        Step::Compare { value, .. } => Some(value.as_slice()),
        _ => None,
    });
    let interface = one(DataType::Ifname, compared.next().unwrap_or_default());
    let thousandths =
        compared.next().and_then(|value| value.first_chunk()).map_or(0, |n| u32::from_be_bytes(*n));
    format!("{interface} {}.{:03}%", thousandths / 1000, thousandths % 1000)
}

fn chains() -> Vec<ChainRule> {
    let rules = LAYOUTS.iter().flat_map(|layout| layout.rules.iter().map(move |rule| (layout.table, rule)));
    rules
        .map(|(table, rule)| ChainRule {
            table: format!("{} {}", table.family, table.name),
            chain: rule.chain.to_owned(),
            rule: rule.text(),
        })
        .collect()
}

fn others(nft: &mut Nfnetlink, interfaces: &[String]) -> Result<Vec<Other>, NftError> {
    let mut all = Vec::new();
    let openings = foreign::openings(nft)?;
    for interface in interfaces {
        for (rule, of) in openings.iter().filter(|(_, of)| of == interface) {
            let other = Other {
                table: format!("{} {}", rule.family, rule.table),
                chain: rule.chain.clone(),
                interface: of.clone(),
                does: Does::LetsPassForUs,
            };
            // One for each direction.
            if !all.contains(&other) {
                all.push(other);
            }
        }
        all.extend(foreign::obstacles(nft, interface)?.into_iter().map(|obstacle| Other {
            table: format!("{} {}", obstacle.family, obstacle.table),
            chain: obstacle.chain,
            interface: interface.clone(),
            does: match obstacle.direction {
                Direction::From => Does::DropsFrom,
                Direction::To => Does::DropsTo,
            },
        }));
    }
    Ok(all)
}

/// What elements of a set are there for.
fn meaning(set: &Set) -> &'static str {
    match set.name {
        "inside" => "a network of machines",
        "same" => "machines there reach each other",
        "ports" => "nothing of the host is reached past the bridge",
        "pairs" | "guarded" | "addressed" => "held to its own addresses",
        "sources4" | "sources6" | "macs" => "may send from it",
        "targets6" => "may say that it has it",
        "known6" | "known_targets6" => "nobody else may have it",
        "partitions" | "partitions4" | "partitions6" => "kept apart on purpose",
        "dns4" | "dns6" => "questions for names go to its supervisor",
        "ports4" | "ports6" | "ports4_at" | "ports6_at" => "a port of the host leads there",
        _ => set.comment,
    }
}

/// An element as nft has it.
fn in_words(set: &Set, key: &[u8], data: &[u8]) -> String {
    match set.data {
        [] => row(set.key, key),
        types => format!("{} : {}", row(set.key, key), row(types, data)),
    }
}

fn row(types: &[DataType], mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    for of in types {
        let (word, rest) = bytes.split_at_checked(of.padded()).unwrap_or((bytes, &[]));
        words.push(one(*of, word));
        bytes = rest;
    }
    words.join(" . ")
}

fn one(of: DataType, bytes: &[u8]) -> String {
    let hexadecimal = |bytes: &[u8], between: &str| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
    };
    let unknown = || format!("0x{}", hexadecimal(bytes, ""));
    match of {
        DataType::Ipv4 => {
            bytes.first_chunk().map_or_else(unknown, |b: &[u8; 4]| Ipv4Addr::from(*b).to_string())
        }
        DataType::Ipv6 => {
            bytes.first_chunk().map_or_else(unknown, |b: &[u8; 16]| Ipv6Addr::from(*b).to_string())
        }
        DataType::Ether => bytes.get(..6).map_or_else(unknown, |bytes| hexadecimal(bytes, ":")),
        // IPPROTO_TCP, IPPROTO_UDP
        DataType::Protocol => match bytes.first() {
            Some(6) => "tcp".to_owned(),
            Some(17) => "udp".to_owned(),
            Some(number) => number.to_string(),
            None => unknown(),
        },
        DataType::Service => bytes.first_chunk().map_or_else(unknown, |b| u16::from_be_bytes(*b).to_string()),
        DataType::Ifname => {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("{:?}", String::from_utf8_lossy(name))
        }
        DataType::Raw(length) => {
            format!("0x{}", hexadecimal(bytes.get(..usize::from(length)).unwrap_or(bytes), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_as_nft_lists_them() {
        use DataType::{Ether, Ifname, Ipv4, Ipv6, Protocol, Raw, Service};
        let name = b"vb-web\0\0\0\0\0\0\0\0\0\0";
        let rows: [(&[DataType], Vec<u8>, &str); 7] = [
            (&[Ifname], name.to_vec(), "\"vb-web\""),
            (&[Protocol, Service], vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0], "tcp . 8080"),
            (&[Ipv4, Service], vec![10, 213, 0, 2, 0, 80, 0, 0], "10.213.0.2 . 80"),
            (
                &[Ifname, Ether, Ipv4],
                [&name[..], &[2, 0, 0, 0, 0, 0xa, 0, 0], &[10, 0, 0, 1]].concat(),
                "\"vb-web\" . 02:00:00:00:00:0a . 10.0.0.1",
            ),
            (&[Ipv6], Ipv6Addr::LOCALHOST.octets().to_vec(), "::1"),
            (&[Raw(2)], vec![0xfe, 0x80], "0xfe80"),
            // Whoever put it there: nothing that a terminal obeys, and nothing that is missing is made up.
            (&[Ifname, Ipv4], b"\x1b[31m\0\0\0\0\0\0\0\0\0\0\0\x0a".to_vec(), "\"\\u{1b}[31m\" . 0x0a"),
        ];
        for (types, bytes, expected) in rows {
            assert_eq!(row(types, &bytes), expected);
        }
    }

    #[test]
    fn pairs_are_of_both() {
        let machine = MachineRules {
            name: "web".to_owned(),
            links: Vec::new(),
            ports: Vec::new(),
            dns_port: None,
            dns: Vec::new(),
            partitions: Vec::new(),
            loss: None,
        };
        for (of, expected) in
            [("web", true), ("db - web", true), ("web - db", true), ("web2", false), ("zone", false)]
        {
            assert_eq!(concerns(&machine, of), expected, "{of}");
        }
    }

    #[test]
    fn each_set_says_what_it_is_for() {
        for set in LAYOUTS.iter().flat_map(|layout| layout.sets) {
            assert!(!meaning(set).starts_with("those") && meaning(set).len() < 50, "{}", set.name);
        }
    }
}
