//! Others' firewalls: Docker, ufw and firewalld drop what they do not know of, and a packet that one drops nobody else can let
//! pass. So a rule of ours, told by its comment, is put at the head of each chain that would surely drop what machines send or
//! get, and goes when they do. Rules of others are never changed.
//!
//! Accepting there opens nothing that our own chains keep shut: those drop on their own what is not for machines to have.

use super::super::nft::dump::{Chain, Rule, Seen, Step};
use super::super::nft::expression::{Compare, Expression, Meta, Register, Verdict};
use super::super::nft::number::{FORWARD, Family, INPUT};
use super::super::nft::object::{Place, add_rule, delete_rule};
use super::super::nft::{Batch, Nfnetlink, NftError};
use super::element::interface as padded;
use super::fate::{Direction, Fate, Rules};
use super::kernel::is_ours;

/// What the comments of our rules in others' chains begin with.
const COMMENT: &str = "spinney ";

/// Where Docker has its users' rules, before its own (docs.docker.com, "Packet filtering and firewalls").
const DOCKER_USER: &str = "DOCKER-USER";

/// A chain of others that surely drops packets of machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// The base chain.
    pub chain: String,
    /// What kind of packets.
    pub direction: Direction,
    /// Whether by its policy; otherwise by a rule.
    pub policy: bool,
}

/// The chains of others that surely drop what comes from or goes to `interface`.
///
/// # Errors
/// When the kernel does not list them.
pub fn obstacles(nft: &mut Nfnetlink, interface: &str) -> Result<Vec<Obstacle>, NftError> {
    let chains = nft.chains()?;
    let mut found = Vec::new();
    for chain in chains.iter().filter(|chain| may_drop(chain)) {
        let hook = chain.hook.as_ref().map(|hook| hook.number);
        let directions: &[Direction] = match hook {
            Some(FORWARD) => &[Direction::From, Direction::To],
            Some(INPUT) => &[Direction::From],
            _ => &[],
        };
        for direction in directions {
            if let Fate::Dropped { policy } = fate(nft, chain, interface, *direction)? {
                found.push(Obstacle {
                    family: chain.family,
                    table: chain.table.clone(),
                    chain: chain.name.clone(),
                    direction: *direction,
                    policy,
                });
            }
        }
    }
    Ok(found)
}

/// Adds to `batch` what has all of them let pass what comes from or goes to `interfaces`. Gives the chains.
pub(super) fn open(
    nft: &mut Nfnetlink,
    interfaces: &[String],
    batch: &mut Batch,
) -> Result<Vec<String>, NftError> {
    let mut opened = Vec::new();
    for interface in interfaces {
        for obstacle in obstacles(nft, interface)? {
            let Obstacle { family, table, chain, direction, .. } = &obstacle;
            let has_user = nft
                .rules(*family, table, Some(chain))?
                .iter()
                .any(|rule| rule.jumps_to(DOCKER_USER) && rule.is_unconditional());
            let chain = if has_user { DOCKER_USER } else { chain.as_str() };
            let steps = let_pass(interface, *direction);
            add_rule(batch, (*family, table, chain), Place::Head, &steps, &format!("{COMMENT}{interface}"));
            let name = format!("{family} {table} {chain}");
            if !opened.contains(&name) {
                opened.push(name);
            }
        }
    }
    Ok(opened)
}

/// Adds to `batch` what removes our rules for these interfaces from others' chains.
pub(super) fn close(
    nft: &mut Nfnetlink,
    interfaces: &Interfaces<'_>,
    batch: &mut Batch,
) -> Result<(), NftError> {
    if matches!(interfaces, Interfaces::These([])) {
        return Ok(());
    }
    for (rule, interface) in openings(nft)? {
        if interfaces.contain(&interface) {
            delete_rule(batch, (rule.family, &rule.table, &rule.chain), rule.handle);
        }
    }
    Ok(())
}

/// Interfaces that others' chains were opened for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interfaces<'a> {
    /// These.
    These(&'a [String]),
    /// Whatever they were called.
    All,
}

impl Interfaces<'_> {
    fn contain(&self, interface: &str) -> bool {
        match self {
            Self::These(these) => these.iter().any(|name| name == interface),
            Self::All => true,
        }
    }
}

