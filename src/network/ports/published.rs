//! The ports and offers of one machine while it runs: which it has, and that each is bound and served.
//!
//! | file | what it owns |
//! |---|---|
//! | `entry` | one of them: its sockets, who serves it, where it leads to |
//! | `proxies` | the processes that serve them, started again where they end |

mod entry;
mod proxies;

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;

use entry::{Entry, What};
use proxies::{Proxies, Which};

use super::error::PortsError;
use super::holder;
use super::proxy::NOBODY;
use super::sockets::{Inside, bind_host, bind_inside, bind_path, may_be_at};
use crate::network::plan::{Namespace, NetworkPlan};
use crate::network::service::Service;
use crate::settings::network::{Endpoint, Offer, PortMapping};
use crate::sys::in_root::Root;
use crate::sys::in_words;

/// Ports that a machine holds by sockets: a supervisor may have 1024 fds on most hosts, and wants some for the rest.
pub const MOST_HELD: usize = 512;

/// Offers of a machine: each is two sockets.
const MOST_OFFERS: usize = 64;

/// The ports and offers of one machine while it runs. Dropped, nothing is bound and no proxy runs.
#[derive(Debug)]
pub struct Ports {
    machine: String,
    /// The addresses by which the host reaches the machine; none where we do not know.
    guest: Vec<IpAddr>,
    /// It has no network of its own.
    on_host: bool,
    /// nftables forwards its ports, and those of ranges that are too long to be held.
    by_rules: bool,
    entries: Vec<Entry>,
    next_group: u32,
    proxies: Proxies,
    /// The machine's network namespace, once it has one.
    namespace: Option<OwnedFd>,
    /// Its root and the first of its IDs, once it runs.
    root: Option<(Root, u32)>,
    warnings: Vec<String>,
}

impl Ports {
    /// Binds all ports of `plan`, of a machine whose IDs begin at `base` if it has some of its own. `by_rules`: nftables forwards
    /// them too.
    ///
    /// # Errors
    /// When one is not to be had, and who has it; when the machine has no network that they could lead to.
    pub fn hold(
        machine: &str,
        plan: &NetworkPlan,
        base: Option<u32>,
        by_rules: bool,
    ) -> Result<Self, PortsError> {
        let main = plan.main().map(|(_, addresses)| addresses);
        let v4 = main.and_then(|addresses| addresses.v4).map(|family| IpAddr::V4(family.address));
        let v6 = main.and_then(|addresses| addresses.v6).map(|family| IpAddr::V6(family.address));
        let mut ports = Self {
            machine: machine.to_owned(),
            guest: v4.into_iter().chain(v6).collect(),
            on_host: plan.namespace == Namespace::Host,
            by_rules,
            entries: Vec::new(),
            next_group: 0,
            proxies: Proxies::new(machine, base.filter(|base| *base != 0).unwrap_or(NOBODY)),
            namespace: None,
            root: None,
            warnings: Vec::new(),
        };
        for mapping in &plan.ports {
            ports.publish(*mapping)?;
        }
        for offer in &plan.offers {
            ports.offer(offer.clone())?;
        }
        Ok(ports)
    }

    /// Ports that lead to the machine.
    pub fn mappings(&self) -> Vec<PortMapping> {
        self.entries.iter().filter_map(|entry| entry.port().copied()).collect()
    }

    /// What is offered in it.
    pub fn offers(&self) -> Vec<Offer> {
        self.entries.iter().filter_map(|entry| entry.offer().cloned()).collect()
    }

    /// PIDs of the proxies that run.
    pub fn proxies(&self) -> Vec<i32> {
        self.proxies.pids()
    }

    /// Has a port of the host lead to the machine.
    ///
    /// # Errors
    /// As [`Ports::hold`].
    pub fn publish(&mut self, mapping: PortMapping) -> Result<(), PortsError> {
        self.check(&mapping)?;
        let held: usize =
            self.entries.iter().filter_map(|entry| Some(usize::from(entry.port()?.count))).sum();
        let sockets = if held + usize::from(mapping.count) <= MOST_HELD {
            bind_host(&self.machine, &mapping)?
        } else if !self.rules_take(&mapping) {
            return Err(PortsError::TooMany { mapping, most: MOST_HELD });
        } else if let Some((number, holder)) = holder::find(mapping.protocol, mapping.host, mapping.count) {
            let guest = mapping.guest.saturating_add(number.saturating_sub(mapping.host));
            return Err(PortsError::InUse { protocol: mapping.protocol, number, guest, holder });
        } else {
            Vec::new()
        };
        self.add(What::Port(mapping), sockets, None);
        Ok(())
    }

