//! The worker's side of what is done to a machine.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::task::{MachineWork, Program};
use crate::machine::bind::{BindRequest, bind, unbind};
use crate::machine::copy::{CopyOptions, CopyRequest, Direction, copy};
use crate::machine::exec::{Payload, Request, run, run_on_terminal};
use crate::machine::from_outside;
use crate::machine::signal::{Whom, send as signal};
use crate::machine::terminate::terminate;
use crate::machine::{Control, Error, Leader, MachineHandle};
use crate::manager::machines::Machines;
use crate::manager::problem::{Kind, Problem};
use crate::manager::registered;
use crate::settings::SignalNumber;
use crate::sys::SysError;
use crate::sys::process::pidfd_send_signal;

/// What came of it: `None` where it was said already.
pub(super) type Outcome = Result<Option<(Value, Vec<OwnedFd>)>, Problem>;

/// Says that it is done, before it is over.
pub(super) type Say<'a> = &'a mut dyn FnMut(Value, Vec<OwnedFd>);

/// Who has asked for it.
pub(super) struct Listener<'a> {
    /// Hears that it is done, before it is over.
    pub(super) say: Say<'a>,
    /// Hears how far it is: `bytes`.
    pub(super) tell: &'a dyn Fn(Value),
}

/// How often it is said how far a copy is.
const TELL: Duration = Duration::from_millis(250);

/// The type of a terminal of which nothing is known, as systemd has it for its gettys on ptys.
const TERMINAL: &str = "vt220";

