//! Whether what is in the kernel is what should be.

use std::collections::BTreeSet;

use super::super::nft::{Nfnetlink, NftError};
use super::base::LAYOUTS;
use super::element::Elements;

/// Whether both tables are there with all that should be in them. Chains that lose packets on purpose may be there too.
pub(super) fn in_force(nft: &mut Nfnetlink, wanted: &Elements) -> Result<bool, NftError> {
    let chains = nft.chains()?;
    for layout in LAYOUTS {
        let (family, table) = (layout.table.family, layout.table.name);
        let there = |name: &str| {
            chains.iter().find(|chain| chain.family == family && chain.table == table && chain.name == name)
        };
        for chain in layout.chains {
            let hook =
                there(chain.name).map(|found| found.hook.as_ref().map(|hook| (hook.number, hook.priority)));
            if hook != Some(chain.hook.map(|hook| (hook.number, hook.priority))) {
                return Ok(false);
            }
        }
        let rules = nft.rules(family, table, None)?;
        let count = |chain: &str| rules.iter().filter(|rule| rule.chain == chain).count();
        let wants = |chain: &str| layout.rules.iter().filter(|rule| rule.chain == chain).count();
        if layout.chains.iter().any(|chain| count(chain.name) != wants(chain.name)) {
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
