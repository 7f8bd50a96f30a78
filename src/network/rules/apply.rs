//! Makes the kernel's rules what the machines that are written down come to: step by step where ours were the last changes, and
//! all anew where somebody else changed something or a step is refused. Either is one batch: no packet sees half of it.

use rustix::io::Errno;

use super::super::nft::number::Family;
use super::super::nft::object::{Place, Table, add_elements, add_rule, delete_elements};
use super::super::nft::{Batch, Nfnetlink, NftError};
use super::base::{BRIDGE, COMMENT, INET, LAYOUTS, Layout};
use super::element::Elements;
use super::error::RulesError;
use super::loss::{lose, loses};
use super::machine::MachineRules;
use super::store::Store;
use super::{foreign, legacy, loopback, store};
use crate::settings::network::PortMapping;
use crate::sys::network::{NamespaceId, in_namespace, open_by_id};

/// Somebody who changes rules at the same time is waited for so often.
const TRIES: usize = 16;

/// What was done besides what was asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

/// Makes the rules of a machine, or changes them to these. It is written down before the kernel is told.
///
/// # Errors
/// When the kernel refuses: then nothing of it is there.
pub fn set_machine(machine: &MachineRules) -> Result<Report, RulesError> {
    let store = Store::open()?;
    let before = store.machine(&machine.name)?;
    let mut machine = machine.clone();
    if let Some(before) = &before {
        // A partition is between names: it stays when one reboots.
        machine.partitions.clone_from(&before.partitions);
    }
    let result = put(&store, before.as_ref(), &machine);
    if result.is_err() {
        undo(store, before.as_ref(), &machine.name)?;
    }
    result
}

/// Changes what there is of machine `name`.
///
/// # Errors
/// When there is none of this name, or the kernel refuses: then nothing is changed.
pub fn change_machine(name: &str, change: impl FnOnce(&mut MachineRules)) -> Result<Report, RulesError> {
    let unknown = || RulesError::Unknown(name.to_owned());
    let store = Store::find()?.ok_or_else(unknown)?;
    let before = store.machine(name)?.ok_or_else(unknown)?;
    let mut machine = before.clone();
    change(&mut machine);
    let result = put(&store, Some(&before), &machine);
    if result.is_err() {
        undo(store, Some(&before), name)?;
    }
    result
}

/// Has these ports of the host lead to machine `name`, and no others. One that rules are not about is fine: a proxy is there.
///
/// # Errors
/// When the kernel refuses.
pub fn change_ports(name: &str, ports: &[PortMapping]) -> Result<Report, RulesError> {
    match change_machine(name, |machine| machine.ports = ports.to_vec()) {
        Err(RulesError::Unknown(_)) => Ok(Report::default()),
        changed => changed,
    }
}

/// As [`remove_machine`], in this network namespace; with that one its rules are gone.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine_in(namespace: NamespaceId, name: &str) -> Result<(), RulesError> {
    if NamespaceId::ours()? == namespace {
        return remove_machine(name);
    }
    match open_by_id(namespace)? {
        Some(there) => in_namespace(there, || remove_machine(name))?,
        None => Ok(store::forget(namespace, name)?),
    }
}

/// Writes down what was there before a change that the kernel refused.
fn undo(store: Store, before: Option<&MachineRules>, name: &str) -> Result<(), RulesError> {
    match before {
        Some(before) => store.put(before)?,
        None => store.remove(name)?,
    }
    if store.machines()?.is_empty() {
        store.dissolve()?;
    }
    Ok(())
}

/// The links of machine `name` were made anew: sets what goes with them. Says what could not be done.
///
/// # Errors
/// When /run cannot be read.
pub(super) fn links_made(name: &str) -> Result<Option<String>, RulesError> {
    let machine = Store::find()?.map(|store| store.machine(name)).transpose()?.flatten();
    Ok(machine.and_then(|machine| loopback::open(&machine)))
}

/// Keeps `one` and `other` from each other, or `heals` that.
///
/// # Errors
/// When rules are about neither, or the kernel refuses.
pub fn partition(one: &str, other: &str, heals: bool) -> Result<(), RulesError> {
    for name in [one, other] {
        let found = Store::find()?.map(|store| store.machine(name)).transpose()?.flatten();
        found.ok_or_else(|| RulesError::Unknown(name.to_owned()))?;
    }
    for (name, from) in [(one, other), (other, one)] {
        change_machine(name, |machine| {
            machine.partitions.retain(|there| there != from);
            if !heals {
                machine.partitions.push(from.to_owned());
            }
        })?;
    }
    Ok(())
}

