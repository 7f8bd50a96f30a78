//! Machines of other programs: what they register, what is told of it, and until when.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal as Kill;

use zbus::{Fd, OwnedObjectPath, Variant};

use super::client::{Client, Signal};
use super::fixture::Bus;
use spinney::sys::process::{pidfd_id, pidfd_open};

use crate::command::{Ended, PATIENCE, Process, capture, contents, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

const FILES: &str = "/run/systemd/machines";
const MANAGER: [&str; 3] =
    ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("nspawn_creates", |context| of_nspawn(context, &[])),
        ("nspawn_registers", |context| of_nspawn(context, &["--keep-unit"])),
        ("properties", properties),
        ("name_of_ours", name_of_ours),
    ];
    rows.map(|(name, test)| Test::new(format!("{}registered::{name}", super::TIER), test)).into()
}

fn ended(mut manager: Process) -> TestResult {
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn call(bus: &Bus, arguments: &[&str]) -> Ended {
    bus.call(&[&MANAGER, arguments].concat())
}

fn sleeper() -> Process {
    Process::spawn(Command::new("sleep").arg("600").stdin(Stdio::null()))
}

/// What the kernel has for the process alone (Linux 6.9); before, any number will do.
fn inode_of_pidfd(pid: u32) -> Result<String, Stop> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or("no pid")?;
    Ok(pidfd_id(pidfd_open(pid)?).unwrap_or(1).to_string())
}

/// systemd's own systemd-nspawn has our manager for systemd-machined.
fn of_nspawn(context: &Context, options: &[&str]) -> TestResult {
    if run(Command::new("systemd-nspawn").arg("--version")).status != 0 {
        return Err(Stop::Skip("no systemd-nspawn here".to_owned()));
    }
    let tree = context.directory.join("tree");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&tree)).ok()?;
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut client = Client::listening(&bus)?;
    let (name, said) = (context.machine_name(), capture());
    let mut command = bus.command("systemd-nspawn");
    command.args(["--quiet", "--register=yes", "--boot", "--machine", &name, "--directory"]).arg(&tree);
    command.args(options).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let mut nspawn = Process::spawn(&mut command);
    assert_eq!(client.signal()?, Signal::New(name.clone()), "{}", contents(&said));
    let row = || -> Result<Vec<String>, Stop> {
        let listed = bus.machinectl(&["list", "--no-legend"]).ok()?;
        Ok(listed.split_whitespace().take(4).map(str::to_owned).collect())
    };
    let expected = [name.as_str(), "container", "systemd-nspawn", "busybox"];
    assert_eq!(row()?, expected);
    let file = fs::read_to_string(Path::new(FILES).join(&name))?;
    let leader = file.lines().find_map(|line| line.strip_prefix("LEADER=")).ok_or("no leader")?;
    let by_pid = call(&bus, &["GetMachineByPID", "u", leader]).ok()?;
    assert_eq!(by_pid, call(&bus, &["GetMachine", "s", &name]).ok()?);
    // A manager that is killed has written it down.
    manager.signal(Kill::KILL.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    manager = bus.manager(&[])?;
    assert_eq!(row()?, expected);
    let opened = call(&bus, &["OpenMachinePTY", "s", &name]).ok()?;
    assert!(opened.starts_with("hs ") && opened.contains("\"/dev/pts/"), "{opened}");
    let shell = bus.machinectl(&["shell", &name, "/bin/true"]);
    assert_eq!(shell.stderr, "Failed to get shell PTY: Not a machine of Spinney's: it cannot be entered\n");
    let mut client = Client::listening(&bus)?;
    bus.machinectl(&["terminate", &name]).ok()?;
    client.signal_of(&Signal::Removed(name.clone()))?;
    nspawn.wait(PATIENCE).ok_or("systemd-nspawn does not end")?;
    assert!(row()?.is_empty());
    assert_eq!(fs::read_dir(FILES)?.count(), 0);
    if !context.on_host {
        // systemd-nspawn leaves its own directories there.
        fs::remove_dir_all("/run/systemd/nspawn")?;
    }
    ended(manager)
}

