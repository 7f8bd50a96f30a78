//! Machines from their start to their end by the verbs alone, as a person or a script has them: every init, whoever may not,
//! and commands that are killed half-way.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use spinney::supervisor::archive::last_run;
use spinney::supervisor::state::Phase;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::detached::Detached;
use crate::harness::{Context, Row, Test, TestResult};
use crate::host_state::HostState;
use crate::matrix::TREES;
use crate::start::{Made, SETTINGS};

const NOBODY: u32 = 65534;

/// How long a guest may take to power off after it was ready.
const POWER_OFF: Duration = Duration::from_secs(20);

pub fn tests() -> Vec<Test> {
    let life = ["pick", "no"].into_iter().flat_map(|users| {
        TREES.map(|(tree, _)| {
            let users_name = if users == "no" { "::without_user_namespace" } else { "" };
            Test::new(format!("verbs::{tree}{users_name}"), move |context| life(context, tree, users))
        })
    });
    let rows: [Row; 7] = [
        ("permission_denied", permission_denied),
        ("one_name_at_once", one_name_at_once),
        ("killed_run", killed_run),
        ("killed_stop", killed_stop),
        ("killed_reboot", killed_reboot),
        ("killed_terminate", killed_terminate),
        ("killed_lookers", killed_lookers),
    ];
    life.chain(rows.map(|(name, test)| Test::new(format!("verbs::{name}"), test))).collect()
}

fn spinney(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().args(arguments))
}

fn ok(context: &Context, arguments: &[&str]) -> Result<String, String> {
    spinney(context, arguments).ok().map_err(|error| format!("{arguments:?}: {error}"))
}

/// Every init through start or run, wait, exec, reboot and stop.
fn life(context: &Context, tree: &str, users: &str) -> TestResult {
    let tree = context.tree(tree)?;
    let name = context.machine_name();
    let name = name.as_str();
    let mut made = Made::default();
    let users_option = format!("--private-users={users}");
    let mut command = context.spinney();
    // By name and settings with a user namespace, by options without.
    match users {
        "pick" => {
            let tree = tree.to_str().ok_or("a tree that is not UTF-8")?;
            let text = format!(
                "[machine]\ndirectory = {tree:?}\nephemeral = true\n[users]\nprivate-users = {users:?}\n"
            );
            made.file(Path::new(SETTINGS).join(format!("{name}.toml")), &text)?;
            command.args(["start", "-q", name]);
        }
        _ => {
            command.args(["run", "-d", "-q", "-x", "-M", name, &users_option]).arg(&tree);
        }
    }
    let before = HostState::look(&context.prefix);
    let started = run(&mut command);
    let machine = Detached::find(name).map_err(|error| format!("{error}: {started:#?}"))?;
    let said = if users == "pick" { String::new() } else { format!("{name}\n") };
    assert_eq!((started.status, started.stdout), (0, said), "{}", started.stderr);
    ok(context, &["wait", name, "--for", "ready", "--timeout", "1s"])?;
    let first = machine.state()?;
    assert_eq!((first.phase, first.boots), (Phase::Ready, 1));

    let status = spinney(context, &["exec", name, "--", "sh", "-c", "echo kept > /root/mark; id -u; exit 7"]);
    assert_eq!(
        (status.status, status.stdout.as_str(), status.stderr.as_str()),
        (7, "0\n", ""),
        "{status:#?}"
    );
    assert!(ok(context, &["status", name])?.contains(&format!("● {name} - ")));

    ok(context, &["reboot", "-q", name])?;
    let second = machine.state()?;
    assert_eq!((second.phase, second.boots), (Phase::Ready, 2));
    assert_eq!((second.supervisor, second.id_base), (first.supervisor, first.id_base));
    assert_ne!(second.leader, first.leader);
    assert_eq!(ok(context, &["exec", name, "--", "cat", "/root/mark"])?, "kept\n");

    let told = Instant::now();
    ok(context, &["stop", "-q", name])?;
    assert!(told.elapsed() < POWER_OFF, "powered off only after {:?}", told.elapsed());
    let left = before.changes(&context.prefix);
    assert!(left.is_empty(), "when stop returns there is still:\n{}", left.join("\n"));
    let last = last_run(&name.parse()?)?.ok_or("no record of the last run")?;
    assert_eq!((last.exit_status, last.failure.as_ref()), (0, None), "{last:#?}");
    ok(context, &["wait", name, "--for", "stopped", "--timeout", "1s"])?;
    let status = spinney(context, &["status", name]);
    assert_eq!(status.status, 3, "{status:#?}");
    assert!(status.stdout.contains("     State: stopped\n"), "{status:#?}");
    assert!(!tree.join("root/mark").exists(), "the tree itself was written");
    Ok(())
}