    /// Whether rules forward `mapping`: they are of two families, and lead nothing from `::1`.
    fn rules_take(&self, mapping: &PortMapping) -> bool {
        let of_family = |address: IpAddr| self.guest.iter().any(|guest| guest.is_ipv4() == address.is_ipv4());
        let reachable = mapping
            .address
            .is_none_or(|address| of_family(address) && address != IpAddr::V6(Ipv6Addr::LOCALHOST));
        self.by_rules && reachable
    }

    /// Says why `mapping` cannot be one of this machine's, whoever has the port.
    fn check(&self, mapping: &PortMapping) -> Result<(), PortsError> {
        if self.on_host {
            return Err(PortsError::HostNetwork);
        }
        let last = |first: u16| (u32::from(first) + u32::from(mapping.count)).saturating_sub(1);
        if mapping.count == 0 || last(mapping.host) > u16::MAX.into() || last(mapping.guest) > u16::MAX.into()
        {
            return Err(PortsError::BeyondLast { mapping: *mapping });
        }
        let mut others = self.entries.iter().filter_map(Entry::port);
        match others.find(|other| other.overlaps(mapping)) {
            Some(other) => Err(PortsError::Twice { mapping: *mapping, other: *other }),
            None => Ok(()),
        }
    }

    /// Has a port lead nowhere again: whoever is connected by way of our proxy is not any more.
    ///
    /// # Errors
    /// When it does not lead to the machine.
    pub fn unpublish(&mut self, mapping: &PortMapping) -> Result<(), PortsError> {
        let which = |entry: &Entry| entry.port() == Some(mapping);
        self.remove(which).ok_or(PortsError::NotPublished(*mapping))
    }

