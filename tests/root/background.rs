//! Machines that live in the background.

use std::time::{Duration, Instant};

use crate::command::{PATIENCE, Process, capture, contents, run, shell_status};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::payload::{own_busybox, write_script};
use spinney::supervisor::state::Phase;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 6] = [
        ("ready", ready),
        ("no_wait", no_wait),
        ("command", command),
        ("refusals", refusals),
        ("interrupted", interrupted),
        ("waiting_killed", waiting_killed),
    ];
    rows.map(|(name, test)| Test::new(format!("background::{name}"), test)).into()
}

/// Ready when the program returns; nothing of its own in the supervisor; the name on stdout.
fn ready(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let started = run(context.spinney().args(["run", "-d", "-q", "-x", "-M", &name]).arg(&tree));
    let machine = Detached::find(&name)?;
    assert_eq!((started.status, started.stdout.as_str()), (0, format!("{name}\n").as_str()), "{started:#?}");
    let state = machine.state()?;
    assert_eq!((state.phase, state.background), (Phase::Ready, true));
    assert_eq!(machine.says("cat /proc/sys/kernel/hostname")?, name);
    let process = format!("/proc/{}", state.supervisor);
    for fd in 0..3 {
        assert_eq!(std::fs::read_link(format!("{process}/fd/{fd}"))?.to_str(), Some("/dev/null"));
    }
    assert_eq!(std::fs::read_link(format!("{process}/cwd"))?.to_str(), Some("/"));
    let stat = std::fs::read_to_string(format!("{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let supervisor = state.supervisor.to_string();
    assert_eq!((fields[2], fields[3], fields[4]), (supervisor.as_str(), supervisor.as_str(), "0"), "{stat}");

    let second = run(context.spinney().args(["run", "-d", "-x", "-M", &name]).arg(&tree));
    assert_eq!(second.status, 125);
    assert!(
        second.stderr.contains(&format!("error: a machine called {name:?} is running already\n  hint:")),
        "{second:#?}"
    );
    machine.stop()?;
    Ok(())
}

fn no_wait(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let machine = Detached::start(context, &tree, &["--no-wait"])?;
    assert_eq!(machine.state()?.phase, Phase::Booting);
    machine.wait_for(|state| state.phase == Phase::Ready)?;
    machine.stop()?;
    Ok(())
}

/// A command is there when the program returns; one that cannot be run has the exit status that it has in the foreground.
fn command(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let machine = Detached::start_as(context, &name, &tree, &[], &["--", "sh", "-c", "exec sleep 1000"])?;
    machine.stop()?;
    let absent =
        run(context.spinney().args(["run", "-d", "-x", "-M", &name]).arg(&tree).args(["--", "absent"]));
    assert_eq!((absent.status, absent.stdout.as_str()), (127, ""), "{absent:#?}");
    assert!(absent.stderr.contains("cannot run \"absent\" in the guest: No such file"), "{absent:#?}");
    Ok(())
}

fn refusals(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let rows: [(&[&str], &str); 5] = [
        (&["-d", "--console=interactive"], "a machine in the background has no terminal as its console"),
        (&["-d", "--pipe"], "a machine in the background has no terminal as its console"),
        (&["--no-wait"], "--no-wait goes with --detach only"),
        (&["-d", "-D", "/absent"], "tree /absent does not exist"),
        (&["-d", "-M", "/x"], "bad value for --machine="),
    ];
    for (options, expected) in rows {
        let mut command = context.spinney();
        command.arg("run").args(options);
        if !options.contains(&"-D") {
            command.arg(&tree);
        }
        let ended = run(&mut command);
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{options:?}: {ended:#?}");
        assert!(ended.stderr.contains(expected) && ended.stderr.contains("\n  hint: "), "{ended:#?}");
    }
    Ok(())
}

/// ^C of the one who waits leaves the machine alone.
fn interrupted(context: &Context) -> TestResult {
    // It never comes up.
    let hanging = Hanging::start(context, "exec sleep 1000")?;
    let (status, stderr) = hanging.end_waiting(libc::SIGINT);
    let machine = Detached::find(&hanging.name)?;
    assert_eq!(status, Some(128 + libc::SIGINT), "{stderr}");
    let name = &hanging.name;
    let said = format!("warning: {name} starts on in the background; spinney stop {name} ends it\n");
    assert!(stderr.ends_with(&said), "{stderr}");
    assert!(!machine.ended(Duration::ZERO));
    Ok(())
}

/// Nor does it mind that one's death.
fn waiting_killed(context: &Context) -> TestResult {
    let hanging = Hanging::start(context, "while ! test -e /run/go; do sleep 0.01; done")?;
    let (status, _) = hanging.end_waiting(libc::SIGKILL);
    assert_eq!(status, Some(128 + libc::SIGKILL));
    let machine = Detached::find(&hanging.name)?;
    assert_eq!(machine.state()?.phase, Phase::Booting);
    machine.says("touch /run/go")?;
    machine.wait_for(|state| state.phase == Phase::Ready)?;
    machine.stop()?;
    Ok(())
}

/// A `run --detach` that waits for a machine whose boot script takes its time.
struct Hanging {
    name: String,
    waiting: std::cell::RefCell<Process>,
    stderr: std::fs::File,
}

impl Hanging {
    fn start(context: &Context, script: &str) -> Result<Self, Stop> {
        let tree = own_busybox(context)?;
        write_script(&tree.join("etc/init.d/rcS"), &format!("#!/bin/sh\n{script}\n"));
        let (name, stderr) = (context.machine_name(), capture());
        let mut command = context.spinney();
        command.args(["run", "-d", "-x", "-M", &name]).arg(&tree).stderr(stderr.try_clone()?);
        let waiting = Process::spawn(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while !contents(&stderr).contains(" boots ") {
            assert!(Instant::now() < deadline, "{}", contents(&stderr));
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { name, waiting: waiting.into(), stderr })
    }

    /// Sends `signal` to the one who waits; gives its exit status and what it said.
    fn end_waiting(&self, signal: i32) -> (Option<i32>, String) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.signal(signal);
        (waiting.wait(PATIENCE).map(shell_status), contents(&self.stderr))
    }
}
