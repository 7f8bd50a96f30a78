//! Packets that are lost on purpose, so that others can test themselves (`--net-loss=`).
//!
//! These are rules and no elements: nft cannot compare a random number with what a map says. So they come and go with all of ours.

use super::super::nft::Batch;
use super::super::nft::expression::{Compare, Expression, Meta, Register, Verdict};
use super::super::nft::number::{POSTROUTING, PREROUTING};
use super::super::nft::object::{Chain, Hook, Place as RulePlace, Table, add_rule};
use super::base::INET;
use super::element::interface;
use super::machine::{MachineRules, Place};

/// Rules that lose packets of machines on purpose: on bridges each at its port, elsewhere at its link.
pub(super) fn lose(table: Table, machines: &[MachineRules], batch: &mut Batch) {
    let links = |machine: &'_ MachineRules| {
        let here = move |place: &Place| (*place == Place::Alone) == (table == INET);
        machine.links.clone().into_iter().filter(move |link| here(&link.place))
    };
    if !machines.iter().any(|machine| machine.loss.is_some() && links(machine).next().is_some()) {
        return;
    }
    for chain in loss_chains() {
        chain.add(table, batch);
    }
    for machine in machines {
        let Some(loss) = machine.loss else { continue };
        for link in links(machine) {
            for (chain, name) in [("lose-from", Meta::Iifname), ("lose-to", Meta::Oifname)] {
                let at = (table.family, table.name, chain);
                let steps = loss_steps(name, link.host.as_str(), loss);
                add_rule(batch, at, RulePlace::End, &steps, &machine.name);
            }
        }
    }
}

/// Before and after all others.
fn loss_chains() -> [Chain; 2] {
    let chain = |name, number, priority, comment| Chain {
        name,
        hook: Some(Hook { kind: "filter", number, priority }),
        comment,
    };
    [
        chain("lose-from", PREROUTING, -400, "packets that are lost on purpose"),
        chain("lose-to", POSTROUTING, 400, "packets that are lost on purpose"),
    ]
}

fn loss_steps(name: Meta, host: &str, loss: u32) -> Vec<Expression> {
    /// Thousandths of a percent.
    const ALL: u32 = 100_000;
    let first = Register(0);
    vec![
        Expression::Meta(name, first),
        Expression::Compare(first, Compare::Equal, interface(host)),
        Expression::Random(ALL, first),
        Expression::ToNetwork(first),
        Expression::Compare(first, Compare::Less, loss.min(ALL).to_be_bytes().to_vec()),
        Expression::Verdict(Verdict::Drop),
    ]
}
