//! Somebody removes /run/spinney while machines run: an administrator who tidies up, a script, a tmpfiles rule. The
//! machine goes on, and its supervisor puts back what was there: directory and lock, journal of resources, state, launch
//! record, control socket, console log, mounts.
//!
//! Mounts too: removing a directory takes away what is mounted on it in other mount namespaces (rmdir(2) since Linux
//! 3.18), and the next boot starts from the root that is mounted there. So a detached clone of each is kept, which is
//! attached again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::runtime::root::{BINDS, ROOT, SEALED};
use crate::sys::SysResult;
use crate::sys::directory_watch::DirectoryWatch;
use crate::sys::mount::{attach_mount, clone_mount};

use super::boot::Boot;
use super::claimed::Claimed;
use super::error::Error;
use super::in_force::InForce;
use super::launch_record::LaunchRecord;
use super::machine::Machine;
use super::{Event, Report};

/// Where something goes, more goes: rm(1) is given this time. Short, since the name is free meanwhile.
const SETTLE: Duration = Duration::from_millis(20);

/// How soon it is tried again where it cannot be put back, say since /run is full or another machine took the name; each
/// time twice as late, up to the longest.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The mounts that a boot starts from.
const MOUNTS: [&str; 4] = ["lower", ROOT, SEALED, BINDS];

/// What is kept against the day, and when to look.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    watch: Option<DirectoryWatch>,
    spares: Vec<(&'static str, OwnedFd)>,
    /// When the directory is to be looked at.
    due: Option<Instant>,
    /// For how long nothing has come of it.
    wait: Duration,
}

impl Keeper {
    /// Begins to watch the directory of a machine whose root is mounted. A host on which that does not work goes without:
    /// nothing was promised to who removes directories in use.
    ///
    /// A machine that `boots` may do so again.
    pub(super) fn watch(claimed: &Claimed, boots: bool) -> Self {
        // EINVAL, where the kernel has no such watch.
        let watch = DirectoryWatch::begin(claimed.directory().fd()).ok();
        let spares = if boots { spares(claimed) } else { Vec::new() };
        Self { watch, spares, due: None, wait: Duration::ZERO }
    }

    /// Something went from the directory. Our own replacing of files is told too.
    pub(super) fn noticed(&mut self, now: Instant) {
        self.due.get_or_insert(now + SETTLE);
    }

    /// When [`Boot::keep_directory`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// Detached clones of all that is mounted. One that cannot be made will be missed at a reboot after the worst, and then
/// the error says what it is.
fn spares(claimed: &Claimed) -> Vec<(&'static str, OwnedFd)> {
    let clone = |name| Some((name, clone_mount(claimed.mount_points(), Path::new(name), true).ok()?));
    MOUNTS.into_iter().filter(|name| claimed.is_mounted(name)).filter_map(clone).collect()
}

impl Boot<'_> {
    /// Puts back what was removed from the machine's directory, if it is time to look.
    pub(super) fn keep_directory(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let now = Instant::now();
        if machine.keeper.due.is_none_or(|due| now < due) {
            return;
        }
        machine.keeper.due = None;
        if machine.claimed.is_whole(is_logged(machine)) {
            machine.keeper.wait = Duration::ZERO;
            return;
        }
        match self.restore(machine) {
            Ok(()) => {
                machine.keeper.wait = Duration::ZERO;
                let path = machine.claimed.directory().path().display();
                report(&Event::Warning(&format!(
                    "{path} was removed while the machine runs; it is restored"
                )));
            }
            Err(error) => {
                let wait = machine.keeper.wait;
                if wait.is_zero() {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    report(&Event::Warning(&format!("{error}{}", cause.unwrap_or_default())));
                }
                machine.keeper.wait = (wait * 2).clamp(AGAIN, LONGEST);
                machine.keeper.due = Some(now + machine.keeper.wait);
            }
        }
    }

    fn restore(&self, machine: &mut Machine) -> Result<(), Error> {
        let failed = || Error::system("restore the machine's directory, which was removed");
        let logged = is_logged(machine);
        let missing = machine.claimed.reclaim(logged)?;
        let directory = machine.claimed.directory();
        // First: what goes while we are at it is to be told too.
        machine.keeper.watch = DirectoryWatch::begin(directory.fd()).ok();
        // As at a start: the socket before the state, which has clients come.
        if missing.contains(&super::control::SOCKET) {
            machine.control.listen_again(directory.fd()).map_err(failed())?;
        }
        if let Some(console) = &mut machine.parts.console {
            let fd = directory
                .fd()
                .try_clone()
                .map_err(|_| Error::Leader { text: "too many open files".into() })?;
            console.restore_log(fd).map_err(failed())?;
        }
        let plan = &machine.parts.plan;
        directory.write_launch(&LaunchRecord::of(plan), &plan.process.seccomp).map_err(failed())?;
        let in_force = InForce::of(&self.request.provenance, plan);
        directory.write_in_force(&in_force).map_err(failed())?;
        machine.parts.network.write(directory)?;
        directory.write_state(&self.state(machine)).map_err(failed())?;
        attach_spares(machine, &missing).map_err(failed())
    }
}

fn is_logged(machine: &Machine) -> bool {
    machine.parts.console.as_ref().is_some_and(|console| console.log().is_some())
}

/// Attaches the clones whose places were removed, and makes new ones.
fn attach_spares(machine: &mut Machine, missing: &[&str]) -> SysResult<()> {
    let claimed = &machine.claimed;
    for (name, spare) in machine.keeper.spares.iter_mut().filter(|(name, _)| missing.contains(name)) {
        attach_mount(&*spare, claimed.mount_point(name)?)?;
        *spare = clone_mount(claimed.mount_points(), Path::new(name), true)?;
    }
    Ok(())
}
