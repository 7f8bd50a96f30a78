//! Processes, namespaces and the ids of the calling thread.
//!
//! The supervisor is single-threaded, so "thread" and "process" are the same here; [`clone_process`] refuses otherwise.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType;

use super::timeout::until;
use super::{FdPath, SysError, SysResult, check, sys};

/// Which namespaces a new process starts in, as `CLONE_NEW*` bits (clone(2)).
pub use rustix::thread::UnshareFlags as Namespaces;

/// Start the child in the cgroup of `clone_args.cgroup` (clone(2)); libc's constant of that name overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The two sides of [`clone_process`].
#[derive(Debug)]
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the old one, with the child's pid in our pid namespace.
    Parent(Pid),
}

/// How [`clone_process`] makes the new process.
#[derive(Debug, Clone, Copy)]
pub struct CloneOptions<'fd> {
    /// New namespaces of the child.
    pub namespaces: Namespaces,
    /// Make it a child of our parent (CLONE_PARENT).
    pub sibling: bool,
    /// Start it in this cgroup (CLONE_INTO_CGROUP, Linux 5.7).
    pub cgroup: Option<rustix::fd::BorrowedFd<'fd>>,
}

/// fork(2) by clone3(2): the child goes on with a copy of our memory.
///
/// # Errors
/// EINVAL, without a call, when the process has a second thread: its locks would stay held in the child.
pub fn clone_process(options: CloneOptions<'_>) -> SysResult<Cloned> {
    let threads = super::process_title::thread_count()?;
    if threads > 1 {
        return Err(SysError::new("clone3", format!("in a process of {threads} threads"), Errno::INVAL));
    }
    clone_again(options)
}

/// As [`clone_process`], in a child that it made: that has one thread by birth, and where it has joined a guest there is
/// no /proc that would say so.
///
/// # Errors
/// When the kernel refuses.
pub fn clone_again(options: CloneOptions<'_>) -> SysResult<Cloned> {
    let parent = if options.sibling { libc::CLONE_PARENT } else { 0 };
    let mut flags = u64::from(options.namespaces.bits()) | u64::from(parent.unsigned_abs());
    // SAFETY: clone_args is a struct of integers; all zero is a valid value of it.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // With CLONE_PARENT the kernel takes the parent's exit signal and wants none here.
    if !options.sibling {
        arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    }
    if let Some(cgroup) = options.cgroup {
        flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    arguments.flags = flags;
    // SAFETY: without CLONE_VM the child has its own copy of the memory and goes on at this very place on the same
    // stack, as after fork(2). `arguments` lives across the call and its size is passed. glibc's atfork handlers are
    // skipped, which matters only to a process of several threads: refused above.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<libc::clone_args>())
    };
    let pid = sys("clone3", check(result), || {
        let cgroup = options.cgroup.map(|fd| format!(", cgroup {}", FdPath(fd))).unwrap_or_default();
        format!("{:?}{cgroup}", options.namespaces)
    })?;
    Ok(match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => Cloned::Parent(pid),
        None => Cloned::Child,
    })
}

/// Opens a pidfd of `pid` (pidfd_open(2), Linux 5.3).
pub fn pidfd_open(pid: Pid) -> SysResult<OwnedFd> {
    sys("pidfd_open", rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()), || {
        format!("{}", pid.as_raw_nonzero())
    })
}

/// What names the process of `pidfd` among all since the host's boot: the inode of the pidfd. `None` before Linux 6.9, where all
/// pidfds have one inode.
pub fn pidfd_id(pidfd: impl AsFd) -> Option<u64> {
    const PIDFS: i64 = 0x5049_4446; // linux/magic.h, PID_FS_MAGIC
    let is_pidfs = rustix::fs::fstatfs(&pidfd).is_ok_and(|stat| i128::from(stat.f_type) == i128::from(PIDFS));
    is_pidfs.then(|| rustix::fs::fstat(&pidfd).ok().map(|stat| stat.st_ino)).flatten()
}

