//! Limits bite, on whichever cgroups this host has; what machines use is counted; devices are given and denied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use spinney::machine::event_stream::Heard;
use spinney::machine::{Control, MachineHandle};
use spinney::supervisor::machine_event::MachineEvent;

use crate::command::{Ended, PATIENCE, quickest, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::payload::{command, says, script};

pub fn tests() -> Vec<Test> {
    let single: [Row; 16] = [
        ("memory_of_one_machine_alone", memory_of_one_machine_alone),
        ("too_little_memory_to_start", too_little_memory_to_start),
        ("an_init_without_memory", an_init_without_memory),
        ("fork_bomb", fork_bomb),
        ("cpu_quota", cpu_quota),
        ("cpus", cpus),
        ("disk_bandwidth", disk_bandwidth),
        ("weights", weights),
        ("live", live),
        ("live_below_what_is_used", live_below_what_is_used),
        ("a_controller_that_comes_later", a_controller_that_comes_later),
        ("accounting", accounting),
        ("given_devices", given_devices),
        ("allowed_devices", allowed_devices),
        ("a_guest_cannot_lift_its_limits", a_guest_cannot_lift_its_limits),
        ("bad_input", bad_input),
    ];
    single.map(|(name, test)| Test::new(format!("limits::{name}"), test)).into()
}

/// Uses 24 MiB of memory that is nobody's cache.
const HOG: &str = "dd if=/dev/zero of=/dev/null bs=24M count=1 2> /dev/null";

/// A file of the machine's outer cgroup: `(v1 controller, v1 file)` or the file of v2, whichever is there.
fn cgroup_file(machine: &Machine, legacy: (&str, &str), unified: &str) -> Result<PathBuf, Stop> {
    let state = machine.state()?;
    if let Some(cgroup) = state.legacy_controllers.get(legacy.0) {
        return Ok(cgroup.join(legacy.1));
    }
    let file = Path::new("/sys/fs/cgroup").join(format!("spinney/{}", machine.name)).join(unified);
    match file.exists() {
        true => Ok(file),
        false => Err(Stop::Skip(format!("this host has no controller {} for machines", legacy.0))),
    }
}

fn text(path: &Path) -> Result<String, Stop> {
    Ok(fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?.trim().to_owned())
}

/// Runs a shell command in the machine, in its cgroups.
fn exec(context: &Context, machine: &Machine, script: &str) -> Ended {
    run(context.spinney().args(["exec", &machine.name, "--", "/bin/sh", "-c", script]))
}

fn set(context: &Context, machine: &Machine, options: &[&str]) -> Ended {
    run(context.spinney().args(["set", &machine.name]).args(options))
}

/// The row of the machine in `spinney top --json`.
fn top(context: &Context, machine: &Machine, delay: &str) -> Result<Value, Stop> {
    let mut command = context.spinney();
    command.args(["top", "--json", "-n", "1", "-d", delay, &machine.name]);
    let looks: Value = serde_json::from_str(&run(&mut command).ok()?)?;
    Ok(looks["machines"][0].clone())
}

fn memory_of_one_machine_alone(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut other = Machine::start(context, &tree, &[]);
    other.ready()?;
    let mut machine = Machine::start(context, &tree, &["--memory-max=12M"]);
    machine.ready()?;
    let ended = exec(context, &machine, HOG);
    assert_eq!(ended.status, 137, "{ended:#?}");
    let handle = MachineHandle::find(&machine.name.parse()?)?;
    let mut events = Control::connect(&handle)?.subscribe_with_past()?;
    loop {
        match events.next(Some(PATIENCE))? {
            Heard::Event(happening) if happening.event == (MachineEvent::OutOfMemory { killed: 1 }) => break,
            Heard::Event(_) => {}
            other => return Err(Stop::Fail(format!("no event comes: {other:?}\n{}", machine.output()))),
        }
    }
    assert_eq!(machine.state()?.oom_kills, 1);
    let said = format!(
        "{} ran out of memory: 1 process was killed at its memory limit of 12M; spinney set {} --memory-max= gives it more",
        machine.name, machine.name
    );
    assert!(machine.messages().contains(&said), "{}", machine.output());
    let status = run(context.spinney().args(["status", &machine.name])).ok()?;
    let limit = status.lines().any(|line| line.contains("Memory:") && line.ends_with("limit 12M"));
    assert!(limit && status.contains("OOM: killed for want of memory: 1\n"), "{status}");
    assert_eq!(exec(context, &machine, "echo alive").ok()?, "alive\n");
    let ended = exec(context, &other, HOG);
    assert_eq!((ended.status, other.state()?.oom_kills), (0, 0), "{ended:#?}");
    Ok(())
}

fn too_little_memory_to_start(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let ended = run(&mut command(context, &tree, &["--memory-max=4K"], &["/bin/true"]));
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(
        ended.stderr.contains(" ran out of memory, 1 process was killed at its memory limit of 4K: "),
        "{ended:#?}"
    );
    assert!(ended.stderr.ends_with("\n  hint: start it with a larger --memory-max=\n"), "{ended:#?}");
    Ok(())
}

fn an_init_without_memory(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-x", "-M", &name, "--console=read-only", "--memory-max=6M"]).arg(&tree);
    let ended = run(&mut command);
    assert_eq!(ended.status, 125, "{ended:#?}");
    let expected = format!("error: {name} ran out of memory, ");
    let limit =
        format!(" memory limit of 6M: systemd 257 of {name} was killed by signal 9 before it was up\n");
    assert!(ended.stderr.contains(&expected) && ended.stderr.contains(&limit), "{ended:#?}");
    Ok(())
}

/// It is held where it is, the host goes on, and one word ends it.
fn fork_bomb(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--tasks-max=60"]);
    machine.ready()?;
    let most = cgroup_file(&machine, ("pids", "pids.max"), "pids.max")?;
    // Until Linux 6.12 a refused fork counts in the cgroup that forked, since then in the one that has the limit.
    let events = [most.with_file_name("pids.events"), most.with_file_name("payload").join("pids.events")];
    let refused =
        || events.iter().filter_map(|file| text(file).ok()).any(|text| !text.starts_with("max 0\n"));
    let bomb = "b() { b | b & b; }; while :; do b; done > /dev/null 2>&1 < /dev/null &";
    exec(context, &machine, bomb).ok()?;
    let deadline = Instant::now() + PATIENCE;
    while !refused() {
        assert!(
            Instant::now() < deadline,
            "the bomb is none: {}",
            text(&most.with_file_name("pids.current"))?
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    // Its own processes; what we put there from outside would not be kept out.
    let current = text(&most.with_file_name("pids.current"))?.parse::<u64>()?;
    assert!(current <= 60, "{current}");
    let enough = Duration::from_secs(2);
    let took = quickest(enough, || Ok(run(&mut Command::new("true")).ok().map(drop)?))?;
    assert!(took < enough, "a process of the host took {took:?}");
    let ended = run(context.spinney().args(["terminate", "-q", &machine.name]));
    assert_eq!(ended.status, 0, "{ended:#?}");
    assert_eq!(machine.wait()?, 137, "{}", machine.output());
    Ok(())
}

fn cpu_quota(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--cpus=0.2"]);
    machine.ready()?;
    let statistics = cgroup_file(&machine, ("cpu", "cpu.stat"), "cpu.stat")?;
    exec(context, &machine, "while :; do :; done > /dev/null 2>&1 < /dev/null &").ok()?;
    let percent = top(context, &machine, "2s")?["cpu-percent"].as_f64();
    assert!(percent.is_some_and(|percent| percent > 5.0 && percent < 35.0), "{percent:?}");
    let throttled =
        text(&statistics)?.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
    assert!(throttled.is_some_and(|times: u64| times > 0), "{throttled:?}");
    Ok(())
}

fn cpus(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Stop::Skip("this host has one CPU".to_owned()));
    }
    let list = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    assert_eq!(says(context, &tree, &["--cpuset-cpus=1"], list)?, "1");
    assert_eq!(says(context, &tree, &["--allowed-cpus=0", "--property=AllowedMemoryNodes=0"], list)?, "0");
    Ok(())
}

/// Twice as long for twice as much, past the page cache.
fn disk_bandwidth(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let limit = format!("--io-read-bandwidth-max={}:1M", tree.display());
    let read = |options: &[&str]| {
        let started = Instant::now();
        let ended = script(
            context,
            &tree,
            options,
            "dd if=/bin/busybox of=/dev/null bs=64k count=16 skip=1 iflag=direct",
        );
        (ended, started.elapsed())
    };
    let (ended, free) = read(&[]);
    if ended.status != 0 {
        return Err(Stop::Skip(format!("no direct I/O here: {}", ended.stderr)));
    }
    let (ended, limited) = read(&[&limit]);
    if ended.stderr.contains("no disk can be limited") {
        return Err(Stop::Skip(ended.stderr));
    }
    // 16 times 64 KiB, if the file is as long.
    assert_eq!(ended.status, 0, "{ended:#?}");
    let expected = Duration::from_millis(400);
    assert!(limited > free + expected, "{free:?} without, {limited:?} with a limit: {ended:#?}");
    Ok(())
}

fn weights(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let options = ["--cpu-weight=50", "--io-weight=200", "--memory-high=100M"];
    let mut machine = Machine::start(context, &tree, &options);
    machine.ready()?;
    for (legacy, unified, expected) in [
        (("cpu", "cpu.shares"), "cpu.weight", ["512", "50"]),
        (("memory", "memory.soft_limit_in_bytes"), "memory.high", ["104857600", "104857600"]),
    ] {
        let value = text(&cgroup_file(&machine, legacy, unified)?)?;
        assert!(expected.contains(&value.as_str()), "{unified}: {value}");
    }
    Ok(())
}

fn live(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--tasks-max=100"]);
    machine.ready()?;
    let ended = set(context, &machine, &["--tasks-max=7", "MemoryMax=15M"]);
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (0, &*format!("spinney: {}: MemoryMax, TasksMax changed\n", machine.name))
    );
    let tasks = cgroup_file(&machine, ("pids", "pids.max"), "pids.max")?;
    let memory = cgroup_file(&machine, ("memory", "memory.limit_in_bytes"), "memory.max")?;
    let hold = || -> TestResult {
        assert_eq!((text(&tasks)?.as_str(), text(&memory)?.as_str()), ("7", "15728640"));
        Ok(())
    };
    hold()?;
    let ended = exec(
        context,
        &machine,
        "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 < /dev/null > /dev/null 2>&1 & done",
    );
    assert!(ended.status != 0 && ended.stderr.contains("can't fork"), "{ended:#?}");

    // In the next boot too, and told by the state file. What fills it has to go, so that it can go down, and not even we can
    // start anything in it before it has more.
    let refused = exec(context, &machine, "true");
    assert!(
        refused.status == 125 && refused.stderr.contains("Resource temporarily unavailable"),
        "{refused:#?}"
    );
    set(context, &machine, &["-q", "--tasks-max=30"]).ok()?;
    run(context.spinney().args(["exec", &machine.name, "--", "killall", "sleep"])).ok()?;
    set(context, &machine, &["-q", "--tasks-max=7"]).ok()?;
    run(context.spinney().args(["reboot", "-q", "--no-wait", &machine.name])).ok()?;
    machine.ready()?;
    hold()?;
    assert_eq!(machine.state()?.boots, 2);
    let shown = set(context, &machine, &[]).ok()?;
    assert_eq!(shown, "MemoryMax=15728640\nTasksMax=7\n");

    let ended = set(context, &machine, &["-q", "--memory-max=infinity", "--tasks-max=infinity"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert_eq!(text(&tasks)?, "max");
    assert_eq!(exec(context, &machine, HOG).status, 0);
    Ok(())
}

fn live_below_what_is_used(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--memory-max=128M"]);
    machine.ready()?;
    exec(context, &machine, "head -c 48m /dev/zero > /dev/shm/held").ok()?;
    let ended = set(context, &machine, &["--memory-max=16M"]);
    assert_eq!(ended.status, 125, "{ended:#?}");
    let (line, hint) = ended.stderr.split_once('\n').unwrap_or_default();
    assert!(line.contains("cannot set MemoryMax= to \"16777216\"") && line.contains("busy"), "{ended:#?}");
    assert!(hint.starts_with("  hint: the machine uses more than that"), "{ended:#?}");
    let memory = cgroup_file(&machine, ("memory", "memory.limit_in_bytes"), "memory.max")?;
    assert_eq!(text(&memory)?, "134217728");
    assert_eq!(set(context, &machine, &[]).ok()?, "MemoryMax=134217728\n");
    assert_eq!(
        (exec(context, &machine, "echo alive").ok()?.as_str(), machine.state()?.oom_kills),
        ("alive\n", 0)
    );
    Ok(())
}

/// A controller of v1 that the machine was started without: its processes are moved.
fn a_controller_that_comes_later(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &[]);
    machine.ready()?;
    exec(context, &machine, "sleep 600 < /dev/null > /dev/null 2>&1 &").ok()?;
    set(context, &machine, &["-q", "--allowed-cpus=0"]).ok()?;
    let list = "for p in /proc/[0-9]*; do grep Cpus_allowed_list $p/status; done | cut -f 2 | sort -u";
    assert_eq!(machine.says(list).map(drop), Ok(()), "looking from outside of its cgroups");
    assert_eq!(exec(context, &machine, list).ok()?, "0\n");
    Ok(())
}

fn accounting(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--memory-max=200M", "--tasks-max=77"]);
    machine.ready()?;
    let before = top(context, &machine, "100ms")?;
    exec(
        context,
        &machine,
        "head -c 30m /dev/zero > /dev/shm/held; sleep 600 < /dev/null > /dev/null 2>&1 &",
    )
    .ok()?;
    exec(context, &machine, "head -c 100m /dev/zero | md5sum > /dev/null").ok()?;
    exec(context, &machine, "dd if=/bin/busybox of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null; true")
        .ok()?;
    let after = top(context, &machine, "100ms")?;
    let number = |row: &Value, path: &str| row.pointer(path).and_then(Value::as_u64);
    let grew = |path: &str, least: u64| {
        let (before, after) = (number(&before, path), number(&after, path));
        assert!(
            after.zip(before).is_some_and(|(after, before)| after >= before + least),
            "{path}: {before:?}, {after:?}"
        );
    };
    grew("/memory/current", 29 << 20);
    grew("/memory/peak", 29 << 20);
    grew("/cpu/microseconds", 50_000);
    grew("/tasks/current", 1);
    assert_eq!((number(&after, "/memory/max"), number(&after, "/tasks/max")), (Some(200 << 20), Some(77)));
    assert!(
        after.pointer("/io/read-bytes").is_some() && after.pointer("/network/sent-bytes").is_some(),
        "{after}"
    );
    Ok(())
}

/// A character device that no machine gets by itself and that anyone may open who has a node of it.
fn some_device() -> Result<(&'static str, String), Stop> {
    use std::os::unix::fs::MetadataExt;
    for path in ["/dev/loop-control", "/dev/kvm", "/dev/cpu_dma_latency"] {
        if let Ok(metadata) = fs::metadata(path) {
            let device = metadata.rdev();
            return Ok((path, format!("{} {}", rustix::fs::major(device), rustix::fs::minor(device))));
        }
    }
    Err(Stop::Skip("this host has no device to give away".to_owned()))
}

fn given_devices(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let (device, _) = some_device()?;
    let open = "for how in '<' '>'; do eval \": $how /dev/own/it\" 2>&1 && echo opened; done";
    for users in ["--private-users=pick", "--private-users=no"] {
        let all = format!("--device={device}:/dev/own/it");
        let owner = format!("stat -c %u:%g /dev/own/it; {open}");
        assert_eq!(says(context, &tree, &[users, &all], &owner)?, "0:0\nopened\nopened", "{users}");
        let to_read = format!("{all}:r");
        let ended = script(context, &tree, &[users, &to_read], open);
        assert!(ended.stdout.starts_with("opened\n"), "{users} {ended:#?}");
        assert!(
            ended.stdout.contains("Operation not permitted")
                || ended.stderr.contains("Operation not permitted"),
            "{users} {ended:#?}"
        );
        assert_eq!(ended.stdout.matches("opened").count(), 1, "{users} {ended:#?}");
    }
    let ended = script(context, &tree, &[], &format!("test -e {device}"));
    assert_eq!(ended.status, 1, "{ended:#?}");
    // A directory of devices, with what is below it.
    if Path::new("/dev/net/tun").exists() {
        assert_eq!(says(context, &tree, &["--device=/dev/net:/dev/nets"], "ls /dev/nets")?, "tun");
    }
    Ok(())
}

/// Rules for a machine that can make nodes, and for one whose nodes are bound.
fn allowed_devices(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let (device, numbers) = some_device()?;
    let make = format!("mknod /dev/it c {numbers} && : < /dev/it && echo opened");
    let denied = script(context, &tree, &["--private-users=no", "--capability=CAP_MKNOD"], &make);
    assert!(denied.status != 0 && denied.stderr.contains("Operation not permitted"), "{denied:#?}");
    let rule = format!("--device-allow={device} rm");
    assert_eq!(
        says(context, &tree, &["--private-users=no", "--capability=CAP_MKNOD", &rule], &make)?,
        "opened"
    );
    let numbered = format!("--property=DeviceAllow=c {} rm", numbers.replace(' ', ":"));
    assert_eq!(
        says(context, &tree, &["--private-users=no", "--capability=CAP_MKNOD", &numbered], &make)?,
        "opened"
    );
    let to_write = format!("{make}; : > /dev/it");
    let ended = script(context, &tree, &["--private-users=no", "--capability=CAP_MKNOD", &rule], &to_write);
    assert!(ended.stdout == "opened\n" && ended.stderr.contains("Operation not permitted"), "{ended:#?}");
    Ok(())
}

/// A guest may mount the v1 hierarchies: what it finds there is not its own.
fn a_guest_cannot_lift_its_limits(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let lift = "mkdir /tmp/c && mount -t cgroup -o memory none /tmp/c && echo mounted && \
                echo -1 > /tmp/c/memory.limit_in_bytes; echo $$ > /tmp/c/../c/cgroup.procs; mkdir /tmp/c/x; \
                cat /tmp/c/memory.limit_in_bytes; \
                echo max > /sys/fs/cgroup/memory.max; echo max > /sys/fs/cgroup/../memory.max";
    let mut machine = Machine::start(context, &tree, &["--memory-max=32M"]);
    machine.ready()?;
    let ended = exec(context, &machine, lift);
    let memory = cgroup_file(&machine, ("memory", "memory.limit_in_bytes"), "memory.max")?;
    assert_eq!(text(&memory)?, "33554432", "{ended:#?}");
    assert!(
        fs::read_dir(memory.parent().unwrap())?.flatten().all(|entry| entry.file_name() != "x"),
        "{ended:#?}"
    );
    assert_eq!(exec(context, &machine, HOG).status, 0, "24 MB fit");
    let ended = exec(context, &machine, "dd if=/dev/zero of=/dev/null bs=40M count=1");
    assert_eq!(ended.status, 137, "{ended:#?}");
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    for (option, error, hint) in [
        (
            "--memory-max=0",
            "bad value for --memory-max=: \"0\" leaves the machine no memory",
            "bytes with K, M, G or T",
        ),
        ("--memory-max=lots", "\"lots\" is not a size of memory", "bytes with K"),
        ("--cpu-quota=50", "\"50\" is not a share of a CPU", "percent of one CPU"),
        ("--cpu-weight=0", "\"0\" is not a weight", "1 to 10000"),
        ("--allowed-cpus=a", "\"a\" is not a list of CPUs", "CPU numbers and ranges"),
        ("--allowed-cpus=4000", "cannot set AllowedCPUs= to \"4000\"", "lscpu shows"),
        ("--tasks-max=0", "\"0\" lets no process run", "a number of tasks"),
        ("--io-read-bandwidth-max=5M", "\"5M\" is not a device and a number", "the node of a disk"),
        (
            "--io-read-bandwidth-max=/dev/none:5M",
            "no disk can be limited by \"/dev/none\"",
            "the node of a disk",
        ),
        ("--io-write-iops-max=/proc:5", "no disk can be limited by \"/proc\"", "the node of a disk"),
        ("--device=/dev/none", "no device can be given by \"/dev/none\"", "the path of a device node"),
        (
            "--device=/etc/passwd:/dev/x",
            "no device can be given by \"/etc/passwd\"",
            "the path of a device node",
        ),
        ("--device=/dev/null:/x", "would put a device elsewhere than below /dev", "a device opens only in"),
        (
            "--device-allow=char-nonsense r",
            "no device can be given by \"char-nonsense r\"",
            "the path of a device",
        ),
        ("--property=MemoryMaks=1", "did you mean \"MemoryMax\"?", "one of: MemoryMax"),
        ("--property=Restart=no", "\"Restart\" is not a limit", "one of: MemoryMax"),
        ("--network-class=x", "\"x\" is not a traffic class", "MAJOR:MINOR"),
    ] {
        let ended = run(&mut command(context, &tree, &[option], &["/bin/true"]));
        let lines: Vec<&str> =
            ended.stderr.lines().filter(|line| !line.contains("CAP_SYS_RESOURCE")).collect();
        assert_eq!((ended.status, lines.len()), (125, 2), "{option}: {ended:#?}");
        assert!(lines[0].starts_with("spinney: error: ") && lines[0].contains(error), "{option}: {ended:#?}");
        assert!(lines[1].starts_with("  hint: ") && lines[1].contains(hint), "{option}: {ended:#?}");
    }
    // What a host does not have is a warning, and the machine runs.
    let ended = run(&mut command(context, &tree, &["--network-class=1:1"], &["/bin/echo", "runs"]));
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "runs\n"), "{ended:#?}");
    if !Path::new("/sys/fs/cgroup/net_cls").exists() {
        let warning =
            "warning: this host has not mounted the cgroup v1 controller net_cls: NetClass= does nothing\n";
        assert!(ended.stderr.contains(warning), "{ended:#?}");
    }
    for arguments in
        [&["set", "nobody", "--memory-max=1G"][..], &["set", "--memory-max=1G"], &["top", "nobody"]]
    {
        let ended = run(context.spinney().args(arguments));
        assert_eq!((ended.status, ended.stderr.lines().count()), (125, 2), "{arguments:?}: {ended:#?}");
    }
    Ok(())
}
