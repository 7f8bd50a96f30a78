//! Starting a leader: who clones whom, in which namespaces and which cgroup.
//!
//! The order is forced by the kernel: only host root may clone into a cgroup of the host's; only a process in the user
//! namespace can make namespaces that belong to it; and a pid namespace begins with a clone. So an intermediate process
//! is cloned into the machine's cgroup, joins the user namespace and clones the leader as its own sibling, a child of
//! the supervisor's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::Pid;

use crate::sys::fork::exit_now;
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, die_with_parent, join_namespaces_of,
    join_user_namespace, pidfd_open, set_dumpable, set_ids, wait_for_end,
};
use crate::sys::{SysError, SysResult};

use super::channel::{Channel, Heard, Listener, Stage, pair};
use super::controllers::Controllers;
use super::leader::{self, LeaderStart};
use super::plan::MachinePlan;
use super::prepare::Prepared;
use super::user_namespace::Made;

/// What a launch needs, besides the plan.
#[derive(Debug)]
pub struct Launch<'a> {
    /// What is to be done.
    pub plan: &'a MachinePlan,
    /// The machine's user namespace, if it has one.
    pub user_namespace: Option<&'a OwnedFd>,
    /// It and others of the machine's, where a process holds them.
    pub made: Option<&'a Made>,
    /// A network namespace of somebody's that the machine joins.
    pub network: Option<&'a OwnedFd>,
    /// The guest's root cgroup.
    pub cgroup: &'a OwnedFd,
    /// Its cgroup in the named v1 hierarchy, if its init knows no v2.
    pub legacy_cgroup: Option<&'a OwnedFd>,
    /// Its cgroups in v1 hierarchies with controllers.
    pub controllers: &'a Controllers,
    /// The machine's directory, where the root and what is [staged](super::staging) are mounted.
    pub machine: &'a Path,
    /// What host root prepared for each mount operation.
    pub prepared: Vec<Prepared>,
}

impl Launch<'_> {
    /// The namespaces that need not be made any more.
    fn made(&self) -> Namespaces {
        self.made.map_or(Namespaces::empty(), |made| made.namespaces)
    }
}

/// A leader that is on its way to exec.
#[derive(Debug)]
pub struct Leader {
    /// Its pid; ours to reap.
    pub pid: Pid,
    /// It.
    pub pidfd: OwnedFd,
    /// What it has to say until it execs.
    pub channel: Listener,
}

/// A launch that failed before there was a leader.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// In the supervisor.
    #[error("cannot start PID 1")]
    Clone(#[source] SysError),
    /// In the intermediate process, which said this.
    #[error("cannot start PID 1: {0}")]
    Intermediate(String),
}

/// Clones the leader.
///
/// # Errors
/// When a namespace or the cgroup cannot be had.
pub fn launch(launch: Launch<'_>) -> Result<Leader, LaunchError> {
    let (listener, channel) = pair().map_err(LaunchError::Clone)?;
    // Its own, since the leader may speak before the intermediate comes to tell of it.
    let (birth, announce) = pair().map_err(LaunchError::Clone)?;
    let cgroup = launch.cgroup.as_fd();
    let options = CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: Some(cgroup) };
    let intermediate = match clone_process(options).map_err(LaunchError::Clone)? {
        Cloned::Parent(pid) => pid,
        Cloned::Child => {
            drop((listener, birth));
            intermediate(launch, channel, announce)
        }
    };
    drop((channel, announce, launch));
    let heard = birth.hear();
    wait_for_end(intermediate).map_err(LaunchError::Clone)?;
    match heard.map_err(LaunchError::Clone)? {
        Heard::Leader(pid) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| LaunchError::Intermediate("no pid".to_owned()))?;
            // It is our child and not reaped: the number is still its own.
            let pidfd = pidfd_open(pid).map_err(LaunchError::Clone)?;
            Ok(Leader { pid, pidfd, channel: listener })
        }
        Heard::Failed(_, text, _) => Err(LaunchError::Intermediate(text)),
        Heard::Message(..) | Heard::End => {
            Err(LaunchError::Intermediate("it ended without a word".to_owned()))
        }
    }
}

fn intermediate(launch: Launch<'_>, channel: Channel, announce: Channel) -> ! {
    match clone_leader(&launch) {
        Ok(Cloned::Parent(pid)) => {
            let told = announce.send_leader(pid.as_raw_nonzero().get());
            exit_now(i32::from(told.is_err()));
        }
        Ok(Cloned::Child) => {
            drop(announce);
            let made = launch.made();
            let Launch { plan, machine, prepared, .. } = launch;
            leader::run(LeaderStart { plan, made, machine, prepared }, channel)
        }
        Err(error) => {
            announce.send_failure(Stage::Namespaces, &error);
            exit_now(1)
        }
    }
}

fn clone_leader(launch: &Launch<'_>) -> SysResult<Cloned> {
    die_with_parent()?;
    if let Some(cgroup) = launch.legacy_cgroup {
        super::legacy_cgroup::enter(cgroup)?;
    }
    launch.controllers.enter()?;
    if let Some(network) = launch.network {
        // It belongs to another user namespace: first, while we have all capabilities there.
        crate::sys::network::join(network)?;
    }
    if let Some(made) = launch.made {
        join_namespaces_of(&made.pidfd, made.namespaces)?;
    } else if let Some(namespace) = launch.user_namespace {
        join_user_namespace(namespace)?;
    }
    if launch.user_namespace.is_some() {
        set_ids(0, 0, &[])?;
    }
    // setresuid(2) made us undumpable, and with that our /proc files root's, which we and the leader must write. Nobody
    // in the guest can look at our memory: until exec the leader is alone there, and the stub sees to itself.
    set_dumpable(true)?;
    if launch.plan.boot_clock {
        super::boot_clock::enter()?;
    }
    let namespaces = launch.plan.namespaces - launch.made();
    clone_process(CloneOptions { namespaces, sibling: true, cgroup: None })
}
