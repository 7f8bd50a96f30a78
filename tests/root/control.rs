//! The control socket, spoken to by hostile clients, by others than root, and by systemd's own tool.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spinney::machine::{Control, MachineHandle};
use spinney::supervisor::control::MESSAGE_BYTES;

use crate::command::{Ended, PATIENCE, run};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult};

/// Nobody.
const OTHER_USER: u32 = 65534;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 7] = [
        ("others_are_refused", others_are_refused),
        ("garbage", garbage),
        ("many_connections", many_connections),
        ("console_that_nobody_reads", console_that_nobody_reads),
        ("idle_with_listeners", idle_with_listeners),
        ("methods", methods),
        ("varlinkctl", varlinkctl),
    ];
    rows.map(|(name, test)| Test::new(format!("control::{name}"), test)).into()
}

fn busybox(context: &Context) -> Result<Detached, Stop> {
    Ok(Detached::start(context, &context.tree("busybox")?, &[])?)
}

fn path_of(machine: &Detached) -> String {
    format!("/run/spinney/machines/{}/control", machine.name)
}

fn raw(machine: &Detached) -> UnixStream {
    let stream = UnixStream::connect(path_of(machine)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn handle(machine: &Detached) -> MachineHandle {
    MachineHandle::find(&machine.name.parse().unwrap()).unwrap()
}

fn control(machine: &Detached) -> Control {
    Control::connect(&handle(machine)).unwrap()
}

fn status(machine: &Detached) -> Value {
    control(machine).call("io.systemd.MachineInstance.Describe", json!({})).unwrap()
}

/// Everything that changes a machine, or shows its secrets, is root's; that it is there is everybody's to know.
fn others_are_refused(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let name = machine.name.as_str();
    let metadata = std::fs::metadata(path_of(&machine))?;
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, 0));
    // Where the program is, others may not go.
    let program = context.directory.join("spinney");
    std::fs::copy(crate::harness::program(), &program)?;
    let as_other = |arguments: &[&str]| -> Ended {
        let mut command = Command::new(&program);
        command.args(arguments).uid(OTHER_USER).gid(OTHER_USER).env_clear().env("NO_COLOR", "1");
        run(command.stdin(std::process::Stdio::null()).current_dir("/"))
    };
    for verb in ["stop", "reboot", "terminate", "kill", "pause", "resume", "attach", "events"] {
        let ended = as_other(&[verb, name]);
        let action = if verb == "kill" { "kill" } else { "control" };
        let expected = format!(
            "spinney: error: permission denied: only root may {action} machine \"{name}\"\n  hint: try again with sudo\n"
        );
        assert_eq!(
            (ended.status, ended.stdout.as_str(), ended.stderr.as_str()),
            (125, "", expected.as_str()),
            "{verb}"
        );
    }
    for whom in ["leader", "supervisor"] {
        let ended = as_other(&["kill", &format!("--kill-whom={whom}"), name]);
        assert!(ended.status == 125 && ended.stderr.contains("permission denied"), "{whom}: {ended:#?}");
    }
    let ended = as_other(&["events"]);
    assert!(ended.status == 125 && ended.stderr.contains("spinney events needs root"), "{ended:#?}");
    let ended = as_other(&["list"]);
    assert!(ended.status == 0 && ended.stdout.contains(name), "{ended:#?}");
    assert_eq!(status(&machine), json!({"running": true, "status": "running"}));
    machine.stop()?;
    Ok(())
}

/// Whatever is said, the machine goes on and the next client is answered.
fn garbage(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let giant = vec![b'x'; 4 * MESSAGE_BYTES];
    let many_fields =
        format!("{{\"method\":\"a.b\",\"parameters\":{{{}\"z\":1}}}}\0", "\"a\":[],".repeat(5000));
    let deep = format!("{{\"method\":\"a.b\",\"parameters\":{}}}\0", "{\"a\":".repeat(10_000));
    let rows: [(&str, &[u8]); 9] = [
        ("zeros", &[0; 5000]),
        ("not JSON", b"hello\0"),
        ("not UTF-8", b"{\"method\":\"\xff\xfe\"}\0"),
        ("a reply", b"{\"parameters\":{}}\0"),
        ("another type", b"[1,2,3]\0"),
        ("giant", &giant),
        ("deep", deep.as_bytes()),
        ("method of another type", b"{\"method\":{}}\0"),
        ("fields without end", many_fields.as_bytes()),
    ];
    for (name, bytes) in rows {
        let mut stream = raw(&machine);
        // It may be cut off while it speaks.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = if name == "fields without end" {
            let mut buffer = [0; 4096];
            stream.read(&mut buffer).map(|length| answer.extend_from_slice(&buffer[..length]))
        } else {
            stream.read_to_end(&mut answer).map(drop)
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match name {
            "fields without end" => assert!(answer.contains("InterfaceNotFound"), "{name}: {answer}"),
            _ => assert_eq!(answer, "", "{name}"),
        }
    }
    // Half a message, and then nothing.
    let mut half = raw(&machine);
    half.write_all(b"{\"method\":\"io.systemd.MachineInstance.Terminate\"")?;
    drop(half);
    assert_eq!(status(&machine), json!({"running": true, "status": "running"}));
    machine.stop()?;
    Ok(())
}