/// Waits until the process behind `pidfd` has ended, `patience` at most; says whether it has.
///
/// # Errors
/// When poll(2) fails.
pub fn ends_within(pidfd: &OwnedFd, patience: Duration) -> SysResult<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&until(deadline))) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", "a pidfd", errno)),
        }
    }
}

/// When `pid` was started, in clock ticks since the host's boot (proc_pid_stat(5), field 22): with the pid it names one
/// process and no other.
///
/// # Errors
/// ENOENT or ESRCH when there is no such process.
pub fn start_time(pid: i32) -> SysResult<u64> {
    state_and_start_time(pid).map(|(_, started)| started)
}

/// The state of `pid` (`Z` for one that has ended and that its parent has not waited for), and when it was started.
///
/// # Errors
/// As [`start_time`].
pub fn state_and_start_time(pid: i32) -> SysResult<(char, u64)> {
    /// The fields before it, counted from the state, which follows the name's last parenthesis.
    const FIELDS_BEFORE: usize = 19;
    let path = format!("/proc/{pid}/stat");
    // One line, which the kernel gives in one go; its numbers and the name, which is cut, take half a kilobyte at most.
    let mut line = [0; 1024];
    let file = super::files::open_at(rustix::fs::CWD, &path, OFlags::RDONLY, Mode::empty())?;
    let length =
        sys("read", rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut line)), || path.clone())?;
    let stat = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let state = fields.chars().next();
    let started = fields.split(' ').nth(FIELDS_BEFORE).and_then(|field| field.parse().ok());
    state.zip(started).ok_or_else(|| SysError::new("read", path, Errno::BADMSG))
}

/// Sends `signal` (a number, real-time ones too) by pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// ESRCH when the process is gone.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> SysResult<()> {
    // SAFETY: the fd is borrowed for the length of the call; a null siginfo is allowed (pidfd_send_signal(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    sys("pidfd_send_signal", check(result).map(drop), || format!("{}, {signal}", FdPath::of(&pidfd)))
}

/// Sends `signal` to the process group `group` (kill(2) with a negative number).
///
/// # Errors
/// ESRCH when it has no member.
pub fn signal_group(group: Pid, signal: i32) -> SysResult<()> {
    // SAFETY: kill takes two integers; a pid is positive, so that this is the group and never all processes.
    let result = unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) };
    sys("kill", check(result.into()).map(drop), || format!("-{}, {signal}", group.as_raw_nonzero()))
}

/// Lets us run on the same processors as `pid` may (sched_setaffinity(2)).
///
/// # Errors
/// ESRCH when it is gone, EINVAL when our cpuset has none of them.
pub fn take_affinity_of(pid: Pid) -> SysResult<()> {
    let set = sys("sched_getaffinity", rustix::thread::sched_getaffinity(Some(pid)), || {
        pid.as_raw_nonzero().to_string()
    })?;
    sys("sched_setaffinity", rustix::thread::sched_setaffinity(None, &set), || "0".to_owned())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// exit(2) with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Waits for the end of the child `pid` and reaps it.
pub fn wait_for_end(pid: Pid) -> SysResult<Ended> {
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Ok(status) => {
                let status = status
                    .ok_or_else(|| SysError::new("waitid", pid.as_raw_nonzero().to_string(), Errno::CHILD))?;
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ended::Exited(code),
                    (None, signal) => Ended::Signaled(signal.unwrap_or(libc::SIGKILL)),
                });
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("waitid", pid.as_raw_nonzero().to_string(), errno)),
        }
    }
}

/// Moves this process into new namespaces (unshare(2)).
pub fn unshare(namespaces: Namespaces) -> SysResult<()> {
    // SAFETY: rustix marks this unsafe for CLONE_FILES, which would break I/O safety of other threads; there are none.
    let result = unsafe { rustix::thread::unshare_unsafe(namespaces) };
    sys("unshare", result, || format!("{namespaces:?}"))
}

