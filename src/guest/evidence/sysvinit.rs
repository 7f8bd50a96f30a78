//! sysvinit and busybox init: both walk an inittab, wait for their boot scripts, then start the terminals.

use super::super::processes::{Process, Processes};
use super::inittab::{Action, Inittab};
use super::utmp::last_runlevel;
use super::{Verdict, read_text};
use crate::sys::in_root::Root;

/// What a child of such an init is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    /// A boot script that the init waits for.
    BootWork,
    /// A copy of the init itself: about to execute an entry, or (sysvinit) holding the console for one, or (busybox) waiting
    /// for a key.
    Init,
    /// A terminal or service that is started when the boot scripts have ended.
    Respawned,
    /// Anything else, such as a daemon.
    Other,
}

fn classify(inittab: &Inittab, leader: &Process, child: &Process) -> Child {
    let is = |actions: &[Action]| {
        inittab.entries.iter().any(|entry| actions.contains(&entry.action) && child.is_named(entry.program()))
    };
    // A terminal may be the same program as a boot script, /bin/sh: then it is taken for boot work, the safe side.
    if is(&[Action::Awaited]) {
        Child::BootWork
    } else if is(&[Action::Respawn, Action::AskFirst]) {
        Child::Respawned
    } else if child.name == leader.name {
        Child::Init
    } else {
        Child::Other
    }
}

fn children(inittab: &Inittab, processes: &Processes) -> Vec<(Child, char)> {
    let classify = |child| classify(inittab, &processes.leader, child);
    processes.children.iter().map(|child| (classify(child), child.state)).collect()
}

pub(super) fn check_sysvinit(guest: &Root, processes: &Processes) -> Verdict {
    let inittab = Inittab::parse(&read_text(guest, "/etc/inittab").unwrap_or_default());
    let children = children(&inittab, processes);
    let any = |wanted: Child| children.iter().any(|(child, _)| *child == wanted);
    if any(Child::BootWork) || any(Child::Init) {
        return Verdict::NotYet("init waits for its boot scripts");
    }
    if any(Child::Respawned) {
        return Verdict::Ready;
    }
    // No terminal: there may be none in the inittab, or they fail at once and init has disabled them. Init records the
    // runlevel just before it starts that runlevel's scripts, without sleeping in between.
    match runlevel(guest) {
        Some('1'..='9') if processes.leader.state == 'S' => Verdict::Ready,
        Some('1'..='9') => Verdict::NotYet("init is changing the runlevel"),
        _ => Verdict::NotYet("init has not entered its runlevel"),
    }
}

/// From utmp, which not every tree has, or the file that sysvinit 3 writes.
fn runlevel(guest: &Root) -> Option<char> {
    last_runlevel(guest).or_else(|| read_text(guest, "/run/runlevel")?.chars().next())
}

pub(super) fn check_busybox(guest: &Root, processes: &Processes) -> Verdict {
    let text = read_text(guest, "/etc/inittab");
    let inittab = text.map_or_else(Inittab::of_busybox, |text| Inittab::parse(&text));
    let children = children(&inittab, processes);
    let any = |wanted: Child| children.iter().any(|(child, _)| *child == wanted);
    if any(Child::BootWork) {
        return Verdict::NotYet("init waits for its boot scripts");
    }
    if any(Child::Respawned) {
        return Verdict::Ready;
    }
    let asks = inittab.entries.iter().any(|entry| entry.action == Action::AskFirst);
    let respawns = inittab.entries.iter().any(|entry| entry.action == Action::Respawn);
    // A copy of init that sleeps waits for a key; one that runs may become a boot script.
    if asks && children.contains(&(Child::Init, 'S')) {
        return Verdict::Ready;
    }
    match (any(Child::Init), asks || respawns) {
        (true, _) => Verdict::NotYet("init is starting something"),
        (false, true) => Verdict::NotYet("init has not started a terminal"),
        // Nothing to start: between two boot scripts init does not sleep.
        (false, false) if processes.leader.state == 'S' => Verdict::Ready,
        (false, false) => Verdict::NotYet("init is busy"),
    }
}