fn many_connections(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let mut events = control(&machine).subscribe()?;
    let streams: Vec<UnixStream> = (0..500).map(|_| raw(&machine)).collect();
    assert_eq!(status(&machine), json!({"running": true, "status": "running"}));
    let fds = std::fs::read_dir(format!("/proc/{}/fd", machine.state()?.supervisor))?.count();
    assert!(fds < 120, "{fds} fds");
    // Who listens is not made to go.
    assert_eq!(run(context.spinney().args(["pause", "-q", &machine.name])).status, 0);
    let heard = format!("{:?}", events.next(Some(PATIENCE))?);
    assert!(heard.contains("Paused"), "{heard}");
    drop(streams);
    for _ in 0..2000 {
        drop(raw(&machine));
    }
    assert_eq!(status(&machine), json!({"running": false, "status": "paused"}));
    assert_eq!(run(context.spinney().args(["stop", "-q", &machine.name])).status, 0);
    Ok(())
}

/// A client that is attached and does not read slows nobody down, misses what it did not read, and is cut off in the end.
fn console_that_nobody_reads(context: &Context) -> TestResult {
    let (name, tree) = (context.machine_name(), context.tree("busybox")?);
    // 20 MB, then it waits.
    let flood =
        "read go; yes 'a line of output that is long enough' | head -c 20000000; echo written; sleep 1000";
    let machine = Detached::start_as(context, &name, &tree, &[], &["--", "/bin/sh", "-c", flood])?;
    let attach = |machine: &Detached| -> OwnedFd {
        let mut control = control(machine);
        let (_, fds) = control.call_with_fds("org.spinney.Machine.AttachConsole", json!({}), &[]).unwrap();
        fds.into_iter().next().unwrap()
    };
    let deaf: UnixStream = attach(&machine).into();
    let mut reader: UnixStream = attach(&machine).into();
    reader.set_nonblocking(false)?;
    reader.set_read_timeout(Some(PATIENCE))?;
    reader.write_all(b"go\n")?;
    let (mut tail, mut buffer, started) = (Vec::new(), vec![0; 1 << 16], Instant::now());
    while !tail.windows(9).any(|window| window == b"written\r\n") {
        let length = reader.read(&mut buffer)?;
        assert!(length > 0 && started.elapsed() < PATIENCE);
        tail.extend_from_slice(&buffer[..length]);
        tail.drain(..tail.len().saturating_sub(length + 64));
    }
    assert_eq!(status(&machine)["status"], "running");
    // Nothing reads it, so its end comes only by being cut off: ten seconds, and what the kernel holds.
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    let mut polled = [PollFd::new(&deaf, PollFlags::RDHUP)];
    assert_eq!(poll(&mut polled, Some(&limit)), Ok(1), "it is not cut off");
    assert_eq!(run(context.spinney().args(["terminate", "-q", &machine.name])).status, 0);
    Ok(())
}

/// Clients that only listen cost nothing.
fn idle_with_listeners(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let _events = control(&machine).subscribe()?;
    let mut attached = control(&machine);
    let (_, _console) = attached.call_with_fds("org.spinney.Machine.AttachConsole", json!({}), &[])?;
    let pid = machine.state()?.supervisor;
    let switches = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        counts.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum()
    };
    // What the guest still has to say after its boot is no idleness: the best of some windows counts.
    let quiet = (0..10).any(|_| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        switches() == before
    });
    assert!(quiet, "the supervisor never sleeps");
    machine.stop()?;
    Ok(())
}

