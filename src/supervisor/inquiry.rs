//! Looking at a guest that does not come up, before it is killed for it: what its own systemd says, what its PID 1 runs.
//!
//! `systemctl` of the guest is run in the guest, confined as its PID 1 is, with a deadline; what it prints is data of a
//! hostile machine, and only unit names are taken from it. The supervisor waits meanwhile: it has nothing else to do for
//! this machine any more.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::guest::{Process, Processes};
use crate::runtime::restrict::{Program, Restrictions};
use crate::sys::files::{open_at, open_directory_at, refuse_magic_links};
use crate::sys::fork::{close_from, exit_now, fork};
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, die_with_parent, join_namespaces_of,
    join_new_session_keyring, pidfd_open, pidfd_send_signal, set_dumpable, set_ids, wait_for_end,
};
use crate::sys::timeout::until;
use crate::sys::{SysError, SysResult, process_title, sys};

use super::boot::Boot;
use super::console::Console;
use super::diagnosis::{Evidence, parse_failed, parse_jobs};
use super::launch_record::LaunchRecord;
use super::machine::Machine;
use super::printable;

/// How long one question may take: a systemd that works answers in some 10 ms.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than this a `systemctl` does not say of a few hundred units.
const OUTPUT_BYTES: usize = 64 << 10;

/// How many lines of the console are looked at for signs.
const CONSOLE_LINES: usize = 60;

/// How far down the children of PID 1 are followed, and how many of them.
const DEPTH: usize = 5;
const CHILDREN: usize = 4;

const SYSTEMCTL: &str = "systemctl";

