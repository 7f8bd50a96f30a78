//! One file a verb: its arguments, and what it does.
//!
//! | file | verb |
//! |---|---|
//! | [`list`] | List the machines that run |
//! | [`status`] | Show what a machine is doing |
//! | [`show`] | Print the properties of machines, for programs |
//! | [`start`] | Start machines of /var/lib/machines in the background |
//! | [`stop`] | Power machines off, in the way of their init |
//! | [`reboot`] | Reboot machines in place |
//! | [`terminate`] | End machines at once, without asking them |
//! | [`kill`] | Send a signal to processes of machines |
//! | [`pause`] | Stop all processes of machines from running |
//! | [`resume`] | Let the processes of paused machines run again |
//! | [`wait`] | Wait until something holds of a machine |
//! | [`exec`] | Run a command in a running machine, get its exit status |
//! | [`shell`] | Get a login shell in a running machine |
//! | [`login`] | Get a login prompt of a running machine |
//! | [`attach`] | Connect to the console of a running machine |
//! | [`logs`] | Show what a machine has logged |
//! | [`copy_to`] | Copy files into a running machine |
//! | [`copy_from`] | Copy files out of a running machine |
//! | [`bind`] | Mount a path of the host in a running machine |
//! | [`unbind`] | Unmount what bind mounted |
//! | [`ports`] | Show which ports of the host lead to machines, and what is offered in them |
//! | [`publish`] | Have ports of the host lead to a running machine, or no more |
//! | [`net`] | Show the networks of machines |
//! | [`top`] | Watch what machines use |
//! | [`set`] | Change the limits of running machines |
//! | [`enable`] | Have machines started with the host |
//! | [`disable`] | Have them not started any more |
//! | [`events`] | Follow what happens to machines |
//! | [`explain`] | Show how a machine is made, and where each setting came from |
//! | [`doctor`] | Check this host, and what went wrong on it |
//! | [`completions`] | Print the script that completes command lines, and what it asks |
//! | [`man`] | Write the man pages |
//! | [`gc`] | Remove what killed machines left behind |

pub mod attach;
pub mod bind;
pub mod completions;
pub mod copy_from;
pub mod copy_to;
pub mod disable;
pub mod doctor;
pub mod enable;
pub mod events;
pub mod exec;
pub mod explain;
mod following;
pub mod gc;
pub mod kill;
pub mod list;
pub mod login;
pub mod logs;
pub mod man;
pub mod net;
pub mod pause;
pub mod ports;
pub mod publish;
pub mod reboot;
pub mod resume;
pub mod set;
pub mod shell;
pub mod show;
pub mod start;
mod start_services;
pub mod status;
pub mod stop;
pub mod terminate;
pub mod top;
pub mod unbind;
pub mod wait;

use super::output::Output;
use crate::machine::{Error, MachineHandle};
use crate::settings::{MachineName, ValueError};

/// Does `work` to each machine in `names`, goes on past faults, tells them, and gives the first one's exit status.
pub(super) fn each(
    names: &[String],
    output: Output,
    work: impl FnMut(&MachineHandle) -> Result<(), Error>,
) -> u8 {
    each_found(names, output, MachineHandle::find, work)
}

/// The same of machines that `find` finds.
pub(super) fn each_found(
    names: &[String],
    output: Output,
    find: impl Fn(&MachineName) -> Result<MachineHandle, Error>,
    mut work: impl FnMut(&MachineHandle) -> Result<(), Error>,
) -> u8 {
    let mut status = 0;
    for name in names {
        let done = named(name).and_then(|name| find(&name)).and_then(|machine| work(&machine));
        if let Err(error) = done {
            let failed = fail(&error, output);
            status = if status == 0 { failed } else { status };
        }
    }
    status
}

/// The machine name that a user typed.
pub(super) fn named(name: &str) -> Result<MachineName, Error> {
    name.parse().map_err(|source: ValueError| Error::Name { source })
}

/// The machine that a user typed, or if none, the only one that runs.
pub(super) fn one_or_named(name: Option<&str>) -> Result<MachineHandle, Error> {
    match name {
        Some(name) => named(name).and_then(|name| MachineHandle::find(&name)),
        None => MachineHandle::only(),
    }
}

/// Tells `error` and gives its exit status.
pub(in crate::cli) fn fail(error: &Error, output: Output) -> u8 {
    output.error(error, error.hint().as_deref());
    error.exit_status()
}
