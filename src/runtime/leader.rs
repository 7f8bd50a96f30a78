//! The leader between its clone and its exec: builds the guest's root, takes on its restrictions, becomes the init.
//!
//! It is root of its own namespaces and nothing on the host. What goes wrong is told to the supervisor over the
//! channel; what it has made, a console and a notification socket, is sent there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::settings::{ConsoleMode, PivotRoot};
use crate::sys::files::open_at;
use crate::sys::fork::{close_from_but, exit_now};
use crate::sys::in_root::Root;
use crate::sys::mount::{attach_mount, clone_mount};
use crate::sys::process::{Namespaces, die_with_parent};
use crate::sys::{FdPath, SysError, SysResult, seccomp, sys, tty};

use super::attach::{attach, enter_root, make_ready};
use super::channel::{Channel, Message, Stage};
use super::plan::{MachinePlan, ProcessKind, ProcessPlan};
use super::prepare::Prepared;
use super::restrict::{Program, exec_status};
use super::root::{ROOT, SEALED};
use super::staging;
use super::stub_init;

/// What a leader starts with, besides the plan.
#[derive(Debug)]
pub struct LeaderStart<'a> {
    /// What is to be done.
    pub plan: &'a MachinePlan,
    /// Namespaces that were made before, and made ready.
    pub made: Namespaces,
    /// The machine's directory, where the root and what is [staged](super::staging) are mounted.
    pub machine: &'a Path,
    /// What host root prepared for each mount operation.
    pub prepared: Vec<Prepared>,
}

/// Runs the leader: comes back never, the process execs or ends.
pub fn run(start: LeaderStart<'_>, channel: Channel) -> ! {
    let plan = start.plan;
    // All that is set up with fds of the host's is: a program of the tree that is a link to /proc/self/fd must find none.
    let first = 3 + plan.process.listen_fds;
    let done = set_up(start, &channel)
        .and_then(|()| close_from_but(first, &[channel.as_fd()]).map_err(at(Stage::Process)));
    match done {
        Ok(()) => {}
        Err((stage, error)) => {
            channel.send_failure(stage, &*error);
            exit_now(FAILED);
        }
    }
    let process = &plan.process;
    let has_terminal = plan.console != ConsoleMode::Pipe;
    match process.kind {
        ProcessKind::Init | ProcessKind::Command => {
            let error = process.restrictions().apply().map_or_else(|error| error, |()| exec(process));
            exit_now(exec_failed(&channel, &error))
        }
        // In a user namespace of its own the stub keeps the leader's capabilities: nobody there can touch it.
        ProcessKind::CommandBelowStub => stub_init::run(
            || {
                let error = process.restrictions().apply().map_or_else(|error| error, |()| exec(process));
                exec_failed(&channel, &error);
                error.errno().into()
            },
            plan.ids.is_none().then_some(&|| restrict_stub(process)),
            |error| channel.send_failure(Stage::Process, error),
            has_terminal,
        ),
    }
}

/// Exit status of a leader that told why over the channel.
const FAILED: i32 = 125;

fn exec_failed(channel: &Channel, error: &SysError) -> i32 {
    channel.send_failure(Stage::Exec, error);
    exec_status(error)
}

type Failure = (Stage, Box<dyn std::error::Error>);

fn at<E: std::error::Error + 'static>(stage: Stage) -> impl FnOnce(E) -> Failure {
    move |error| (stage, Box::new(error))
}

/// Everything up to the restrictions that the payload itself gets.
fn set_up(start: LeaderStart<'_>, channel: &Channel) -> Result<(), Failure> {
    let LeaderStart { plan, made, machine, prepared } = start;
    die_with_parent().map_err(at(Stage::Namespaces))?;
    sys("sethostname", rustix::system::sethostname(plan.hostname.as_bytes()), || plan.hostname.clone())
        .map_err(at(Stage::Namespaces))?;
    if (plan.namespaces - made).contains(Namespaces::NEWNET) {
        crate::sys::network::loopback_up().map_err(at(Stage::Namespaces))?;
    }

    let prepared = staging::take(prepared, machine).map_err(at(Stage::Mounts))?;
    let mut root = clone_root(machine, ROOT).map_err(at(Stage::Root))?;
    if plan.root.read_only {
        if let Some(pivot) = &plan.root.pivot {
            root = make_old(&root, pivot).map_err(at(Stage::Root))?;
        }
        make_ready(&root, &plan.mounts, &prepared).map_err(at(Stage::Mounts))?;
        root = clone_root(machine, SEALED).map_err(at(Stage::Root))?;
    }
    place_root(&root, machine).map_err(at(Stage::Root))?;
    if let Some(pivot) = &plan.root.pivot {
        root = super::attach::pivot(root, pivot).map_err(at(Stage::Root))?;
    }
    let attached = attach(&root, &plan.mounts, prepared, plan.root.read_only).map_err(at(Stage::Mounts))?;
    let console = open_console(&root, plan.console).map_err(at(Stage::Console))?;
    enter_root(&root).map_err(at(Stage::Root))?;

    if let Some(notify) = &attached.notify {
        channel.send(Message::Notify, &[notify.as_fd()]).map_err(at(Stage::Console))?;
    }
    match console {
        Some((master, slave)) => {
            channel.send(Message::Console, &[master.as_fd()]).map_err(at(Stage::Console))?;
            take_console(&slave, plan.process.kind).map_err(at(Stage::Console))?;
        }
        None => {
            // A session of its own, even without a terminal: job control of ours must not reach into the guest.
            let _ = rustix::process::setsid();
        }
    }
    execution_context(&plan.process).map_err(at(Stage::Process))?;
    if let Some(cpus) = &plan.process.cpu_affinity {
        run_on(cpus).map_err(at(Stage::Processors))?;
    }
    enter_directory(&plan.process).map_err(at(Stage::Directory))?;
    channel.send(Message::Executing, &[]).map_err(at(Stage::Process))
}

