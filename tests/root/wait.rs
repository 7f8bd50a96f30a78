//! `spinney wait`: until something holds, for every init; and when it gives up.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Ended, PATIENCE, Process, run, shell_status};
use crate::exec::machine;
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    /// A unit that each tree has, a target where its init has some, and what it says of one that there is not.
    const INITS: [(&str, &str, Option<&str>); 9] = [
        ("debian-11", "dbus", Some("multi-user")),
        ("debian-12", "dbus.socket", Some("multi-user.target")),
        ("debian-13", "systemd-journald", Some("basic")),
        ("debian-forky", "dbus", Some("multi-user")),
        ("debian-13-sysvinit", "udev", Some("2")),
        ("debian-13-openrc", "udev", Some("default")),
        ("debian-13-runit", "getty-console", None),
        ("debian-13-finit", "keventd", Some("2")),
        ("busybox", "", None),
    ];
    let single: [Row; 6] = [
        ("ready_and_stopped", ready_and_stopped),
        ("ports_files_commands", ports_files_commands),
        ("failed_unit", failed_unit),
        ("gives_up", gives_up),
        ("files_of_odd_kinds", files_of_odd_kinds),
        ("bad_input", bad_input),
    ];
    let inits = INITS.map(|(tree, unit, target)| {
        Test::new(format!("wait::{tree}"), move |context| units(context, tree, unit, target))
    });
    single.map(|(name, test)| Test::new(format!("wait::{name}"), test)).into_iter().chain(inits).collect()
}

fn wait(context: &Context, arguments: &[&str]) -> Command {
    let mut command = context.spinney();
    command.arg("wait").args(arguments);
    command
}

fn waited(context: &Context, arguments: &[&str]) -> Ended {
    run(&mut wait(context, arguments))
}

fn units(context: &Context, tree: &str, unit: &str, target: Option<&str>) -> TestResult {
    // From its very start: what there is not yet may come.
    let mut machine = Machine::start(context, &context.tree(tree)?, &[]);
    let name = machine.name.clone();
    let state = format!("/run/spinney/machines/{name}/state");
    let deadline = Instant::now() + PATIENCE;
    while !std::path::Path::new(&state).exists() {
        assert!(Instant::now() < deadline, "{}", machine.output());
        std::thread::sleep(Duration::from_millis(2));
    }
    if unit.is_empty() {
        for condition in ["unit=x", "target=x"] {
            let done = waited(context, &[&name, "--for", condition]);
            assert_eq!(done.status, 125, "{done:?}");
            assert!(done.stderr.contains("busybox init has no "), "{done:?}");
        }
    } else {
        let done = waited(context, &[&name, "--for", &format!("unit={unit}"), "--timeout=60s", "--json"]);
        assert_eq!(done.status, 0, "{done:?}\n{}", machine.output());
        let said: Value = serde_json::from_str(&done.stdout)?;
        assert_eq!(
            (said["condition"].as_str(), said["result"].as_str()),
            (Some(format!("unit={unit}").as_str()), Some("holds"))
        );
        if let Some(target) = target {
            let done = waited(context, &[&name, "--for", &format!("target={target}"), "--timeout=60s"]);
            assert_eq!(done.status, 0, "{done:?}\n{}", machine.output());
        }
        machine.ready()?;
        let done = waited(context, &[&name, "--for=unit=no-such-unit", "--timeout=20s"]);
        assert_eq!(done.status, 1, "{done:?}");
        assert!(done.stderr.contains("there is no such "), "{done:?}");
        machine.stop()?;
        return Ok(());
    }
    machine.ready()?;
    machine.stop()?;
    Ok(())
}

