//! The ports and offers of one machine while it runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::network::plan::{Namespace, NetworkPlan};
use crate::network::service::Service;
use crate::settings::network::{Endpoint, Offer, PortMapping, Protocol};
use crate::sys::in_root::Root;
use crate::sys::{SysResult, in_words};

use super::error::PortsError;
use super::holder;
use super::message::{Order, Target};
use super::process::Process;
use super::proxy::NOBODY;
use super::sockets::{Inside, bind_host, bind_inside, bind_path, may_be_at};

/// Ports that a machine holds by sockets: a supervisor may have 1024 fds on most hosts, and wants some for the rest.
pub const MOST_HELD: usize = 512;

/// Offers of a machine: each is two sockets.
const MOST_OFFERS: usize = 64;

/// A proxy that lives this long was not started in vain.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// How often in a row one is started in vain before it is given up, and how long each waits before.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// One that cannot be started at all is tried again for ever, after this many [`PAUSE`]s squared at most: 80 s.
const MOST_PAUSES: u32 = 20;

/// A port of the host, or something of it that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Port(PortMapping),
    Offer(Offer),
}

/// One of them.
#[derive(Debug)]
struct Entry {
    what: What,
    /// What the proxy calls it.
    group: u32,
    /// By which others come: none for a range that is too long to be held, and none where the machine is not there yet.
    sockets: Vec<OwnedFd>,
    /// The file of a socket in the machine.
    file: Option<Inside>,
    /// The proxy has them.
    served: bool,
}

/// Which of a machine's proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Makes its connections on the host.
    Outside,
    /// The same, to sockets of the file system, whoever may connect to them: that one takes a capability.
    Sockets,
    /// Makes them in the machine, of which the host knows no address.
    Inside,
}

impl Which {
    const ALL: [Self; 3] = [Self::Outside, Self::Sockets, Self::Inside];
}