/// Does `work` to the machine `name`.
pub(super) fn perform(name: &str, work: MachineWork, fds: Vec<OwnedFd>, listener: Listener<'_>) -> Outcome {
    match Machines::look(name) {
        Ok(machine) => on_ours(&machine, work, fds, listener),
        Err(error @ Error::NotRunning { .. }) => {
            let file = crate::supervisor::machined_file::read(name).ok().flatten();
            match file.filter(registered::is_others) {
                Some(file) => on_others(&registered::leader(&file)?, work),
                None => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn on_ours(machine: &MachineHandle, work: MachineWork, fds: Vec<OwnedFd>, listener: Listener<'_>) -> Outcome {
    let done = Ok(Some((json!({}), Vec::new())));
    match work {
        MachineWork::Terminate => {
            terminate(machine)?;
            done
        }
        MachineWork::Kill { whom, signal } if is_power_off(&whom, signal, &machine.state().init) => {
            Control::connect(machine)?.call("io.systemd.MachineInstance.PowerOff", json!({}))?;
            done
        }
        MachineWork::Kill { whom, signal: number } => {
            signal(machine, self::whom(&whom)?, SignalNumber(number))?;
            done
        }
        MachineWork::OpenTerminal => open_terminal(&machine.leader()?, machine.state().id_base),
        MachineWork::OpenSession { program } => open_session(machine, program, listener.say),
        MachineWork::OpenRoot => open_root(&machine.leader()?),
        MachineWork::OsRelease => os_release(&machine.leader()?),
        MachineWork::Exec { command, user, directory, environment, timeout, kill_after } => {
            let mut request = Request::command(command.into_iter().map(OsString::from).collect());
            (request.user, request.directory) = (user, directory.map(PathBuf::from));
            request.environment = environment.iter().filter_map(|variable| assignment(variable)).collect();
            (request.timeout, request.kill_after) = (timeout, kill_after.unwrap_or(Duration::MAX));
            exec(machine, &request, &fds)
        }
        MachineWork::Control { method, parameters } => {
            Ok(Some((Control::connect(machine)?.call(&method, parameters)?, Vec::new())))
        }
        MachineWork::Unbind { destination } => {
            unbind(machine, Path::new(&destination))?;
            done
        }
        MachineWork::Bind { source, destination, read_only, make_destination } => {
            let (source, target) = (PathBuf::from(source), PathBuf::from(destination));
            let request = BindRequest {
                source,
                target,
                read_only,
                recursive: true,
                make_target: make_destination,
                ids: None,
            };
            bind(machine, &request)?;
            done
        }
        MachineWork::Copy { into, source, destination, replace } => {
            copy_files(machine, into, (&source, &destination), replace, listener.tell)?;
            done
        }
    }
}

/// Whether the signal is what `machinectl poweroff` sends to any PID 1, and one that is not systemd does not know: it is told in its
/// own way then. What reboots, SIGINT, is Ctrl-Alt-Del to all of them.
fn is_power_off(whom: &str, signal: i32, init: &str) -> bool {
    /// SIGRTMIN+4 (systemd(1), "Signals"), where SIGRTMIN is what the C library leaves of it (signal(7)).
    const POWER_OFF: i32 = 34 + 4;
    whom == "leader" && signal == POWER_OFF && !init.starts_with("systemd")
}

/// To a machine that another program started.
fn on_others(leader: &Leader, work: MachineWork) -> Outcome {
    match work {
        MachineWork::Terminate => kill(leader, libc::SIGKILL),
        MachineWork::Kill { whom, signal } => match self::whom(&whom)? {
            Whom::Leader => kill(leader, signal),
            // With PID 1 the kernel kills all of them (pid_namespaces(7)).
            Whom::All if signal == libc::SIGKILL => kill(leader, signal),
            Whom::All | Whom::Supervisor => Err(others("only its leader can be sent a signal")),
        },
        MachineWork::OpenTerminal => open_terminal(leader, registered::uid_shift(leader)?),
        MachineWork::OpenRoot => open_root(leader),
        MachineWork::OsRelease => os_release(leader),
        MachineWork::OpenSession { .. }
        | MachineWork::Bind { .. }
        | MachineWork::Copy { .. }
        | MachineWork::Exec { .. }
        | MachineWork::Control { .. }
        | MachineWork::Unbind { .. } => Err(others("it cannot be entered")),
    }
}

fn others(text: &str) -> Problem {
    Problem::new(Kind::NotSupported, format!("Not a machine of Spinney's: {text}"))
}

fn kill(leader: &Leader, signal: i32) -> Outcome {
    pidfd_send_signal(&leader.pidfd, signal).map_err(failed)?;
    Ok(Some((json!({}), Vec::new())))
}

fn open_terminal(leader: &Leader, owner: u32) -> Outcome {
    let (master, path) = from_outside::new_terminal(leader, owner).map_err(failed)?;
    Ok(Some((json!(path), vec![master])))
}

/// Starts a login or a program, and attends it after it has said that it runs.
fn open_session(machine: &MachineHandle, program: Program, say: Say<'_>) -> Outcome {
    let mut request = Request::command(Vec::new());
    let mut terminal = TERMINAL.to_owned();
    match program {
        Program::Login => request.payload = Payload::Login,
        Program::Shell { user, command, environment } => {
            request.payload = Payload::Shell(command.into_iter().map(OsString::from).collect());
            request.user = Some(user);
            for variable in environment {
                let Some((name, value)) = variable.split_once('=') else { continue };
                match name {
                    "TERM" => terminal = value.to_owned(),
                    _ => request.environment.push((name.into(), value.into())),
                }
            }
        }
    }
    request.terminal = Some(terminal);
    let mut take = |master: OwnedFd| {
        // Whoever gets it expects one that waits, as openpt(3) gives it.
        let _ = rustix::fs::fcntl_setfl(&master, OFlags::RDWR);
        let path = from_outside::slave_path(&master).unwrap_or_default();
        say(json!(path), vec![master]);
    };
    // It is heard only as long as nothing was said: what comes of the command is its user's.
    run_on_terminal(machine, &request, &mut take)?;
    Ok(None)
}

fn assignment(variable: &str) -> Option<(OsString, OsString)> {
    let (name, value) = variable.split_once('=')?;
    Some((name.into(), value.into()))
}

/// Runs a command whose standard streams `fds` are, and waits for its end.
fn exec(machine: &MachineHandle, request: &Request, fds: &[OwnedFd]) -> Outcome {
    let [stdin, stdout, stderr] = fds else {
        return Err(Problem::new(Kind::InvalidArgument, "A command has three streams"));
    };
    let taken = rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr));
    taken.map_err(|errno| failed(SysError::new("dup2", "the command's streams", errno)))?;
    let status = run(machine, request).map_err(|error| match error {
        Error::CommandNotFound { .. } => Problem::of(Kind::NotFound, &error, error.hint()),
        error => error.into(),
    })?;
    Ok(Some((json!({ "exit-status": status }), Vec::new())))
}

fn open_root(leader: &Leader) -> Outcome {
    let root = from_outside::root_directory(leader).map_err(failed)?;
    Ok(Some((json!({}), vec![root])))
}

fn os_release(leader: &Leader) -> Outcome {
    let release = from_outside::os_release(leader).map_err(failed)?;
    let release = release
        .ok_or_else(|| Problem::new(Kind::NoOsRelease, "Machine does not contain OS release information"))?;
    let fields: serde_json::Map<String, Value> =
        release.fields().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    Ok(Some((Value::Object(fields), Vec::new())))
}

/// As systemd-machined has it: the destination is what the source will be, and a directory that is there is filled.
fn copy_files(
    machine: &MachineHandle,
    into: bool,
    (source, destination): (&str, &str),
    replace: bool,
    tell: &dyn Fn(Value),
) -> Result<(), Problem> {
    let direction = if into { Direction::In } else { Direction::Out };
    let is_directory = || {
        let root = match direction {
            Direction::In => crate::sys::in_root::Root::open("/"),
            Direction::Out => from_outside::root(&machine.leader().ok()?),
        };
        Some(root.ok()?.symlink_metadata(source).ok()?.is_dir())
    };
    // What is in a directory goes into the one that is its destination.
    let contents = is_directory().unwrap_or(false);
    let source = if contents { Path::new(source).join(".") } else { PathBuf::from(source) };
    let request = CopyRequest {
        machine,
        direction,
        sources: vec![source],
        destination: Some(PathBuf::from(destination)),
        options: CopyOptions { replace, ..CopyOptions::default() },
    };
    let (mut bytes, mut told) = (0, Instant::now());
    let copied = copy(&request, &mut |count| {
        bytes += count;
        if told.elapsed() >= TELL {
            tell(json!({ "bytes": bytes }));
            told = Instant::now();
        }
    })?;
    tell(json!({ "bytes": bytes }));
    match copied.notes.has_faults() {
        true => Err(Problem::new(Kind::Failed, copied.notes.lines().join("; "))),
        false => Ok(()),
    }
}

/// The word that systemd-machined has for whom a signal is for; nothing is all.
pub(in crate::manager) fn whom(word: &str) -> Result<Whom, Problem> {
    match word {
        "" | "all" => Ok(Whom::All),
        "leader" => Ok(Whom::Leader),
        "supervisor" => Ok(Whom::Supervisor),
        other => {
            let other = other.escape_debug();
            Err(Problem::new(Kind::InvalidArgument, format!("Invalid kill parameter '{other}'")))
        }
    }
}

fn failed(error: SysError) -> Problem {
    Problem::of(Kind::Failed, &error, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_power_off() {
        let table = [
            ("leader", 38, "busybox init 1.37.0", true),
            ("leader", 38, "systemd 257", false),
            ("all", 38, "busybox init 1.37.0", false),
            ("leader", 2, "busybox init 1.37.0", false),
            ("leader", 38, "", true),
        ];
        for (whom, signal, init, told) in table {
            assert_eq!(is_power_off(whom, signal, init), told, "{whom} {signal} {init:?}");
        }
    }
}
