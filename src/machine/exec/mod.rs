//! Running a program in a machine: its streams, its terminal, its end.
//!
//! It needs nothing of the guest but the program itself: no daemon, no PID 1 that answers. [`plan`] says what will be
//! executed, as data; `entry` gets it there; `attendance` waits, moves bytes and passes signals on.
//!
//! | file | what it owns |
//! |---|---|
//! | [`plan`] | what is executed, with which ids, environment, capabilities: pure |
//! | `place` | the cgroups to go into |
//! | `stdio` | which of our streams the command gets, and which it gets by a pipe |
//! | `entry` | from our process to the guest's |
//! | `attendance` | the loop until the command's end |
//! | `pump` | bytes between a stream and a pipe |
//! | `members` | signals to all of the command's session |
//! | `minder` | the end of a command whose caller was killed |

mod attendance;
mod entry;
mod members;
mod minder;
mod place;
pub mod plan;
mod pump;
mod stdio;

use crate::machine::{Error, MachineHandle};
use crate::sys::process::{Ended, Namespaces};

pub use plan::{Payload, Request};

/// The kernel's pty multiplexer (Documentation/admin-guide/devices.txt).
const PTMX: u64 = libc::makedev(5, 2);

/// The exit status of a command that took too long, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;

/// Runs `request` in `machine` with our own standard streams, and gives its exit status: 128 and more for a signal, 124 if
/// it took too long. The calling process must have one thread; its signals are the command's from here on.
///
/// # Errors
/// When it could not be run. [`Error::exit_status`] is 126 and 127 as shells have it.
pub fn run(machine: &MachineHandle, request: &Request) -> Result<u8, Error> {
    attend(machine, request, true)
}

/// The same with /dev/null for all streams.
///
/// # Errors
/// As [`run`].
pub fn run_quietly(machine: &MachineHandle, request: &Request) -> Result<u8, Error> {
    attend(machine, request, false)
}

fn attend(machine: &MachineHandle, request: &Request, ours: bool) -> Result<u8, Error> {
    // First, since it says whether we may.
    let record = machine.launch_record()?;
    let private_users = Namespaces::from_bits_retain(record.namespaces).contains(Namespaces::NEWUSER);
    if !private_users {
        // There the guest's root may look at all that runs in its machine: it is to find nothing that it could write.
        crate::sys::sealed_program::execute_from_sealed_copy()
            .map_err(Error::system("run from a sealed copy of ourselves"))?;
    }
    let filter = machine.system_call_filter()?;
    let leader = machine.leader()?;
    let mut place = place::Place::find(machine, &leader)?;
    let streams = match (&request.terminal, ours) {
        (None, true) => stdio::Streams::of_ours(private_users)?,
        (None, false) => stdio::Streams::null()?,
        // The terminal takes their places.
        (Some(_), _) => stdio::Streams { given: [None, None, None], pumps: Vec::new() },
    };
    let attendance = attendance::Attendance::begin(request, streams.pumps)?;
    let entry =
        entry::Entry { request, leader: &leader, record: &record, filter: &filter, streams: streams.given };
    let entered = entry::enter(entry, &mut place)?;
    attendance.run(entered, request)
}

/// An exit status as a shell tells it.
fn shell_status(ended: Ended) -> u8 {
    let number = match ended {
        Ended::Exited(status) => status,
        Ended::Signaled(signal) => 128 + signal,
    };
    u8::try_from(number & 0xff).unwrap_or(u8::MAX)
}
