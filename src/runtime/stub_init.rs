//! The PID 1 of a machine that runs a command and no init: starts it, reaps orphans, and ends when the command ends.
//!
//! It is what the leader becomes once all isolation is in force, **without exec**: the same program goes on, so that no
//! file of ours need be in the guest. Hence it first makes itself unreadable: our command line (with credentials on it),
//! environment and memory are the host's. Not dumpable, a process can be traced, and its /proc files read, only with
//! CAP_SYS_PTRACE in the user namespace that its memory belongs to (ptrace(2), "Ptrace access mode checking"): that of
//! the last exec, which is the host's. A machine that shares the host's user namespace and has CAP_SYS_PTRACE there is
//! not kept out: there the caller has it restricted as much as the command is.
//!
//! Its signals are those of systemd as PID 1 (systemd(1), "Signals"), as far as a command has a use for them: the power-off
//! and reboot ones end all processes, politely first, and then the machine. Others do nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, getpid, set_dumpable_behavior, wait};
use rustix::stdio::stdin;

use crate::sys::fork::{close_from, exit_now, fork};
use crate::sys::signal::{self, SignalSet, realtime};
use crate::sys::{SysError, SysResult, process_title, sys, tty};

/// What ps shows of it in the guest.
const TITLE: &str = "spinney-init";

/// How long processes may take to end after they were asked, before they are killed: the TimeoutStopSec= that most
/// distributions give a service, and what systemd-nspawn's own stub waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// Exit status when the command cannot be run, and when it cannot be found (POSIX Shell Command Language 2.8.2).
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Exit status when we ourselves cannot go on.
const OWN_FAILURE: i32 = 125;

/// Exit status that asks for a reboot, where reboot(2) is not allowed (systemd-nspawn(1), `--keep-unit`).
const REBOOT_STATUS: i32 = 133;

/// What the machine does after its last process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    PowerOff,
    Reboot,
}

/// Becomes the init of `command`, which execs and returns only to say why it could not.
///
/// With `has_tty`, stdin is a terminal: the command gets a session of its own with that as its controlling terminal, so
/// that its shell has job control and ^C is its own. The caller must not own any fd that it will use later, and must be
/// the only thread: all fds are closed, those that the command needs after it has them. `restrict` takes privileges from
/// the init alone, before the command runs. `failed` hears why the command was not started.
///
/// Ends as the command ends: with its exit status, or 128 and the number of the signal that killed it; after a power-off
/// or reboot signal by reboot(2), which the supervisor sees as the leader's death by SIGINT or SIGHUP
/// (reboot(2), "Behavior inside PID namespaces"), or with 0 or 133 where that is not allowed.
pub fn run(
    command: impl FnOnce() -> io::Error,
    restrict: Option<Restrict<'_>>,
    failed: impl FnOnce(&SysError),
    has_tty: bool,
) -> ! {
    exit_now(match start(command, restrict, has_tty) {
        Ok(command) => supervise(command),
        Err(error) => {
            failed(&error);
            OWN_FAILURE
        }
    })
}

/// See [`run`].
pub type Restrict<'a> = &'a dyn Fn() -> SysResult<()>;

fn start(
    command: impl FnOnce() -> io::Error,
    restrict: Option<Restrict<'_>>,
    has_tty: bool,
) -> SysResult<Pid> {
    // First of all, and before anything of the guest runs. That the title cannot be replaced is fatal: the command line
    // may hold secrets.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    sys("prctl", hidden, || "PR_SET_DUMPABLE, 0".to_owned())?;
    process_title::replace(TITLE)?;
    // All: a signal without a handler of PID 1 is dropped, unless it is blocked. Ignored children would reap themselves.
    SignalSet::all().block()?;
    signal::restore_default_dispositions();
    if has_tty {
        tty::release_controlling_terminal(&stdin())?;
    }
    let go_ahead = restrict.is_some().then(GoAhead::new).transpose()?;
    let pid = fork(|| {
        let ready = if has_tty { tty::take_controlling_terminal(&stdin()) } else { new_session() }
            // The dispositions are the default ones already.
            .and_then(|()| SignalSet::empty().set_mask().map(drop))
            .and_then(|()| go_ahead.as_ref().map_or(Ok(()), GoAhead::wait));
        match ready {
            Ok(()) => status_of_failure(&command()),
            Err(_) => OWN_FAILURE,
        }
    })?;
    if let (Some(restrict), Some(go_ahead)) = (restrict, &go_ahead) {
        restrict()?;
        go_ahead.give()?;
    }
    drop(go_ahead);
    // Also those of the pipe by which the caller learns that the exec has happened.
    close_from(0)?;
    Ok(pid)
}

