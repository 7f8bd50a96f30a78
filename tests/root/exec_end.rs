//! How a command of `spinney exec` ends: by signals, by its time, with its caller.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use spinney::sys::process::{pidfd_open, pidfd_send_signal};

use crate::command::{PATIENCE, Process, shell_status};
use crate::exec::{ended, exec, machine};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::soon;

pub fn tests() -> Vec<Test> {
    let single: [Row; 4] = [
        ("signals", signals),
        ("signals_before_it_is_known", signals_before_it_is_known),
        ("timeouts", timeouts),
        ("killed_caller", killed_caller),
    ];
    single.map(|(name, test)| Test::new(format!("exec_end::{name}"), test)).into()
}

/// Waits for a process of that name in the machine; gives its pid on the host.
pub fn guest_process(machine: &Machine, name: &str) -> Result<u32, Stop> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(pid) = guest_processes(machine, name)?.first() {
            return Ok(*pid);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Stop::Fail(format!("no process {name}\n{}", machine.output())))
}

/// All processes of that name in the machine's pid namespace.
fn guest_processes(machine: &Machine, name: &str) -> Result<Vec<u32>, Stop> {
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", machine.state()?.leader))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let same = fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link == namespace);
        // By its first argument: the name of the thread is cut.
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        if same && String::from_utf8_lossy(&program).rsplit('/').next() == Some(name) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits until no process of that name is in the machine.
fn all_gone(machine: &Machine, name: &str) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = guest_processes(machine, name)?;
        if left.is_empty() {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{name} is still there: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signals(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let table = [
        (libc::SIGTERM, "TERM"),
        (libc::SIGINT, "INT"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
    ];
    for (signal, word) in table {
        let script =
            format!("trap 'echo got {word}; exit 7' {word}; echo ready; while :; do sleep 0.02; done");
        let mut command = exec(context, &[name, "sh", "-c", &script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdout = child.stdout.take().unwrap();
        let mut heard = [0; 6];
        stdout.read_exact(&mut heard)?;
        assert_eq!(&heard, b"ready\n");
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::from_named_raw(signal).unwrap(),
        )?;
        let mut rest = String::new();
        stdout.read_to_string(&mut rest)?;
        assert_eq!((shell_status(child.wait()?), rest), (7, format!("got {word}\n")));
    }
    // Whoever does not expect it dies of it, with what is in its group.
    let mut process = Process::spawn(&mut exec(context, &[name, "sh", "-c", "sleep 1000; true"]));
    guest_process(&machine, "sleep")?;
    process.signal(libc::SIGINT);
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(130));
    all_gone(&machine, "sleep")?;
    machine.stop()?;
    Ok(())
}

/// A command runs, and may say so, before the process that cloned it has told of it: a signal that comes then is its own too.
fn signals_before_it_is_known(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    for (signal, status) in [(libc::SIGUSR1, 138), (libc::SIGTERM, 143)] {
        let mut process = held_up(context, &machine.name)?;
        process.0.signal(signal);
        let status_file = format!("/proc/{}/status", process.0.pid());
        let hears = || Ok(fs::read_to_string(&status_file).is_ok_and(|status| !is_pending(&status, signal)));
        soon(hears, "it does not hear of it")?;
        // If it had told of the command already, it is gone.
        let _ = pidfd_send_signal(&process.1, libc::SIGCONT);
        assert_eq!(process.0.wait(PATIENCE).map(shell_status), Some(status));
        all_gone(&machine, "sleep")?;
    }
    machine.stop()?;
    Ok(())
}

/// `exec` of a command that sleeps, and its child, which is stopped before it, or just as it, has told of the command.
fn held_up(context: &Context, machine: &str) -> Result<(Process, OwnedFd), Stop> {
    for _ in 0..100 {
        let mut process = Process::spawn(&mut exec(context, &[machine, "sleep", "1000"]));
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let mut child = None;
        while child.is_none() && process.wait(Duration::ZERO).is_none() {
            child = fs::read_to_string(&children)?.split(' ').find_map(|pid| pid.parse().ok());
        }
        let Some(child) = child.and_then(Pid::from_raw) else { return Err("it has ended".into()) };
        let Ok(pidfd) = pidfd_open(child) else { continue };
        let stat = format!("/proc/{}/stat", child.as_raw_nonzero());
        let state = || fs::read_to_string(&stat).ok()?.rsplit(") ").next()?.chars().next();
        if pidfd_send_signal(&pidfd, libc::SIGSTOP).is_ok() {
            soon(|| Ok(!matches!(state(), Some('R' | 'S' | 'D'))), "it does not stop")?;
            if state() == Some('T') {
                return Ok((process, pidfd));
            }
        }
    }
    Err("its child is never there".into())
}

/// Whether `signal` has come and was not taken (proc_pid_status(5)).
fn is_pending(status: &str, signal: i32) -> bool {
    let mask = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(mask.trim(), 16).unwrap_or_default()
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & (1 << (signal - 1)) != 0
}

fn timeouts(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let started = Instant::now();
    let done = ended(context, &["--timeout=200ms", name, "sh", "-c", "sleep 1000 & sleep 1000"]);
    assert_eq!(done.status, 124, "{done:?}");
    all_gone(&machine, "sleep")?;
    // One that does not listen, and a job of it in another group.
    let script = "set -m; trap '' TERM; sh -c \"trap '' TERM; sleep 1000\" & while :; do sleep 0.05; done";
    let done = ended(context, &["--timeout=200ms", "--kill-after=200ms", name, "sh", "-c", script]);
    assert_eq!(done.status, 124, "{done:?}");
    all_gone(&machine, "sleep")?;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(ended(context, &["--timeout=10s", name, "sh", "-c", "exit 4"]).status, 4);
    machine.stop()?;
    Ok(())
}

fn killed_caller(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13", &[])?;
    let name = machine.name.as_str();
    // The second has set-user-ID on its way, which takes PR_SET_PDEATHSIG away; the third has a job in another group.
    machine.says("cp /bin/sleep /bin/usleep; cp /usr/bin/env /bin/uenv; chmod 4755 /bin/usleep /bin/uenv")?;
    let table: [&[&str]; 4] = [
        &["sleep", "1000"],
        &["-u", "nobody", "uenv", "sleep", "1000"],
        &["bash", "-c", "set -m; sleep 1000 & sleep 1000; true"],
        &["-t", "bash", "-c", "set -m; trap '' HUP; sleep 1000 & sleep 1000; true"],
    ];
    for arguments in table {
        let (options, command): (Vec<&str>, Vec<&str>) = match arguments {
            ["-u", user, rest @ ..] => (vec!["-u", user], rest.to_vec()),
            ["-t", rest @ ..] => (vec!["-t"], rest.to_vec()),
            rest => (vec![], rest.to_vec()),
        };
        let all: Vec<&str> = options.into_iter().chain([name]).chain(command).collect();
        let mut process = Process::spawn(&mut exec(context, &all));
        guest_process(&machine, "sleep")?;
        // By then it has somebody to mind it.
        std::thread::sleep(Duration::from_millis(100));
        process.signal(libc::SIGKILL);
        assert_eq!(process.wait(PATIENCE).map(shell_status), Some(137));
        all_gone(&machine, "sleep")?;
    }
    // One that left the session did so on purpose.
    let mut process =
        Process::spawn(&mut exec(context, &[name, "sh", "-c", "setsid sleep 1001 & sleep 1000"]));
    guest_process(&machine, "sleep")?;
    std::thread::sleep(Duration::from_millis(100));
    process.signal(libc::SIGKILL);
    process.wait(PATIENCE);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(guest_processes(&machine, "sleep")?.len(), 1);
    machine.stop()?;
    Ok(())
}
