//! The stub init as PID 1 of a pid namespace. Needs root (CAP_SYS_ADMIN to unshare); skips itself otherwise.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::waitpid;
use rustix::thread::UnshareFlags;

use super::*;
use crate::sys::fork::{fork_from_test, unshare_in_test};

/// Where the stub init runs.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    /// Its terminal, which it has as its controlling one already, as an init would.
    tty: Option<BorrowedFd<'a>>,
    /// In a user namespace of its own, as its root.
    user_namespace: bool,
}

/// Runs `sh -c SCRIPT` under the stub init in pid and mount namespaces of its own, with its own /proc; calls `act` with the
/// init's pid while it runs; returns the init's exit status, or 200 and the signal that killed it. `None` if we may not
/// unshare.
fn run_stub(script: &'static str, place: Place<'_>, act: impl FnOnce(Pid)) -> Option<i32> {
    const NOT_ALLOWED: i32 = 77;
    let (reader, writer) = rustix::pipe::pipe().expect("pipe");
    let unsharer = fork_from_test(|| {
        let mut flags = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
        flags.set(UnshareFlags::NEWUSER, place.user_namespace);
        if unshare_in_test(flags).is_err() || (place.user_namespace && map_root().is_err()) {
            return NOT_ALLOWED;
        }
        let init = fork(|| {
            if mount_proc().is_err() {
                return NOT_ALLOWED;
            }
            if let Some(tty) = place.tty
                && (tty::take_controlling_terminal(&tty).is_err() || use_as_stdio(tty).is_err())
            {
                return 98;
            }
            run(|| Command::new("sh").arg("-c").arg(script).exec(), None, |_| (), place.tty.is_some())
        });
        let Ok(init) = init else { return 99 };
        let _ = rustix::io::write(&writer, &init.as_raw_pid().to_ne_bytes());
        match waitpid(Some(init), WaitOptions::empty()) {
            Ok(Some((_, status))) => match status.terminating_signal() {
                Some(signal) => 200 + signal,
                None => status.exit_status().unwrap_or(97),
            },
            _ => 96,
        }
    })
    .expect("fork");
    drop(writer);
    let mut pid = [0; 4];
    if rustix::io::read(&reader, &mut pid) == Ok(4) {
        act(Pid::from_raw(i32::from_ne_bytes(pid)).expect("a pid"));
    }
    let (_, status) = waitpid(Some(unsharer), WaitOptions::empty()).expect("wait").expect("a child");
    if status.exit_status() == Some(NOT_ALLOWED) {
        println!("skipped: making namespaces with a /proc of their own needs root");
        return None;
    }
    status.exit_status()
}

fn use_as_stdio(tty: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(tty)?;
    rustix::stdio::dup2_stdout(tty)?;
    rustix::stdio::dup2_stderr(tty)
}

/// Makes us root of the user namespace that we have just made.
fn map_root() -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", "0 0 1")?;
    std::fs::write("/proc/self/gid_map", "0 0 1")
}

fn mount_proc() -> rustix::io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None::<&std::ffi::CStr>)
}

#[test]
fn exit_statuses() {
    // 200 and a signal: the init itself was killed by it.
    let table = [
        ("success", "exit 0", 0),
        ("failure", "exit 42", 42),
        ("killed", "kill -9 $$", 137),
        ("not PID 1, in its own session", "[ $$ -ne 1 ] && [ $(ps -o sid= $$) -eq $$ ]", 0),
        (
            "orphans are reaped",
            "(sh -c 'sleep 0.05 & exit') ; sleep 0.2; [ -z \"$(ps -o stat= -A | grep Z)\" ]",
            0,
        ),
        ("who is left dies with it", "sleep 1000 & exit 3", 3),
        ("title", "[ \"$(cat /proc/1/cmdline | tr -d '\\0')\" = spinney-init ]", 0),
        ("name", "[ \"$(cat /proc/1/comm)\" = spinney-init ]", 0),
        ("no fds", "[ -z \"$(ls -A /proc/1/fd)\" ]", 0),
        (
            "dispositions and mask are the defaults",
            "grep -q '^SigIgn:.0*$' /proc/self/status && grep -q '^SigBlk:.0*$' /proc/self/status",
            0,
        ),
        ("signals that mean nothing", "kill -TERM 1; kill -HUP 1; kill -USR1 1; sleep 0.1; exit 5", 5),
        ("power off", "kill -RTMIN+4 1; sleep 1000", 202),
        ("halt", "kill -RTMIN+3 1; sleep 1000", 202),
        ("reboot", "kill -RTMIN+5 1; sleep 1000", 201),
        ("ctrl-alt-del", "kill -INT 1; sleep 1000", 201),
        (
            "the command may take its time to end",
            "trap 'sleep 0.2; exit 0' TERM; kill -RTMIN+4 1; while :; do sleep 0.01; done",
            202,
        ),
    ];
    for (name, script, expected) in table {
        let Some(status) = run_stub(script, Place::default(), |_| {}) else { return };
        assert_eq!(status, expected, "{name}");
    }
}

