//! Machines that are stopped, rebooted, ended, signalled, paused and watched from elsewhere.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use spinney::supervisor::state::Phase;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, run_with_input, shell_status};
use crate::console::Session;
use crate::detached::Detached;
use crate::harness::{Context, Row, Test, TestResult};
use crate::hosts::{UNMOUNT_CGROUP2, after_mounts};

/// A command that hears of its end and does nothing about it.
const STUBBORN: &str = "trap '' TERM HUP INT; echo here; while :; do sleep 0.1; done";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 16] = [
        ("stop_several", stop_several),
        ("stop_gives_up_waiting", stop_gives_up_waiting),
        ("reboot_waits_until_ready", reboot_waits_until_ready),
        ("events_across_a_reboot", events_across_a_reboot),
        ("events_of_machines_that_come", events_of_machines_that_come),
        ("targets_and_soft_reboot", targets_and_soft_reboot),
        ("out_of_memory_is_told", out_of_memory_is_told),
        ("signals_arrive", signals_arrive),
        ("pause_stops_processes", pause_stops_processes),
        ("stop_of_a_paused_machine", stop_of_a_paused_machine),
        ("without_cgroup2", without_cgroup2),
        ("hung_supervisor", hung_supervisor),
        ("killed_verbs", killed_verbs),
        ("attach_terminal", attach_terminal),
        ("attach_pipe", attach_pipe),
        ("bad_values", bad_values),
    ];
    rows.map(|(name, test)| Test::new(format!("control_verbs::{name}"), test)).into()
}

fn spinney(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().args(arguments))
}

fn busybox(context: &Context) -> Result<Detached, crate::harness::Stop> {
    Ok(Detached::start(context, &context.tree("busybox")?, &[])?)
}

/// A machine that runs a shell script in the background.
fn script(context: &Context, script: &str) -> Result<Detached, crate::harness::Stop> {
    let (name, tree) = (context.machine_name(), context.tree("busybox")?);
    Ok(Detached::start_as(context, &name, &tree, &[], &["--", "/bin/sh", "-c", script])?)
}

fn console_of(machine: &Detached) -> String {
    std::fs::read_to_string(format!("/run/spinney/machines/{}/console.log", machine.name)).unwrap_or_default()
}

