//! What becomes of a machine in the background when things go wrong: it hangs, its supervisor is killed, its directory is
//! removed; and that it reboots for ever without leaking.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use spinney::supervisor::archive::last_run;
use spinney::supervisor::machined_file;
use spinney::supervisor::state::Phase;

use crate::command::{PATIENCE, run};
use crate::detached::Detached;
use crate::harness::{Context, Row, Test, TestResult};
use crate::host_state::HostState;
use crate::payload::{own_busybox, write_script};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 9] = [
        ("hanging_unit", hanging_unit),
        ("hanging_script", hanging_script),
        ("killed", killed),
        ("killed_and_started", killed_and_started),
        ("directory_removed", directory_removed),
        ("file_removed", file_removed),
        ("removed_and_killed", removed_and_killed),
        ("removed_and_stopped", removed_and_stopped),
        ("fifty_reboots", fifty_reboots),
    ];
    rows.map(|(name, test)| Test::new(format!("background::{name}"), test)).into()
}

/// Which unit hangs and which failed is said, kept, and nothing of the machine is left.
fn hanging_unit(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let name = context.machine_name();
    let unit = |name: &str, command: &str, more: &str| -> TestResult {
        let text = format!("[Unit]\n{more}\n[Service]\nType=oneshot\nExecStart={command}\n");
        Ok(fs::write(context.directory.join(name), text)?)
    };
    unit("slow.service", "/bin/sleep 1000", "After=bad.service")?;
    unit("bad.service", "/bin/false", "")?;
    let bind =
        |name: &str| format!("--bind-ro={}/{name}:/etc/systemd/system/{name}", context.directory.display());
    let mut command = context.spinney();
    command.args(["run", "-d", "-x", "-b", "-M", &name, "--timeout-ready=3s"]);
    command.args([bind("slow.service"), bind("bad.service")]).arg(&tree);
    command.args(["--", "systemd.wants=slow.service", "systemd.wants=bad.service"]);
    let ended = run(&mut command);
    assert_eq!(ended.status, 125, "{ended:#?}");
    let said = format!("{name} was not ready after 3 s: slow.service is still starting, bad.service failed");
    assert!(ended.stderr.contains(&format!("error: {said}")), "{ended:#?}");
    assert!(ended.stderr.contains("  | [FAILED] Failed to start"), "{ended:#?}");
    assert!(ended.stderr.contains("  hint: a longer --timeout-ready="), "{ended:#?}");
    let last = last_run(&name.parse()?)?.ok_or("no record of the last run")?;
    assert_eq!(last.exit_status, 125);
    assert!(last.reason.starts_with(&said), "{last:#?}");
    assert!(last.state.is_some_and(|state| state.phase == Phase::Booting && state.ready_at.is_none()));
    Ok(())
}

/// For an init without jobs: what its PID 1 runs.
fn hanging_script(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    write_script(&tree.join("etc/init.d/rcS"), "#!/bin/sh\necho hanging\nsleep 1000\n:\n");
    let name = context.machine_name();
    let mut command = context.spinney();
    let ended = run(command.args(["run", "-d", "-x", "-M", &name, "--timeout-ready=500ms"]).arg(&tree));
    assert_eq!(ended.status, 125, "{ended:#?}");
    let said = format!("error: {name} was not ready after 0.5 s: it runs rcS > sleep; last it said: ");
    assert!(ended.stderr.contains(&said) && ended.stderr.contains("  | hanging\n"), "{ended:#?}");
    Ok(())
}

