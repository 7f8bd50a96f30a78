//! systemd and systemd-machined, where they run, know our machines: by a scope, where the machine is in no unit yet, and by
//! machined's register, so that `machinectl`, `systemctl -M`, `journalctl -M`, `busctl -M` and `loginctl` find them.
//!
//! | file | what it owns |
//! |---|---|
//! | [`errand`] | a child that asks something of them, while the supervisor goes on |
//! | [`bus`] | what is asked, over the system bus |
//! | [`scope`] | the scope that a machine gets before it has cgroups |
//!
//! Neither is needed: a machine whose scope or registration fails runs all the same, and its user is told once.

mod bus;
mod errand;
pub(super) mod scope;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::process::Pid;

use super::machined_file::are_machineds;
use super::{KeepUnit, Register, Request};
use crate::runtime::plan::MachinePlan;
use crate::sys::inet::interface_index;
use errand::{Answer, Errand};

/// What machined is told of a machine.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    name: String,
    id: [u8; 16],
    /// Its tree; empty where that has no path.
    root: PathBuf,
    /// The host's ends of its links, by name.
    links: Vec<String>,
}

/// The machine in machined's register.
#[derive(Debug)]
pub(super) struct Registration {
    /// `None` where it is not to be registered.
    entry: Option<Entry>,
    /// It was asked for: also that there is no machined is told.
    insists: bool,
    /// Why it cannot be registered though it was asked for, until that is told.
    hindrance: Option<&'static str>,
    errand: Option<Errand>,
    /// Whose entry there may be.
    leader: Option<Pid>,
}

impl Registration {
    /// That of a machine of `plan`: one that boots, and is in a unit, since machined knows machines by theirs.
    pub(super) fn new(request: &Request, plan: &MachinePlan, boots: bool, in_unit: bool) -> Self {
        let insists = request.register == Register::Yes;
        let wanted = match request.register {
            Register::No => false,
            Register::Auto => boots && are_machineds(),
            Register::Yes => true,
        };
        let entry = (wanted && in_unit).then(|| {
            let tree = &request.settings.tree;
            let links =
                plan.network.links.iter().filter_map(|link| Some(link.host.as_ref()?.as_str().to_owned()));
            Entry {
                name: plan.name.to_string(),
                id: plan.uuid.0,
                root: if tree.is_absolute() { tree.clone() } else { PathBuf::new() },
                links: links.collect(),
            }
        });
        // Of a scope that could not be had it is told why.
        let lacks_unit = insists && !in_unit && request.keep_unit != KeepUnit::IfOurs;
        let hindrance = lacks_unit.then_some("it is in no unit of the system's");
        Self { entry, insists, hindrance, errand: None, leader: None }
    }

    /// A leader has begun to run: it is registered while it boots. Gives why not.
    pub(super) fn begin_boot(&mut self, leader: Pid) -> Option<String> {
        if let Some(hindrance) = self.hindrance.take() {
            return Some(told(hindrance));
        }
        let entry = self.entry.clone()?;
        self.leader = Some(leader);
        let interfaces = entry.links.iter().filter_map(|link| interface_index(link).ok()?.try_into().ok());
        let interfaces: Vec<i32> = interfaces.collect();
        match Errand::begin(move || bus::register(&entry, leader, &interfaces)) {
            Ok(errand) => self.errand = Some(errand),
            Err(error) => return Some(told(&crate::sys::in_words(&error))),
        }
        None
    }

    /// What is waited for.
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.errand.as_ref().map(AsFd::as_fd)
    }

    /// Looks for the answer; gives what the user should know of it.
    pub(super) fn look(&mut self) -> Option<String> {
        let answer = self.errand.as_mut()?.look()?;
        self.errand = None;
        match answer {
            Answer::Done => None,
            Answer::Absent(_) if !self.insists => {
                self.leader = None;
                None
            }
            Answer::Absent(why) | Answer::Failed(why) => {
                self.leader = None;
                Some(told(&why))
            }
        }
    }

    /// Nobody is to be registered any more.
    pub(super) fn stop(&mut self) {
        self.errand = None;
    }

    /// The machine is over: its entry goes, if its unit does not take that along. A child sees to it, for which nobody waits.
    pub(super) fn end(self) {
        if let (Some(entry), Some(leader)) = (self.entry, self.leader) {
            // It goes with the unit at the latest.
            let _ = Errand::leave(move || bus::unregister(&entry.name, leader));
        }
    }
}

fn told(why: &str) -> String {
    format!("machinectl does not know the machine: {why}")
}
