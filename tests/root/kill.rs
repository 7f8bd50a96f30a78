//! A supervisor that is killed, at any step, leaves nothing that `spinney gc` or the next start does not remove.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use spinney::supervisor::FAULT_POINTS;

use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::host_state::HostState;
use crate::legacy_cgroups;
use crate::machine::Machine;
use crate::payload::own_busybox;

/// Exit status of what SIGKILL has ended.
const KILLED: i32 = 128 + 9;

/// Points that only a machine with something special comes to.
const SPECIAL: [&str; 2] = ["teardown-journal-link", "teardown-legacy-cgroup"];

/// Those that only a machine with links comes to.
const LINKS: [&str; 8] = [
    "network-noted",
    "network-prepared",
    "links",
    "rules",
    "services",
    "teardown-rules",
    "teardown-names",
    "teardown-network",
];

pub fn tests() -> Vec<Test> {
    let points = ["busybox", "debian-13"].into_iter().flat_map(|tree| {
        FAULT_POINTS
            .iter()
            .filter(move |point| tree == "busybox" || !SPECIAL.contains(point))
            .filter(|point| !LINKS.contains(point))
            .map(move |point| {
                Test::new(format!("kill::{tree}::{point}"), move |context| killed_at(context, tree, point))
            })
    });
    let single: [Row; 4] = [
        ("running", running),
        ("command", command),
        ("twice", twice),
        ("gc_leaves_the_living_alone", gc_leaves_the_living_alone),
    ];
    points.chain(single.map(|(name, test)| Test::new(format!("kill::{name}"), test))).collect()
}

fn killed_at(context: &Context, tree: &str, point: &str) -> TestResult {
    let mut options: &[&str] = &["-x"];
    let tree = match point {
        "teardown-journal-link" => {
            let tree = own_busybox(context)?;
            fs::write(tree.join("etc/machine-id"), "00112233445566778899aabbccddeeff\n")?;
            // A host that keeps its journal on disk has it; ours goes with the tests.
            if !Path::new("/var/log/journal").exists() && context.on_host {
                return Err(Stop::Skip("this host keeps no journal on disk".to_owned()));
            }
            fs::create_dir_all("/var/log/journal")?;
            options = &["--link-journal=guest"];
            tree
        }
        "teardown-legacy-cgroup" => {
            options = legacy_cgroups::OPTIONS;
            legacy_cgroups::old_tree(context)?
        }
        "controllers" | "teardown-controllers" if !Path::new("/sys/fs/cgroup/memory/tasks").exists() => {
            return Err(Stop::Skip("this host has no cgroup v1 controllers".to_owned()));
        }
        _ => context.tree(tree)?,
    };
    let name = context.machine_name();
    let before = HostState::look(&context.prefix);
    die_at(context, &tree, &name, options, point)?;
    collect(context)?;
    nothing_left(&before, context, "gc")?;

    die_at(context, &tree, &name, options, point)?;
    let next = run(context.spinney().args(["run", "-q", "-x", "-M", &name]).arg(&tree).args(["--", "true"]));
    assert_eq!(next.status, 0, "{next:#?}");
    nothing_left(&before, context, "the next start")
}

/// Runs a machine whose supervisor dies at `point`; one that comes to be ready is told to stop.
fn die_at(context: &Context, tree: &Path, name: &str, options: &[&str], point: &str) -> TestResult {
    let mut command = context.spinney();
    command.args(["run", "-M", name, "--console=read-only", "--notify-ready"]).args(options).arg(tree);
    command.env("SPINNEY_FAULT", point);
    let mut machine = Machine::spawn(context, name, command);
    if machine.ready().is_ok() {
        machine.signal(libc::SIGTERM);
    }
    let status = machine.wait()?;
    assert!(status != 0, "{point} was never come to; is this a debug build?\n{}", machine.output());
    assert_eq!(status, KILLED, "{}", machine.output());
    Ok(())
}

fn collect(context: &Context) -> TestResult {
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    Ok(())
}

fn nothing_left(before: &HostState, context: &Context, after: &str) -> TestResult {
    let left = before.changes(&context.prefix);
    match left.is_empty() {
        true => Ok(()),
        false => Err(Stop::Fail(format!("after {after}:\n{}", left.join("\n")))),
    }
}

fn kill(machine: &mut Machine) -> TestResult {
    let leader = machine.state()?.leader;
    machine.signal(libc::SIGKILL);
    assert_eq!(machine.wait()?, KILLED);
    // The kernel sees to the leader, and the leader's end to all others of the machine.
    let deadline = Instant::now() + PATIENCE;
    while Path::new(&format!("/proc/{leader}/root/")).exists() {
        assert!(Instant::now() < deadline, "the leader lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn running(context: &Context) -> TestResult {
    let before = HostState::look(&context.prefix);
    for tree in ["debian-13", "busybox"] {
        let mut machine =
            Machine::start(context, &context.tree(tree)?, &["--bind=:/mnt", "--overlay=+/etc::/etc"]);
        machine.ready()?;
        kill(&mut machine)?;
        collect(context)?;
        nothing_left(&before, context, "gc")?;
    }
    Ok(())
}

fn command(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-x", "--notify-ready", "-M", &name]).arg(&tree).args([
        "--",
        "sh",
        "-c",
        "sleep 1000 & wait",
    ]);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    kill(&mut machine)?;
    collect(context)
}

/// What was left by two is cleared in one go, and a second go finds nothing.
fn twice(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    for point in ["cgroup", "ready"] {
        die_at(context, &tree, &context.machine_name(), &["-x"], point)?;
    }
    let first = run(context.spinney().arg("gc"));
    assert_eq!((first.status, first.stderr.matches("removed what").count()), (0, 2), "{first:#?}");
    let second = run(context.spinney().arg("gc"));
    assert_eq!(
        (second.status, second.stderr.as_str()),
        (0, "spinney: nothing was left behind\n"),
        "{second:#?}"
    );
    Ok(())
}

fn gc_leaves_the_living_alone(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("debian-13")?, &[]);
    machine.ready()?;
    collect(context)?;
    assert_eq!(machine.says("touch /x && systemctl is-system-running")?, "running");
    machine.stop()?;
    Ok(())
}