impl Boot<'_> {
    /// What can be seen from outside, of a guest that is dead too.
    pub(super) fn traces(machine: &Machine) -> Evidence {
        let log = machine.parts.console.as_ref().and_then(Console::log);
        Evidence {
            console: log.and_then(|log| log.last_lines(CONSOLE_LINES).ok()).unwrap_or_default(),
            ..Evidence::default()
        }
    }

    /// Looks at a guest that lives and is late.
    pub(super) fn inquire(&self, machine: &Machine) -> Evidence {
        let mut evidence = Self::traces(machine);
        let leader = self.running.pid.as_raw_nonzero().get().unsigned_abs();
        evidence.processes = processes(leader);
        let is_systemd = machine.parts.init.as_ref().is_some_and(|init| init.starts_with("systemd"));
        // Without a user namespace what runs in the guest may be what the host is harmed by.
        if is_systemd && machine.parts.plan.ids.is_some() {
            let ask = |question: &[&str]| self.ask_systemctl(machine, question).unwrap_or_default();
            evidence.jobs = parse_jobs(&ask(&["list-jobs"]));
            evidence.failed = parse_failed(&ask(&["--failed"]));
        }
        evidence
    }

    /// What the guest's `systemctl` prints, as far as it does so in time.
    fn ask_systemctl(&self, machine: &Machine, question: &[&str]) -> SysResult<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let (reader, writer) = sys("pipe2", pipe_with(PipeFlags::CLOEXEC), String::new)?;
        let cgroup = init_cgroup(machine.parts.cgroup.payload())?;
        let options =
            CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: Some(cgroup.as_fd()) };
        let child = match clone_process(options)? {
            Cloned::Parent(pid) => pid,
            Cloned::Child => {
                let ran = self.enter(machine, &writer, question);
                exit_now(i32::from(ran.is_err()))
            }
        };
        drop(writer);
        // Ours and not reaped: the pid is its own.
        let pidfd = pidfd_open(child)?;
        let output = read_until(&reader, deadline);
        let _ = pidfd_send_signal(&pidfd, libc::SIGKILL);
        wait_for_end(child)?;
        output
    }

    /// In a child: joins the guest, and has a child of its own, which is in the guest's pid namespace, run the program. It
    /// dies with us.
    fn enter(&self, machine: &Machine, output: &OwnedFd, question: &[&str]) -> SysResult<()> {
        let plan = &machine.parts.plan;
        die_with_parent()?;
        // The limits of v1 hold for what is in there alone, and what systemctl leaves behind lives on.
        machine.parts.controllers.enter()?;
        // Our memory is the supervisor's: nobody in the guest is to look into it before the exec.
        set_dumpable(false)?;
        let null = open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
        let describe = || "a standard stream".to_owned();
        sys("dup2", rustix::stdio::dup2_stdin(&null), describe)?;
        sys("dup2", rustix::stdio::dup2_stdout(output), describe)?;
        sys("dup2", rustix::stdio::dup2_stderr(&null), describe)?;
        // In our session /dev/tty would be the terminal that we were started from, and what is put into that (TIOCSTI)
        // its user's shell runs as the host's root.
        sys("setsid", rustix::process::setsid().map(drop), String::new)?;
        // The guest sees the command line of what is in its pid namespace.
        process_title::replace("spinney-inquiry")?;
        let namespaces = Namespaces::from_bits_retain(LaunchRecord::of(plan).namespaces);
        // What decides on the child's pid comes first; with the guest's mounts there is no /proc that knows us.
        let first = namespaces & (Namespaces::NEWUSER | Namespaces::NEWPID);
        join_namespaces_of(&self.running.pidfd, first)?;
        set_ids(0, 0, &[])?;
        set_dumpable(false)?;
        die_with_parent()?;
        let words = [SYSTEMCTL].iter().chain(question).chain(&["--plain", "--no-legend", "--no-pager"]);
        let argv: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).collect();
        let environment: Vec<Vec<u8>> = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C",
            "TERM=dumb",
            "SYSTEMD_COLORS=0",
        ]
        .map(|variable| variable.as_bytes().to_vec())
        .into();
        let child = fork(|| {
            let joined = join_namespaces_of(&self.running.pidfd, namespaces - first);
            // Sockets that were passed to us are for PID 1.
            let confined = Restrictions { listen_fds: 0, ..plan.process.restrictions() };
            let joined = joined.and_then(|()| match join_new_session_keyring() {
                // As the leader: keys of our session are not the guest's.
                Err(error) if error.errno() != rustix::io::Errno::NOSYS => Err(error),
                _ => Ok(()),
            });
            // A program that is a link to one of our fds, or to /proc/self/exe, would be one of the host's.
            if joined.and_then(|()| confined.apply()).and_then(|()| close_from(3)).is_ok() {
                let program = Program { file: SYSTEMCTL.as_bytes(), argv: &argv, environment: &environment };
                let _ = program.execute(|file| refuse_magic_links(OsStr::from_bytes(file.to_bytes())));
            }
            1
        })?;
        wait_for_end(child).map(drop)
    }
}

/// The cgroup that the guest's init is in: where controllers are given on, none of the cgroups above it takes processes
/// (cgroups(7), "no internal processes" rule). The guest names it, and only its name is believed.
fn init_cgroup(payload: &OwnedFd) -> SysResult<OwnedFd> {
    open_directory_at(payload, "init.scope")
}

/// Reads to the end, to the deadline, or as much as is sensible.
fn read_until(pipe: &OwnedFd, deadline: Instant) -> SysResult<Vec<u8>> {
    let mut output = Vec::new();
    let mut chunk = [0; 4096];
    while output.len() < OUTPUT_BYTES {
        let mut fds = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&until(deadline))) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(SysError::new("poll", "a pipe", errno)),
        }
        match rustix::io::read(pipe, &mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => output.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
    Ok(output)
}

/// What PID 1 runs, each child with what it runs in turn: the first child of each, down to [`DEPTH`].
fn processes(leader: u32) -> Vec<String> {
    let Ok(processes) = Processes::of(leader) else { return Vec::new() };
    let living = processes.children.iter().filter(|child| child.state != 'Z');
    let chain = |child: &Process| {
        let mut names = vec![printable::line(child.name.as_bytes())];
        let mut pid = child.pid;
        while names.len() < DEPTH {
            let Ok(below) = Processes::of(pid) else { break };
            let Some(next) = below.children.first() else { break };
            names.push(printable::line(next.name.as_bytes()));
            pid = next.pid;
        }
        names.join(" > ")
    };
    living.take(CHILDREN).map(chain).collect()
}