/// Whoever is not root is told so by all that changes a machine or shows a secret of it, and changes nothing.
fn permission_denied(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let machine = Detached::start(context, &tree, &["--set-credential=secret:hunter2"])?;
    let name = machine.name.as_str();
    let before = machine.state()?;
    let directory = Path::new("/run/spinney/machines").join(name);
    let tree = tree.to_str().ok_or("a path that is no text")?;
    let new = context.machine_name();
    let denied: &[&[&str]] = &[
        &["run", "-d", "-M", &new, tree],
        &["start", name],
        &["stop", name],
        &["reboot", name],
        &["terminate", name],
        &["kill", name],
        &["pause", name],
        &["resume", name],
        &["wait", name, "--for", "exec=true"],
        &["wait", name, "--for", "file=/etc/passwd"],
        &["exec", name, "--", "true"],
        &["shell", name],
        &["login", name],
        &["attach", name],
        &["events", name],
        &["logs", name],
        &["copy-to", name, "/etc/hostname", "/root/x"],
        &["copy-from", name, "/etc/passwd", "-"],
        &["bind", name, "/etc", "/mnt"],
        &["unbind", name, "/mnt"],
        &["set", name, "--memory-max=1G"],
        &["enable", name],
        &["disable", name],
        &["gc"],
    ];
    let as_nobody = |arguments: &[&str]| run(context.spinney().args(arguments).uid(NOBODY).gid(NOBODY));
    for arguments in denied {
        let ended = as_nobody(arguments);
        if ended.stderr.contains("not built") {
            continue;
        }
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.to_lowercase().contains("permission denied"), "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains("\n  hint: "), "{arguments:?}: {ended:#?}");
    }
    let allowed: &[&[&str]] = &[
        &["list"],
        &["list", "--json"],
        &["status", name],
        &["status", "--json", name],
        &["show", "--all", name],
        &["doctor", name],
        &["top", "--json", "-n", "1"],
        &["wait", name, "--for", "ready"],
    ];
    for arguments in allowed {
        let ended = as_nobody(arguments);
        assert_eq!(ended.status, 0, "{arguments:?}: {ended:#?}");
        assert!(!ended.stdout.contains("hunter2"), "{arguments:?}: {ended:#?}");
    }
    for file in ["launch", "seccomp", "resources", "console.log", "control"] {
        let mut cat = std::process::Command::new("cat");
        let ended = run(cat.arg(directory.join(file)).uid(NOBODY).gid(NOBODY));
        assert!(ended.status != 0 && ended.stdout.is_empty(), "{file}: {ended:#?}");
    }
    let mut listing = std::process::Command::new("ls");
    let ended =
        run(listing.args(["/var/log/spinney", "/var/lib/spinney"]).arg(&directory).uid(NOBODY).gid(NOBODY));
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{ended:#?}");
    assert_eq!(machine.state()?, before);
    assert!(!Path::new("/run/spinney/machines").join(new).exists());
    machine.stop()?;
    Ok(())
}

/// Of many who start a machine of one name at the same moment, one does; the others say so.
fn one_name_at_once(context: &Context) -> TestResult {
    const STARTERS: usize = 6;
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let mut starters = Vec::new();
    for _ in 0..STARTERS {
        let stderr = capture();
        let mut command = context.spinney();
        command.args(["run", "-d", "-x", "-M", &name]).arg(&tree);
        starters.push((Process::spawn(command.stdout(capture()).stderr(stderr.try_clone()?)), stderr));
    }
    let mut won = 0;
    for (starter, stderr) in &mut starters {
        let status = starter.wait(PATIENCE).map(shell_status);
        let said = contents(stderr);
        match status {
            Some(0) => won += 1,
            Some(125) => {
                let expected = format!("error: a machine called {name:?} is running already\n  hint: ");
                assert!(said.contains(&expected), "{said}");
            }
            other => panic!("{other:?}: {said}"),
        }
    }
    let machine = Detached::find(&name)?;
    assert_eq!(won, 1);
    assert_eq!(ok(context, &["exec", &name, "--", "cat", "/proc/sys/kernel/hostname"])?, format!("{name}\n"));
    machine.stop()?;
    Ok(())
}

/// Kills `process` after `delay`; says whether that ended it.
fn kill_after(mut process: Process, delay: Duration) -> bool {
    std::thread::sleep(delay);
    process.signal(libc::SIGKILL);
    process.wait(PATIENCE).map(shell_status) == Some(128 + libc::SIGKILL)
}

/// From the first instruction to long after the last of a quick verb.
fn delays() -> impl Iterator<Item = Duration> {
    [0, 1, 2, 4, 8, 16, 32, 64, 128].into_iter().map(Duration::from_millis)
}

fn spawn(context: &Context, arguments: &[&str]) -> Process {
    let mut command = context.spinney();
    Process::spawn(command.args(arguments).stdout(capture()).stderr(capture()))
}

/// Waits until the registry has no machine `name` that runs, or starts.
fn gone(context: &Context, name: &str) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(spinney(context, &["status", name]).status, 4 | 3)
        || Path::new("/run/spinney/machines").join(name).exists()
    {
        assert!(Instant::now() < deadline, "{name} does not go");
        assert_eq!(spinney(context, &["gc"]).status, 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `run --detach` that is killed leaves a machine that runs, or nothing that gc does not remove.
fn killed_run(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let tree = tree.to_str().ok_or("a path that is no text")?;
    let before = HostState::look(&context.prefix);
    let mut killed = 0;
    for delay in delays() {
        let name = context.machine_name();
        let process = spawn(context, &["run", "-d", "-x", "-M", &name, tree]);
        killed += u32::from(kill_after(process, delay));
        // Whoever was to be its supervisor is about to be, or gives up.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match spinney(context, &["status", &name]).status {
                0 => {
                    ok(context, &["wait", &name, "--timeout", "30s"])?;
                    ok(context, &["terminate", "-q", &name])?;
                    break;
                }
                3 if Path::new("/run/spinney/machines").join(&name).exists() => {
                    assert_eq!(spinney(context, &["gc"]).status, 0);
                }
                _ if before.changes(&context.prefix).is_empty() => break,
                _ => {}
            }
            assert!(Instant::now() < deadline, "{name}, killed after {delay:?}, neither runs nor goes");
        }
        gone(context, &name)?;
        let left = before.changes(&context.prefix);
        assert!(left.is_empty(), "killed after {delay:?}:\n{}", left.join("\n"));
    }
    assert!(killed > 0, "none was killed in time");
    Ok(())
}

/// A machine that was asked to stop stops, though nobody waits for it any more.
fn killed_stop(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    let process = spawn(context, &["stop", &machine.name]);
    machine.wait_for(|state| state.phase == Phase::Stopping)?;
    assert!(kill_after(process, Duration::ZERO), "it had ended before the machine had");
    assert!(machine.ended(PATIENCE));
    gone(context, &machine.name)
}

/// The same for a reboot, which comes to its end.
fn killed_reboot(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    let process = spawn(context, &["reboot", &machine.name]);
    machine.wait_for(|state| state.phase == Phase::Stopping)?;
    assert!(kill_after(process, Duration::ZERO), "it had ended before the machine was back");
    machine.wait_for(|state| state.boots == 2 && state.phase == Phase::Ready)?;
    machine.stop()?;
    Ok(())
}

/// A machine that was half-way to its end is there or not, and never in between.
fn killed_terminate(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let before = HostState::look(&context.prefix);
    for delay in delays().take(6) {
        let machine = Detached::start(context, &tree, &[])?;
        kill_after(spawn(context, &["terminate", &machine.name]), delay);
        if spinney(context, &["exec", &machine.name, "--", "true"]).status != 0 {
            assert!(machine.ended(PATIENCE), "it does not run, nor is it gone");
        }
        let again = spinney(context, &["terminate", "-q", &machine.name]);
        let not_running = again.stderr.contains("is running");
        assert!(again.status == 0 || not_running, "{again:#?}");
        gone(context, &machine.name)?;
        let left = before.changes(&context.prefix);
        assert!(left.is_empty(), "killed after {delay:?}:\n{}", left.join("\n"));
    }
    Ok(())
}

/// Those who look at a machine, or hold it for a moment, do it no harm when they are killed.
fn killed_lookers(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    let name = machine.name.as_str();
    let supervisor = machine.state()?.supervisor;
    let files = || fs::read_dir(format!("/proc/{supervisor}/fd")).map(Iterator::count);
    ok(context, &["exec", name, "--", "true"])?;
    let fds = files()?;
    let verbs: &[&[&str]] = &[
        &["status", name],
        &["wait", name, "--for", "file=/never"],
        &["wait", name, "--for", "stopped"],
        &["exec", name, "--", "sleep", "1000"],
        &["logs", "-f", name],
        &["events", name],
        &["attach", name],
        &["pause", name],
        &["resume", name],
        &["copy-from", name, "/bin", "-"],
    ];
    for arguments in verbs {
        for delay in delays() {
            kill_after(spawn(context, arguments), delay);
            if arguments[0] == "pause" {
                ok(context, &["resume", "-q", name])?;
            }
        }
        let status = spinney(context, &["exec", name, "--", "sh", "-c", "exit 7"]).status;
        assert_eq!(status, 7, "after {arguments:?}");
    }
    // Whom the supervisor spoke to it has let go, and what ran in the machine is gone.
    let deadline = Instant::now() + PATIENCE;
    while files()? > fds || ok(context, &["exec", name, "--", "ps"])?.contains("sleep 1000") {
        assert!(Instant::now() < deadline, "{} fds and not {fds}", files()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let state = machine.state()?;
    assert_eq!((state.phase, state.boots, state.paused), (Phase::Ready, 1, false));
    machine.stop()?;
    Ok(())
}