#[test]
fn a_signal_from_outside_powers_off() {
    let status = run_stub("sleep 1000", Place::default(), |init| {
        std::thread::sleep(Duration::from_millis(100));
        let status = Command::new("kill").args(["-RTMIN+3", &init.to_string()]).status().expect("kill");
        assert!(status.success());
    });
    if let Some(status) = status {
        assert_eq!(status, 202);
    }
}

#[test]
fn a_command_that_cannot_run() {
    let table = [(libc::ENOENT, NOT_FOUND), (libc::EACCES, CANNOT_RUN), (libc::ENOEXEC, CANNOT_RUN)];
    for (errno, expected) in table {
        assert_eq!(status_of_failure(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
    }
    if let Some(status) = run_stub("exec /no/such/program", Place::default(), |_| {}) {
        assert_eq!(status, 127);
    }
}

#[test]
fn outside_of_a_namespace_nothing_is_killed_or_rebooted() {
    assert!(!is_init());
    // If the guard failed, this test would not be the only casualty.
    let pid = fork_from_test(|| end(Ending::Reboot)).expect("fork");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
    assert_eq!(status.exit_status(), Some(REBOOT_STATUS));
}

#[test]
fn the_command_owns_the_terminal() {
    let (master, slave) = tty::test_pty();
    let table = [
        ("it is the controlling one", "echo hello >/dev/tty", 0),
        ("the command is in its foreground", "set -- $(ps -o pgid=,tpgid= $$); [ $1 = $2 ]", 0),
        ("the init has none", "[ $(ps -o tpgid= 1) = -1 ]", 0),
        ("job control works", "set -m; sleep 0.01 & wait && fg; [ $? -le 2 ]", 0),
    ];
    for (name, script, expected) in table {
        let place = Place { tty: Some(slave.as_fd()), ..Place::default() };
        let Some(status) = run_stub(script, place, |_| {}) else { return };
        assert_eq!(status, expected, "{name}");
    }
    let mut buffer = [0; 4096];
    let length = rustix::io::read(&master, &mut buffer).expect("read");
    assert!(buffer[..length].starts_with(b"hello\r\n"));
}

#[test]
fn a_key_interrupts_the_command_and_not_the_init() {
    let (master, slave) = tty::test_pty();
    let script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done";
    let place = Place { tty: Some(slave.as_fd()), ..Place::default() };
    let status = run_stub(script, place, |_| {
        let mut buffer = [0; 64];
        let length = rustix::io::read(&master, &mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"ready\r\n");
        rustix::io::write(&master, b"\x03").expect("write");
    });
    if let Some(status) = status {
        assert_eq!(status, 7);
    }
}

#[test]
fn root_of_a_user_namespace_cannot_look_into_the_init() {
    let table = [
        ("environment", "cat /proc/1/environ 2>&1 | grep -q denied", 0),
        ("memory", "cat /proc/1/maps 2>&1 | grep -q denied", 0),
        ("our program", "readlink /proc/1/exe", 1),
        (
            "its own, on the other hand",
            "cat /proc/self/environ >/dev/null && readlink /proc/self/exe >/dev/null",
            0,
        ),
    ];
    for (name, script, expected) in table {
        let place = Place { user_namespace: true, ..Place::default() };
        let Some(status) = run_stub(script, place, |_| {}) else { return };
        assert_eq!(status, expected, "{name}");
    }
}