/// A proxy, when there is something for it to do.
#[derive(Debug, Default)]
struct Proxy {
    process: Option<Process>,
    /// Ended soon after their start, in a row.
    in_vain: u32,
    /// It could not be started, in a row.
    failures: u32,
    /// When to start it again.
    again_at: Option<Instant>,
}

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
    /// Who the proxies are to the services that they connect to.
    identity: u32,
    outside: Proxy,
    sockets: Proxy,
    inside: Proxy,
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
            identity: base.filter(|base| *base != 0).unwrap_or(NOBODY),
            outside: Proxy::default(),
            sockets: Proxy::default(),
            inside: Proxy::default(),
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
        self.all().filter_map(|proxy| Some(proxy.process.as_ref()?.pid())).collect()
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
        // That one is in the namespace that was.
        self.inside.process = None;
        for which in [Which::Outside, Which::Sockets] {
            self.tell(which, |process| process.tell(&Order::Reset, &[]));
        }
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
        std::mem::take(&mut self.warnings)
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
            self.tell(self.server_of(&entry), |process| process.stop(entry.group));
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
                self.tell(self.server_of(entry), |process| process.stop(entry.group));
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

    /// Who serves an entry.
    fn server_of(&self, entry: &Entry) -> Which {
        match &entry.what {
            What::Port(_) if self.guest.is_empty() => Which::Inside,
            What::Offer(Offer { outside: Endpoint::Unix(_), .. }) => Which::Sockets,
            What::Port(_) | What::Offer(_) => Which::Outside,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Proxy> {
        [&self.outside, &self.sockets, &self.inside].into_iter()
    }

    fn proxy(&mut self, which: Which) -> &mut Proxy {
        match which {
            Which::Outside => &mut self.outside,
            Which::Sockets => &mut self.sockets,
            Which::Inside => &mut self.inside,
        }
    }

    /// Where an entry leads to, and of which protocol it is.
    fn target_of(&self, what: &What) -> (Protocol, Target) {
        const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let at = |address: &Option<IpAddr>, port: u16| {
            Target::Inet(address.map_or(LOOPBACK.to_vec(), |address| vec![address]), port)
        };
        match what {
            What::Port(mapping) => {
                let addresses = if self.guest.is_empty() { LOOPBACK.to_vec() } else { self.guest.clone() };
                (mapping.protocol, Target::Inet(addresses, mapping.guest))
            }
            What::Offer(offer) => match &offer.outside {
                Endpoint::Tcp(address, port) => (Protocol::Tcp, at(address, *port)),
                Endpoint::Udp(address, port) => (Protocol::Udp, at(address, *port)),
                Endpoint::Unix(path) => (Protocol::Tcp, Target::Unix(path.clone())),
            },
        }
    }

    /// Tells a proxy, if it runs. One that does not hear us is ended, and another started.
    fn tell(&mut self, which: Which, order: impl FnOnce(&mut Process) -> SysResult<()>) {
        let told = self.proxy(which).process.as_mut().map(order);
        if matches!(told, Some(Err(_))) {
            self.lost(which, Instant::now());
        }
    }

    /// Makes it so that each proxy runs that there is something for, no other, and that each serves what it should. Before the
    /// machine is there, connections wait.
    fn settle(&mut self) {
        if self.namespace.is_none() {
            return;
        }
        for which in Which::ALL {
            let mine: Vec<usize> = (0..)
                .zip(&self.entries)
                .filter(|(_, entry)| self.server_of(entry) == which && !entry.sockets.is_empty())
                .map(|(index, _)| index)
                .collect();
            if mine.is_empty() {
                *self.proxy(which) = Proxy::default();
                continue;
            }
            if self.proxy(which).process.is_none() && self.proxy(which).may_start() {
                self.start(which);
                mine.iter().for_each(|index| self.set_served(*index, false));
            }
            for index in mine {
                self.serve(which, index);
            }
        }
    }

    fn set_served(&mut self, index: usize, served: bool) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.served = served;
        }
    }

    fn start(&mut self, which: Which) {
        let namespace = self.namespace.as_ref().filter(|_| which == Which::Inside).map(AsFd::as_fd);
        match Process::start(&self.machine, namespace, self.identity, which == Which::Sockets) {
            Ok(process) => {
                let proxy = self.proxy(which);
                (proxy.process, proxy.again_at, proxy.failures) = (Some(process), None, 0);
            }
            Err(error) => {
                let proxy = self.proxy(which);
                // It may be for want of memory or of processes: that may end.
                proxy.failures = (proxy.failures + 1).min(MOST_PAUSES);
                proxy.again_at = Some(Instant::now() + PAUSE * proxy.failures * proxy.failures);
                // Once: the others are of the same reason.
                if proxy.failures == 1 {
                    self.warn(&format!("ports and offers are not served for now: {error}"));
                }
            }
        }
    }

    fn serve(&mut self, which: Which, index: usize) {
        let Some(entry) = self.entries.get(index).filter(|entry| !entry.served) else { return };
        let (protocol, to) = self.target_of(&entry.what);
        let proxy = match which {
            Which::Outside => &mut self.outside,
            Which::Sockets => &mut self.sockets,
            Which::Inside => &mut self.inside,
        };
        let Some(process) = &mut proxy.process else { return };
        let told = match &entry.what {
            What::Port(_) => process.serve(entry.group, protocol, &to, &entry.sockets),
            // Its sockets are one port's at two addresses, and not ports in a row.
            What::Offer(_) => entry.sockets.iter().try_for_each(|socket| {
                process.serve(entry.group, protocol, &to, std::slice::from_ref(socket))
            }),
        };
        match told {
            Ok(()) => self.set_served(index, true),
            Err(_) => self.lost(which, Instant::now()),
        }
    }

    /// A proxy has ended, or hears nothing: another one is started, at once if that is not in vain.
    fn lost(&mut self, which: Which, now: Instant) {
        let Some(process) = self.proxy(which).process.take() else { return };
        let lived = now.saturating_duration_since(process.started);
        drop(process);
        let proxy = self.proxy(which);
        proxy.in_vain = if lived < LONG_ENOUGH { proxy.in_vain + 1 } else { 0 };
        let given_up = proxy.in_vain >= TRIES;
        proxy.again_at = match proxy.in_vain {
            0 | 1 => Some(now),
            times if times < TRIES => Some(now + PAUSE * times),
            _ => None,
        };
        self.warn(match given_up {
            false => "the proxy of the machine's ports has ended; who was connected by it is not any more",
            true => "the proxy of the machine's ports ends again and again: it is not started any more",
        });
    }
}

