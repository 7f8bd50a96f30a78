//! Brings the kernel from what was to what should be: step by step where ours were the last changes, and all anew where somebody
//! else changed something or a step is refused. Either is one batch, of the generation that was looked at: no packet sees half of
//! it, and nobody's change is missed.

use rustix::io::Errno;

use super::super::link::forwarding::Opened;
use super::super::nft::number::Family;
use super::super::nft::object::{Place, Table, add_elements, add_rule, delete_elements};
use super::super::nft::{Batch, Nfnetlink, NftError};
use super::base::{BRIDGE, COMMENT, INET, LAYOUTS, Layout};
use super::element::Elements;
use super::error::RulesError;
use super::foreign::{self, Interfaces};
use super::lacks::Lacks;
use super::loss::lose;
use super::machine::MachineRules;
use super::store::Store;

/// Somebody who changes rules at the same time is waited for so often.
pub(super) const TRIES: usize = 16;

/// A change from one set of elements to another.
pub(super) struct Step<'a> {
    pub(super) old: &'a Elements,
    pub(super) new: &'a Elements,
    /// What of `new` is of forwarding.
    pub(super) opened: &'a Opened,
    /// All that is changed are elements.
    pub(super) may: bool,
    /// Interfaces that came: others' chains that would drop what comes from or goes to these let it pass.
    pub(super) opens: &'a [String],
    /// Interfaces that went.
    pub(super) closes: &'a [String],
}

/// All that should be.
pub(super) struct Whole {
    pub(super) machines: Vec<MachineRules>,
    pub(super) elements: Elements,
}

/// Carries out `step`, or makes `all` anew.
pub(super) fn change(
    store: &Store,
    nft: &mut Nfnetlink,
    step: &Step<'_>,
    all: impl Fn() -> Result<Whole, RulesError>,
) -> Result<(), RulesError> {
    let mut steps = step.may;
    // Of the first machine nothing is to be removed before, as a rule. Whoever closes a socket of nfnetlink while the kernel frees
    // what was removed by anybody waits for that (nft_rcv_nl_event()), some 5 ms: for RCU.
    let mut fresh = store.generation().is_none();
    for _ in 0..TRIES {
        let generation = nft.generation()?;
        let layouts = layouts(store);
        let by_steps = steps && store.generation() == Some(generation);
        let mut batch = Batch::new(Some(generation));
        if by_steps {
            write(layouts, step, &mut batch);
            foreign::open(nft, step.opens, &mut batch)?;
        } else {
            let whole = all()?;
            lay_all(layouts, &whole, fresh, &mut batch);
            foreign::open(nft, &inside(&whole.elements), &mut batch)?;
        }
        foreign::close(nft, &Interfaces::These(step.closes), &mut batch)?;
        match nft.commit(&batch) {
            Ok(()) => {
                store.set_opened(step.opened)?;
                return Ok(store.set_generation(after(generation, &batch))?);
            }
            Err(NftError::Changed) => {}
            Err(NftError::Refused { errno: Errno::EXIST, .. }) if fresh && !by_steps => fresh = false,
            // What should be there is not.
            Err(NftError::Refused { errno: Errno::NOENT | Errno::EXIST | Errno::BUSY, .. }) if by_steps => {
                steps = false;
            }
            Err(error) => match Lacks::of(&error) {
                Some(Lacks::Bridges) if layouts.len() == LAYOUTS.len() => store.note_no_bridges()?,
                _ => return Err(error.into()),
            },
        }
    }
    Err(NftError::Changed.into())
}

/// The generation of the rule set after `batch` was carried out on that of `generation`: 0 is none (nf_tables_commit()).
pub(super) fn after(generation: u32, batch: &Batch) -> u32 {
    if batch.is_empty() { generation } else { generation.wrapping_add(1).max(1) }
}

/// The tables of ours, as far as the kernel has what is in them.
pub(super) fn layouts(store: &Store) -> &'static [Layout] {
    if store.has_no_bridges() { LAYOUTS.get(..1).unwrap_or_default() } else { &LAYOUTS }
}

fn write(layouts: &[Layout], step: &Step<'_>, batch: &mut Batch) {
    let has = |table: Table| layouts.iter().any(|layout| layout.table == table);
    for (table, set, elements) in step.old.without(step.new).sets().filter(|(table, ..)| has(*table)) {
        delete_elements(table, set, &elements, batch);
    }
    for (table, set, elements) in step.new.without(step.old).sets().filter(|(table, ..)| has(*table)) {
        add_elements(table, set, &elements, batch);
    }
}

/// Makes all of ours anew; `fresh`: where there is nothing of it.
pub(super) fn lay_all(layouts: &[Layout], whole: &Whole, fresh: bool, batch: &mut Batch) {
    for layout in layouts {
        match fresh {
            true => layout.table.add_new(batch, COMMENT),
            false => clear(layout.table, batch),
        }
        lay(layout, whole, batch);
    }
}

fn lay(layout: &Layout, whole: &Whole, batch: &mut Batch) {
    let table = layout.table;
    table.add(batch, COMMENT);
    layout.chains.iter().for_each(|chain| chain.add(table, batch));
    for (id, set) in (1..).zip(layout.sets) {
        set.add(table, id, batch);
    }
    for (of, set, elements) in whole.elements.sets().filter(|(of, ..)| *of == table) {
        add_elements(of, set, &elements, batch);
    }
    for rule in layout.rules {
        let chain = (table.family, table.name, rule.chain);
        add_rule(batch, chain, Place::End, &rule.expressions(), "");
    }
    lose(table, &whole.machines, batch);
}

/// A table that is not there after the batch, whether it was there before or not.
fn clear(table: Table, batch: &mut Batch) {
    table.add(batch, COMMENT);
    table.delete(batch);
}

/// Removes all of ours, in others' chains too.
pub(super) fn clear_all(store: &Store, nft: &mut Nfnetlink) -> Result<(), RulesError> {
    for _ in 0..TRIES {
        let mut batch = Batch::new(Some(nft.generation()?));
        foreign::close(nft, &Interfaces::All, &mut batch)?;
        layouts(store).iter().for_each(|layout| clear(layout.table, &mut batch));
        match nft.commit(&batch) {
            Err(NftError::Changed) => {}
            done => return Ok(done?),
        }
    }
    Err(NftError::Changed.into())
}

/// The interfaces that routers see machines behind.
pub(super) fn inside(elements: &Elements) -> Vec<String> {
    let names = elements.of_set(INET, "inside").into_iter();
    names.map(|(name, _)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect()
}

/// Whether a table is one of ours.
pub(super) fn is_ours(family: Family, table: &str) -> bool {
    [INET, BRIDGE].iter().any(|ours| ours.family == family && ours.name == table)
}