/// Joins the user namespace `namespace` (setns(2)): gives all capabilities in it.
pub fn join_user_namespace(namespace: impl AsFd) -> SysResult<()> {
    sys(
        "setns",
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User)),
        || format!("{}, CLONE_NEWUSER", FdPath::of(&namespace)),
    )
}

/// Joins `namespaces` of the process behind `pidfd` (setns(2), Linux 5.8), its user namespace first if that is one.
pub fn join_namespaces_of(pidfd: impl AsFd, namespaces: Namespaces) -> SysResult<()> {
    // The bits are those of clone(2), whatever the call (setns(2)).
    let kinds = rustix::thread::ThreadNameSpaceType::from_bits_retain(namespaces.bits());
    sys("setns", rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), kinds), || {
        format!("{}, {namespaces:?}", FdPath::of(&pidfd))
    })
}

/// Joins the mount namespace `namespace` (setns(2)); root and working directory become its root.
pub fn join_mount_namespace(namespace: impl AsFd) -> SysResult<()> {
    sys(
        "setns",
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount)),
        || format!("{}, CLONE_NEWNS", FdPath::of(&namespace)),
    )
}

/// The user who made the user namespace `namespace` (ioctl_nsfs(2), Linux 4.11).
///
/// # Errors
/// EINVAL for a namespace of another kind.
pub fn user_namespace_owner(namespace: impl AsFd) -> SysResult<u32> {
    /// linux/nsfs.h: _IO(0xb7, 0x4).
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut owner: libc::uid_t = 0;
    let fd = namespace.as_fd();
    // SAFETY: the kernel writes one uid_t to where the pointer leads, which lives until the call is over.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_OWNER_UID, &raw mut owner) };
    sys("ioctl", check(result.into()), || format!("{}, NS_GET_OWNER_UID", FdPath::of(&fd)))?;
    Ok(owner)
}

/// Sets real, effective and saved uid and gid, after dropping all supplementary groups but `groups`.
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> SysResult<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    sys("setgroups", rustix::thread::set_thread_groups(&groups), || format!("{groups:?}"))?;
    let gid_t = Gid::from_raw(gid);
    sys("setresgid", rustix::thread::set_thread_res_gid(gid_t, gid_t, gid_t), || gid.to_string())?;
    let uid_t = Uid::from_raw(uid);
    sys("setresuid", rustix::thread::set_thread_res_uid(uid_t, uid_t, uid_t), || uid.to_string())
}

/// Runs `work` with the file system ids (setfsuid(2)) `id`, all capabilities kept, and puts root's back.
///
/// The capabilities stay because SECBIT_NO_SETUID_FIXUP is set meanwhile (capabilities(7)).
pub fn with_filesystem_ids<T>(id: u32, work: impl FnOnce() -> T) -> SysResult<T> {
    use rustix::thread::{CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits};
    let before = sys("prctl", capabilities_secure_bits(), || "PR_GET_SECUREBITS".to_owned())?;
    let during = before | CapabilitiesSecureBits::NO_SETUID_FIXUP;
    sys("prctl", set_capabilities_secure_bits(during), || "PR_SET_SECUREBITS, NO_SETUID_FIXUP".to_owned())?;
    set_filesystem_ids(id);
    let result = work();
    set_filesystem_ids(0);
    sys("prctl", set_capabilities_secure_bits(before), || "PR_SET_SECUREBITS".to_owned())?;
    Ok(result)
}

/// Runs `work` as somebody whose file system ids (setfsuid(2)) are `id`, and who may do to files what such a one may: from 0 to
/// others the kernel takes the capabilities about files away, and gives them back on the way back (capabilities(7), "Effect
/// of user ID changes on capabilities"). With `id` 0 nothing changes.
pub fn as_filesystem_user<T>(id: u32, work: impl FnOnce() -> T) -> T {
    set_filesystem_ids(id);
    let result = work();
    set_filesystem_ids(0);
    result
}

fn set_filesystem_ids(id: u32) {
    // SAFETY: setfsgid takes an integer, touches only this thread's credentials and cannot fail.
    unsafe { libc::setfsgid(id) };
    // SAFETY: as above.
    unsafe { libc::setfsuid(id) };
}