/// A killed supervisor takes its machine along; it is not listed; gc clears it at once, says so, and keeps a record.
fn killed(context: &Context) -> TestResult {
    let before = HostState::look(&context.prefix);
    let machine = Detached::start(context, &context.tree("busybox")?, &["--bind=:/mnt"])?;
    let leader = machine.state()?.leader;
    machine.signal(libc::SIGKILL);
    // Not waited for: gc is to.
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(
        (collected.status, collected.stderr.as_str()),
        (0, format!("spinney: removed what {} left\n", machine.name).as_str())
    );
    assert!(machine.ended(Duration::ZERO));
    assert!(!Path::new(&format!("/proc/{leader}/root/")).exists(), "the leader lives on");
    assert_eq!(before.changes(&context.prefix), [""; 0]);
    let last = last_run(&machine.name.parse()?)?.ok_or("no record of the last run")?;
    assert_eq!((last.exit_status, last.reason.as_str()), (137, "its supervisor was killed"));
    assert!(Path::new("/var/log/spinney").join(&machine.name).join("console.log").exists());
    let again = run(context.spinney().arg("gc"));
    assert_eq!((again.status, again.stderr.as_str()), (0, "spinney: nothing was left behind\n"));
    Ok(())
}

/// The next start of the name finds nothing of a machine whose supervisor was killed, neither list nor layer.
fn killed_and_started(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let machine = Detached::start(context, &tree, &[])?;
    machine.says("echo old > /root/mark")?;
    machine.signal(libc::SIGKILL);
    assert!(machine.ended(PATIENCE));
    let listed = run(context.spinney().args(["list", "--json"]));
    assert!(listed.status == 0 && !listed.stdout.contains(&machine.name), "{listed:#?}");
    let next = Detached::start_as(context, &machine.name, &tree, &[], &[])?;
    assert_eq!(next.says("ls /root")?, "");
    next.stop()?;
    Ok(())
}

/// All of /run/spinney goes; the machine stays known, reboots in place with its layer, and goes without a trace.
fn directory_removed(context: &Context) -> TestResult {
    let data = context.subdirectory("data");
    fs::write(data.join("file"), "of the host")?;
    let bind = format!("--bind-ro={}:/mnt", data.display());
    let machine = Detached::start(context, &context.tree("busybox")?, &[&bind, "--overlay=+/etc::/etc"])?;
    let first = machine.state()?;
    machine.says("echo kept > /root/mark")?;
    for boots in [1, 2] {
        wipe_run()?;
        let state = machine.wait_for(|_| true)?;
        assert_eq!((state.supervisor, state.boots), (first.supervisor, boots));
        let again = run(context.spinney().args(["run", "-q", "-x", "-M", &machine.name]).arg(&first.tree));
        assert!(again.stderr.contains("is running already"), "{again:#?}");
        wait_for_entry(&machine, "control")?;
        wait_for_entry(&machine, "root/bin")?;
        let listed = run(context.spinney().args(["list", "--json"]));
        assert!(listed.stdout.contains(&machine.name), "{listed:#?}");
        assert_eq!(machine.says("cat /root/mark /mnt/file")?, "kept\nof the host");
        machine.shell("reboot")?;
        machine.wait_for(|state| state.boots == boots + 1 && state.phase == Phase::Ready)?;
        assert_eq!(machine.says("cat /root/mark /mnt/file")?, "kept\nof the host");
        assert!(machine.shell("echo x > /mnt/file")?.status != 0, "a read-only bind was written");
    }
    let log = machine.log();
    let told =
        format!("/run/spinney/machines/{} was removed while the machine runs; it is restored", machine.name);
    assert!(log.matches(&told).count() >= 2, "{log}");
    machine.stop()?;
    Ok(())
}

/// Removes /run/spinney as somebody does who cleans up; a supervisor that puts something back meanwhile has it done again.
fn wipe_run() -> std::io::Result<()> {
    loop {
        match fs::remove_dir_all("/run/spinney") {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            done => return done,
        }
    }
}

/// Waits for an entry of the machine's directory, as its supervisor sees it.
fn wait_for_entry(machine: &Detached, entry: &str) -> TestResult {
    let pid = machine.state()?.supervisor;
    let path = format!("/proc/{pid}/root/run/spinney/machines/{}/{entry}", machine.name);
    machine.wait_for(|_| fs::symlink_metadata(&path).is_ok())?;
    Ok(())
}

