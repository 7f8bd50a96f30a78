//! Signals to processes of a machine, without its supervisor: what a person reaches for when nothing else works.

use rustix::io::Errno;
use serde_json::json;

use super::process_tree::directory_of;
use super::{Control, Error, MachineHandle};
use crate::runtime::cgroup_signal::signal_all;
use crate::settings::SignalNumber;
use crate::supervisor::control::INTERFACE;
use crate::sys::SysError;
use crate::sys::files::open_directory;
use crate::sys::process::pidfd_send_signal;

/// Who gets it (machinectl(1), `--kill-whom=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// PID 1 of the machine.
    Leader,
    /// Its supervisor, a process of the host.
    Supervisor,
    /// All processes of the machine, PID 1 among them.
    All,
}

/// Sends `signal`.
///
/// # Errors
/// [`Error::PermissionDenied`] for who may not.
pub fn send(machine: &MachineHandle, whom: Whom, signal: SignalNumber) -> Result<(), Error> {
    let sent = match whom {
        Whom::Leader => pidfd_send_signal(&machine.leader()?.pidfd, signal.0),
        Whom::Supervisor => pidfd_send_signal(&machine.supervisor()?, signal.0),
        Whom::All => match directory_of(&machine.state().cgroup) {
            Some(cgroup) => {
                open_directory(&cgroup).and_then(|cgroup| signal_all(&cgroup, signal.0)).map(drop)
            }
            // The hierarchy is mounted nowhere (a legacy host): only its supervisor has it.
            None => {
                let call = format!("{INTERFACE}.Kill");
                let arguments = json!({ "whom": "all", "signal": signal.0 });
                return Control::connect(machine)?.call(&call, arguments).map(drop);
            }
        },
    };
    sent.map_err(|source: SysError| match source.errno() {
        Errno::PERM | Errno::ACCESS => {
            Error::PermissionDenied { action: "kill", name: machine.name().to_string() }
        }
        Errno::SRCH | Errno::NOENT => Error::NotRunning { name: machine.name().to_string() },
        _ => Error::System { action: "send the signal", source },
    })
}
