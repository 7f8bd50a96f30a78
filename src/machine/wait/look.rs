//! One look at a machine.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::CWD;
use rustix::pipe::PipeFlags;

use super::Condition;
use super::ports::is_open;
use crate::guest::init::Init;
use crate::guest::units::{self, Answer, Files, Look, NoLook, Wanted};
use crate::machine::exec::{self, Request};
use crate::machine::{Error, MachineHandle, enter};
use crate::supervisor::printable;
use crate::supervisor::state::Phase;
use crate::sys::files::{read_all, read_at, write_all};
use crate::sys::fork::exit_now;
use crate::sys::in_root::Root;
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, die_with_parent, pidfd_open, pidfd_send_signal,
    wait_for_end,
};
use crate::sys::timeout::until;
use crate::sys::{SysResult, sys};

/// A program that says how a unit is has this long; one that hangs with its init is asked anew.
const PROGRAM: Duration = Duration::from_secs(5);

/// A file that cannot be looked at in this time is not there.
const FILE: Duration = Duration::from_secs(2);

/// What is left of time, never more than `most`.
fn at_most(most: Duration, left: Option<Duration>) -> Duration {
    left.map_or(most, |left| left.min(most))
}

pub(super) fn look(
    machine: &MachineHandle,
    condition: &Condition,
    left: Option<Duration>,
) -> Result<Answer, Error> {
    match condition {
        Condition::Ready => Ok(match machine.state().phase {
            Phase::Ready => Answer::Holds,
            Phase::Stopping => Answer::Never("the machine is on its way down".to_owned()),
            _ => Answer::NotYet(match &machine.state().status {
                Some(status) => printable::line(status.as_bytes()),
                None => "its init has not said that it is up".to_owned(),
            }),
        }),
        Condition::Stopped => Ok(Answer::NotYet("the machine is running".to_owned())),
        Condition::Unit(name) => unit(machine, &Wanted::Unit(name.clone()), left),
        Condition::Target(name) => unit(machine, &Wanted::Target(name.clone()), left),
        Condition::Port { udp, port } => listens(machine, *udp, *port),
        Condition::File(path) => file(machine, path, left),
        Condition::Exec(command) => {
            let argv = ["/bin/sh", "-c", command].map(OsString::from).to_vec();
            let request = Request { timeout: left, kill_after: Duration::ZERO, ..Request::command(argv) };
            Ok(match exec::run_quietly(machine, &request) {
                Ok(0) => Answer::Holds,
                Ok(status) => Answer::NotYet(format!("the command's exit status is {status}")),
                Err(error) => passing(error)?,
            })
        }
    }
}

/// A fault that may pass, or one that will not.
fn passing(error: Error) -> Result<Answer, Error> {
    match error {
        Error::Paused { .. } => Ok(Answer::NotYet("the machine is paused".to_owned())),
        // Between two boots.
        Error::NotRunning { .. } => Ok(Answer::NotYet("the machine has no PID 1".to_owned())),
        Error::CommandNotFound { command } => Ok(Answer::Never(format!("it has no {command}"))),
        error => Err(error),
    }
}

fn unit(machine: &MachineHandle, wanted: &Wanted, left: Option<Duration>) -> Result<Answer, Error> {
    let look = units::look(Init::from_words(&machine.state().init), wanted);
    let look = look.map_err(|source: NoLook| Error::Units { source: Box::new(source) })?;
    let booting = machine.state().phase == Phase::Booting;
    let answer = match look {
        Look::Program { argv, reader } => {
            let argv = argv.into_iter().map(OsString::from).collect();
            let request = Request {
                timeout: Some(at_most(PROGRAM, left)),
                kill_after: Duration::ZERO,
                ..Request::command(argv)
            };
            match exec::capture(machine, &request) {
                Ok((status, output)) => reader.read(status.into(), &String::from_utf8_lossy(&output)),
                // A service's script that is not there.
                Err(Error::CommandNotFound { .. } | Error::CommandNotExecutable { .. }) => {
                    reader.read(127, "")
                }
                Err(error) => passing(error)?,
            }
        }
        Look::Files(files) => by_files(machine, &files, left)?,
    };
    Ok(match answer {
        Answer::NotYet(why) => Answer::NotYet(printable::line(why.as_bytes())),
        // While it boots, what there is not may still come: a generator or a script makes it.
        Answer::Never(why) if booting && why.starts_with("there is no") => Answer::NotYet(why),
        Answer::Never(why) => Answer::Never(printable::line(why.as_bytes())),
        Answer::Holds => Answer::Holds,
    })
}

