//! The stub init as PID 1 of a pid namespace. Needs root (CAP_SYS_ADMIN to unshare); skips itself otherwise.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{WaitStatus, waitpid};
use rustix::thread::UnshareFlags;

use super::*;
use crate::sys::fork::fork_from_test;

/// Runs `sh -c SCRIPT` under the stub init in pid and mount namespaces of its own, with its own /proc; calls `act` with the
/// init's pid while it runs; returns how the init ended. `None` if we may not unshare.
fn run_stub(script: &'static str, has_tty: bool, act: impl FnOnce(Pid)) -> Option<WaitStatus> {
    let (reader, writer) = rustix::pipe::pipe().expect("pipe");
    let unsharer = fork_from_test(|| {
        let flags = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
        // A forked child of a test has one thread, and shares nothing that unshare would part from somebody.
        if crate::sys::fork::unshare_in_test(flags).is_err() {
            return 77;
        }
        let init = fork(|| {
            if mount_proc().is_err() {
                return 98;
            }
            run(|| Command::new("sh").arg("-c").arg(script).exec(), has_tty)
        });
        let Ok(init) = init else { return 99 };
        let _ = rustix::io::write(&writer, &init.as_raw_pid().to_ne_bytes());
        // The init is our child: pass its status on, a signal's by dying of it.
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
    if status.exit_status() == Some(77) {
        println!("skipped: making a pid namespace needs root");
        return None;
    }
    Some(status)
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
        let Some(status) = run_stub(script, false, |_| {}) else { return };
        assert_eq!(status.exit_status(), Some(expected), "{name}");
    }
}

#[test]
fn a_signal_from_outside_powers_off() {
    let status = run_stub("sleep 1000", false, |init| {
        std::thread::sleep(Duration::from_millis(100));
        let status = Command::new("kill").args(["-RTMIN+3", &init.to_string()]).status().expect("kill");
        assert!(status.success());
    });
    if let Some(status) = status {
        assert_eq!(status.exit_status(), Some(202));
    }
}

#[test]
fn a_command_that_cannot_run() {
    let table = [(libc::ENOENT, NOT_FOUND), (libc::EACCES, CANNOT_RUN), (libc::ENOEXEC, CANNOT_RUN)];
    for (errno, expected) in table {
        assert_eq!(status_of_failure(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
    }
    if let Some(status) = run_stub("exec /no/such/program", false, |_| {}) {
        assert_eq!(status.exit_status(), Some(127));
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
