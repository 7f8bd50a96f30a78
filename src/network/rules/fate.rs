//! What surely becomes of a packet in a chain of others, as far as can be told from the interface alone: rules with any other
//! condition may act on it or not, and are left out.

use super::super::nft::dump::{Rule, Seen, Step};
use super::super::nft::expression::Meta;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in by the interface.
    From,
    /// It leaves by the interface.
    To,
}

/// What surely becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It passes, or may pass.
    Passes,
    /// It is dropped.
    Dropped {
        /// By the policy of the base chain.
        policy: bool,
    },
}

/// NFT_JUMP_STACK_SIZE: the kernel allows no deeper ones.
const DEPTH: usize = 16;

/// Rules that are looked at for one packet: others may have more, and then it is not known.
const BUDGET: usize = 20_000;

/// Looks rules up as they are needed.
pub(super) struct Rules<'a, F> {
    interface: &'a str,
    direction: Direction,
    list: F,
    budget: usize,
}

/// What a chain says.
enum Said {
    Accept,
    Drop,
    /// Nothing: on where it was called.
    Back,
}

impl<'a, F: FnMut(&str) -> Vec<Rule>> Rules<'a, F> {
    /// `list` gives the rules of a chain of the table.
    pub(super) fn new(interface: &'a str, direction: Direction, list: F) -> Self {
        Self { interface, direction, list, budget: BUDGET }
    }

    /// What becomes of the packet in this base chain, whose policy `drops` or not.
    pub(super) fn base_chain(&mut self, name: &str, drops: bool) -> Fate {
        match self.chain(name, DEPTH) {
            Some(Said::Accept) | None => Fate::Passes,
            Some(Said::Drop) => Fate::Dropped { policy: false },
            Some(Said::Back) if drops => Fate::Dropped { policy: true },
            Some(Said::Back) => Fate::Passes,
        }
    }

    /// `None` if it cannot be told.
    fn chain(&mut self, name: &str, depth: usize) -> Option<Said> {
        let depth = depth.checked_sub(1)?;
        let rules = (self.list)(name);
        self.budget = self.budget.checked_sub(rules.len())?;
        for rule in &rules {
            match self.verdict(rule) {
                None | Some(Seen::Continue) => {}
                Some(Seen::Accept) => return Some(Said::Accept),
                Some(Seen::Drop) => return Some(Said::Drop),
                Some(Seen::Return) => return Some(Said::Back),
                Some(Seen::Goto(chain)) => return self.chain(&chain, depth),
                Some(Seen::Jump(chain)) => match self.chain(&chain, depth)? {
                    Said::Back => {}
                    said => return Some(said),
                },
                // Given to a program, as intrusion detection has it: who knows.
                Some(Seen::Other) => return None,
            }
        }
        Some(Said::Back)
    }

    /// What a rule surely does with the packet, if anything.
    fn verdict(&self, rule: &Rule) -> Option<Seen> {
        // Which register holds the name of our interface.
        let mut holds = None;
        for step in &rule.steps {
            match step {
                Step::Harmless | Step::Comment(_) => {}
                Step::Meta { key, register } => {
                    let ours = match self.direction {
                        Direction::From => Meta::Iifname,
                        Direction::To => Meta::Oifname,
                    };
                    if *key == u32::from(ours as u8) {
                        holds = Some(*register);
                    } else if holds == Some(*register) {
                        holds = None;
                    }
                }
                Step::Compare { register, how, value } if holds == Some(*register) => {
                    let same = is(value, self.interface);
                    // NFT_CMP_EQ, NFT_CMP_NEQ
                    match (how, same) {
                        (0, true) | (1, false) => {}
                        _ => return None,
                    }
                }
                Step::Verdict(seen) => return Some(seen.clone()),
                Step::Reject => return Some(Seen::Drop),
                Step::Compare { .. } | Step::Other(_) => return None,
            }
        }
        None
    }
}

/// Whether a comparison with `value` holds for `interface`: a name with its NUL, or the beginning of one without.
fn is(value: &[u8], interface: &str) -> bool {
    match value.iter().position(|byte| *byte == 0) {
        Some(end) => value.get(..end) == Some(interface.as_bytes()),
        None => interface.as_bytes().starts_with(value),
    }
}

impl Rule {
    /// Whether it acts on each packet.
    pub(super) fn is_unconditional(&self) -> bool {
        self.steps
            .iter()
            .all(|step| !matches!(step, Step::Meta { .. } | Step::Compare { .. } | Step::Other(_)))
    }

    /// Whether it goes on in this chain.
    pub(super) fn jumps_to(&self, chain: &str) -> bool {
        let jumps = |step: &Step| match step {
            Step::Verdict(Seen::Jump(to) | Seen::Goto(to)) => to == chain,
            _ => false,
        };
        self.steps.iter().any(jumps)
    }
}

#[cfg(test)]
#[path = "fate_tests.rs"]
mod tests;