/// Removes all that is ours where no machine is left, nor anything written down of those that were: somebody wiped /run.
///
/// # Errors
/// When the kernel refuses.
pub fn sweep() -> Result<(), RulesError> {
    if Store::find()?.is_some() {
        return Ok(());
    }
    let tables = Nfnetlink::open()?.tables()?;
    let is_ours = |layout: &Layout| {
        tables
            .iter()
            .any(|table| (table.family, table.name.as_str()) == (layout.table.family, layout.table.name))
    };
    if LAYOUTS.iter().any(is_ours) {
        drop(Store::open()?);
        remove_machine("")?;
    }
    Ok(())
}

/// Removes the rules of machine `name`, and with the last one's all that is ours. One that has none is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine(name: &str) -> Result<(), RulesError> {
    match Store::find()? {
        Some(store) => remove_from(store, &mut Nfnetlink::open()?, name),
        None => Ok(()),
    }
}

/// As [`remove_machine`], over a socket that is open already: to close it takes the kernel some milliseconds afterwards.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine_over(nft: &mut Nfnetlink, name: &str) -> Result<(), RulesError> {
    Store::find()?.map_or(Ok(()), |store| remove_from(store, nft, name))
}

fn remove_from(store: Store, nft: &mut Nfnetlink, name: &str) -> Result<(), RulesError> {
    let all = store.machines()?;
    let mut rest: Vec<MachineRules> = all.iter().filter(|machine| machine.name != name).cloned().collect();
    if rest.len() == all.len() && !rest.is_empty() {
        return Ok(store.remove(name)?);
    }
    if rest.is_empty() {
        foreign::close(nft, None)?;
        let mut batch = Batch::new(None);
        LAYOUTS.iter().for_each(|layout| clear(layout.table, &mut batch));
        nft.commit(&batch)?;
        store.remove(name)?;
        return Ok(store.dissolve()?);
    }
    for machine in rest.iter_mut().filter(|machine| machine.partitions.iter().any(|other| other == name)) {
        machine.partitions.retain(|other| other != name);
        store.put(machine)?;
    }
    let (before, after) = (Elements::of(&all), Elements::of(&rest));
    let steps = !loses(&all);
    change(&store, nft, steps, &before, &after, &rest)?;
    for interface in inside(&before).into_iter().filter(|interface| !inside(&after).contains(interface)) {
        foreign::close(nft, Some(&interface))?;
        note(&store, nft)?;
    }
    Ok(store.remove(name)?)
}

/// Looks whether what is in the kernel is what it should be, and makes it so. Says what had to be done; `None` if all is well.
/// Does nothing where ours were the last changes.
///
/// # Errors
/// When the kernel refuses.
pub fn repair() -> Result<Option<String>, RulesError> {
    let Some(store) = Store::find()? else { return Ok(None) };
    let mut nft = Nfnetlink::open()?;
    if store.generation() == Some(nft.generation()?) {
        return Ok(None);
    }
    let machines = store.machines()?;
    if machines.is_empty() {
        return Ok(None);
    }
    let wanted = Elements::of(&machines);
    let broken = !super::verify::in_force(&mut nft, &wanted)?;
    if broken {
        replace(&store, &mut nft, &wanted, &machines)?;
    }
    let opened = open_foreign(&store, &mut nft, &inside(&wanted))?;
    note(&store, &mut nft)?;
    Ok(match (broken, opened.is_empty()) {
        (true, _) => {
            Some("somebody removed or changed the rules of machines' networks: made them anew".to_owned())
        }
        (false, false) => {
            Some(format!("a firewall that would drop what machines send came: opened {}", opened.join(", ")))
        }
        (false, true) => None,
    })
}

/// Whether all rules of the machines here are there as they should be; also where there are none.
///
/// # Errors
/// When the kernel does not list them.
pub fn in_force() -> Result<bool, RulesError> {
    let Some(store) = Store::find()? else { return Ok(true) };
    let machines = store.machines()?;
    Ok(machines.is_empty() || super::verify::in_force(&mut Nfnetlink::open()?, &Elements::of(&machines))?)
}

fn put(store: &Store, before: Option<&MachineRules>, machine: &MachineRules) -> Result<Report, RulesError> {
    store.put(machine)?;
    let mut nft = Nfnetlink::open()?;
    let partitioned = |machine: &MachineRules| !machine.partitions.is_empty();
    let alone = !partitioned(machine) && !before.is_some_and(partitioned);
    // The others matter where elements are of two; and are read where all has to be made anew.
    let others: Vec<MachineRules> = match alone {
        true => Vec::new(),
        false => store.machines()?.into_iter().filter(|other| other.name != machine.name).collect(),
    };
    let old = Elements::of(others.iter().chain(before));
    let new = Elements::of(others.iter().chain([machine]));
    let steps = machine.loss.is_none() && before.is_none_or(|before| before.loss.is_none());
    let fresh = change(store, &mut nft, steps, &old, &new, &[])?;
    let mut report = Report::default();
    report.warnings.extend(loopback::open(machine));
    let interfaces = inside(&new);
    if fresh || interfaces.iter().any(|interface| !inside(&old).contains(interface)) {
        open_foreign(store, &mut nft, &interfaces)?;
        report.warnings.extend(interfaces.first().and_then(|interface| legacy::warning(interface)));
    }
    Ok(report)
}