/// The interface that a rule of ours is for: its comment says so, and it does nothing else than [`let_pass`].
fn interface_of(rule: &Rule) -> Option<&str> {
    let interface = rule.comment.as_deref()?.strip_prefix(COMMENT)?;
    let steps: Vec<&Step> =
        rule.steps.iter().filter(|step| !matches!(step, Step::Harmless | Step::Comment(_))).collect();
    let [
        Step::Meta { key, register: to },
        Step::Compare { register, how: 0, value },
        Step::Verdict(Seen::Accept),
    ] = steps.as_slice()
    else {
        return None;
    };
    let names = [Meta::Iifname, Meta::Oifname].map(|name| u32::from(name as u8));
    // iptables writes a name with one NUL, we as many as fit.
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_it =
        names.contains(key) && to == register && value.len() > name.len() && name == interface.as_bytes();
    is_it.then_some(interface)
}

/// Our rules in others' chains, each with the interface that it is for.
pub(super) fn openings(nft: &mut Nfnetlink) -> Result<Vec<(Rule, String)>, NftError> {
    let mut ours = Vec::new();
    for chain in nft.chains()?.iter().filter(|chain| may_drop(chain) || is_users(chain)) {
        for rule in nft.rules(chain.family, &chain.table, Some(&chain.name))? {
            if let Some(interface) = interface_of(&rule).map(str::to_owned) {
                ours.push((rule, interface));
            }
        }
    }
    Ok(ours)
}

/// A chain whose rules decide about packets of machines.
fn may_drop(chain: &Chain) -> bool {
    let hook = chain.hook.as_ref();
    matches!(chain.family, Family::Inet | Family::Ip | Family::Ip6)
        && hook.is_some_and(|hook| hook.kind == "filter" && [INPUT, FORWARD].contains(&hook.number))
        && !is_ours(chain.family, &chain.table)
}

fn is_users(chain: &Chain) -> bool {
    chain.name == DOCKER_USER && matches!(chain.family, Family::Inet | Family::Ip | Family::Ip6)
}

fn fate(nft: &mut Nfnetlink, chain: &Chain, interface: &str, direction: Direction) -> Result<Fate, NftError> {
    let mut failed = None;
    let mut rules = Rules::new(interface, direction, |name: &str| -> Vec<Rule> {
        nft.rules(chain.family, &chain.table, Some(name)).unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        })
    });
    let drops = chain.hook.as_ref().is_some_and(|hook| hook.drops);
    let fate = rules.base_chain(&chain.name, drops);
    failed.map_or(Ok(fate), Err)
}

/// Written with what iptables-nft knows too, so that it still lists the chain.
fn let_pass(interface: &str, direction: Direction) -> Vec<Expression> {
    let name = match direction {
        Direction::From => Meta::Iifname,
        Direction::To => Meta::Oifname,
    };
    vec![
        Expression::Meta(name, Register(0)),
        Expression::Compare(Register(0), Compare::Equal, padded(interface)),
        Expression::Counter,
        Expression::Verdict(Verdict::Accept),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_ours_are_told_by_comment_and_shape() {
        let rule = |comment: &str, name: &[u8], verdict, more: Option<Step>| Rule {
            family: Family::Ip,
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            handle: 7,
            steps: [
                Step::Meta { key: u32::from(Meta::Oifname as u8), register: 1 },
                Step::Compare { register: 1, how: 0, value: name.to_vec() },
            ]
            .into_iter()
            .chain(more)
            .chain([Step::Harmless, Step::Verdict(verdict)])
            .collect(),
            comment: Some(comment.to_owned()),
        };
        let padded = padded("vz-lab");
        let other = Step::Other("ct".to_owned());
        for (rule, expected) in [
            (rule("spinney vz-lab", &padded, Seen::Accept, None), Some("vz-lab")),
            (
                rule("spinney vz-lab", b"vz-lab\0", Seen::Accept, Some(Step::Comment(String::new()))),
                Some("vz-lab"),
            ),
            // An administrator's own, whatever he calls it.
            (rule("spinney is mine", &padded, Seen::Accept, None), None),
            (rule("vz-lab", &padded, Seen::Accept, None), None),
            (rule("spinney vz-lab", &padded, Seen::Drop, None), None),
            (rule("spinney vz-lab", &padded, Seen::Accept, Some(other)), None),
            (rule("spinney vz-", b"vz-", Seen::Accept, None), None),
        ] {
            assert_eq!(interface_of(&rule), expected, "{rule:?}");
        }
    }
}
