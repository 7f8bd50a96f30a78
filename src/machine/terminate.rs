//! Ending a machine at once, whatever state its guest and its supervisor are in.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use serde_json::json;

use super::registry_watch::RegistryWatch;
use super::{Control, Error, MachineHandle};
use crate::host::Host;
use crate::settings::MachineName;
use crate::supervisor::gc;
use crate::supervisor::registry::{Claim, MachineDirectory, is_bare, is_held};
use crate::sys::SysError;
use crate::sys::pipe::wait_for_any;
use crate::sys::process::{self, pidfd_send_signal};

/// How long a machine may take from its name to its leader, on a host that is busy with a hundred others.
const START: Duration = Duration::from_secs(30);

/// How long one that is waited for is not looked at: the kernel, which lets go of the lock of one that was killed, changes no file.
const LOOK: Duration = Duration::from_millis(50);

/// How long a supervisor may take from making its directory to locking it: less than a millisecond, where it need not wait for a processor.
const BARE: Duration = Duration::from_millis(100);

/// How long a supervisor may take to answer before it is taken to hang.
const ANSWER: Duration = Duration::from_secs(1);

/// How long one that answered may take to clean up, on a host that is busy with a hundred others.
const CLEANUP: Duration = Duration::from_secs(30);

/// How long one that hangs may take to notice that its leader is dead.
const NOTICE: Duration = Duration::from_millis(500);

/// How long the kernel may take to end what was killed.
const KERNEL: Duration = Duration::from_secs(10);

/// How it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminated {
    /// By its supervisor.
    Orderly,
    /// Its supervisor did not answer: both were killed, and what they left was removed.
    WithSupervisor,
}

/// Finds the machine `name` to end it. One that is starting has nothing yet that it could be ended by: it is waited for, as whoever
/// was told that it cannot be ended, or is not there, would have it run from then on.
///
/// # Errors
/// As [`MachineHandle::find`].
pub fn find(name: &MachineName) -> Result<MachineHandle, Error> {
    let begun = Instant::now();
    match MachineHandle::find(name) {
        found if is_to_come(&found, name, begun) => {}
        found => return found,
    }
    let deadline = begun + START;
    let watch = RegistryWatch::new()?;
    loop {
        // Watched before it is looked at.
        watch.follow(|other| other != name)?;
        let found = MachineHandle::find(name);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !is_to_come(&found, name, begun) {
            return found;
        }
        wait_for_any([(watch.as_fd(), PollFlags::IN)], Some(left.min(LOOK)))
            .map_err(Error::system("wait for the machine's start"))?;
    }
}

/// Whether somebody is at `name`, looked for since `begun`, who may have it run in a moment: also who still clears what an earlier machine
/// has left, its state too.
fn is_to_come(found: &Result<MachineHandle, Error>, name: &MachineName, begun: Instant) -> bool {
    match found {
        Err(Error::Starting { .. }) => true,
        Err(Error::NotRunning { .. }) => is_held(name) || is_bare(name) && begun.elapsed() < BARE,
        _ => false,
    }
}

/// Ends `machine` and waits until it is gone.
///
/// # Errors
/// [`Error::PermissionDenied`] for who may not; or when it cannot be cleaned up after.
pub fn terminate(machine: &MachineHandle) -> Result<Terminated, Error> {
    let supervisor = machine.supervisor()?;
    let asked = Control::connect_within(machine, ANSWER)
        .and_then(|mut control| control.call("io.systemd.MachineInstance.Terminate", json!({})));
    match asked {
        Err(error @ Error::PermissionDenied { .. }) => return Err(error),
        Err(Error::NotRunning { .. }) => return Ok(Terminated::Orderly),
        // It ended while it was asked.
        Ok(_) | Err(Error::Gone { .. }) if ends_within(&supervisor, CLEANUP)? => {
            return Ok(Terminated::Orderly);
        }
        _ => {}
    }
    let denied = |source: SysError| match source.errno() {
        Errno::PERM => Error::PermissionDenied { action: "terminate", name: machine.name().to_string() },
        _ => Error::System { action: "kill the machine", source },
    };
    // The leader first: with it the kernel kills all of the guest (pid_namespaces(7)).
    if let Ok(leader) = machine.leader() {
        send(&leader.pidfd, libc::SIGKILL).map_err(denied)?;
    }
    if ends_within(&supervisor, NOTICE)? {
        return Ok(Terminated::Orderly);
    }
    send(&supervisor, libc::SIGKILL).map_err(denied)?;
    if !ends_within(&supervisor, KERNEL)? {
        return Err(Error::NoAnswer { name: machine.name().to_string(), waited: KERNEL });
    }
    clear(machine)?;
    Ok(Terminated::WithSupervisor)
}

/// Sends a signal; a process that is gone needs none.
fn send(process: &OwnedFd, signal: i32) -> Result<(), SysError> {
    match pidfd_send_signal(process, signal) {
        Err(error) if error.errno() == Errno::SRCH => Ok(()),
        sent => sent,
    }
}

/// Removes what a supervisor that was killed left behind.
fn clear(machine: &MachineHandle) -> Result<(), Error> {
    let failed = || Error::system("remove what the machine left behind");
    let host = Host::probe().map_err(Error::system("look at this host"))?;
    match MachineDirectory::claim_existing(machine.name()).map_err(failed())? {
        Some(Claim::Ours { directory, .. }) => Ok(gc::clear(directory, &host.cgroup)?),
        // Somebody else does it, or has started another of this name.
        Some(Claim::InUse) | None => Ok(()),
    }
}

/// Waits until the process behind `pidfd` has ended; says whether it has.
///
/// # Errors
/// When poll(2) fails.
pub fn ends_within(pidfd: &OwnedFd, patience: Duration) -> Result<bool, Error> {
    process::ends_within(pidfd, patience).map_err(Error::system("wait for the machine's end"))
}