/// From the host, as the supervisor looks for evidence: by the guest's root directory, without following its links out.
fn by_files(machine: &MachineHandle, files: &Files, left: Option<Duration>) -> Result<Answer, Error> {
    let leader = match machine.leader() {
        Ok(leader) => leader,
        Err(error) => return passing(error),
    };
    let root = format!("/proc/{}/root", leader.pid.as_raw_nonzero());
    let answer = in_a_child(at_most(FILE, left), || {
        let root = Root::open(&root)?;
        // If it lives still, the pid was its own when we opened that, and not another process's.
        pidfd_send_signal(&leader.pidfd, 0)?;
        Ok(match files.read(&root) {
            Answer::Holds => b"+".to_vec(),
            Answer::NotYet(why) => [b"-", why.as_bytes()].concat(),
            Answer::Never(why) => [b"!", why.as_bytes()].concat(),
        })
    })?;
    let text = |why: &[u8]| String::from_utf8_lossy(why).into_owned();
    Ok(match answer.as_deref() {
        Some([b'+', ..]) => Answer::Holds,
        Some([b'!', why @ ..]) => Answer::Never(text(why)),
        Some([b'-', why @ ..]) => Answer::NotYet(text(why)),
        _ => Answer::NotYet("its files do not answer".to_owned()),
    })
}

fn listens(machine: &MachineHandle, udp: bool, port: u16) -> Result<Answer, Error> {
    /// Some ten thousand sockets.
    const LIMIT: usize = 4 << 20;
    let leader = match machine.leader() {
        Ok(leader) => leader,
        Err(error) => return passing(error),
    };
    let tables = if udp { ["udp", "udp6"] } else { ["tcp", "tcp6"] };
    let open = tables.into_iter().any(|table| {
        let path = format!("/proc/{}/net/{table}", leader.pid.as_raw_nonzero());
        read_at(CWD, path, LIMIT).is_ok_and(|text| is_open(&String::from_utf8_lossy(&text), udp, port))
    });
    Ok(if open { Answer::Holds } else { Answer::NotYet("nobody listens".to_owned()) })
}

/// As the guest's root sees it, in the guest's root directory.
fn file(machine: &MachineHandle, path: &Path, left: Option<Duration>) -> Result<Answer, Error> {
    let record = machine.launch_record()?;
    let leader = match machine.leader() {
        Ok(leader) => leader,
        Err(error) => return passing(error),
    };
    let there = in_a_child(at_most(FILE, left), || {
        enter::join(&leader, &record)?;
        Ok(if Root::open("/")?.exists(path)? { b"+".to_vec() } else { Vec::new() })
    })?;
    Ok(match there.as_deref() {
        Some([b'+', ..]) => Answer::Holds,
        Some(_) => Answer::NotYet("the file is not there".to_owned()),
        None => Answer::NotYet("its file system does not answer".to_owned()),
    })
}

/// What `work` gives, done by a child that is killed when it takes longer than `patience`: `None` then, and when it fails.
fn in_a_child(
    patience: Duration,
    work: impl FnOnce() -> SysResult<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Error> {
    let failed = || Error::system("look at the machine");
    let pipe = sys("pipe2", rustix::pipe::pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned());
    let (reader, writer) = pipe.map_err(failed())?;
    let options = CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: None };
    let child = match clone_process(options).map_err(failed())? {
        Cloned::Parent(child) => child,
        Cloned::Child => {
            drop(reader);
            let done = die_with_parent().and_then(|()| work()).and_then(|bytes| write_all(&writer, &bytes));
            exit_now(i32::from(done.is_err()))
        }
    };
    drop(writer);
    let answer = hear(&reader, patience);
    if answer.is_none()
        && let Ok(pidfd) = pidfd_open(child)
    {
        // It has ended.
        let _ = pidfd_send_signal(pidfd, libc::SIGKILL);
    }
    wait_for_end(child).map_err(failed())?;
    Ok(answer)
}

/// All that is written, if it is in time.
fn hear(reader: &OwnedFd, patience: Duration) -> Option<Vec<u8>> {
    const LIMIT: usize = 4096;
    let deadline = Instant::now() + patience;
    loop {
        match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&until(deadline))) {
            // One write, then the end.
            Ok(1) => return read_all(reader, LIMIT).ok(),
            Err(rustix::io::Errno::INTR) => {}
            _ => return None,
        }
    }
}
