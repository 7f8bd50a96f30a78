//! Which switches were set, and which interfaces let packets through for that alone: pure, from what was noted before and what is
//! seen now.

use serde::{Deserialize, Serialize};

/// The switches for all interfaces: writing one sets those of each interface.
pub(super) const ALL4: &str = "ipv4/conf/all/forwarding";
pub(super) const ALL6: &str = "ipv6/conf/all/forwarding";

/// What of IPv6 forwarding a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipv6 {
    /// None: no IPv6 at all.
    None,
    /// The switch for all.
    Global,
    /// One for each interface.
    EachInterface,
}

/// A switch of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Switch {
    /// IPv4 packets that come in by it are forwarded.
    Forwarding4,
    /// IPv6 packets that come in by it are forwarded, whatever the switch for all says.
    Force6,
    /// Routers are heard there.
    Advertisements,
    /// It is a router's: kept from before the switch for all is set.
    Forwarding6,
}

impl Switch {
    pub(super) fn path(self, interface: &str) -> String {
        let (family, name) = match self {
            Self::Forwarding4 => ("ipv4", "forwarding"),
            Self::Force6 => ("ipv6", "force_forwarding"),
            Self::Advertisements => ("ipv6", "accept_ra"),
            Self::Forwarding6 => ("ipv6", "forwarding"),
        };
        format!("{family}/conf/{interface}/{name}")
    }
}

/// An interface of the host that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    /// The host reaches others over it.
    #[serde(skip)]
    pub(super) uplink: bool,
}

/// What there is now.
pub(super) struct Seen<'a> {
    pub(super) ipv6: Ipv6,
    pub(super) interfaces: Vec<Interface>,
    /// The value of a switch, by its path below /proc/sys/net.
    pub(super) value: &'a dyn Fn(&str) -> Option<String>,
}

impl Seen<'_> {
    fn is_on(&self, path: &str) -> bool {
        (self.value)(path).is_some_and(|value| is_on(&value))
    }

    fn at(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }
}

fn is_on(value: &str) -> bool {
    value != "0"
}

/// A switch of an interface that is, or is about to be, set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    interface: Interface,
    switch: Switch,
    /// What it was.
    before: String,
    /// What it is now.
    set: String,
    #[serde(flatten)]
    state: State,
}

/// A switch that an older version has set, by its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Older {
    path: String,
    before: String,
    set: String,
}

/// How far a change has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// It is set, and not only noted.
    done: bool,
    /// Somebody else has set it since, or wants what it is: it is his.
    left: bool,
}

/// The switch of IPv6 for all interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct All6 {
    /// Those that were a router's before, and `default` (with the index 0): the switch for all sets these too.
    routers: Vec<Interface>,
    /// Those that there are.
    interfaces: Vec<String>,
    #[serde(flatten)]
    state: State,
}

/// Interfaces whose packets are forwarded because we have had them so: what comes in there is for machines alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Those of IPv4.
    pub v4: Vec<String>,
    /// Those of IPv6.
    pub v6: Vec<String>,
}

/// What was changed on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Whether the switch for all was on before us, of IPv4 and of IPv6.
    before: Option<(bool, bool)>,
    changes: Vec<Change>,
    all6: Option<All6>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<Older>,
}

impl Note {
    /// What is written down, by whichever version. What was cut off, as by a full /run, is nothing.
    pub(super) fn parse(text: &[u8]) -> Self {
        let older = || Self { older: serde_json::from_slice(text).unwrap_or_default(), ..Self::default() };
        serde_json::from_slice(text).unwrap_or_else(|_| older())
    }

    /// Notes what has to be set now, and what has become somebody else's.
    pub(super) fn follow(&mut self, seen: &Seen<'_>) {
        let (routes4, routes6) = self.others_route(seen);
        self.before.get_or_insert_with(|| (seen.is_on(ALL4), seen.is_on(ALL6)));
        self.changes.retain_mut(|change| {
            let there = seen.at(change.interface.index);
            there.is_some_and(|now| {
                change.interface.name.clone_from(&now.name);
                true
            })
        });
        for change in &mut self.changes {
            let now = (seen.value)(&change.switch.path(&change.interface.name));
            let wanted_by_others = match change.switch {
                Switch::Forwarding4 => routes4,
                Switch::Force6 => routes6,
                Switch::Advertisements | Switch::Forwarding6 => false,
            };
            let set_by_others = change.state.done && now.as_ref() != Some(&change.set);
            change.state.left |= wanted_by_others || set_by_others;
        }
        if seen.ipv6 == Ipv6::Global {
            self.follow_all6(seen);
        }
        for interface in seen.interfaces.iter().filter(|interface| interface.uplink) {
            self.want(seen, interface, Switch::Forwarding4, "0", "1");
            match (seen.ipv6, &self.all6) {
                // Either is enough (ip6_forward()).
                (Ipv6::EachInterface, _) if seen.is_on(ALL6) => {}
                (Ipv6::EachInterface, _) => self.want(seen, interface, Switch::Force6, "0", "1"),
                // Who is a router hears none unless told to.
                (Ipv6::Global, Some(all)) if !all.state.left => {
                    self.want(seen, interface, Switch::Advertisements, "1", "2");
                }
                _ => {}
            }
        }
    }

