//! Looks whether what is in the kernel is what it should be, and makes it so. All of this is for the watcher's loop: nobody is
//! waited for.

use super::super::link;
use super::super::link::forwarding;
use super::super::nft::{Batch, Nfnetlink, NftError};
use super::element::Elements;
use super::error::RulesError;
use super::kernel::{Step, TRIES, Whole, after, change, inside, lay_all, layouts};
use super::store::Store;
use super::{foreign, loopback, verify};

/// Looks whether what is in the kernel is what it should be, and makes it so. Says what had to be done; `None` if all is well.
/// Does nothing where ours were the last changes.
///
/// # Errors
/// When the kernel refuses, or somebody else is about to change ours: see [`RulesError::is_busy`].
pub fn repair() -> Result<Option<String>, RulesError> {
    let Some(store) = Store::try_find()? else { return Ok(None) };
    let mut nft = Nfnetlink::open()?;
    for _ in 0..TRIES {
        // Before anything is listed: what is changed from here on makes another one.
        let generation = nft.generation()?;
        if store.generation() == Some(generation) {
            return Ok(None);
        }
        let machines = store.machines()?;
        if machines.is_empty() {
            return Ok(None);
        }
        let opened = forwarding::opened();
        let layouts = layouts(&store);
        let whole = Whole { elements: Elements::of(&machines).open(&opened), machines };
        let broken = !verify::in_force(&mut nft, layouts, &whole.elements)?;
        let mut batch = Batch::new(Some(generation));
        if broken {
            lay_all(layouts, &whole, false, &mut batch);
        }
        let chains = foreign::open(&mut nft, &inside(&whole.elements), &mut batch)?;
        match nft.commit(&batch) {
            Ok(()) => {
                store.set_opened(&opened)?;
                store.set_generation(after(generation, &batch))?;
                return Ok(told(broken, &chains));
            }
            Err(NftError::Changed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(NftError::Changed.into())
}

fn told(broken: bool, chains: &[String]) -> Option<String> {
    match (broken, chains) {
        (true, _) => {
            Some("somebody removed or changed the rules of machines' networks: made them anew".to_owned())
        }
        (false, []) => None,
        (false, chains) => {
            Some(format!("a firewall that would drop what machines send came: opened {}", chains.join(", ")))
        }
    }
}

/// Whether all rules of the machines here are there as they should be; also where there are none.
///
/// # Errors
/// When the kernel does not list them.
pub fn in_force() -> Result<bool, RulesError> {
    let Some(store) = Store::find()? else { return Ok(true) };
    let machines = store.machines()?;
    let wanted = || Elements::of(&machines).open(&forwarding::opened());
    Ok(machines.is_empty() || verify::in_force(&mut Nfnetlink::open()?, layouts(&store), &wanted())?)
}

/// Follows what has become of the host's interfaces and switches: has packets of machines go by those that came, and nothing else.
///
/// # Errors
/// As [`repair`].
pub fn follow_host() -> Result<(), RulesError> {
    link::follow(|| {
        let Some(store) = Store::try_find()? else { return Ok(()) };
        let (was, now) = (store.opened(), forwarding::opened());
        let machines = store.machines()?;
        if was == now || machines.is_empty() {
            return Ok(());
        }
        let (old, new) = (Elements::default().open(&was), Elements::default().open(&now));
        let step = Step { old: &old, new: &new, opened: &now, may: true, opens: &[], closes: &[] };
        let all = || Ok(Whole { elements: Elements::of(&machines).open(&now), machines: machines.clone() });
        change(&store, &mut Nfnetlink::open()?, &step, all)
    })
}

/// Has ports of the host's loopback lead nowhere while the rules may be broken for long, or `opens` them again.
///
/// # Errors
/// As [`repair`].
pub(super) fn loopback(opens: bool) -> Result<(), RulesError> {
    let Some(store) = Store::try_find()? else { return Ok(()) };
    for machine in store.machines()? {
        match opens {
            true => drop(loopback::open(&machine)),
            false => loopback::shut(&machine),
        }
    }
    Ok(())
}
