//! What is there: tables, chains and rules, others' included, as far as it matters what they do to packets.
//!
//! Others wrote these: whatever is in them is read with bounds, and what is not known is kept as that.

use super::attribute::Attributes;
use super::number::{Family, LIST_ELEMENT};

/// A table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
}

impl TableName {
    pub(super) fn read(family: Family, attributes: Attributes<'_>) -> Option<Self> {
        Some(Self { family, name: attributes.string(1)? })
    }
}

/// A chain that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// For a base chain: where it is called.
    pub hook: Option<Hooked>,
}

/// Where a base chain is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooked {
    /// The hook's number.
    pub number: u32,
    /// Lower comes first.
    pub priority: i32,
    /// `filter`, `nat`, `route`.
    pub kind: String,
    /// Whether what comes to its end is dropped.
    pub drops: bool,
}

impl Chain {
    pub(super) fn read(family: Family, attributes: Attributes<'_>) -> Option<Self> {
        let hook = attributes.find(4).map(|hook| {
            let hook = hook.nested();
            Some(Hooked {
                number: hook.number(1)?,
                priority: hook.number(2)?.cast_signed(),
                kind: attributes.string(7).unwrap_or_default(),
                drops: attributes.number(5) == Some(super::number::DROP),
            })
        });
        Some(Self { family, table: attributes.string(1)?, name: attributes.string(3)?, hook: hook.flatten() })
    }
}

/// A rule that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, for as long as it is there.
    pub handle: u64,
    /// What it does.
    pub steps: Vec<Step>,
    /// What lists show beside it.
    pub comment: Option<String>,
}

/// What a step of a rule does, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Loads a fact about the packet into a register.
    Meta {
        /// Which (`enum nft_meta_keys`).
        key: u32,
        /// The register's number.
        register: u32,
    },
    /// Compares a register.
    Compare {
        /// The register's number.
        register: u32,
        /// How (`enum nft_cmp_ops`).
        how: u32,
        /// With what.
        value: Vec<u8>,
    },
    /// A verdict.
    Verdict(Seen),
    /// Drops the packet and says so.
    Reject,
    /// iptables' way to say what a rule is.
    Comment(String),
    /// Neither ends the rule nor the packet: counters, log, marks.
    Harmless,
    /// Anything else. The rule goes on or not.
    Other(String),
}

/// A verdict of others' rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Accept, of this base chain's hook.
    Accept,
    /// Drop.
    Drop,
    /// On in this chain, and back.
    Jump(String),
    /// On in this chain.
    Goto(String),
    /// Back to where the chain was called.
    Return,
    /// On with the next rule.
    Continue,
    /// Another: queued, stolen.
    Other,
}

impl Rule {
    pub(super) fn read(family: Family, attributes: Attributes<'_>) -> Option<Self> {
        let list = attributes.find(4).map(|list| list.nested());
        let steps = list.into_iter().flatten().filter(|element| element.kind == LIST_ELEMENT);
        let steps: Vec<Step> = steps.map(|element| Step::read(element.nested())).collect();
        let said = steps.iter().find_map(|step| match step {
            Step::Comment(text) => Some(text.clone()),
            _ => None,
        });
        Some(Self {
            family,
            table: attributes.string(1)?,
            chain: attributes.string(2)?,
            handle: attributes.find(3)?.u64()?,
            steps,
            comment: attributes.find(7).and_then(|userdata| comment(userdata.value)).or(said),
        })
    }
}

impl Step {
    fn read(attributes: Attributes<'_>) -> Self {
        let name = attributes.string(1).unwrap_or_default();
        let data = attributes.find(2).map_or(Attributes(&[]), |data| data.nested());
        let known = match name.as_str() {
            "meta" => match (data.number(2), data.number(1)) {
                (Some(key), Some(register)) => Some(Self::Meta { key, register }),
                // One that sets: a mark, a priority.
                (Some(_), None) => Some(Self::Harmless),
                _ => None,
            },
            "cmp" => Self::compare(data),
            "immediate" => match data.number(1) {
                Some(0) => data.find(2).map(|value| Self::Verdict(Seen::read(value.nested()))),
                _ => Some(Self::Harmless),
            },
            "reject" => Some(Self::Reject),
            "counter" | "log" | "notrack" => Some(Self::Harmless),
            // An extension of iptables.
            "target" => match data.string(1).as_deref() {
                Some("REJECT") => Some(Self::Reject),
                Some("LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "CT" | "TRACE") => {
                    Some(Self::Harmless)
                }
                _ => None,
            },
            // NFTA_MATCH_NAME, NFTA_MATCH_INFO: struct xt_comment_info.
            "match" => data
                .string(1)
                .filter(|name| name == "comment")
                .map(|_| Self::Comment(data.string(3).unwrap_or_default())),
            _ => None,
        };
        known.unwrap_or(Self::Other(name))
    }

    fn compare(data: Attributes<'_>) -> Option<Self> {
        let value = data.find(3)?.nested().find(super::number::DATA_VALUE)?.value;
        Some(Self::Compare { register: data.number(1)?, how: data.number(2)?, value: value.to_vec() })
    }
}

impl Seen {
    fn read(data: Attributes<'_>) -> Self {
        let Some(verdict) = data.find(super::number::DATA_VERDICT).map(|verdict| verdict.nested()) else {
            return Self::Other;
        };
        let chain = || verdict.string(2).unwrap_or_default();
        match verdict.number(1).map(u32::cast_signed) {
            Some(0) => Self::Drop,
            Some(1) => Self::Accept,
            Some(-1) => Self::Continue,
            Some(-3) => Self::Jump(chain()),
            Some(-4) => Self::Goto(chain()),
            Some(-5) => Self::Return,
            _ => Self::Other,
        }
    }
}

/// An element that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, in a map.
    pub data: Vec<u8>,
}

impl Element {
    pub(super) fn read_list(attributes: Attributes<'_>) -> Vec<Self> {
        let value = |element: Attributes<'_>, kind| {
            let value = element.find(kind)?.nested().find(super::number::DATA_VALUE)?.value;
            Some(value.to_vec())
        };
        let list = attributes.find(3).map(|list| list.nested());
        let elements = list.into_iter().flatten().filter(|element| element.kind == LIST_ELEMENT);
        elements
            .filter_map(|element| {
                let element = element.nested();
                Some(Self { key: value(element, 1)?, data: value(element, 2).unwrap_or_default() })
            })
            .collect()
    }
}

/// The comment in what nft keeps with an object: type and length in a byte each, then the value.
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return Some(String::from_utf8_lossy(value.get(..end)?).into_owned());
        }
        userdata = rest.get(usize::from(*length)..)?;
    }
    None
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