fn ready_and_stopped(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("debian-13")?, &[]);
    let name = machine.name.clone();
    // Its name is there before its PID 1.
    let deadline = Instant::now() + PATIENCE;
    while !std::path::Path::new("/run/spinney/machines").join(&name).exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    let done = waited(context, &[&name, "--timeout=60s"]);
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.stderr.starts_with(&format!("spinney: {name}: ready holds after ")), "{done:?}");
    machine.ready()?;
    assert_eq!(machine.state()?.phase, spinney::supervisor::state::Phase::Ready);
    let done = waited(context, &[&name, "-q"]);
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));

    let mut stopped =
        Process::spawn(wait(context, &[&name, "--for=stopped", "--json"]).stdout(Stdio::null()));
    let mut port = Process::spawn(wait(context, &[&name, "--for=port=9"]).stderr(Stdio::null()));
    assert_eq!(stopped.wait(Duration::from_millis(300)), None);
    machine.stop()?;
    assert_eq!(stopped.wait(PATIENCE).map(shell_status), Some(0));
    // It cannot hold any more.
    assert_eq!(port.wait(PATIENCE).map(shell_status), Some(1));
    // One that is gone has stopped; that is all that can be waited for of it.
    assert_eq!(waited(context, &[&name, "--for=stopped"]).status, 0);
    assert_eq!(waited(context, &[&name]).status, 125);
    Ok(())
}

fn ports_files_commands(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let conditions = ["port=7777", "port=udp/7778", "file=/tmp/dir/mark", "exec=test -s /tmp/dir/mark"];
    for condition in conditions {
        let done = waited(context, &[name, "--for", condition, "--timeout=100ms"]);
        assert_eq!(done.status, 124, "{condition}: {done:?}");
    }
    let mut arguments = vec![name, "--timeout=60s", "--json"];
    arguments.extend(conditions.iter().flat_map(|condition| ["--for", condition]));
    let (mut command, output) = (wait(context, &arguments), crate::command::capture());
    let mut process = Process::spawn(command.stdout(output.try_clone()?));
    for script in [
        "(setsid nc -l -p 7777 -e true >/dev/null 2>&1 &)",
        // A link, in the root only; a dangling one is not there.
        "ln -s ../../../../../../var/tmp /tmp/dir; ln -s /etc/passwd /var/tmp/mark",
    ] {
        assert_eq!(process.wait(Duration::from_millis(50)), None);
        machine.says(script)?;
    }
    assert_eq!(process.wait(Duration::from_millis(50)), None);
    let socket = udp_socket_in(&machine, 7778)?;
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(0), "{}", crate::command::contents(&output));
    drop(socket);
    let said: Vec<Value> =
        crate::command::contents(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let held: Vec<&str> = said.iter().filter_map(|said| said["condition"].as_str()).collect();
    assert_eq!(held, ["port=tcp/7777", conditions[1], conditions[2], conditions[3]]);
    // Of the host's own files none is.
    let done = waited(context, &[name, "--for=file=/var/cache/spinney", "--timeout=100ms"]);
    assert_eq!(done.status, 124);
    machine.stop()?;
    Ok(())
}

/// Its tree has no program that would listen on UDP: a thread of ours does, in the machine's network.
fn udp_socket_in(machine: &Machine, port: u16) -> Result<std::net::UdpSocket, crate::harness::Stop> {
    use spinney::sys::process::{Namespaces, join_namespaces_of, pidfd_open};
    let leader = rustix::process::Pid::from_raw(machine.state()?.leader).unwrap();
    let pidfd = pidfd_open(leader)?;
    let thread = std::thread::spawn(move || {
        join_namespaces_of(&pidfd, Namespaces::NEWNET).unwrap();
        std::net::UdpSocket::bind(("0.0.0.0", port)).unwrap()
    });
    Ok(thread.join().unwrap())
}