fn wait_for_console(machine: &Detached, text: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !console_of(machine).contains(text) {
        if Instant::now() > deadline {
            return Err(format!("{text:?} does not come: {}", console_of(machine)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_gone(machine: &Detached) -> bool {
    machine.ended(Duration::ZERO)
        && !std::path::Path::new("/run/spinney/machines").join(&machine.name).exists()
}

fn stop_several(context: &Context) -> TestResult {
    let (one, two) = (busybox(context)?, busybox(context)?);
    let ended = spinney(context, &["stop", &one.name, "no-such-machine", &two.name, &one.name]);
    assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{ended:#?}");
    assert!(
        ended.stderr.starts_with("spinney: error: no machine \"no-such-machine\" is running\n  hint: "),
        "{ended:#?}"
    );
    assert!(is_gone(&one) && is_gone(&two));
    for machine in [&one, &two] {
        let line = format!("spinney: {} is off after ", machine.name);
        let times: Vec<&str> = ended.stderr.lines().filter_map(|text| text.strip_prefix(&line)).collect();
        // In the form that the machine's own supervisor says it in.
        assert!(matches!(times[..], [time] if time.ends_with(" ms") || time.ends_with(" s")), "{ended:#?}");
    }
    let third = busybox(context)?;
    let ended = spinney(context, &["poweroff", "--no-wait", "-q", &third.name]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert!(third.ended(PATIENCE));
    Ok(())
}

fn stop_gives_up_waiting(context: &Context) -> TestResult {
    let machine = script(context, STUBBORN)?;
    wait_for_console(&machine, "here")?;
    let name = &machine.name;
    let ended = spinney(context, &["stop", "--timeout=300ms", name]);
    let expected = format!(
        "spinney: error: \"{name}\" is still stopping after 0.3 s\n  hint: it goes on stopping; spinney terminate {name} \
         ends it at once\n"
    );
    assert_eq!((ended.status, ended.stderr.as_str()), (125, expected.as_str()));
    assert_eq!(machine.state()?.phase, Phase::Stopping);
    let ended = spinney(context, &["reboot", name]);
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (125, format!("spinney: error: machine \"{name}\" refuses: it is powering off\n").as_str())
    );
    let ended = spinney(context, &["terminate", name]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, format!("spinney: {name} is gone\n").as_str()));
    assert!(is_gone(&machine));
    Ok(())
}

fn reboot_waits_until_ready(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let before = machine.state()?;
    let ended = spinney(context, &["restart", &machine.name]);
    let after = machine.state()?;
    assert_eq!((ended.status, after.phase, after.boots), (0, Phase::Ready, 2), "{ended:#?}");
    assert!(ended.stderr.starts_with(&format!("spinney: {} is ready again after ", machine.name)));
    assert_eq!(before.supervisor, after.supervisor);
    assert_ne!(before.leader, after.leader);
    // One that ends meanwhile instead of coming back.
    let command = script(context, STUBBORN)?;
    wait_for_console(&command, "here")?;
    let name = command.name.as_str();
    let stderr = capture();
    let mut reboot = Process::spawn(context.spinney().args(["reboot", name]).stderr(stderr.try_clone()?));
    command.wait_for(|state| state.phase == Phase::Stopping)?;
    assert_eq!(spinney(context, &["terminate", "-q", name]).status, 0);
    assert_eq!(reboot.wait(PATIENCE).map(shell_status), Some(125));
    let expected = format!("spinney: error: \"{name}\" did not come back\n  hint: ");
    assert!(contents(&stderr).starts_with(&expected), "{}", contents(&stderr));
    Ok(())
}

/// What a process that follows events has said so far: machine and event of each line.
fn told(file: &std::fs::File) -> Vec<(String, String)> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let lines = contents(file);
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    values.map(|value| (text(&value, "machine"), text(&value, "event"))).collect()
}

fn events_across_a_reboot(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let name = machine.name.as_str();
    let stdout = capture();
    let mut events = Process::spawn(
        context.spinney().args(["events", "--json", "--past", name]).stdout(stdout.try_clone()?),
    );
    for verb in ["pause", "resume", "reboot", "stop"] {
        assert_eq!(spinney(context, &[verb, name]).status, 0, "{verb}");
    }
    // It ends with the machine.
    assert_eq!(events.wait(PATIENCE).map(shell_status), Some(0));
    let names: Vec<String> = told(&stdout).into_iter().map(|(_, event)| event).collect();
    let expected = "started ready paused resumed stopping rebooting started ready stopping ended";
    assert_eq!(names.join(" "), expected);
    let last: Value = serde_json::from_str(contents(&stdout).lines().last().unwrap())?;
    assert_eq!(last["data"]["reason"], "powered-off");
    assert_eq!((&last["data"]["exit-status"], &last["data"]["error"]), (&Value::from(0), &Value::Null));
    Ok(())
}

fn events_of_machines_that_come(context: &Context) -> TestResult {
    let stdout = capture();
    let mut events = Process::spawn(context.spinney().args(["events", "--json"]).stdout(stdout.try_clone()?));
    // It watches once it has heard of something; that may be the second, or the tenth.
    let deadline = Instant::now() + PATIENCE;
    let mut first = busybox(context)?;
    while told(&stdout).is_empty() {
        assert!(Instant::now() < deadline, "{}", contents(&stdout));
        first.stop()?;
        first = busybox(context)?;
    }
    let name = context.machine_name();
    for _ in 0..2 {
        let tree = context.tree("busybox")?;
        let machine = Detached::start_as(context, &name, &tree, &[], &[])?;
        assert_eq!(spinney(context, &["terminate", "-q", &name]).status, 0);
        assert!(is_gone(&machine));
    }
    let ended = |list: &[(String, String)]| list.iter().filter(|(_, event)| event == "ended").count();
    while ended(&told(&stdout)) < 2 {
        assert!(Instant::now() < deadline + PATIENCE, "{}", contents(&stdout));
        std::thread::sleep(Duration::from_millis(5));
    }
    let of_second: Vec<String> =
        told(&stdout).into_iter().filter(|(machine, _)| *machine == name).map(|(_, event)| event).collect();
    let once = "started ready stopping ended";
    assert_eq!(of_second.join(" "), format!("{once} {once}"));
    events.signal(libc::SIGINT);
    assert_eq!(events.wait(PATIENCE).map(shell_status), Some(0));
    first.stop()?;
    Ok(())
}

/// Targets are told by systemd 256 and later; an exchange of user space alone is no end and no boot.
fn targets_and_soft_reboot(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("debian-13")?, &[])?;
    let name = machine.name.as_str();
    let stdout = capture();
    let mut events = Process::spawn(
        context.spinney().args(["events", "--json", "--past", name]).stdout(stdout.try_clone()?),
    );
    let leader = machine.state()?.leader;
    machine.shell("systemctl soft-reboot --no-block")?;
    let deadline = Instant::now() + PATIENCE;
    let up = r#""event":"unit-active","data":{"unit":"multi-user.target"}"#;
    while contents(&stdout).matches(up).count() < 2 {
        assert!(Instant::now() < deadline, "{}", contents(&stdout));
        std::thread::sleep(Duration::from_millis(10));
    }
    let state = machine.state()?;
    assert_eq!((state.phase, state.leader, state.boots), (Phase::Ready, leader, 1));
    assert_eq!(spinney(context, &["stop", "-q", name]).status, 0);
    assert_eq!(events.wait(PATIENCE).map(shell_status), Some(0));
    let text = contents(&stdout);
    for wanted in [
        r#""event":"unit-active","data":{"unit":"soft-reboot.target"}"#,
        r#""event":"unit-inactive","data":{"unit":"multi-user.target"}"#,
        r#""event":"stopping","data":{"how":"power-off","asked":true}"#,
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    Ok(())
}

fn out_of_memory_is_told(context: &Context) -> TestResult {
    let (name, tree) = (context.machine_name(), context.tree("busybox")?);
    let greedy = "read go; tail /dev/zero; echo after";
    let options = ["--memory-max=32M", "--memory-swap-max=0"];
    let machine = Detached::start_as(context, &name, &tree, &options, &["--", "/bin/sh", "-c", greedy])?;
    let stdout = capture();
    let mut events = Process::spawn(
        context.spinney().args(["events", "--json", "--past", &name]).stdout(stdout.try_clone()?),
    );
    let deadline = Instant::now() + PATIENCE;
    while told(&stdout).is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = run_with_input(context.spinney().args(["attach", "-q", &name]), b"go\n");
    assert!(ended.status == 0 && ended.stdout.contains("after"), "{ended:#?}");
    assert!(machine.ended(PATIENCE));
    assert_eq!(events.wait(PATIENCE).map(shell_status), Some(0));
    let told = contents(&stdout);
    assert!(told.contains(r#""event":"out-of-memory","data":{"killed":1}"#), "{told}");
    Ok(())
}

fn signals_arrive(context: &Context) -> TestResult {
    let both = "trap 'echo outer-usr1' USR1; sh -c 'trap \"echo inner-usr1\" USR1; echo in; while :; do sleep 0.05; done' & \
                echo out; while :; do sleep 0.05; done";
    let machine = script(context, both)?;
    for text in ["in", "out"] {
        wait_for_console(&machine, text)?;
    }
    let name = machine.name.as_str();
    let kill = |arguments: &[&str]| spinney(context, &[&["kill"], arguments, &[name]].concat());
    // The sleeps die of it, the shells say so.
    let ended = kill(&["-s", "USR1"]);
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    wait_for_console(&machine, "outer-usr1")?;
    wait_for_console(&machine, "inner-usr1")?;
    // Our reaping PID 1 powers off by it.
    assert_eq!(kill(&["--kill-who=leader", "--signal=SIGRTMIN+4"]).status, 0);
    assert!(machine.ended(PATIENCE));
    assert!(kill(&[]).stderr.contains("is running\n  hint: "));

    let machine = busybox(context)?;
    let ended = spinney(context, &["kill", "--kill-whom=supervisor", &machine.name]);
    assert!(ended.status == 0 && machine.ended(PATIENCE), "SIGTERM powers it off: {ended:#?}");
    let machine = busybox(context)?;
    assert_eq!(spinney(context, &["kill", "-s9", &machine.name]).status, 0);
    assert!(machine.ended(PATIENCE));
    Ok(())
}

/// CPU time of the machine's processes, in microseconds.
fn cpu_used(machine: &Detached) -> Result<u64, String> {
    let cgroup = machine.state()?.cgroup;
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let text = roots.iter().find_map(|root| std::fs::read_to_string(format!("{root}{cgroup}/cpu.stat")).ok());
    let text = text.ok_or("no cpu.stat")?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.and_then(|usage| usage.parse().ok()).ok_or(text)
}

fn pause_stops_processes(context: &Context) -> TestResult {
    let machine = script(context, "echo here; while :; do :; done")?;
    wait_for_console(&machine, "here")?;
    let name = machine.name.as_str();
    let ended = spinney(context, &["pause", name]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, format!("spinney: {name} is paused\n").as_str()));
    assert!(machine.state()?.paused);
    let before = cpu_used(&machine)?;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(cpu_used(&machine)?, before, "a busy loop that is paused");
    assert_eq!(spinney(context, &["pause", "-q", name]).status, 0, "it is paused already");
    assert_eq!(spinney(context, &["resume", "-q", name]).status, 0);
    assert!(!machine.state()?.paused);
    let deadline = Instant::now() + PATIENCE;
    while cpu_used(&machine)? == before {
        assert!(Instant::now() < deadline, "it does not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(spinney(context, &["resume", "-q", name]).status, 0, "it runs already");
    assert_eq!(spinney(context, &["terminate", "-q", name]).status, 0);
    Ok(())
}

fn stop_of_a_paused_machine(context: &Context) -> TestResult {
    for verb in ["stop", "terminate"] {
        let machine = busybox(context)?;
        assert_eq!(spinney(context, &["pause", "-q", &machine.name]).status, 0);
        assert_eq!(spinney(context, &[verb, "-q", &machine.name]).status, 0);
        assert!(is_gone(&machine), "{verb}");
    }
    let machine = busybox(context)?;
    assert_eq!(spinney(context, &["pause", "-q", &machine.name]).status, 0);
    assert_eq!(spinney(context, &["reboot", "-q", &machine.name]).status, 0);
    let state = machine.state()?;
    assert_eq!((state.boots, state.paused), (2, false));
    // The supervisor's own signal, as from a service manager.
    assert_eq!(spinney(context, &["pause", "-q", &machine.name]).status, 0);
    machine.stop()?;
    Ok(())
}

/// On a host that mounts cgroup v2 nowhere, the supervisor alone can get at the machine's cgroup.
fn without_cgroup2(context: &Context) -> TestResult {
    let machine = script(context, "trap 'echo got-usr1' USR1; echo here; while :; do sleep 0.05; done")?;
    wait_for_console(&machine, "here")?;
    let name = machine.name.as_str();
    let verb = |arguments: &[&str]| {
        let mut command = after_mounts(UNMOUNT_CGROUP2);
        run(command.args(arguments).arg(name))
    };
    assert_eq!(verb(&["pause", "-q"]).status, 0);
    let listed = run(after_mounts(UNMOUNT_CGROUP2).arg("list"));
    let line = listed.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line.contains(" paused "), "{listed:#?}");
    assert_eq!(verb(&["resume", "-q"]).status, 0);
    assert_eq!(verb(&["kill", "-s", "USR1"]).status, 0);
    wait_for_console(&machine, "got-usr1")?;
    assert_eq!(verb(&["terminate", "-q"]).status, 0);
    assert!(is_gone(&machine));
    Ok(())
}

/// What needs the supervisor says so in time; what does not goes on working.
fn hung_supervisor(context: &Context) -> TestResult {
    let machine = script(context, "trap 'echo got-usr1' USR1; echo here; while :; do sleep 0.05; done")?;
    wait_for_console(&machine, "here")?;
    let name = machine.name.as_str();
    machine.signal(libc::SIGSTOP);
    let expected = format!(
        "spinney: error: the supervisor of machine \"{name}\" does not answer after 5 s\n  hint: is it stopped, or the host \
         overloaded? spinney terminate {name} ends the machine all the same\n"
    );
    for verb in ["pause", "stop", "events"] {
        let ended = spinney(context, &[verb, name]);
        assert_eq!((ended.status, ended.stderr.as_str()), (125, expected.as_str()), "{verb}");
    }
    assert_eq!(spinney(context, &["kill", "-s", "USR1", name]).status, 0);
    machine.signal(libc::SIGCONT);
    wait_for_console(&machine, "got-usr1")?;
    machine.signal(libc::SIGSTOP);
    let ended = spinney(context, &["terminate", name]);
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (
            0,
            format!(
                "spinney: warning: the supervisor of {name} did not answer: it was killed, and what it left is removed\n\
                 spinney: {name} is gone\n"
            )
            .as_str()
        )
    );
    assert!(is_gone(&machine));
    Ok(())
}

/// A verb that is killed half-way harms nothing: a stop goes on, a machine that was watched too.
fn killed_verbs(context: &Context) -> TestResult {
    let machine = script(context, "echo here; while :; do sleep 0.05; done")?;
    wait_for_console(&machine, "here")?;
    let name = machine.name.as_str();
    for arguments in [&["attach", name][..], &["events", name]] {
        let mut process = Process::spawn(
            context.spinney().args(arguments).stdin(Stdio::piped()).stdout(capture()).stderr(capture()),
        );
        std::thread::sleep(Duration::from_millis(50));
        process.signal(libc::SIGKILL);
        process.wait(PATIENCE);
    }
    assert_eq!(spinney(context, &["pause", "-q", name]).status, 0);
    assert_eq!(spinney(context, &["resume", "-q", name]).status, 0);
    assert_eq!(machine.state()?.phase, Phase::Ready);
    let mut stop = Process::spawn(context.spinney().args(["stop", name]).stderr(capture()));
    machine.wait_for(|state| state.phase == Phase::Stopping).ok();
    stop.signal(libc::SIGKILL);
    stop.wait(PATIENCE);
    assert!(machine.ended(PATIENCE), "the stop does not go on");
    Ok(())
}

fn attach_terminal(context: &Context) -> TestResult {
    let machine = script(context, "echo a screen of before; exec /bin/sh -i")?;
    wait_for_console(&machine, "# ")?;
    let attach = || {
        let mut command = context.spinney();
        command.args(["attach", &machine.name]);
        Session::start(command)
    };
    let mut one = attach();
    one.sees("three times leaves it");
    one.sees("a screen of before");
    one.types("stty size; echo $((6 * 7))\n");
    one.sees("33 99");
    one.sees("42");
    // Another one sees the same, before and after it came, and types too.
    let mut two = attach();
    two.sees("a screen of before");
    two.sees("42");
    two.types("echo from two $((2 + 3))\n");
    one.sees("from two 5");
    two.sees("from two 5");
    // The keys of who is in the foreground are none here.
    two.types("echo \x1d\x1dp $((4 * 2))\n");
    two.sees("8\r\n");
    two.types("\x1d\x1d\x1d");
    assert_eq!(two.ends(), 0);
    // ^C is the guest's. It takes away what was typed and not read, so it waits until its reader is there.
    one.types("sh -c 'trap \"exit 9\" INT; echo as\"\"leep; while :; do sleep 0.1; done'\n");
    one.sees("asleep");
    one.types("\x03");
    one.sees("# ");
    one.types("echo again $((3 * 3))\n");
    one.sees("again 9");
    assert_eq!(machine.state()?.phase, Phase::Ready);
    one.types("exit 4\n");
    one.sees(&format!("{} is off", machine.name));
    assert_eq!(one.ends(), 0);
    assert!(machine.ended(PATIENCE));
    Ok(())
}

fn attach_pipe(context: &Context) -> TestResult {
    let machine =
        script(context, "stty -echo; while read line; do echo got $line; [ $line = end ] && exit; done")?;
    let ended = run_with_input(context.spinney().args(["attach", "-n0", &machine.name]), b"one\ntwo\nend\n");
    assert_eq!(
        (ended.status, ended.stdout.as_str(), ended.stderr.as_str()),
        (0, "got one\r\ngot two\r\ngot end\r\n", format!("spinney: {} is off\n", machine.name).as_str())
    );
    // A reader who has seen enough.
    let machine = script(context, "while :; do echo y; sleep 0.01; done")?;
    let mut child = context
        .spinney()
        .args(["attach", &machine.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let status = child.wait()?;
    assert_eq!(status.code(), Some(0));
    let mut told = Process::spawn(
        context.spinney().args(["attach", &machine.name]).stdin(Stdio::piped()).stdout(capture()),
    );
    std::thread::sleep(Duration::from_millis(50));
    told.signal(libc::SIGTERM);
    assert_eq!(told.wait(PATIENCE).map(shell_status), Some(0));
    assert_eq!(spinney(context, &["terminate", "-q", &machine.name]).status, 0);
    Ok(())
}

fn bad_values(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let name = machine.name.as_str();
    let rows: [(&[&str], &str); 8] = [
        (&["stop", "--timeout=soon", name], "--timeout: \"soon\" is not a time span\n  hint: "),
        (&["reboot", "--timeout=", name], "--timeout: \"\" is not a time span\n  hint: "),
        (&["kill", "-s", "NOSUCH", name], "\"NOSUCH\" is not a signal\n  hint: "),
        (&["kill", "--kill-whom=me", name], "\"me\" is nobody in a machine\n  hint: one of: leader, "),
        (&["kill"], "no machine given\n  hint: "),
        (&["pause", "no such"], "\"no such\" "),
        (&["attach", "absent"], "no machine \"absent\" is running\n  hint: "),
        (&["events", "absent"], "no machine \"absent\" is running\n  hint: "),
    ];
    for (arguments, expected) in rows {
        let ended = spinney(context, arguments);
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{arguments:?}: {ended:#?}");
        assert!(
            ended.stderr.starts_with("spinney: error: ") && ended.stderr.contains(expected),
            "{ended:#?}"
        );
    }
    assert!(spinney(context, &["kill", "-s", "help"]).stdout.starts_with("SIGHUP\nSIGINT\n"));
    assert_eq!(machine.state()?.phase, Phase::Ready);
    machine.stop()?;
    Ok(())
}
