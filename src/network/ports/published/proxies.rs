//! The proxies of one machine: each runs while there is something for it to do, and is started again when it ends.
//!
//! One that ends again and again is given up; one that cannot be started, as for want of memory, is tried for ever.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::entry::{Entry, What};
use crate::network::ports::message::Order;
use crate::network::ports::process::Process;
use crate::sys::SysResult;

/// A proxy that lives this long was not started in vain.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// How often in a row one is started in vain before it is given up, and how long each waits before.
const TRIES: u32 = 5;
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// One that cannot be started at all is tried again for ever, after this many [`PAUSE`]s squared at most: 80 s.
const MOST_PAUSES: u32 = 20;

/// Which of a machine's proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Makes its connections on the host.
    Outside,
    /// The same, to sockets of the file system, whoever may connect to them: that one takes a capability.
    Sockets,
    /// Makes them in the machine, of which the host knows no address.
    Inside,
}

impl Which {
    pub(super) const ALL: [Self; 3] = [Self::Outside, Self::Sockets, Self::Inside];
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

impl Proxy {
    /// Whether it is time to start it.
    fn may_start(&self) -> bool {
        match self.again_at {
            Some(at) => at <= Instant::now(),
            None => self.in_vain < TRIES,
        }
    }
}

/// All of a machine's. Dropped, none runs.
#[derive(Debug)]
pub(super) struct Proxies {
    machine: String,
    /// Who they are to the services that they connect to.
    identity: u32,
    outside: Proxy,
    sockets: Proxy,
    inside: Proxy,
    warnings: Vec<String>,
}

impl Proxies {
    /// None of them runs yet.
    pub(super) fn new(machine: &str, identity: u32) -> Self {
        Self {
            machine: machine.to_owned(),
            identity,
            outside: Proxy::default(),
            sockets: Proxy::default(),
            inside: Proxy::default(),
            warnings: Vec::new(),
        }
    }

    /// PIDs of those that run.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.all().filter_map(|proxy| Some(proxy.process.as_ref()?.pid())).collect()
    }

    /// What the user should know, since the last call.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
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

    /// The machine has another network namespace: what was connected to the last one ends.
    pub(super) fn reset(&mut self) {
        // That one is in the namespace that was.
        self.inside.process = None;
        for which in [Which::Outside, Which::Sockets] {
            self.tell(which, |process| process.tell(&Order::Reset, &[]));
        }
    }

    /// There is nothing for it to do.
    pub(super) fn dismiss(&mut self, which: Which) {
        *self.proxy(which) = Proxy::default();
    }

    /// Whether it is to be started now.
    pub(super) fn is_due(&self, which: Which) -> bool {
        let proxy = match which {
            Which::Outside => &self.outside,
            Which::Sockets => &self.sockets,
            Which::Inside => &self.inside,
        };
        proxy.process.is_none() && proxy.may_start()
    }

    /// Starts one, of a machine with this network namespace.
    pub(super) fn start(&mut self, which: Which, namespace: Option<BorrowedFd<'_>>) {
        let namespace = namespace.filter(|_| which == Which::Inside);
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
                    self.warnings.push(format!("ports and offers are not served for now: {error}"));
                }
            }
        }
    }

    /// Has one serve `entry`, of a machine with these addresses. Says whether it does.
    pub(super) fn serve(&mut self, which: Which, entry: &Entry, guest: &[IpAddr]) -> bool {
        let (protocol, to) = entry.target(guest);
        let Some(process) = &mut self.proxy(which).process else { return false };
        let told = match &entry.what {
            What::Port(_) => process.serve(entry.group, protocol, &to, &entry.sockets),
            // Its sockets are one port's at two addresses, and not ports in a row.
            What::Offer(_) => entry.sockets.iter().try_for_each(|socket| {
                process.serve(entry.group, protocol, &to, std::slice::from_ref(socket))
            }),
        };
        if told.is_err() {
            self.lost(which, Instant::now());
        }
        told.is_ok()
    }

    /// Has one let go of `entry`, and of who is connected by it.
    pub(super) fn stop(&mut self, which: Which, entry: &Entry) {
        self.tell(which, |process| process.stop(entry.group));
    }

    /// Tells a proxy, if it runs. One that does not hear us is ended, and another started.
    fn tell(&mut self, which: Which, order: impl FnOnce(&mut Process) -> SysResult<()>) {
        let told = self.proxy(which).process.as_mut().map(order);
        if matches!(told, Some(Err(_))) {
            self.lost(which, Instant::now());
        }
    }

    /// A proxy has ended, or hears nothing: another one is started, at once if that is not in vain.
    fn lost(&mut self, which: Which, now: Instant) {
        let proxy = self.proxy(which);
        let Some(process) = proxy.process.take() else { return };
        let lived = now.saturating_duration_since(process.started);
        drop(process);
        proxy.in_vain = if lived < LONG_ENOUGH { proxy.in_vain + 1 } else { 0 };
        let given_up = proxy.in_vain >= TRIES;
        proxy.again_at = match proxy.in_vain {
            0 | 1 => Some(now),
            times if times < TRIES => Some(now + PAUSE * times),
            _ => None,
        };
        let text = match given_up {
            false => "the proxy of the machine's ports has ended; who was connected by it is not any more",
            true => "the proxy of the machine's ports ends again and again: it is not started any more",
        };
        self.warnings.push(text.to_owned());
    }

    /// Sees which have ended, and goes on telling the others what they could not hear yet.
    pub(super) fn turn(&mut self, now: Instant) {
        for which in Which::ALL {
            if self.proxy(which).process.as_ref().is_some_and(Process::has_ended) {
                self.lost(which, now);
            }
            self.tell(which, Process::go_on);
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.all().filter_map(|proxy| proxy.process.as_ref()).flat_map(Process::interest).collect()
    }

    /// When one is to be started again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.all().filter(|proxy| proxy.process.is_none()).filter_map(|proxy| proxy.again_at).min()
    }
}
