//! How a process gets into a machine and becomes a program of it.
//!
//! A child of ours is cloned into the machine's cgroup, goes into its other cgroups, takes on what only host root may give,
//! joins the namespaces, and clones the command as its own sibling: a child of ours, which we wait for ourselves. The guest
//! sees that one alone, from its clone on. Until it execs it is a copy of us: so it is not dumpable, as the kernel's
//! permission for all of /proc/PID that shows memory, fds and program is (ptrace(2), "Ptrace access mode checking"), and its
//! command line is blank.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::place::{Place, takes_none};
use super::plan::{ExecPlan, GuestFacts, Payload, PlanError, Request, plan};
use crate::guest::users::{User, find_group};
use crate::machine::{Error, Leader, enter};
use crate::runtime::channel::{Channel, Listener, Message, Stage, pair};
use crate::runtime::restrict::{Program, Restrictions, exec_status};
use crate::supervisor::launch_record::LaunchRecord;
use crate::sys::files::{read_at, refuse_magic_links, write_at};
use crate::sys::fork::{close_from_but, exit_now};
use crate::sys::in_root::{Metadata, Root};
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_again, clone_process, die_with_parent, join_new_session_keyring,
    resource_limit, set_dumpable, set_personality, set_resource_limit, take_affinity_of,
};
use crate::sys::seccomp::SockFilter;
use crate::sys::{FdPath, SysError, SysResult, socket, sys, tty};

/// What goes in.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) request: &'a Request,
    pub(super) leader: &'a Leader,
    pub(super) record: &'a LaunchRecord,
    pub(super) filter: &'a [SockFilter],
    /// What stdin, stdout and stderr are to be; `None` for ours.
    pub(super) streams: [Option<OwnedFd>; 3],
}

/// Both children of ours, on their way.
#[derive(Debug)]
pub(super) struct Entered {
    /// The one that joins; it ends as soon as it has cloned the command.
    pub(super) joining: Pid,
    /// It says the command's pid here, or why there is none.
    pub(super) birth: Listener,
    /// The command speaks here until it execs.
    pub(super) channel: Listener,
}

/// What [`Entered::channel`] is answered when the terminal is ready.
pub(super) const GO_ON: &[u8] = b"G";

/// Our own failures, in the exit status of the command's process; why, the channel has said.
const FAILED: i32 = 125;

