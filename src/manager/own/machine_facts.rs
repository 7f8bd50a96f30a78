//! What is told of a machine: the properties of its object, as `spinney show` calls them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use zbus::{OwnedVariant, Signature, Type, Variant};

use super::variants::Dictionary;
use crate::machine::usage::Usage;
use crate::manager::machines::Machine;
use crate::supervisor::state::Phase;

/// Limits by their names in systemd.resource-control(5).
pub type Limits = BTreeMap<String, String>;

/// A property that changes while the machine runs.
type Changing = (&'static str, fn(&Machine) -> OwnedVariant);

/// Those whose changes are told.
const CHANGING: &[Changing] = &[
    ("State", |machine| text(machine.progress().as_str())),
    ("Phase", |machine| text(phase(machine))),
    ("Paused", |machine| machine.state.paused.into()),
    ("StatusText", |machine| text(&status_text(machine))),
    ("Leader", |machine| leader(machine).into()),
    ("Timestamp", |machine| machine.state.started_at.into()),
    ("ReadyTimestamp", |machine| ready_timestamp(machine).into()),
    ("Boots", |machine| machine.state.boots.into()),
    ("OS", |machine| text(&machine.state.os)),
    ("Init", |machine| text(&machine.state.init)),
    ("OOMKills", |machine| machine.state.oom_kills.into()),
    ("Limits", |machine| limits(machine).into()),
    ("Addresses", |machine| texts(addresses(machine))),
    ("Ports", |machine| texts(ports(machine))),
    ("Offers", |machine| texts(offers(machine))),
];

/// What lists tell: what people look for in them, for very many machines.
const LISTED: &[&str] =
    &["State", "Phase", "Paused", "Leader", "Timestamp", "ReadyTimestamp", "OS", "Init", "Addresses"];

/// What they tell besides.
const CONSTANT: &[Changing] = &[
    ("RootDirectory", |machine| text(&root_directory(machine))),
    ("Ephemeral", |machine| machine.state.ephemeral.into()),
];

/// A machine in a list. What is told of it is put together once, until something of it changes.
#[derive(Debug)]
pub struct Listed(pub Arc<Machine>);

impl Type for Listed {
    const SIGNATURE: &'static Signature = <Dictionary as Type>::SIGNATURE;
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.listed(listed).serialize(serializer)
    }
}

/// What changes, as it is now.
pub fn changing(machine: &Machine) -> Dictionary {
    collect(CHANGING.iter(), machine)
}

fn listed(machine: &Machine) -> Dictionary {
    let changing = CHANGING.iter().filter(|(name, _)| LISTED.contains(name));
    collect(changing.chain(CONSTANT), machine)
}

fn collect<'a>(table: impl Iterator<Item = &'a Changing>, machine: &Machine) -> Dictionary {
    table.map(|(name, value)| ((*name).to_owned(), value(machine))).collect()
}

/// How far it is, in our own words.
pub fn phase(machine: &Machine) -> &'static str {
    match machine.state.phase {
        Phase::Booting => "booting",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
    }
}

/// What its init last said of itself.
pub fn status_text(machine: &Machine) -> String {
    machine.state.status.clone().unwrap_or_default()
}

/// Its PID 1, as the host sees it.
pub fn leader(machine: &Machine) -> u32 {
    machine.state.leader.unsigned_abs()
}

/// When it was up, in microseconds since 1970; 0 before.
pub fn ready_timestamp(machine: &Machine) -> u64 {
    machine.state.ready_at.unwrap_or_default()
}

/// Its tree, on the host.
pub fn root_directory(machine: &Machine) -> String {
    machine.state.tree.to_string_lossy().into_owned()
}

/// What it may have of the host.
pub fn limits(machine: &Machine) -> Limits {
    let texts = machine.state.limits.texts();
    texts.map(|(key, texts)| (key.property.to_owned(), texts.join(" "))).collect()
}

/// The addresses that it was given.
pub fn addresses(machine: &Machine) -> Vec<String> {
    machine.network.addresses().map(|address| address.to_string()).collect()
}

/// Ports of the host that lead to it, as `--port=` has them.
pub fn ports(machine: &Machine) -> Vec<String> {
    machine.network.ports.iter().map(ToString::to_string).collect()
}

/// What of the host's is offered in it, as `--offer=` has it.
pub fn offers(machine: &Machine) -> Vec<String> {
    machine.network.offers.iter().map(ToString::to_string).collect()
}

fn text(text: &str) -> OwnedVariant {
    // A text of D-Bus has no NUL.
    zbus::Str::from(text.replace('\0', "")).into()
}

fn texts(texts: Vec<String>) -> OwnedVariant {
    // Only fds cannot be owned.
    OwnedVariant::try_from(Variant::from(texts)).unwrap_or_else(|_| false.into())
}

/// What a machine uses, as far as the host counts it.
pub fn usage(usage: &Usage) -> HashMap<String, u64> {
    let fields = [
        ("MemoryCurrent", usage.memory.map(|memory| memory.current)),
        ("MemoryPeak", usage.memory.and_then(|memory| memory.peak)),
        ("CPUUsageNSec", usage.cpu.map(|cpu| cpu.microseconds.saturating_mul(1000))),
        ("IOReadBytes", usage.io.map(|io| io.read_bytes)),
        ("IOWriteBytes", usage.io.map(|io| io.written_bytes)),
        ("TasksCurrent", usage.tasks.map(|tasks| tasks.current)),
        ("NetworkReceivedBytes", usage.network.map(|network| network.received_bytes)),
        ("NetworkSentBytes", usage.network.map(|network| network.sent_bytes)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