fn file_removed(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    let directory = Path::new("/run/spinney/machines").join(&machine.name);
    for file in ["state", "launch", "seccomp", "in-force", "control", "console.log", "resources"] {
        let before = fs::read(directory.join(file)).ok();
        fs::remove_file(directory.join(file))?;
        machine.wait_for(|_| directory.join(file).exists())?;
        // A socket cannot be read, and the log goes on.
        if file != "console.log" {
            assert_eq!(fs::read(directory.join(file)).ok(), before, "{file}");
        }
    }
    assert_eq!(machine.says("echo well")?, "well");
    machine.stop()?;
    Ok(())
}

/// Nobody is left who knows of the layer but gc, which finds it.
fn removed_and_killed(context: &Context) -> TestResult {
    let before = HostState::look(&context.prefix);
    let machine = Detached::start(context, &context.tree("busybox")?, &["--private-users=no"])?;
    let supervisor = machine.state()?.supervisor;
    machine.signal(libc::SIGSTOP);
    wipe_run()?;
    machine.signal(libc::SIGKILL);
    assert!(machine.ended(PATIENCE));
    // What it leaves if that hits it while it writes.
    fs::write(format!("{}/.#{}.{supervisor}", machined_file::DIRECTORY, machine.name), "NAME=")?;
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(
        (collected.status, collected.stderr.as_str()),
        (0, format!("spinney: removed what {} left\n", machine.name).as_str())
    );
    assert_eq!(before.changes(&context.prefix), [""; 0]);
    assert_eq!(run(Command::new("nft").args(["list", "tables"])).stdout, "");
    Ok(())
}

/// One that is told to stop in the same moment gives everything back all the same.
fn removed_and_stopped(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    machine.signal(libc::SIGSTOP);
    wipe_run()?;
    machine.signal(libc::SIGTERM);
    machine.signal(libc::SIGINT);
    machine.signal(libc::SIGCONT);
    assert!(machine.ended(PATIENCE));
    Ok(())
}

/// Fifty reboots keep name, supervisor, ids and layer, and leave no fd, mount or cgroup behind.
fn fifty_reboots(context: &Context) -> TestResult {
    const REBOOTS: u32 = 50;
    let tree = own_busybox(context)?;
    // Its init waits a second before it kills, and has nothing to kill: this kills at once.
    let machine = Detached::start(context, &tree, &[])?;
    machine.says("echo kept > /root/mark")?;
    let first = machine.state()?;
    let count = || -> Result<(usize, usize, usize), String> {
        let state = machine.state()?;
        let fds =
            fs::read_dir(format!("/proc/{}/fd", state.supervisor)).map_err(|error| error.to_string())?;
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", state.supervisor))
            .map_err(|error| error.to_string())?;
        Ok((
            fds.count(),
            mounts.lines().count(),
            cgroups(Path::new(&format!("{}/..", cgroup(&state.cgroup)))),
        ))
    };
    reboot(&machine, 1)?;
    let before = count()?;
    for boots in 2..=REBOOTS {
        reboot(&machine, boots)?;
    }
    let last = machine.state()?;
    assert_eq!((last.name, last.supervisor, last.id_base), (first.name, first.supervisor, first.id_base));
    assert_eq!((last.boots, last.uuid, last.cgroup), (REBOOTS + 1, first.uuid, first.cgroup));
    assert_eq!(machine.says("cat /root/mark")?, "kept");
    assert_eq!(count()?, before);
    machine.stop()?;
    Ok(())
}

/// By the kernel, as reboot(2) does it: an init takes its time.
fn reboot(machine: &Detached, boots: u32) -> TestResult {
    machine.shell("reboot -f")?;
    machine.wait_for(|state| state.boots == boots + 1 && state.phase == Phase::Ready)?;
    Ok(())
}

fn cgroup(path: &str) -> String {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
    format!("{}{path}", root.display())
}

fn cgroups(directory: &Path) -> usize {
    let children = fs::read_dir(directory).into_iter().flatten().flatten();
    let children = children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    children.map(|entry| 1 + cgroups(&entry.path())).sum()
}
