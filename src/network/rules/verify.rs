//! Whether what is in the kernel is what should be.

use std::collections::BTreeSet;

use super::super::nft::dump::{Chain, Rule};
use super::super::nft::{Nfnetlink, NftError};
use super::base::Layout;
use super::element::Elements;

/// Whether the tables of `layouts` are there with all that should be in them. Chains that lose packets on purpose may be there too.
pub(super) fn in_force(nft: &mut Nfnetlink, layouts: &[Layout], wanted: &Elements) -> Result<bool, NftError> {
    let chains = nft.chains()?;
    for layout in layouts {
        let (family, table) = (layout.table.family, layout.table.name);
        let rules = nft.rules(family, table, None)?;
        if !has_chains(layout, &chains) || !has_rules(layout, &rules) {
            return Ok(false);
        }
        for set in layout.sets {
            let found = nft.elements(family, table, set.name)?;
            let found: BTreeSet<(&[u8], &[u8])> =
                found.iter().map(|element| (element.key.as_slice(), element.data.as_slice())).collect();
            if found != wanted.of_set(layout.table, set.name).into_iter().collect() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn has_chains(layout: &Layout, chains: &[Chain]) -> bool {
    let (family, table) = (layout.table.family, layout.table.name);
    layout.chains.iter().all(|chain| {
        let mut found = chains.iter();
        let found = found.find(|there| {
            (there.family, there.table.as_str()) == (family, table) && there.name == chain.name
        });
        found.is_some_and(|there| match (&there.hook, chain.hook) {
            (None, None) => true,
            (Some(there), Some(hook)) => {
                (there.kind.as_str(), there.number, there.priority, there.drops)
                    == (hook.kind, hook.number, hook.priority, false)
            }
            _ => false,
        })
    })
}

/// Whether the rules are those that we have made, in their order. What a rule does never changes while it has its number, and
/// each that is made gets the table's next one (nf_tables_alloc_handle()): ours were made in a row, and who takes one away, puts one
/// between them or another in its place breaks it.
fn has_rules(layout: &Layout, rules: &[Rule]) -> bool {
    let mut handles = Vec::new();
    for chain in layout.chains {
        let there = rules.iter().filter(|rule| rule.chain == chain.name).map(|rule| rule.handle);
        let before = handles.len();
        handles.extend(there);
        let wanted = layout.rules.iter().filter(|rule| rule.chain == chain.name).count();
        if handles.len() - before != wanted {
            return false;
        }
    }
    handles.windows(2).all(|pair| matches!(pair, [one, next] if one.checked_add(1) == Some(*next)))
}

#[cfg(test)]
mod tests {
    use super::super::base::LAYOUTS;
    use super::*;

    #[test]
    fn rules_in_a_row_are_ours() {
        for layout in &LAYOUTS {
            let made = || -> Vec<Rule> {
                let rules = (20..).zip(layout.rules);
                let rule = |(handle, rule): (u64, &super::super::statement::Statement)| Rule {
                    family: layout.table.family,
                    table: layout.table.name.to_owned(),
                    chain: rule.chain.to_owned(),
                    handle,
                    steps: Vec::new(),
                    comment: None,
                };
                rules.map(rule).collect()
            };
            type Break = fn(&mut Vec<Rule>);
            let table: [(&str, Break, bool); 6] = [
                ("as made", |_| {}, true),
                ("one is gone", |rules| drop(rules.remove(3)), false),
                ("the last one is gone", |rules| drop(rules.pop()), false),
                ("two have changed places", |rules| rules.swap(0, 1), false),
                ("one is another", |rules| rules[2].handle = 999, false),
                ("none is there", Vec::clear, false),
            ];
            for (name, fault, expected) in table {
                let mut rules = made();
                fault(&mut rules);
                assert_eq!(has_rules(layout, &rules), expected, "{name}");
            }
        }
    }
}