fn methods(context: &Context) -> TestResult {
    let machine = busybox(context)?;
    let call = |method: &str, arguments: Value| match control(&machine).call(method, arguments) {
        Ok(results) => results.to_string(),
        Err(error) => error.to_string(),
    };
    let refuses = |what: &str| format!("machine {:?} refuses: {what}", machine.name);
    let rows = [
        ("org.spinney.Machine.Kill", json!({"whom": "leader", "signal": 28}), "{}".to_owned()),
        ("org.spinney.Machine.Kill", json!({"signal": 28}), "{}".to_owned()),
        ("org.spinney.Machine.Kill", json!({"signal": 0}), refuses("InvalidParameter (\"signal\")")),
        (
            "org.spinney.Machine.Kill",
            json!({"signal": 1, "whom": "x"}),
            refuses("InvalidParameter (\"whom\")"),
        ),
        ("org.spinney.Machine.Kill", json!({"signal": 1, "to": 1}), refuses("InvalidParameter (\"to\")")),
        ("org.spinney.Machine.SetConsoleSize", json!({"rows": 50, "columns": 120}), "{}".to_owned()),
        (
            "org.spinney.Machine.SetConsoleSize",
            json!({"rows": 0, "columns": 120}),
            refuses("InvalidParameter (\"rows\")"),
        ),
        ("org.spinney.Machine.Subscribe", json!({}), refuses("ExpectedMore")),
        ("org.spinney.Machine.Absent", json!({}), refuses("MethodNotFound (\"org.spinney.Machine.Absent\")")),
        ("org.absent.X", json!({}), refuses("InterfaceNotFound (\"org.absent\")")),
        ("X", json!({}), refuses("InterfaceNotFound (\"\")")),
        ("io.systemd.MachineInstance.AddStorage", json!({}), refuses("NotSupported")),
        ("io.systemd.MachineInstance.Pause", json!({}), "{}".to_owned()),
        (
            "io.systemd.MachineInstance.Describe",
            json!({}),
            r#"{"running":false,"status":"paused"}"#.to_owned(),
        ),
        ("io.systemd.MachineInstance.Resume", json!({}), "{}".to_owned()),
    ];
    for (method, arguments, expected) in rows {
        assert_eq!(call(method, arguments.clone()), expected, "{method} {arguments}");
    }
    assert_eq!(control(&machine).snapshot()?.state, machine.state()?);
    assert_eq!(call("io.systemd.MachineInstance.Terminate", json!({})), "{}");
    assert!(machine.ended(PATIENCE));
    // One without a console says so.
    let (name, tree) = (context.machine_name(), context.tree("busybox")?);
    let mut pipe = Command::new(crate::harness::program());
    pipe.args(["run", "-q", "-x", "-M", &name, "--pipe"]).arg(&tree).args(["--", "sleep", "1000"]);
    pipe.env("SPINNEY_TEST", &context.prefix).env_remove("NOTIFY_SOCKET").stdin(std::process::Stdio::null());
    let mut process = crate::command::Process::spawn(&mut pipe);
    let deadline = Instant::now() + PATIENCE;
    while MachineHandle::find(&name.parse().unwrap()).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = run(context.spinney().args(["attach", &name]));
    let expected = format!("spinney: error: machine \"{name}\" refuses: it has no console\n  hint: ");
    assert!(ended.status == 125 && ended.stderr.starts_with(&expected), "{ended:#?}");
    assert_eq!(run(context.spinney().args(["terminate", "-q", &name])).status, 0);
    assert!(process.wait(PATIENCE).is_some());
    Ok(())
}

/// systemd's own client finds, reads and calls what we serve. It is taken from a tree that has it, by chroot(1) in a mount
/// namespace in which our /run is there.
fn varlinkctl(context: &Context) -> TestResult {
    let tree = context.tree("debian-forky")?;
    if !tree.join("usr/bin/varlinkctl").exists() {
        return Err(Stop::Skip("debian-forky has no varlinkctl".to_owned()));
    }
    let machine = Detached::start(context, &context.tree("debian-13")?, &[])?;
    let socket = path_of(&machine);
    let call = |arguments: &[&str]| {
        let script = "mount --make-rprivate / && mount --rbind /run \"$0/run\" && mount -t proc proc \"$0/proc\" && \
                      exec chroot \"$0\" varlinkctl \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(&tree).args(arguments);
        run(command.stdin(std::process::Stdio::null()).env("SYSTEMD_COLORS", "0"))
    };
    let interfaces = call(&["list-interfaces", &socket]).ok()?;
    assert_eq!(
        interfaces.split_whitespace().collect::<Vec<_>>(),
        ["io.systemd.MachineInstance", "org.spinney.Machine", "org.varlink.service"]
    );
    for interface in interfaces.split_whitespace() {
        let text = call(&["introspect", &socket, interface]).ok()?;
        assert!(text.contains(&format!("interface {interface}")), "{text}");
    }
    let instance = |method: &str| format!("io.systemd.MachineInstance.{method}");
    let describe = || call(&["call", "-j", &socket, &instance("Describe"), "{}"]).ok();
    assert_eq!(describe()?.trim(), r#"{"running":true,"status":"running"}"#);
    call(&["call", &socket, &instance("Pause"), "{}"]).ok()?;
    assert_eq!(describe()?.trim(), r#"{"running":false,"status":"paused"}"#);
    call(&["call", &socket, &instance("Resume"), "{}"]).ok()?;
    let refused = call(&["call", &socket, &instance("AddStorage"), "{}"]);
    assert!(refused.status != 0 && refused.stderr.contains("NotSupported"), "{refused:#?}");
    let all = call(&["call", "-j", &socket, "org.spinney.Machine.Describe", "{}"]).ok()?;
    let all: Value = serde_json::from_str(&all)?;
    assert_eq!(all["state"]["name"], machine.name.as_str());
    let units = all["activeUnits"].as_array().cloned().unwrap_or_default();
    assert!(units.contains(&json!("multi-user.target")), "{units:?}");
    // A stream, to its end.
    let power_off = call(&["call", "--oneway", &socket, &instance("PowerOff"), "{}"]);
    assert_eq!(power_off.status, 0, "{power_off:#?}");
    assert!(machine.ended(PATIENCE));
    assert!(!Path::new(&socket).exists());
    Ok(())
}