/// What is registered is told; it ends with its leader, or when it is taken back.
fn properties(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut client = Client::listening(&bus)?;
    let (first, mut second) = (sleeper(), sleeper());
    let id = ["16"].into_iter().chain(["1"; 16]);
    let pid = first.pid().to_string();
    let register = ["RegisterMachineWithNetwork", "sayssusai", "one"].into_iter().chain(id);
    let register: Vec<&str> = register.chain(["lab", "vm", &pid, "/srv/tree", "2", "1", "7"]).collect();
    call(&bus, &register).ok()?;
    assert_eq!(client.signal()?, Signal::New("one".to_owned()));
    let property = |name: &str| bus.machine_property("/org/freedesktop/machine1/machine/one", name).ok();
    let rows = [
        ("Name", "s \"one\"".to_owned()),
        ("Id", format!("ay 16{}", " 1".repeat(16))),
        ("Service", "s \"lab\"".to_owned()),
        ("Class", "s \"vm\"".to_owned()),
        ("Leader", format!("u {pid}")),
        ("RootDirectory", "s \"/srv/tree\"".to_owned()),
        ("NetworkInterfaces", "ai 2 1 7".to_owned()),
        ("VSockCID", "u 4294967295".to_owned()),
        ("State", "s \"running\"".to_owned()),
        ("UID", "u 0".to_owned()),
    ];
    for (name, expected) in rows {
        assert_eq!(property(name)?.trim_end(), expected, "{name}");
    }
    let pid = second.pid().to_string();
    // A number alone may be another's by now.
    let bare = call(&bus, &["RegisterMachineEx", "sa(sv)", "two", "1", "LeaderPID", "u", &pid]);
    assert!(bare.stderr.starts_with("Call failed: Both LeaderPID and LeaderPIDFDID must be"), "{bare:?}");
    let inode = inode_of_pidfd(second.pid())?;
    let extended = ["RegisterMachineEx", "sa(sv)", "two", "5"];
    let fields = ["LeaderPID", "u", &pid, "LeaderPIDFDID", "t", &inode, "Class", "s", "container"];
    let address = ["SSHAddress", "s", "vsock/7"];
    let key = ["SSHPrivateKeyPath", "s", "/run/key"];
    call(&bus, &[&extended[..], &fields[..], &address[..], &key[..]].concat()).ok()?;
    assert_eq!(client.signal()?, Signal::New("two".to_owned()));
    assert_eq!(call(&bus, &["GetMachineSSHInfo", "s", "two"]).ok()?, "ss \"vsock/7\" \"/run/key\"\n");
    let leader = ["LeaderPID", "u", &pid, "LeaderPIDFDID", "t", &inode];
    let twice = call(&bus, &[&["RegisterMachineEx", "sa(sv)", "two", "2"][..], &leader[..]].concat());
    assert_eq!(twice.stderr, "Call failed: Machine 'two' already exists\n");
    call(&bus, &["UnregisterMachine", "s", "one"]).ok()?;
    assert_eq!(client.signal()?, Signal::Removed("one".to_owned()));
    // Who registers itself has nobody who watches it; with a pidfd, which is held to the number beside it.
    let this = std::process::id();
    let pidfd = pidfd_open(rustix::process::getpid())?;
    let with = |pid: u32| {
        let leader = [("LeaderPIDFD", Variant::from(Fd::from(&pidfd))), ("LeaderPID", Variant::from(pid))];
        client.call::<OwnedObjectPath>("RegisterMachineEx", &("self", leader.to_vec()))
    };
    let other = with(second.pid()).err().map(|stop| format!("{stop:?}")).unwrap_or_default();
    assert!(other.contains("LeaderPID and LeaderPIDFD refer to different processes"), "{other}");
    with(this)?;
    let path = "/org/freedesktop/machine1/machine/self";
    assert_eq!(bus.machine_property(path, "Leader").ok()?, format!("u {this}\n"));
    assert_eq!(bus.machine_property(path, "Supervisor").ok()?, "u 0\n");
    assert_eq!(client.signal()?, Signal::New("self".to_owned()));
    call(&bus, &["UnregisterMachine", "s", "self"]).ok()?;
    assert_eq!(client.signal()?, Signal::Removed("self".to_owned()));
    second.signal(libc::SIGKILL);
    assert_eq!(client.signal()?, Signal::Removed("two".to_owned()));
    second.wait(PATIENCE).ok_or("it does not end")?;
    assert_eq!(fs::read_dir(FILES)?.count(), 0);
    ended(manager)
}

/// A machine of ours starts though another has its name, and leaves the other's file alone.
fn name_of_ours(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let leader = sleeper();
    let name = context.machine_name();
    let pid = leader.pid().to_string();
    call(&bus, &["RegisterMachine", "sayssus", &name, "0", "lab", "", &pid, ""]).ok()?;
    let path = Path::new(FILES).join(&name);
    let before = fs::read_to_string(&path)?;
    let mut machine = Machine::start_as(context, &name, &context.tree("busybox")?, &[], &[]);
    machine.ready()?;
    let warning = "warning: systemctl -M does not find the machine: another machine of this name is there";
    assert!(machine.messages().contains(warning), "{}", machine.messages());
    bus.machinectl(&["terminate", &name]).ok()?;
    machine.wait()?;
    assert_eq!(fs::read_to_string(&path)?, before);
    call(&bus, &["UnregisterMachine", "s", &name]).ok()?;
    let taken = call(&bus, &["RegisterMachine", "sayssus", &name, "0", "spinney", "", &pid, ""]);
    assert_eq!(taken.stderr, "Call failed: Machines of Spinney's register themselves\n");
    ended(manager)
}
