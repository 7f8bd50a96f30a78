//! What is done to the rules of machines: each change is written down, then made in the kernel, and written back where that refuses.

use super::super::link::forwarding;
use super::super::nft::Nfnetlink;
use super::base::{LAYOUTS, Layout};
use super::element::Elements;
use super::error::RulesError;
use super::kernel::{Step, Whole, change, clear_all, inside};
use super::lacks::Lacks;
use super::machine::{LinkRules, MachineRules};
use super::store::Store;
use super::{connections, legacy, loopback, store};
use crate::settings::network::PortMapping;
use crate::sys::in_words;
use crate::sys::network::{NamespaceId, in_namespace, open_by_id};

/// What was done besides what was asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
    /// The kernel can have no rules of ours: there are none.
    pub lacks_rules: bool,
}

/// Makes the rules of a machine, or changes them to these. It is written down before the kernel is told. Where the kernel has no
/// nf_tables that is as well, and said, unless there are ports that lead to the machine.
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
    let Err(error) = result else { return result };
    undo(store, before.as_ref(), &machine.name)?;
    match (error.lacks(), error) {
        (Some(lacks), _) if machine.ports.is_empty() => {
            Ok(Report { warnings: vec![lacks.warning().to_owned()], lacks_rules: true })
        }
        (Some(_), RulesError::Nft(error)) => Err(RulesError::NoPorts(error)),
        (_, error) => Err(error),
    }
}

/// Changes what there is of machine `name`.
///
/// # Errors
/// When there is none of this name, or the kernel refuses: then nothing is changed.
pub fn change_machine(name: &str, change: impl FnOnce(&mut MachineRules)) -> Result<Report, RulesError> {
    change_in(Store::find()?, name, change)
}