    /// Offers something in the machine.
    ///
    /// # Errors
    /// When it is taken there, or cannot be offered so.
    pub fn offer(&mut self, offer: Offer) -> Result<(), PortsError> {
        if self.on_host {
            return Err(PortsError::HostNetwork);
        }
        let is_udp = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Udp(..));
        if is_udp(&offer.inside) != is_udp(&offer.outside) {
            return Err(PortsError::Mixed { inside: offer.inside, outside: offer.outside });
        }
        if let Endpoint::Unix(path) = &offer.inside
            && !may_be_at(path)
        {
            return Err(PortsError::Elsewhere(path.clone()));
        }
        let mut others = self.entries.iter().filter_map(Entry::offer);
        if others.any(|other| other.inside == offer.inside) {
            return Err(PortsError::OfferedTwice(offer.inside));
        }
        if self.entries.iter().filter_map(Entry::offer).count() >= MOST_OFFERS {
            return Err(PortsError::TooManyOffers { most: MOST_OFFERS });
        }
        let (sockets, file) = self.sockets_of(&offer)?;
        self.add(What::Offer(offer), sockets, file);
        Ok(())
    }

    /// Takes back what was offered at `inside`.
    ///
    /// # Errors
    /// When nothing is.
    pub fn take_back(&mut self, inside: &Endpoint) -> Result<(), PortsError> {
        let which = |entry: &Entry| entry.offer().is_some_and(|offer| offer.inside == *inside);
        self.remove(which).ok_or_else(|| PortsError::NotOffered(inside.clone()))
    }

    /// The port that a user means by `wanted`: its host's side counts, and that alone where no other address has it.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, wanted: &PortMapping) -> Result<PortMapping, PortsError> {
        let same = |one: &PortMapping| {
            (one.protocol, one.host, one.count) == (wanted.protocol, wanted.host, wanted.count)
        };
        let mut all: Vec<PortMapping> = self.mappings().into_iter().filter(same).collect();
        if let Some(one) = all.iter().find(|one| one.address == wanted.address) {
            return Ok(*one);
        }
        match (wanted.address, all.len(), all.pop()) {
            (None, 1, Some(one)) => Ok(one),
            _ => Err(PortsError::NotPublished(*wanted)),
        }
    }

    /// The offer that a user means by `wanted`: where it is in the machine counts, or all of the host's side.
    ///
    /// # Errors
    /// When there is none.
    pub fn find_offer(&self, wanted: &Offer) -> Result<Offer, PortsError> {
        let all = self.offers();
        let inside = all.iter().find(|one| one.inside == wanted.inside);
        let found = inside.or_else(|| all.iter().find(|one| one.outside == wanted.outside));
        found.cloned().ok_or_else(|| PortsError::NotOffered(wanted.inside.clone()))
    }

    /// The machine has a network namespace now, or a new one after a reboot: what was connected to the last one ends, what is
    /// offered is made in the new one, and all is served.
    pub fn entered(&mut self, namespace: BorrowedFd<'_>) {
        match namespace.try_clone_to_owned() {
            Ok(namespace) => self.namespace = Some(namespace),
            Err(error) => return self.warn(&format!("ports and offers are not served: {error}")),
        }
        self.root = None;
        self.proxies.reset();
        self.renew_offers(|_| true);
        self.settle();
    }

    /// The machine runs, with this root; its IDs begin at `base`. Sockets of its file system are made.
    pub fn rooted(&mut self, root: Root, base: u32) {
        self.root = Some((root, base));
        self.renew_offers(|offer| matches!(offer.inside, Endpoint::Unix(_)));
        self.settle();
    }

    /// What the user should know, since the last call; each a line that may be printed.
    pub fn warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.append(&mut self.proxies.warnings());
        warnings
    }

    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    fn add(&mut self, what: What, sockets: Vec<OwnedFd>, file: Option<Inside>) {
        self.next_group += 1;
        self.entries.push(Entry { what, group: self.next_group, sockets, file, served: false });
        self.settle();
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) -> Option<()> {
        let entry = self.entries.remove(self.entries.iter().position(which)?);
        if entry.served {
            self.proxies.stop(entry.server(&self.guest), &entry);
        }
        drop(entry);
        self.settle();
        Some(())
    }

    /// Makes the sockets of some offers anew.
    fn renew_offers(&mut self, which: impl Fn(&Offer) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            let Some(offer) = entry.offer().filter(|offer| which(offer)).cloned() else { continue };
            if entry.served {
                self.proxies.stop(entry.server(&self.guest), entry);
            }
            (entry.sockets, entry.file, entry.served) = (Vec::new(), None, false);
            match self.sockets_of(&offer) {
                Ok((sockets, file)) => (entry.sockets, entry.file) = (sockets, file),
                Err(error) => self.warn(&in_words(&error)),
            }
        }
        self.entries = entries;
    }

    /// The sockets of an offer, as far as the machine is there.
    fn sockets_of(&self, offer: &Offer) -> Result<(Vec<OwnedFd>, Option<Inside>), PortsError> {
        match (&offer.inside, &self.namespace, &self.root) {
            (Endpoint::Unix(path), _, Some((root, base))) => {
                let (socket, file) = bind_path(root, *base, path)?;
                Ok((vec![socket], Some(file)))
            }
            (Endpoint::Tcp(..) | Endpoint::Udp(..), Some(namespace), _) => {
                Ok((bind_inside(namespace.as_fd(), &offer.inside)?, None))
            }
            _ => Ok((Vec::new(), None)),
        }
    }

    /// Makes it so that each proxy runs that there is something for, no other, and that each serves what it should. Before the
    /// machine is there, connections wait.
    fn settle(&mut self) {
        if self.namespace.is_none() {
            return;
        }
        for which in Which::ALL {
            let mine = |entry: &&mut Entry| entry.server(&self.guest) == which && !entry.sockets.is_empty();
            let mut mine: Vec<&mut Entry> = self.entries.iter_mut().filter(mine).collect();
            if mine.is_empty() {
                self.proxies.dismiss(which);
                continue;
            }
            if self.proxies.is_due(which) {
                self.proxies.start(which, self.namespace.as_ref().map(AsFd::as_fd));
                mine.iter_mut().for_each(|entry| entry.served = false);
            }
            for entry in mine.into_iter().filter(|entry| !entry.served) {
                entry.served = self.proxies.serve(which, entry, &self.guest);
            }
        }
    }
}

impl Service for Ports {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.proxies.interest()
    }

    fn on_ready(&mut self, now: Instant) {
        self.proxies.turn(now);
        self.settle();
    }

    fn deadline(&self) -> Option<Instant> {
        self.proxies.deadline()
    }

    fn warnings(&mut self) -> Vec<String> {
        Self::warnings(self)
    }
}

#[cfg(test)]
mod tests;
