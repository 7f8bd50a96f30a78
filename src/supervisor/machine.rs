//! A machine that is made: what it consists of, and the launch of its leader, now and after each reboot.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::guest::Contract;
use crate::network::link::open_namespace;
use crate::network::plan::Namespace;
use crate::runtime::cgroup::MachineCgroup;
use crate::runtime::controllers::Controllers;
use crate::runtime::launch::{Launch, launch};
use crate::runtime::plan::MachinePlan;
use crate::runtime::prepare::{PrepareContext, prepare};
use crate::runtime::staging;
use crate::runtime::user_namespace::{Holder, hold};
use crate::settings::Limits;
use crate::sys::in_root::Root;
use crate::sys::process::Namespaces;

use super::claimed::Claimed;
use super::console::Console;
use super::control::Control;
use super::error::Error;
use super::fault;
use super::host_resolv_conf::HostResolvConf;
use super::keeper::Keeper;
use super::machine_event::MachineEvent;
use super::manager_notifier::ManagerNotifier;
use super::network::Network;
use super::out_of_memory::{OomEvidence, OutOfMemory};
use super::registration::Registration;
use super::running::Running;
use super::unit::Watchdog;
use super::{Event, Report};

/// A machine whose leader can be launched, now and after each reboot.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) claimed: Claimed,
    pub(super) parts: Parts,
    pub(super) control: Control,
    pub(super) keeper: Keeper,
}

/// What the machine is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) plan: MachinePlan,
    pub(super) contract: Contract,
    pub(super) os: String,
    pub(super) init: Option<String>,
    /// The tree or image as it was, with the ids that it has on disk.
    pub(super) tree: Root,
    pub(super) user_namespace: Option<OwnedFd>,
    /// Who has namespaces ready for the first boot.
    pub(super) holder: Option<Holder>,
    pub(super) network: Network,
    pub(super) cgroup: MachineCgroup,
    pub(super) legacy_cgroup: Option<OwnedFd>,
    pub(super) controllers: Controllers,
    pub(super) out_of_memory: OutOfMemory,
    /// Those in force now.
    pub(super) limits: Limits,
    pub(super) scratch: Option<OwnedFd>,
    pub(super) console: Option<Console>,
    pub(super) manager: ManagerNotifier,
    pub(super) registration: Registration,
    pub(super) watchdog: Option<Watchdog>,
    /// The host's resolv.conf, where the machine has that.
    pub(super) resolv_conf: Option<HostResolvConf>,
    /// When we were started, in clock ticks since the host's boot.
    pub(super) supervisor_started: u64,
}

/// Namespaces that are made while the supervisor mounts the root: a network namespace takes the kernel longer than all the
/// rest. The others belong to the leader's cgroup, to its mounts or to its own clone.
pub(super) const MADE_AHEAD: Namespaces =
    Namespaces::NEWNET.union(Namespaces::NEWIPC).union(Namespaces::NEWUTS);

pub(super) const MAKE_NAMESPACES: &str = "make the machine's namespaces";

impl Machine {
    /// Looks for new kills for want of memory. `last` is at the machine's end.
    pub(super) fn new_kills(&mut self, last: bool) -> Option<OomEvidence> {
        let watch = &mut self.parts.out_of_memory;
        // A cgroup that somebody has removed under us: nothing is counted any more.
        let news = watch.look(Instant::now(), last).unwrap_or(false);
        watch.evidence().filter(|_| news)
    }

    /// Tells of kills.
    pub(super) fn tell_of_kills(&mut self, evidence: &OomEvidence, report: &mut Report<'_>) {
        let name = self.parts.plan.name.as_str();
        let (what, hint) = (evidence.to_string(), evidence.hint_while_running(name));
        report(&Event::OutOfMemory { name, what: &what, hint: &hint });
        self.control.publish(MachineEvent::OutOfMemory { killed: evidence.killed });
    }

    /// `error`, with what the kernel killed of the machine before it came to that.
    pub(super) fn for_want_of_memory(&mut self, error: Error) -> Error {
        let watch = &mut self.parts.out_of_memory;
        let _ = watch.look(Instant::now(), true);
        match watch.evidence() {
            Some(evidence) => {
                let name = self.parts.plan.name.to_string();
                Error::OutOfMemory { name, evidence, source: Box::new(error) }
            }
            None => error,
        }
    }

    /// Launches the leader and waits until it has exec'd.
    pub(super) fn launch(&mut self) -> Result<Running, Error> {
        let Parts {
            plan,
            tree,
            user_namespace,
            holder,
            network,
            cgroup,
            legacy_cgroup,
            controllers,
            scratch,
            console,
            ..
        } = &mut self.parts;
        let ahead = plan.namespaces & MADE_AHEAD;
        let mut holder = match holder.take() {
            Some(holder) => holder,
            None => hold(user_namespace.as_ref(), ahead).map_err(Error::system(MAKE_NAMESPACES))?,
        };
        let directory = self.claimed.directory();
        let ids = plan.ids.zip(user_namespace.as_ref());
        let mounts = self.claimed.mount_points();
        let context = PrepareContext { tree, ids, scratch: scratch.as_ref(), mounts };
        let prepared = prepare(&plan.mounts, &context)?;
        // Without a user namespace nothing can be locked against the guest's root, which is the host's.
        let prepared = match plan.ids {
            Some(_) => {
                staging::stage(prepared, directory.path()).map_err(Error::system("mount for the guest"))?
            }
            None => prepared,
        };
        fault::point("prepared");
        let made = holder.made(ahead).map_err(Error::system("open the machine's namespaces"))?;
        if let Some(made) = &made {
            network.begin_boot(&self.claimed, made)?;
        }
        let joined = match &plan.network.namespace {
            Namespace::Path(path) => Some(open_namespace(path)?),
            Namespace::Host | Namespace::Private => None,
        };
        if let Some(namespace) = &joined {
            network.serve_ports(namespace.as_fd());
            network.write(directory)?;
        }
        let leader = launch(Launch {
            plan,
            user_namespace: user_namespace.as_ref(),
            made: made.as_ref(),
            network: joined.as_ref(),
            cgroup: cgroup.payload(),
            legacy_cgroup: legacy_cgroup.as_ref(),
            controllers,
            machine: directory.path(),
            prepared,
        })?;
        fault::point("cloned");
        // It is reaped when the leader has exec'd, and is gone by then.
        holder.release();
        let running = Running::hear(leader, plan, console.as_mut())?;
        fault::point("executed");
        Ok(running)
    }
}