    fn follow_all6(&mut self, seen: &Seen<'_>) {
        let on = seen.is_on(ALL6);
        if self.all6.is_none() && !on {
            let default = Interface { name: "default".to_owned(), index: 0, uplink: false };
            let routers = seen.interfaces.iter().chain([&default]);
            let routers =
                routers.filter(|interface| seen.is_on(&Switch::Forwarding6.path(&interface.name))).cloned();
            let state = State::default();
            self.all6 = Some(All6 { routers: routers.collect(), interfaces: Vec::new(), state });
        }
        if let Some(all) = &mut self.all6 {
            all.interfaces = seen.interfaces.iter().map(|interface| interface.name.clone()).collect();
            all.state.left |= all.state.done && !on;
        }
    }

    /// Whether somebody made this host a router since, of IPv4 and of IPv6, as far as that can be told from what we did.
    fn others_route(&self, seen: &Seen<'_>) -> (bool, bool) {
        let (before4, before6) = self.before.unwrap_or((true, true));
        let routes6 = !before6 && seen.ipv6 == Ipv6::EachInterface && seen.is_on(ALL6);
        (!before4 && seen.is_on(ALL4), routes6)
    }

    fn want(&mut self, seen: &Seen<'_>, interface: &Interface, switch: Switch, from: &str, to: &str) {
        let noted = |change: &Change| (change.interface.index, change.switch) == (interface.index, switch);
        let now = (seen.value)(&switch.path(&interface.name));
        if let Some(before) = now.filter(|now| now == from && !self.changes.iter().any(noted)) {
            let (interface, set, state) = (interface.clone(), to.to_owned(), State::default());
            self.changes.push(Change { interface, switch, before, set, state });
        }
    }

    /// What is noted and not set yet, in order; it is taken for set from now on.
    pub(super) fn take_writes(&mut self) -> Vec<(String, String)> {
        let mut writes = Vec::new();
        // Before the switch for all: no advertisement is missed.
        for change in self.changes.iter_mut().filter(|change| !change.state.done && !change.state.left) {
            change.state.done = true;
            writes.push((change.switch.path(&change.interface.name), change.set.clone()));
        }
        if let Some(all) = self.all6.as_mut().filter(|all| !all.state.done && !all.state.left) {
            all.state.done = true;
            writes.push((ALL6.to_owned(), "1".to_owned()));
        }
        writes
    }

    /// Whether anything was changed.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty() || self.all6.is_some() || !self.older.is_empty()
    }

    /// What brings back what was, but for what somebody else has set or needs since.
    pub(super) fn undo(&self, seen: &Seen<'_>) -> Vec<(String, String)> {
        let (routes4, _) = self.others_route(seen);
        let mut writes = Vec::new();
        if self.all6.as_ref().is_some_and(|all| !all.state.left) && seen.is_on(ALL6) {
            writes.push((ALL6.to_owned(), "0".to_owned()));
            // It has set these too.
            for router in self.all6.iter().flat_map(|all| &all.routers) {
                let now = if router.index == 0 { Some(router) } else { seen.at(router.index) };
                writes.extend(now.map(|now| (Switch::Forwarding6.path(&now.name), "1".to_owned())));
            }
        }
        for change in self.changes.iter().rev().filter(|change| !change.state.left) {
            let Some(now) = seen.at(change.interface.index) else { continue };
            let path = change.switch.path(&now.name);
            let is_ours = (seen.value)(&path).as_ref() == Some(&change.set);
            if is_ours && !(routes4 && change.switch == Switch::Forwarding4) {
                writes.push((path, change.before.clone()));
            }
        }
        let older = self.older.iter().rev();
        let older = older.filter(|change| (seen.value)(&change.path).as_ref() == Some(&change.set));
        writes.extend(older.map(|change| (change.path.clone(), change.before.clone())));
        writes
    }

    /// The interfaces that forward because of us.
    pub(super) fn opened(&self) -> Opened {
        let of = |switch: Switch| {
            let ours =
                self.changes.iter().filter(move |change| change.switch == switch && !change.state.left);
            ours.map(|change| change.interface.name.clone())
        };
        let all = self.all6.iter().filter(|all| !all.state.left).flat_map(|all| all.interfaces.clone());
        Opened { v4: of(Switch::Forwarding4).collect(), v6: of(Switch::Force6).chain(all).collect() }
    }
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