fn new_session() -> SysResult<()> {
    sys("setsid", rustix::process::setsid(), String::new).map(drop)
}

fn status_of_failure(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    }
}

/// What the command waits for.
#[derive(Debug)]
struct GoAhead {
    read: OwnedFd,
    write: OwnedFd,
}

impl GoAhead {
    fn new() -> SysResult<Self> {
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (read, write) = sys("pipe2", pipe, || "O_CLOEXEC".to_owned())?;
        Ok(Self { read, write })
    }

    fn give(&self) -> SysResult<()> {
        crate::sys::files::write_all(&self.write, b"g")
    }

    fn wait(&self) -> SysResult<()> {
        // The end without a word cannot come: this very process has the other end open too, and dies with PID 1.
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.read, &mut [0_u8; 1])) {
            Ok(1) => Ok(()),
            Ok(_) => Err(SysError::new("read", "the pipe of our init", Errno::PIPE)),
            Err(errno) => Err(SysError::new("read", "the pipe of our init", errno)),
        }
    }
}

/// Reaps and waits until the machine is to end, and returns the exit status.
fn supervise(command: Pid) -> i32 {
    let (power_off, reboot) = ending_signals();
    let signals = SignalSet::of(&[&[libc::SIGCHLD], power_off.as_slice(), reboot.as_slice()].concat());
    let mut ending: Option<Ending> = None;
    let mut deadline: Option<Instant> = None;
    loop {
        let reaped = reap(command);
        match (ending, reaped.command) {
            // The kernel ends whoever is left, when PID 1 is gone.
            (None, Some(status)) => return status,
            (Some(ending), _) if reaped.nobody_left => return end(ending),
            _ => {}
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let arrived = match signal::wait_for(&signals, timeout) {
            Ok(arrived) => arrived,
            Err(_) => return OWN_FAILURE,
        };
        match arrived {
            Some(signal) if ending.is_none() && power_off.contains(&signal) => {
                ending = Some(Ending::PowerOff);
            }
            Some(signal) if ending.is_none() && reboot.contains(&signal) => {
                ending = Some(Ending::Reboot);
            }
            _ => {}
        }
        if ending.is_some() && deadline.is_none() {
            // SIGHUP as well: interactive shells ignore SIGTERM. SIGCONT, so that stopped ones hear of it.
            for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGCONT] {
                send_all(signal);
            }
            deadline = Some(Instant::now() + STOP_TIMEOUT);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            send_all(libc::SIGKILL);
            deadline = Some(Instant::now() + STOP_TIMEOUT);
        }
    }
}

/// Signals for power-off and for reboot (systemd(1), "Signals"): +3 halt, +4 poweroff, +13 and +14 the same at once;
/// SIGINT is Ctrl-Alt-Del, +5 reboot, +6 kexec, +15 and +16 the same at once.
fn ending_signals() -> ([i32; 4], [i32; 5]) {
    ([3, 4, 13, 14].map(realtime), [libc::SIGINT, realtime(5), realtime(6), realtime(15), realtime(16)])
}

/// What reaping came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reaped {
    /// The command has ended, with this status as a shell reckons it.
    command: Option<i32>,
    /// No process is left.
    nobody_left: bool,
}

/// Reaps all who have ended: one SIGCHLD may stand for many.
fn reap(command: Pid) -> Reaped {
    let mut reaped = Reaped { command: None, nobody_left: false };
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                reaped.command = Some(status.exit_status().or(signal).unwrap_or(OWN_FAILURE));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return reaped,
            // ECHILD; wait(2) has no other.
            Err(_) => return Reaped { nobody_left: true, ..reaped },
        }
    }
}

/// Sends `signal` to every process of the machine but ourselves. That there is none is no failure.
fn send_all(signal: i32) {
    let Ok(signal) = nix::sys::signal::Signal::try_from(signal) else {
        return;
    };
    // kill(-1) from a process that is not PID 1 of a namespace would reach the host's processes.
    if is_init() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), signal);
    }
}

/// Ends the machine the way that tells the supervisor which way it was.
fn end(ending: Ending) -> i32 {
    use rustix::system::{RebootCommand, reboot};
    let (command, status) = match ending {
        Ending::PowerOff => (RebootCommand::PowerOff, 0),
        Ending::Reboot => (RebootCommand::Restart, REBOOT_STATUS),
    };
    // In a pid namespace of its own the kernel ends us here. Outside of one this would be the host's reboot.
    if is_init() {
        let _ = reboot(command);
    }
    status
}

fn is_init() -> bool {
    getpid() == Pid::INIT
}

#[cfg(test)]
#[path = "stub_init_tests.rs"]
mod tests;
