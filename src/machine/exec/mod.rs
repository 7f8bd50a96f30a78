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
//! | `birth` | until there is a process of the command's |
//! | `attendance` | the loop until the command's end |
//! | `running` | the command meanwhile, and its times |
//! | `signals` | ours meanwhile |
//! | `hand_out` | a terminal that somebody else is given |
//! | `pump` | bytes between a stream and a pipe |
//! | `members` | signals to all of the command's session |
//! | `minder` | the end of a command whose caller was killed |

mod attendance;
mod birth;
mod entry;
mod hand_out;
mod members;
mod minder;
mod place;
pub mod plan;
mod pump;
mod running;
mod signals;
mod stdio;

use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;

use crate::machine::{Error, MachineHandle};
use crate::sys::process::{Ended, Namespaces, pidfd_open, pidfd_send_signal};
use crate::sys::sys;
use hand_out::HandOut;
use stdio::Streams;

pub use plan::{Payload, Request};

/// The kernel's pty multiplexer (Documentation/admin-guide/devices.txt).
pub(super) const PTMX: u64 = libc::makedev(5, 2);

/// The exit status of a command that took too long, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;

/// Runs `request` in `machine` with our own standard streams, and gives its exit status: 128 and more for a signal, 124 if
/// it took too long. The calling process must have one thread; its signals are the command's meanwhile.
///
/// # Errors
/// When it could not be run. [`Error::exit_status`] is 126 and 127 as shells have it.
pub fn run(machine: &MachineHandle, request: &Request) -> Result<u8, Error> {
    let streams = |private_users| match request.terminal {
        None => Streams::of_ours(private_users),
        // The terminal takes their places.
        Some(_) => Ok(Streams { given: [None, None, None], pumps: Vec::new() }),
    };
    attend(machine, request, streams, None).map(|done| done.status)
}

/// Runs `request`, which has a terminal, in `machine`, and gives that terminal's master to `take` as soon as the command has begun;
/// then waits for its end. When the last who has the master closes it, the command is hung up on; when the command ends, the master
/// is at its end (pty(7)). The calling process is the command's attendant: with it the command ends too.
///
/// # Errors
/// As [`run`]; `take` was not called then.
pub fn run_on_terminal(
    machine: &MachineHandle,
    request: &Request,
    take: &mut dyn FnMut(OwnedFd),
) -> Result<u8, Error> {
    let streams = |_| Ok(Streams { given: [None, None, None], pumps: Vec::new() });
    attend(machine, request, streams, Some(HandOut::to(take))).map(|done| done.status)
}

/// The same with /dev/null for all streams. A signal that would end us still does, once the command has ended of it.
///
/// # Errors
/// As [`run`].
pub fn run_quietly(machine: &MachineHandle, request: &Request) -> Result<u8, Error> {
    attend(machine, request, |_| Streams::null(), None).map(end_if_told)
}

/// The same, with what it wrote to its stdout: 64 KiB at most. One that writes more than a pipe holds waits for its timeout.
///
/// # Errors
/// As [`run`].
pub fn capture(machine: &MachineHandle, request: &Request) -> Result<(u8, Vec<u8>), Error> {
    const MOST: usize = 64 << 10;
    let failed = || Error::system("read what the command writes");
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (reader, writer) = sys("pipe2", rustix::pipe::pipe_with(flags), || "O_CLOEXEC|O_NONBLOCK".to_owned())
        .map_err(failed())?;
    let streams = move |_| {
        let mut streams = Streams::null()?;
        // Only our end does not wait.
        let theirs = crate::sys::in_root::reopen(&writer, rustix::fs::OFlags::WRONLY).map_err(failed())?;
        let [_, stdout, _] = &mut streams.given;
        *stdout = Some(theirs);
        Ok(streams)
    };
    let status = attend(machine, request, streams, None).map(end_if_told)?;
    let mut output = vec![0; MOST];
    let mut filled = 0;
    while let Ok(length @ 1..) = rustix::io::read(&reader, output.get_mut(filled..).unwrap_or_default()) {
        filled += length;
    }
    output.truncate(filled);
    Ok((status, output))
}

fn end_if_told(done: Done) -> u8 {
    if let Some(signal) = done.told_by
        && let Ok(ours) = pidfd_open(rustix::process::getpid())
    {
        // It has its default action again.
        let _ = pidfd_send_signal(ours, signal);
    }
    done.status
}

/// What came of a command.
#[derive(Debug, Clone, Copy)]
struct Done {
    status: u8,
    /// The signal that told us to end.
    told_by: Option<i32>,
}

fn attend(
    machine: &MachineHandle,
    request: &Request,
    streams: impl FnOnce(bool) -> Result<Streams, Error>,
    hand_out: Option<HandOut<'_>>,
) -> Result<Done, Error> {
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
    let streams = streams(private_users)?;
    let attendance = attendance::Attendance::begin(request, streams.pumps, hand_out)?;
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