fn clone_root(machine: &Path, name: &str) -> SysResult<Root> {
    clone_mount(CWD, &machine.join(name), true).map(|root| Root::from_fd(root, "/"))
}

/// The directory that will be the root, with a place for the one before it.
fn make_old(root: &Root, pivot: &PivotRoot) -> SysResult<Root> {
    let new = root.subroot(&pivot.new)?;
    if let Some(old) = &pivot.old {
        new.mkdir_all(old, Mode::from_raw_mode(0o755))?;
    }
    Ok(new)
}

/// Attaches `root`, in any directory of the host.
fn place_root(root: &Root, machine: &Path) -> SysResult<()> {
    let place = open_at(CWD, machine.join(ROOT), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    attach_mount(root, place)
}

/// A pty of the guest's own devpts, its first: what /dev/console points to.
fn open_console(root: &Root, mode: ConsoleMode) -> SysResult<Option<(OwnedFd, OwnedFd)>> {
    if mode == ConsoleMode::Pipe {
        return Ok(None);
    }
    // devpts was mounted a moment ago by us: this ptmx is the kernel's, not the tree's.
    let master =
        root.open_file("dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())?;
    tty::unlock_slave(&master)?;
    let slave = tty::open_slave(&master)?;
    Ok(Some((master, slave)))
}

/// An init gets the console as stdin, stdout and stderr but not as its controlling terminal, as the kernel starts one:
/// what it starts there, a getty or a shell, could not make it its own. A command gets it in full.
fn take_console(slave: &OwnedFd, kind: ProcessKind) -> SysResult<()> {
    match kind {
        ProcessKind::Init => {
            sys("setsid", rustix::process::setsid().map(drop), String::new)?;
        }
        ProcessKind::Command | ProcessKind::CommandBelowStub => tty::take_controlling_terminal(slave)?,
    }
    let dup = |result| sys("dup2", result, || FdPath::of(slave).to_string());
    dup(rustix::stdio::dup2_stdin(slave))?;
    dup(rustix::stdio::dup2_stdout(slave))?;
    dup(rustix::stdio::dup2_stderr(slave))
}

/// Properties that the payload inherits and that take nothing away from us.
fn execution_context(process: &ProcessPlan) -> SysResult<()> {
    use crate::sys::process::{join_new_session_keyring, set_personality, set_resource_limit};
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match join_new_session_keyring() {
        Err(error) if error.errno() != Errno::NOSYS => return Err(error),
        _ => {}
    }
    for limit in &process.rlimits {
        set_resource_limit(limit.resource, limit.soft, limit.hard)?;
    }
    let write_proc = |name: &str, value: &str| -> SysResult<()> {
        let file = open_at(CWD, Path::new("/proc/self").join(name), OFlags::WRONLY, Mode::empty())?;
        crate::sys::files::write_all(file, value.as_bytes())
    };
    // A login in the guest is a new login to the audit system (Container Interface); most kernels have no audit.
    let _ = write_proc("loginuid", "4294967295");
    if let Some(adjust) = process.oom_score_adjust {
        write_proc("oom_score_adj", &adjust.to_string())?;
    }
    if let Some(persona) = process.personality {
        set_personality(persona)?;
    }
    if let Some(context) = &process.selinux_context {
        write_proc("attr/exec", context)?;
    }
    Ok(())
}

fn run_on(cpus: &[u32]) -> SysResult<()> {
    let mut set = rustix::thread::CpuSet::new();
    // Of those that are not there the kernel takes no notice, as long as one is; a set has no place for all that may be named.
    let in_set = cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok());
    in_set.filter(|cpu| *cpu < rustix::thread::CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    sys("sched_setaffinity", rustix::thread::sched_setaffinity(None, &set), || format!("{cpus:?}"))
}

fn enter_directory(process: &ProcessPlan) -> SysResult<()> {
    // By the root's rules: a link of the tree to /proc/self/fd/N would lead to what we still have open of the host's, and
    // from there by `..` to all of it (as in runc's CVE-2024-21626).
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let root = Root::open("/")?;
    let place = match root.open_file(&process.directory, flags, Mode::empty()) {
        Err(_) if process.directory_is_a_wish => root.open_file("/", flags, Mode::empty())?,
        place => place?,
    };
    sys("fchdir", rustix::process::fchdir(&place), || FdPath::of(&place).to_string())
}

/// What the stub has less of than a leader where the guest could take it over.
fn restrict_stub(process: &ProcessPlan) -> SysResult<()> {
    if !process.seccomp.is_empty() {
        seccomp::install_filter(&process.seccomp)?;
    }
    process.capabilities.limit_stub()
}

/// Execs the payload; a command is looked for in the guest's PATH.
fn exec(process: &ProcessPlan) -> SysError {
    let Some(file) = process.argv.first() else {
        return SysError::new("execve", "no program", Errno::NOENT);
    };
    Program { file, argv: &process.argv, environment: &process.environment }.execute(|_| Ok(()))
}