fn change_in(
    store: Option<Store>,
    name: &str,
    change: impl FnOnce(&mut MachineRules),
) -> Result<Report, RulesError> {
    let unknown = || RulesError::Unknown(name.to_owned());
    let store = store.ok_or_else(unknown)?;
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
/// Does not wait long.
///
/// # Errors
/// When the kernel refuses, or somebody else keeps changing rules: see [`RulesError::is_busy`].
pub fn change_ports(name: &str, ports: &[PortMapping]) -> Result<Report, RulesError> {
    match change_in(Store::find_soon()?, name, |machine| machine.change_ports(ports)) {
        Err(RulesError::Unknown(_)) => Ok(Report::default()),
        changed => changed,
    }
}

/// As [`remove_machine`], in this network namespace; with that one its rules are gone.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine_in(namespace: NamespaceId, name: &str) -> Result<(), RulesError> {
    if NamespaceId::ours()?.is(namespace) {
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
    let machine = Store::try_find()?.map(|store| store.machine(name)).transpose()?.flatten();
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

/// Forgets machines that are not `alive` whose rules are gone with their network namespaces.
///
/// # Errors
/// When /run cannot be read or written.
pub fn sweep_gone(alive: impl Fn(&str) -> bool) -> Result<(), RulesError> {
    Ok(store::sweep(alive)?)
}

/// Removes the rules of machine `name`, and with the last one's all that is ours; ends its connections. One that has none is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine(name: &str) -> Result<(), RulesError> {
    let end = connections_of(name);
    if let Some(store) = Store::find()? {
        remove_from(store, &mut Nfnetlink::open()?, name)?;
    }
    end();
    Ok(())
}

/// As [`remove_machine`], over a socket that is open already: to close it takes the kernel some milliseconds afterwards. Connections are
/// left to somebody else, which takes no less: see [`connections_of`].
///
/// # Errors
/// When the kernel refuses.
pub fn remove_machine_over(nft: &mut Nfnetlink, name: &str) -> Result<(), RulesError> {
    Store::find()?.map_or(Ok(()), |store| remove_from(store, nft, name))
}

fn remove_from(store: Store, nft: &mut Nfnetlink, name: &str) -> Result<(), RulesError> {
    let own = store.machine(name)?;
    let others: Vec<String> = store.names()?.into_iter().filter(|other| other != name).collect();
    if others.is_empty() {
        clear_all(&store, nft)?;
        store.remove(name)?;
        return Ok(store.dissolve()?);
    }
    let Some(own) = own else { return Ok(store.remove(name)?) };
    let mut rest = beside(&store, &own, &others)?;
    let (was, now) = (store.opened(), forwarding::opened());
    let before = Elements::of(rest.iter().chain([&own])).open(&was);
    for machine in rest.iter_mut().filter(|machine| machine.partitions.iter().any(|other| other == name)) {
        machine.partitions.retain(|other| other != name);
        store.put(machine)?;
    }
    let after = Elements::of(&rest).open(&now);
    let closes = without(inside(&before), &inside(&after));
    let step = Step {
        old: &before,
        new: &after,
        opened: &now,
        may: own.loss.is_none(),
        opens: &[],
        closes: &closes,
    };
    let whole = || {
        let machines: Vec<_> = store.machines()?.into_iter().filter(|machine| machine.name != name).collect();
        Ok(Whole { elements: Elements::of(&machines).open(&now), machines })
    };
    change(&store, nft, &step, whole)?;
    Ok(store.remove(name)?)
}

/// Those of `others` that have elements of `own` too, or that its end matters to: where that can be anyone, all; otherwise one of each of its
/// zones. A zone may have a thousand machines, and each of them is a file.
fn beside(store: &Store, own: &MachineRules, others: &[String]) -> Result<Vec<MachineRules>, RulesError> {
    let all = !own.partitions.is_empty() || !own.ports.is_empty();
    let mut alone: Vec<_> = own.links.iter().filter_map(LinkRules::routed).collect();
    let mut found = Vec::new();
    for other in others {
        if !all && alone.is_empty() {
            break;
        }
        let Some(other) = store.machine(other)? else { continue };
        let count = alone.len();
        alone.retain(|inside| !other.links.iter().any(|link| link.routed() == Some(inside)));
        if all || alone.len() < count {
            found.push(other);
        }
    }
    Ok(found)
}

/// Gives what ends the connections of machine `name`, to be done when its rules are gone: others may get its addresses. What cannot
/// be ended goes on for a while.
pub fn connections_of(name: &str) -> impl FnOnce() + use<> {
    let machine = store::peek(name);
    move || {
        let _ = machine.map_or(Ok(()), |machine| connections::end_all(&machine, None));
    }
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
    let (was, now) = (store.opened(), forwarding::opened());
    let old = Elements::of(others.iter().chain(before)).open(&was);
    let new = Elements::of(others.iter().chain([machine])).open(&now);
    let may = machine.loss.is_none() && before.is_none_or(|before| before.loss.is_none());
    let opens = without(inside(&new), &inside(&old));
    let step = Step { old: &old, new: &new, opened: &now, may, opens: &opens, closes: &[] };
    let all = || {
        let machines = store.machines()?;
        Ok(Whole { elements: Elements::of(&machines).open(&now), machines })
    };
    change(store, &mut nft, &step, all)?;
    let mut report = Report::default();
    if let Some(before) = before {
        // New ones go by the new rules; what goes on by the old ones ends now.
        let ended = connections::end_all(before, Some(machine))
            .and_then(|()| connections::end_by_ports(machine, &before.ports));
        report.warnings.extend(
            ended
                .err()
                .map(|error| format!("connections by what was changed may go on: {}", in_words(&error))),
        );
    }
    report.warnings.extend(loopback::open(machine));
    report.warnings.extend(opens.first().and_then(|interface| legacy::warning(interface)));
    if store.has_no_bridges() {
        report.warnings.push(Lacks::Bridges.warning().to_owned());
    }
    Ok(report)
}

/// Those of `names` that are not among `others`.
fn without(names: Vec<String>, others: &[String]) -> Vec<String> {
    names.into_iter().filter(|name| !others.contains(name)).collect()
}