impl Entry {
    fn port(&self) -> Option<&PortMapping> {
        match &self.what {
            What::Port(mapping) => Some(mapping),
            What::Offer(_) => None,
        }
    }

    fn offer(&self) -> Option<&Offer> {
        match &self.what {
            What::Port(_) => None,
            What::Offer(offer) => Some(offer),
        }
    }
}

impl Proxy {
    /// Whether it is time to start it.
    fn may_start(&self) -> bool {
        match self.again_at {
            Some(at) => at <= Instant::now(),
            None => self.in_vain < TRIES,
        }
    }
}

impl Service for Ports {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.all().filter_map(|proxy| proxy.process.as_ref()).flat_map(Process::interest).collect()
    }

    fn on_ready(&mut self, now: Instant) {
        for which in Which::ALL {
            if self.proxy(which).process.as_ref().is_some_and(Process::has_ended) {
                self.lost(which, now);
            }
            self.tell(which, Process::go_on);
        }
        self.settle();
    }

    fn deadline(&self) -> Option<Instant> {
        self.all().filter(|proxy| proxy.process.is_none()).filter_map(|proxy| proxy.again_at).min()
    }

    fn warnings(&mut self) -> Vec<String> {
        Self::warnings(self)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::sys::fork::fork_from_test;
    use crate::sys::process::set_resource_limit;

    #[test]
    fn long_ranges_are_for_rules_that_take_them() {
        let range = |address: Option<&str>| PortMapping {
            protocol: Protocol::Tcp,
            address: address.map(|address| address.parse().unwrap()),
            host: 40_000,
            guest: 40_000,
            count: 600,
        };
        let rows = [
            (None, true, true),
            (None, false, false),
            (Some("192.0.2.1"), true, true),
            (Some("127.0.0.1"), true, true),
            (Some("192.0.2.1"), false, false),
            (Some("2001:db8::1"), true, false),
            (Some("::1"), true, false),
        ];
        for (address, by_rules, expected) in rows {
            let mut ports = Ports::hold("x", &NetworkPlan::default(), None, by_rules).unwrap();
            ports.guest = vec!["10.213.0.2".parse().unwrap()];
            assert_eq!(ports.rules_take(&range(address)), expected, "{address:?} {by_rules}");
            if !expected {
                let refused = ports.publish(range(address));
                assert!(matches!(refused, Err(PortsError::TooMany { .. })), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_started_is_waited_with() {
        let child = || {
            let file = || std::fs::File::open("/proc/self/ns/net");
            let (Ok(namespace), Ok(mut ports)) =
                (file(), Ports::hold("x", &NetworkPlan::default(), None, false))
            else {
                return 2;
            };
            let mapping = PortMapping { protocol: Protocol::Tcp, address: None, host: 0, guest: 1, count: 1 };
            let Ok(next) = file() else { return 3 };
            let number = u64::from(std::os::fd::AsRawFd::as_raw_fd(&next).unsigned_abs());
            drop(next);
            // One for the port, one for the namespace, none for a channel.
            if ports.publish(mapping).is_err()
                || set_resource_limit(libc::RLIMIT_NOFILE, number + 2, 4096).is_err()
            {
                return 4;
            }
            let before = Instant::now();
            ports.entered(namespace.as_fd());
            for _ in 0..1000 {
                ports.on_ready(Instant::now());
            }
            let waits = ports.deadline().is_some_and(|at| at >= before + PAUSE);
            let told = Service::warnings(&mut ports).len();
            i32::from(!(waits && told == 1 && ports.proxies().is_empty()))
        };
        let pid = fork_from_test(child).expect("fork");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
        assert_eq!(status.exit_status(), Some(0));
    }
}
