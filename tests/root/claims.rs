//! A machine's name at moments at which it is somebody's, and no machine's yet or any more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use spinney::sys::files::{open_directory, try_lock};

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::soon;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 6] = [
        ("terminate_waits_for_who_clears", terminate_waits_for_who_clears),
        ("terminate_looks_again_at_what_is_empty", terminate_looks_again_at_what_is_empty),
        ("terminate_of_one_that_died_as_it_began", terminate_of_one_that_died_as_it_began),
        ("disable_now_of_one_that_starts", disable_now_of_one_that_starts),
        ("start_waits_for_who_clears", start_waits_for_who_clears),
        ("start_after_a_kill", start_after_a_kill),
    ];
    rows.map(|(name, test)| Test::new(format!("claims::{name}"), test)).into()
}

fn directory(name: &str) -> PathBuf {
    Path::new("/run/spinney/machines").join(name)
}

/// What a machine has left whose supervisor was killed.
fn leavings(context: &Context) -> Result<String, Stop> {
    let mut machine = Machine::start(context, &context.tree("busybox")?, &["-x"]);
    machine.ready()?;
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    assert!(directory(&machine.name).join("state").exists());
    Ok(machine.name.clone())
}

/// Has the directory of `name` until it is dropped, as somebody does who clears it.
fn hold(name: &str) -> Result<impl Sized, Stop> {
    let directory = open_directory(&directory(name))?;
    let until = Instant::now() + PATIENCE;
    // Its supervisor may still be dying.
    while !try_lock(&directory)? {
        assert!(Instant::now() < until, "somebody has it");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(directory)
}

/// A verb that is under way.
struct Verb {
    process: Process,
    stderr: File,
}

impl Verb {
    fn begin(context: &Context, arguments: &[&str]) -> Result<Self, Stop> {
        let stderr = capture();
        let mut command = context.spinney();
        command.args(arguments).stdout(Stdio::null()).stderr(stderr.try_clone()?);
        Ok(Self { process: Process::spawn(&mut command), stderr })
    }

    fn is_over(&mut self) -> bool {
        self.process.wait(Duration::ZERO).is_some()
    }

    /// `terminate` that waits has the registry watched.
    fn watches(&self) -> bool {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.process.pid()));
        let mut files = fds.into_iter().flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        files.any(|file| file == Path::new("anon_inode:inotify"))
    }

    fn end(mut self) -> Result<(i32, String), Stop> {
        let status = self.process.wait(PATIENCE).ok_or("it does not end")?;
        Ok((shell_status(status), contents(&self.stderr)))
    }
}

fn none_runs(name: &str) -> (i32, String) {
    let hint = "spinney list shows those that are; spinney start NAME starts one";
    (125, format!("spinney: error: no machine {name:?} is running\n  hint: {hint}\n"))
}

fn collect(context: &Context) -> TestResult {
    let Ended { status, stderr, .. } = run(context.spinney().args(["gc", "-q"]));
    assert_eq!((status, stderr.as_str()), (0, ""));
    Ok(())
}

/// A supervisor that begins clears what an earlier one has left first: there is a state of the dead, and a machine to come.
fn terminate_waits_for_who_clears(context: &Context) -> TestResult {
    let name = leavings(context)?;
    let held = hold(&name)?;
    let mut ending = Verb::begin(context, &["terminate", &name])?;
    soon(|| Ok(ending.watches()), "it does not wait")?;
    assert!(!ending.is_over());
    // Of no machine in the end.
    drop(held);
    assert_eq!(ending.end()?, none_runs(&name));
    collect(context)
}

/// A supervisor makes the directory before it can lock it.
fn terminate_looks_again_at_what_is_empty(context: &Context) -> TestResult {
    let name = context.machine_name();
    fs::create_dir_all(directory(&name))?;
    let begun = Instant::now();
    let ended = Verb::begin(context, &["terminate", &name])?.end()?;
    assert!(begun.elapsed() >= Duration::from_millis(100), "it was not looked at again");
    assert_eq!(ended, none_runs(&name));
    collect(context)
}

/// No file changes when the kernel lets go of a lock.
fn terminate_of_one_that_died_as_it_began(context: &Context) -> TestResult {
    let name = context.machine_name();
    fs::create_dir_all(directory(&name))?;
    fs::write(directory(&name).join("resources"), "")?;
    let held = hold(&name)?;
    let ending = Verb::begin(context, &["terminate", &name])?;
    soon(|| Ok(ending.watches()), "it does not wait")?;
    drop(held);
    let begun = Instant::now();
    assert_eq!(ending.end()?, none_runs(&name));
    // As long as a start may take.
    assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for all the same");
    collect(context)
}

/// It is not passed over: it would run, disabled.
fn disable_now_of_one_that_starts(context: &Context) -> TestResult {
    let name = context.machine_name();
    fs::create_dir_all(directory(&name))?;
    fs::write(directory(&name).join("resources"), "")?;
    let held = hold(&name)?;
    let disabled = run(context.spinney().args(["disable", "-q", "--now", &name]));
    let said = format!("spinney: error: {name:?} is still starting\n");
    assert!(disabled.status == 125 && disabled.stderr.starts_with(&said), "{disabled:#?}");
    drop(held);
    collect(context)
}

/// The name is not in use by who collects leavings.
fn start_waits_for_who_clears(context: &Context) -> TestResult {
    let name = leavings(context)?;
    let held = hold(&name)?;
    let tree = context.tree("busybox")?.display().to_string();
    let mut starting = Verb::begin(context, &["run", "-q", "-x", "-M", &name, &tree, "--", "true"])?;
    let wchan = format!("/proc/{}/wchan", starting.process.pid());
    let mut over = false;
    let until = Instant::now() + PATIENCE;
    while !over && !fs::read_to_string(&wchan).is_ok_and(|at| at.contains("nanosleep")) {
        assert!(Instant::now() < until, "it does not wait");
        over = starting.is_over();
    }
    drop(held);
    let (status, stderr) = starting.end()?;
    assert_eq!(status, 0, "{stderr}");
    Ok(())
}

/// It has its name until the kernel is done with it.
fn start_after_a_kill(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    for _ in 0..10 {
        let mut machine = Machine::start(context, &tree, &["-x"]);
        machine.ready()?;
        machine.signal(libc::SIGKILL);
        let next = run(context
            .spinney()
            .args(["run", "-q", "-x", "-M", &machine.name])
            .arg(&tree)
            .args(["--", "true"]));
        assert_eq!(next.status, 0, "{next:#?}");
        machine.wait()?;
    }
    Ok(())
}