/// Why a process that is in cannot become the command.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the machine has no user {0:?}")]
    NoUser(String),
    #[error("the machine has no group {0:?}")]
    NoGroup(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot get a terminal of the machine")]
    Terminal(#[source] SysError),
    #[error("cannot go to {directory:?} in the machine")]
    Directory { directory: PathBuf, source: SysError },
    #[error("cannot become a process of the machine")]
    System(#[from] SysError),
}

/// Starts the children.
///
/// # Errors
/// When the cgroup takes no process, or there can be no more of them.
pub(super) fn enter(entry: Entry<'_>, place: &mut Place) -> Result<Entered, Error> {
    let failed = || Error::system("start a process in the machine's cgroup");
    let (channel, speaker) = pair().map_err(failed())?;
    let (birth, announce) = pair().map_err(failed())?;
    if place.unified().is_none() {
        place.fall_back().map_err(failed())?;
    }
    let clone = |place: &Place| {
        let cgroup = place.unified().map(AsFd::as_fd);
        clone_process(CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup })
    };
    let cloned = match clone(place) {
        Err(error) if takes_none(&error) => {
            place.fall_back().map_err(failed())?;
            clone(place)
        }
        cloned => cloned,
    };
    match cloned.map_err(failed())? {
        Cloned::Parent(joining) => Ok(Entered { joining, birth, channel }),
        Cloned::Child => {
            drop((channel, birth));
            joining(&entry, place, speaker, &announce)
        }
    }
}

fn joining(entry: &Entry<'_>, place: &Place, speaker: Channel, announce: &Channel) -> ! {
    match clone_command(entry, place) {
        Ok(Cloned::Parent(pid)) => {
            let told = announce.send_leader(pid.as_raw_nonzero().get());
            exit_now(i32::from(told.is_err()));
        }
        Ok(Cloned::Child) => command(entry, &speaker),
        Err(error) => {
            announce.send_failure(Stage::Namespaces, &error);
            exit_now(1)
        }
    }
}

fn clone_command(entry: &Entry<'_>, place: &Place) -> SysResult<Cloned> {
    die_with_parent()?;
    // A name, and nothing of what our command line and environment say.
    crate::sys::process_title::replace("spinney-exec")?;
    place.enter_legacy()?;
    take_scheduling_of(entry.leader.pid)?;
    enter::join(entry.leader, entry.record)?;
    set_dumpable(false)?;
    clone_again(CloneOptions { namespaces: Namespaces::empty(), sibling: true, cgroup: None })
}

/// What the leader was given by host root: how soon the kernel kills it, its processors, its hard limits.
fn take_scheduling_of(leader: Pid) -> SysResult<()> {
    let number = leader.as_raw_nonzero().get();
    let adjust = read_at(rustix::fs::CWD, format!("/proc/{number}/oom_score_adj"), 16)?;
    // Lower than ours it cannot be had without CAP_SYS_RESOURCE: then ours stays.
    let _ = write_at(rustix::fs::CWD, "/proc/self/oom_score_adj", adjust.trim_ascii());
    // In another cpuset there may be none of its processors.
    let _ = take_affinity_of(leader);
    let limits = read_at(rustix::fs::CWD, format!("/proc/{number}/limits"), 4096)?;
    for (resource, soft, hard) in limits_of(&String::from_utf8_lossy(&limits)) {
        if resource_limit(0, resource)? != (soft, hard) {
            // A higher hard limit than ours is not ours to give: then it stays.
            let _ = set_resource_limit(resource, soft, hard);
        }
    }
    Ok(())
}

/// The soft and hard limits by RLIMIT_* number of /proc/PID/limits (proc_pid_limits(5)): a line each, in their order, after a
/// heading. prlimit(2) of another user's process takes CAP_SYS_RESOURCE.
///
/// systemd raises its own soft limit of open files as far as it goes, and gives what it starts the usual one, since
/// programs with select(2) fail above it (systemd-system.conf(5), DefaultLimitNOFILE=): so do we.
fn limits_of(text: &str) -> impl Iterator<Item = (u32, u64, u64)> {
    /// How wide the names are, some of which have spaces.
    const NAME: usize = 26;
    const OPEN_FILES: u64 = 1024;
    (0..).zip(text.lines().skip(1)).filter_map(|(resource, line)| {
        let number = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
        let mut words = line.get(NAME..)?.split_whitespace();
        let (soft, hard) = (number(words.next()?)?, number(words.next()?)?);
        let soft = if resource == libc::RLIMIT_NOFILE { soft.min(OPEN_FILES) } else { soft };
        Some((resource, soft, hard))
    })
}

/// The command's process, from its clone to its exec.
fn command(entry: &Entry<'_>, channel: &Channel) -> ! {
    let plan = match set_up(entry, channel) {
        Ok(plan) => plan,
        Err(trouble) => {
            channel.send_failure(Stage::Process, &trouble);
            exit_now(FAILED)
        }
    };
    let restrictions = Restrictions {
        user: &plan.user,
        capabilities: &plan.capabilities,
        seccomp: entry.filter,
        no_new_privileges: entry.record.no_new_privileges,
        listen_fds: 0,
    };
    let program = Program { file: &plan.file, argv: &plan.argv, environment: &plan.environment };
    let ready = close_from_but(3, &[channel.as_fd()])
        .and_then(|()| restrictions.apply())
        // Who cannot say this has lost its caller before it could die with it.
        .and_then(|()| channel.send(Message::Executing, &[]));
    if let Err(error) = ready {
        channel.send_failure(Stage::Process, &Trouble::System(error));
        exit_now(FAILED)
    }
    // A program that is a link to /proc/self/exe would be ours, run as the guest's (CVE-2019-5736).
    let error = program.execute(|file| refuse_magic_links(OsStr::from_bytes(file.to_bytes())));
    channel.send_failure(Stage::Exec, &error);
    exit_now(exec_status(&error))
}

fn set_up(entry: &Entry<'_>, channel: &Channel) -> Result<ExecPlan, Trouble> {
    die_with_parent()?;
    let root = Root::open("/")?;
    let facts = look(&root, entry.request)?;
    let plan = plan(entry.request, entry.record, &facts)?;
    if entry.request.terminal.is_some() {
        let slave = terminal(&root, channel, plan.user.uid).map_err(Trouble::Terminal)?;
        tty::take_controlling_terminal(&slave).map_err(Trouble::Terminal)?;
        let dup = |result| sys("dup2", result, || FdPath::of(&slave).to_string());
        dup(rustix::stdio::dup2_stdin(&slave))?;
        dup(rustix::stdio::dup2_stdout(&slave))?;
        dup(rustix::stdio::dup2_stderr(&slave))?;
    } else {
        // A session of its own: no terminal of the host's controls it.
        sys("setsid", rustix::process::setsid().map(drop), String::new)?;
        place_streams(&entry.streams)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match join_new_session_keyring() {
        Err(error) if error.errno() != Errno::NOSYS => return Err(error.into()),
        _ => {}
    }
    if let Some(persona) = entry.record.personality {
        set_personality(persona)?;
    }
    go_to(&root, &plan)?;
    Ok(plan)
}

fn place_streams(streams: &[Option<OwnedFd>; 3]) -> SysResult<()> {
    type Dup = fn(&OwnedFd) -> rustix::io::Result<()>;
    let dups: [Dup; 3] = [
        |fd| rustix::stdio::dup2_stdin(fd),
        |fd| rustix::stdio::dup2_stdout(fd),
        |fd| rustix::stdio::dup2_stderr(fd),
    ];
    for (stream, dup) in streams.iter().zip(dups) {
        if let Some(stream) = stream {
            sys("dup2", dup(stream), || FdPath::of(stream).to_string())?;
        }
    }
    Ok(())
}

/// In the root, by its rules, without magic links: none of our fds is a way out of it.
fn go_to(root: &Root, plan: &ExecPlan) -> Result<(), Trouble> {
    let go = |directory: &Path| {
        let place = root.open_file(directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        sys("fchdir", rustix::process::fchdir(&place), || FdPath::of(&place).to_string())
    };
    match go(&plan.directory) {
        Err(_) if plan.directory_is_a_wish => go(Path::new("/")),
        gone => gone,
    }
    .map_err(|source| Trouble::Directory { directory: plan.directory.clone(), source })
}

/// A pty of the guest's own devpts. Our caller looks at what it is before it uses it, and gives it its size.
fn terminal(root: &Root, channel: &Channel, owner: u32) -> SysResult<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let place = root.open_path("dev/pts/ptmx")?;
    let stat = *Metadata::of(&place)?.stat();
    // Anything else may wait for ever, or do something, when it is opened.
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::CharacterDevice
        || stat.st_rdev != super::PTMX
    {
        return Err(SysError::new("openat2", "/dev/pts/ptmx, which is no ptmx", Errno::NODEV));
    }
    drop(place);
    let master = root.open_file("dev/pts/ptmx", flags, Mode::empty())?;
    tty::unlock_slave(&master)?;
    let slave = tty::open_slave(&master)?;
    let uid = rustix::fs::Uid::from_raw(owner);
    sys("fchown", rustix::fs::fchown(&slave, Some(uid), None), || {
        format!("{}, {owner}", FdPath::of(&slave))
    })?;
    channel.send(Message::Console, &[master.as_fd()])?;
    let mut answer = [0; 8];
    match socket::receive(channel, &mut answer)? {
        Some(message) if message.length == GO_ON.len() => Ok(slave),
        _ => Err(SysError::new("recvmsg", "no answer", Errno::CONNRESET)),
    }
}

/// What of the guest's files the plan needs.
fn look(root: &Root, request: &Request) -> Result<GuestFacts, Trouble> {
    let shell = matches!(request.payload, Payload::Shell(_));
    let (name, group) = match request.user.as_deref().map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((name, group)) => {
            (Some(name).filter(|name| !name.is_empty()), Some(group).filter(|group| !group.is_empty()))
        }
        None => (None, None),
    };
    let user = match name {
        None if shell => User::find(root, "root").unwrap_or_else(User::root),
        None => User::root(),
        Some(name) => User::find(root, name).ok_or_else(|| Trouble::NoUser(name.to_owned()))?,
    };
    let group = match group {
        None => None,
        Some(group) => Some(find_group(root, group).ok_or_else(|| Trouble::NoGroup(group.to_owned()))?),
    };
    let executable = |paths: &[&str]| -> Option<PathBuf> {
        let is = |path: &&&str| root.metadata(path).is_ok_and(|file| file.is_file() && file.is_executable());
        paths.iter().find(is).map(PathBuf::from)
    };
    // Where logind runs, as sd-login and pam_systemd look for it.
    let logind = shell && root.exists("/run/systemd/seats").unwrap_or(false);
    Ok(GuestFacts {
        user,
        group,
        session_opener: logind.then(|| executable(&["/bin/su", "/usr/bin/su"])).flatten(),
        login: match request.payload {
            Payload::Login => {
                executable(&["/sbin/agetty", "/usr/sbin/agetty", "/bin/login", "/usr/bin/login"])
            }
            _ => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbered_as_they_stand() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max file size             1                    2                    bytes     \n\
                    nonsense\n\
                    Max stack size            8388608              unlimited            bytes     \n\
                    -                         -                    -                    -         \n\
                    -                         -                    -                    -         \n\
                    -                         -                    -                    -         \n\
                    Max open files            524288               524288               files     \n";
        let expected = [
            (0, u64::MAX, u64::MAX),
            (1, 1, 2),
            (3, 8_388_608, u64::MAX),
            (libc::RLIMIT_NOFILE, 1024, 524_288),
        ];
        assert_eq!(limits_of(text).collect::<Vec<_>>(), expected);
        let ours = std::fs::read_to_string("/proc/self/limits").unwrap();
        let stack = limits_of(&ours).find(|(resource, ..)| *resource == libc::RLIMIT_STACK).unwrap();
        assert_eq!((stack.1, stack.2), resource_limit(0, libc::RLIMIT_STACK).unwrap());
    }
}