fn failed_unit(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13", &[])?;
    let name = machine.name.as_str();
    machine.says("systemd-run --unit=later -p RemainAfterExit=yes sh -c 'sleep 0.3; exit 3'")?;
    // It runs, then it fails; both are told at once.
    assert_eq!(waited(context, &[name, "--for=unit=later"]).status, 0);
    machine.says("while systemctl is-active later; do sleep 0.05; done; true")?;
    let started = Instant::now();
    let done = waited(context, &[name, "--for=unit=later", "--timeout=60s", "--json"]);
    assert_eq!(done.status, 1, "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
    let said: Value = serde_json::from_str(&done.stdout)?;
    assert_eq!(said["machine"], name);
    assert_eq!(said["condition"], "unit=later");
    assert_eq!(said["result"], "failed");
    assert_eq!(said["reason"], "the unit has failed: exit-code");
    assert!(said["after-seconds"].as_f64().is_some_and(|seconds| seconds < 30.0), "{said}");
    let done = waited(context, &[name, "--for=unit=later"]);
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(
        lines[0].contains("unit=later will not hold after ")
            && lines[0].ends_with(": the unit has failed: exit-code")
    );
    assert!(lines[1].starts_with("  hint: "), "{done:?}");
    assert_eq!(lines.len(), 2);
    machine.stop()?;
    Ok(())
}

fn gives_up(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13", &[])?;
    let name = machine.name.as_str();
    // An init that does not answer holds nobody up.
    let leader = machine.state()?.leader.to_string();
    run(Command::new("kill").args(["-STOP", &leader])).ok()?;
    let started = Instant::now();
    for condition in ["unit=dbus", "exec=sleep 1000", "port=1", "file=/none"] {
        let done = waited(context, &[name, "--for", condition, "--timeout=300ms", "--json"]);
        assert_eq!(done.status, 124, "{condition}: {done:?}");
        let said: Value = serde_json::from_str(&done.stdout)?;
        assert_eq!(said["result"], "timeout");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    // ^C ends the wait, not only the command that it runs.
    let mut process = Process::spawn(wait(context, &[name, "--for=exec=sleep 1000"]).stderr(Stdio::null()));
    std::thread::sleep(Duration::from_millis(200));
    process.signal(libc::SIGINT);
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(130));
    run(Command::new("kill").args(["-CONT", &leader])).ok()?;
    machine.stop()?;
    Ok(())
}

/// A FIFO is a file; a directory that cannot be searched, a loop of links and the like are none.
fn files_of_odd_kinds(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says("mkfifo /fifo; ln -s /loop /loop; ln -s /proc/1/root /magic; ln -s /nowhere /dangling")?;
    let table =
        [("/fifo", 0), ("/loop", 124), ("/dangling", 124), ("/magic/etc", 124), ("/proc/1/root/etc", 124)];
    for (path, expected) in table {
        let done = waited(context, &[name, "--for", &format!("file={path}"), "--timeout=100ms"]);
        assert_eq!(done.status, expected, "{path}: {done:?}");
    }
    machine.stop()?;
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13-runit", &[])?;
    let name = machine.name.as_str();
    let none = format!("{name}-none");
    let table: [(&[&str], &str); 7] = [
        (&[&none], "no machine"),
        (&[name, "--for=redy"], "\"redy\" is nothing that can be waited for"),
        (&[name, "--for=port=ssh"], "\"port=ssh\" names no port"),
        (&[name, "--for=file=etc"], "\"file=etc\" names no absolute path"),
        (&[name, "--for=target=x"], "runit has no targets"),
        (&[name, "--for=unit=../x"], "\"../x\" is no name of a unit"),
        (&[name, "--timeout=soon"], "\"soon\" is not a time span"),
    ];
    for (arguments, problem) in table {
        let done = waited(context, arguments);
        let lines: Vec<&str> = done.stderr.lines().collect();
        assert_eq!((done.status, lines.len()), (125, 2), "{arguments:?}: {done:?}");
        assert!(lines[0].starts_with("spinney: error: ") && lines[0].contains(problem), "{done:?}");
        assert!(lines[1].starts_with("  hint: "), "{done:?}");
    }
    machine.stop()?;
    Ok(())
}
