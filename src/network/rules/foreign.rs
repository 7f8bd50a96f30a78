//! Others' firewalls: Docker, ufw and firewalld drop what they do not know of, and a packet that one drops nobody else can let
//! pass. So a rule of ours, told by its comment, is put at the head of each chain that would surely drop what machines send or
//! get, and goes when they do. Rules of others are never changed.
//!
//! Accepting there opens nothing that our own chains keep shut: those drop on their own what is not for machines to have.

use super::super::nft::dump::{Chain, Rule};
use super::super::nft::expression::{Compare, Expression, Meta, Register, Verdict};
use super::super::nft::number::{FORWARD, Family, INPUT};
use super::super::nft::object::{Place, add_rule, delete_rule};
use super::super::nft::{Batch, Nfnetlink, NftError};
use super::apply::is_ours;
use super::element::interface as padded;
use super::fate::{Direction, Fate, Rules};

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

/// Has all of them let pass what comes from or goes to `interfaces`. Gives the chains.
pub(super) fn open(nft: &mut Nfnetlink, interfaces: &[String]) -> Result<Vec<String>, NftError> {
    let mut batch = Batch::new(None);
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
            add_rule(
                &mut batch,
                (*family, table, chain),
                Place::Head,
                &steps,
                &format!("{COMMENT}{interface}"),
            );
            let name = format!("{family} {table} {chain}");
            if !opened.contains(&name) {
                opened.push(name);
            }
        }
    }
    nft.commit(&batch)?;
    Ok(opened)
}

/// Removes our rules from others' chains: those of `interface`, or all.
pub(super) fn close(nft: &mut Nfnetlink, interface: Option<&str>) -> Result<(), NftError> {
    let mut batch = Batch::new(None);
    for (rule, of) in openings(nft)? {
        if interface.is_none_or(|interface| interface == of) {
            delete_rule(&mut batch, (rule.family, &rule.table, &rule.chain), rule.handle);
        }
    }
    nft.commit(&batch)
}

/// Our rules in others' chains, each with the interface that it is for.
pub(super) fn openings(nft: &mut Nfnetlink) -> Result<Vec<(Rule, String)>, NftError> {
    let mut ours = Vec::new();
    for chain in nft.chains()?.iter().filter(|chain| may_drop(chain) || is_users(chain)) {
        for rule in nft.rules(chain.family, &chain.table, Some(&chain.name))? {
            let interface = rule.comment.as_deref().and_then(|comment| comment.strip_prefix(COMMENT));
            if let Some(interface) = interface.map(str::to_owned) {
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