/// Makes this process dumpable (its /proc files its own) or not (they belong to root; PR_SET_DUMPABLE, prctl(2)).
pub fn set_dumpable(dumpable: bool) -> SysResult<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    sys("prctl", set_dumpable_behavior(behavior), || format!("PR_SET_DUMPABLE, {dumpable}"))
}

/// Has the kernel kill us when our parent ends (PR_SET_PDEATHSIG, prctl(2)).
pub fn die_with_parent() -> SysResult<()> {
    sys("prctl", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)), || {
        "PR_SET_PDEATHSIG, SIGKILL".to_owned()
    })
}

/// Gives up privileges that execve(2) would bring (PR_SET_NO_NEW_PRIVS, prctl(2)).
pub fn set_no_new_privileges() -> SysResult<()> {
    sys("prctl", rustix::thread::set_no_new_privs(true), || "PR_SET_NO_NEW_PRIVS".to_owned())
}

/// Joins a new, anonymous session keyring (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
///
/// # Errors
/// ENOSYS where the kernel has no keyrings.
pub fn join_new_session_keyring() -> SysResult<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    sys("keyctl", check(result).map(drop), || "KEYCTL_JOIN_SESSION_KEYRING, NULL".to_owned())
}

/// Sets the execution domain (personality(2)).
pub fn set_personality(persona: u32) -> SysResult<()> {
    // SAFETY: personality takes an integer and changes only this process's execution domain.
    let result = unsafe { libc::personality(persona.into()) };
    sys("personality", check(result.into()).map(drop), || format!("{persona:#x}"))
}

/// Sets this process's limit `resource` (an RLIMIT_* number) to `soft` and `hard` (prlimit(2); `u64::MAX` is none).
///
/// # Errors
/// EPERM for raising the hard limit without CAP_SYS_RESOURCE in the initial user namespace.
pub fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> SysResult<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit is a live struct that is only read; a null old limit is allowed.
    let result = unsafe { libc::prlimit64(0, resource, &raw const limit, std::ptr::null_mut()) };
    sys("prlimit", check(result.into()).map(drop), || format!("{resource}, {soft}:{hard}"))
}

/// The limit `resource` (an RLIMIT_* number) of process `pid` (0 is us), soft and hard.
pub fn resource_limit(pid: i32, resource: u32) -> SysResult<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a null new limit is allowed; the old one is written to a live struct.
    let result = unsafe { libc::prlimit64(pid, resource, std::ptr::null(), &raw mut limit) };
    sys("prlimit", check(result.into()).map(drop), || format!("{pid}, {resource}"))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Raises our soft limit `resource` to the hard one.
pub fn raise_soft_limit(resource: u32) -> SysResult<()> {
    let (soft, hard) = resource_limit(0, resource)?;
    if soft < hard { set_resource_limit(resource, hard, hard) } else { Ok(()) }
}

/// Marks all fds from `first` on as close-on-exec (close_range(2), CLOSE_RANGE_CLOEXEC, Linux 5.11).
pub fn close_on_exec_from(first: u32) -> SysResult<()> {
    // SAFETY: only the close-on-exec flags of this process's fds change; no fd is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    sys("close_range", check(result).map(drop), || format!("{first}, ~0, CLOSE_RANGE_CLOEXEC"))
}

/// Takes the close-on-exec flag off fd `number`.
///
/// # Errors
/// EBADF when nothing is open there.
pub fn keep_on_exec(number: u32) -> SysResult<()> {
    // SAFETY: F_SETFD changes the flags of an fd of this process, which nobody reads but execve.
    let result = unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, 0) };
    sys("fcntl", check(result.into()).map(drop), || format!("{number}, F_SETFD, 0"))
}

/// Replaces the program (execve(2)); comes back only to say why it could not.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> SysError {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: both vectors are null-terminated arrays of pointers into `arguments` and `environment`, which outlive
    // the call; `program` is NUL-terminated.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
    SysError::new("execve", format!("{program:?}"), errno)
}