/// Brings the kernel from `old` to `new`: by `steps` where that may be. Says whether all was made anew.
fn change(
    store: &Store,
    nft: &mut Nfnetlink,
    steps: bool,
    old: &Elements,
    new: &Elements,
    rest: &[MachineRules],
) -> Result<bool, RulesError> {
    let generation = nft.generation()?;
    if steps && store.generation() == Some(generation) {
        let mut batch = Batch::new(Some(generation));
        for (table, set, elements) in old.without(new).sets() {
            delete_elements(table, set, &elements, &mut batch);
        }
        for (table, set, elements) in new.without(old).sets() {
            add_elements(table, set, &elements, &mut batch);
        }
        match nft.commit(&batch) {
            Ok(()) => {
                if !batch.is_empty() {
                    store.set_generation(generation.wrapping_add(1))?;
                }
                return Ok(false);
            }
            // Somebody else was faster, or what should be there is not.
            Err(
                NftError::Changed
                | NftError::Refused { errno: Errno::NOENT | Errno::EXIST | Errno::BUSY, .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let machines = if rest.is_empty() { store.machines()? } else { rest.to_vec() };
    replace(store, nft, &Elements::of(&machines), &machines)?;
    Ok(true)
}

/// Makes all of ours anew.
fn replace(
    store: &Store,
    nft: &mut Nfnetlink,
    elements: &Elements,
    machines: &[MachineRules],
) -> Result<(), RulesError> {
    // Of the first machine nothing is to be removed before, as a rule. Whoever closes a socket of nfnetlink while the kernel frees
    // what was removed by anybody waits for that (nft_rcv_nl_event()), some 5 ms: for RCU.
    let mut fresh = store.generation().is_none();
    for _ in 0..TRIES {
        let generation = nft.generation()?;
        let mut batch = Batch::new(Some(generation));
        for layout in &LAYOUTS {
            match fresh {
                true => layout.table.add_new(&mut batch, COMMENT),
                false => clear(layout.table, &mut batch),
            }
            lay(layout, elements, machines, &mut batch);
        }
        match nft.commit(&batch) {
            Ok(()) => return Ok(store.set_generation(generation.wrapping_add(1))?),
            Err(NftError::Changed) => {}
            Err(NftError::Refused { errno: Errno::EXIST, .. }) if fresh => fresh = false,
            Err(error) => return Err(error.into()),
        }
    }
    Err(NftError::Changed.into())
}

/// A table that is not there after the batch, whether it was there before or not.
fn clear(table: Table, batch: &mut Batch) {
    table.add(batch, COMMENT);
    table.delete(batch);
}

fn lay(layout: &Layout, elements: &Elements, machines: &[MachineRules], batch: &mut Batch) {
    let table = layout.table;
    table.add(batch, COMMENT);
    layout.chains.iter().for_each(|chain| chain.add(table, batch));
    for (id, set) in (1..).zip(layout.sets) {
        set.add(table, id, batch);
    }
    for (of, set, elements) in elements.sets().filter(|(of, ..)| *of == table) {
        add_elements(of, set, &elements, batch);
    }
    for rule in layout.rules {
        let chain = (table.family, table.name, rule.chain);
        add_rule(batch, chain, Place::End, &rule.expressions(), "");
    }
    lose(table, machines, batch);
}

/// The interfaces that routers see machines behind.
pub(super) fn inside(elements: &Elements) -> Vec<String> {
    let names = elements.of_set(INET, "inside").into_iter();
    names.map(|(name, _)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect()
}

/// Others' chains that would drop what comes from or goes to these interfaces let it pass. Says which.
fn open_foreign(
    store: &Store,
    nft: &mut Nfnetlink,
    interfaces: &[String],
) -> Result<Vec<String>, RulesError> {
    let generation = nft.generation()?;
    let ours = store.generation() == Some(generation);
    let opened = foreign::open(nft, interfaces)?;
    if ours && !opened.is_empty() {
        store.set_generation(generation.wrapping_add(1))?;
    }
    Ok(opened)
}

/// What is there now is as we left it.
fn note(store: &Store, nft: &mut Nfnetlink) -> Result<(), RulesError> {
    let generation = nft.generation()?;
    Ok(store.set_generation(generation)?)
}

/// Whether a table is one of ours.
pub(super) fn is_ours(family: Family, table: &str) -> bool {
    [INET, BRIDGE].iter().any(|ours| ours.family == family && ours.name == table)
}
