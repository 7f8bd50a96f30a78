//! Machines of ours as systemd's clients see and enter them.

use std::fs;
use std::path::Path;

use super::fixture::Bus;
use crate::command::{Ended, PATIENCE, Process, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

const NAME: &str = "org.freedesktop.machine1";
const MANAGER: [&str; 3] = [NAME, "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];

/// Where systemd's tools look for machines.
const FILES: &str = "/run/systemd/machines";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 7] = [
        ("shown", shown),
        ("entered", entered),
        ("login", login),
        ("files", files),
        ("tools", tools),
        ("ids", ids),
        ("refused", refused),
    ];
    rows.map(|(name, test)| Test::new(format!("{}machines::{name}", super::TIER), test)).into()
}

/// A manager and a machine that is up.
fn with_machine(context: &Context, tree: &str) -> Result<(Bus, Process, Machine), Stop> {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree(tree)?, &[]);
    machine.ready()?;
    Ok((bus, manager, machine))
}

fn over(mut manager: Process, machine: Machine) -> TestResult {
    machine.stop()?;
    manager.signal(rustix::process::Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn manager_call(bus: &Bus, arguments: &[&str]) -> Ended {
    bus.call(&[&MANAGER, arguments].concat())
}

fn shown(context: &Context) -> TestResult {
    let (bus, manager, machine) = with_machine(context, "busybox")?;
    let name = machine.name.as_str();
    let file = fs::read_to_string(Path::new(FILES).join(name))?;
    let leader = file.lines().find_map(|line| line.strip_prefix("LEADER=")).ok_or("no leader")?;
    // All properties, which it asks for without saying of which interface.
    let shown = bus.machinectl(&["show", name]).ok()?;
    for line in [
        &format!("Name={name}"),
        &format!("Leader={leader}"),
        "Class=container",
        "Service=spinney",
        "State=running",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in {shown}");
    }
    assert_eq!(bus.machinectl(&["show", name, "--property=State", "--value"]).ok()?, "running\n");
    let status = bus.machinectl(&["status", name]).ok()?;
    assert!(status.contains("Service: spinney; class container"), "{status}");
    assert!(status.contains(&format!("Leader: {leader} (init)")), "{status}");
    let by_pid = manager_call(&bus, &["GetMachineByPID", "u", leader]).ok()?;
    assert_eq!(by_pid, manager_call(&bus, &["GetMachine", "s", name]).ok()?);
    let release = manager_call(&bus, &["GetMachineOSRelease", "s", name]).ok()?;
    assert_eq!(release.trim_end(), r#"a{ss} 2 "ID" "busybox" "PRETTY_NAME" "busybox (Debian 13)""#);
    over(manager, machine)
}

fn entered(context: &Context) -> TestResult {
    let (bus, manager, machine) = with_machine(context, "busybox")?;
    let name = machine.name.as_str();
    let said = bus
        .machinectl(&["shell", "-q", &format!("root@{name}"), "/bin/sh", "-c", "tty; id -u; exit 3"])
        .ok()?;
    assert_eq!(said.replace('\r', ""), "/dev/pts/1\n0\n");
    let said = bus.machinectl(&["shell", "-q", "-E", "X=y z", name, "/bin/sh", "-c", "echo $X"]).ok()?;
    assert_eq!(said.replace('\r', ""), "y z\n");
    let unknown = bus.machinectl(&["shell", &format!("nobody-of-it@{name}"), "/bin/true"]);
    assert_eq!(unknown.status, 1);
    assert!(unknown.stderr.contains("the machine has no user \"nobody-of-it\""), "{}", unknown.stderr);

    let here = context.subdirectory("copied");
    fs::create_dir_all(here.join("sub"))?;
    fs::write(here.join("sub/file"), "content\n")?;
    let here = here.to_str().ok_or("a path")?;
    bus.machinectl(&["copy-to", name, here, "/opt"]).ok()?;
    assert_eq!(machine.says("cat /opt/sub/file")?, "content");
    let again = bus.machinectl(&["copy-to", name, &format!("{here}/sub/file"), "/opt/sub/file"]);
    assert_eq!(again.status, 1);
    bus.machinectl(&["copy-to", "--force", name, here, "/opt"]).ok()?;
    let back = format!("{here}/back");
    bus.machinectl(&["copy-from", name, "/opt/sub", &back]).ok()?;
    assert_eq!(fs::read_to_string(format!("{back}/file"))?, "content\n");
    bus.machinectl(&["bind", "--mkdir", "--read-only", name, here, "/bound"]).ok()?;
    assert_eq!(
        machine.says("cat /bound/sub/file; touch /bound/x 2>/dev/null || echo read-only")?,
        "content\nread-only"
    );
    over(manager, machine)
}

/// A login prompt and a shell, of a guest whose logind has a session of it.
fn login(context: &Context) -> TestResult {
    let (bus, manager, machine) = with_machine(context, "debian-12")?;
    let name = machine.name.as_str();
    let script = "loginctl --no-pager show-session \"$XDG_SESSION_ID\" -p Name --value";
    let said = bus.machinectl(&["shell", "-q", name, "/bin/sh", "-c", script]).ok()?;
    assert_eq!(said.replace('\r', ""), "root\n");
    let opened = manager_call(&bus, &["OpenMachineLogin", "s", name]).ok()?;
    assert!(opened.starts_with("hs ") && opened.contains("\"/dev/pts/"), "{opened}");
    over(manager, machine)
}

/// What systemctl -M and its like read; it goes with the machine, and is no other machine's to overwrite.
fn files(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = Path::new(FILES).join(&machine.name);
    let file = fs::read_to_string(&path)?;
    let field = |name: &str| {
        file.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        (field("NAME"), field("CLASS"), field("SERVICE")),
        (machine.name.clone(), "container".into(), "spinney".into())
    );
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", field("LEADER")))?, "init\n");
    machine.stop()?;
    assert!(!path.exists());
    Ok(())
}

/// systemd's tools find a machine of ours by themselves: no daemon runs but that which journalctl asks.
fn tools(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut machine = Machine::start(context, &context.tree("debian-12")?, &[]);
    machine.ready()?;
    let name = machine.name.as_str();
    let tool = |program: &str, words: &[&str]| {
        run(bus.command(program).args(["-M", name, "--no-pager"]).args(words))
    };
    let listed = tool("busctl", &["list", "--no-legend"]).ok()?;
    assert!(listed.lines().any(|line| line.starts_with("org.freedesktop.systemd1 ")), "{listed}");
    let state = tool("systemctl", &["show", "--property=Virtualization", "--value"]).ok()?;
    assert_eq!(state, "container-other\n");
    let sessions = tool("loginctl", &["list-users", "--no-legend"]);
    assert_eq!((sessions.status, sessions.stderr.as_str()), (0, ""));
    let manager = bus.manager(&[])?;
    let id = machine.says("cat /etc/machine-id")?;
    let logged = tool("journalctl", &["-q", "-n", "1", "-o", "json"]).ok()?;
    assert!(logged.contains(&format!("\"_MACHINE_ID\":\"{id}\"")), "{logged}");
    over(manager, machine)
}

fn ids(context: &Context) -> TestResult {
    let (bus, manager, machine) = with_machine(context, "busybox")?;
    let name = machine.name.as_str();
    let shift = manager_call(&bus, &["GetMachineUIDShift", "s", name]).ok()?;
    let shift: u32 = shift.trim_end().strip_prefix("u ").ok_or("no shift")?.parse()?;
    let seven = (shift + 7).to_string();
    assert_eq!(
        manager_call(&bus, &["MapFromMachineUser", "su", name, "7"]).ok()?.trim_end(),
        format!("u {seven}")
    );
    for (method, word) in [("MapToMachineUser", "user"), ("MapToMachineGroup", "group")] {
        let said = manager_call(&bus, &[method, "u", &seven]).ok()?;
        assert!(said.starts_with(&format!("sou \"{name}\" ")) && said.trim_end().ends_with(" 7"), "{said}");
        let none = manager_call(&bus, &[method, "u", "4294900000"]);
        assert_eq!(
            none.stderr.trim_end(),
            format!("Call failed: No matching {word} mapping for 4294900000.")
        );
    }
    over(manager, machine)
}

/// Method, arguments, and what is said of them.
fn refused(context: &Context) -> TestResult {
    let (bus, manager, machine) = with_machine(context, "busybox")?;
    let name = machine.name.as_str();
    let long = "x".repeat(1 << 16);
    let no_machine = |name: &str| format!("No machine '{name}' known");
    let rows: &[(&[&str], String)] = &[
        (&["GetMachine", "s", "nobody"], no_machine("nobody")),
        (&["TerminateMachine", "s", "../x"], no_machine("../x")),
        (&["TerminateMachine", "s", &long], no_machine(&"x".repeat(64))),
        (&["TerminateMachine", "s", ".host"], "This is not supported on the host itself.".to_owned()),
        (&["KillMachine", "ssi", name, "everybody", "9"], "Invalid kill parameter 'everybody'".to_owned()),
        (&["KillMachine", "ssi", name, "leader", "0"], "Invalid signal 0".to_owned()),
        (&["KillMachine", "ssi", name, "leader", "65"], "Invalid signal 65".to_owned()),
        (&["GetMachineByPID", "u", "1"], "PID 1 does not belong to any known machine".to_owned()),
        (&["MapToMachineUser", "u", "1000"], "User 1000 belongs to host UID range".to_owned()),
        (&["MapFromMachineUser", "su", name, "65535"], "Invalid user ID 65535".to_owned()),
        (
            &["BindMountMachine", "sssbb", name, "etc", "/x", "no", "no"],
            "Source path must be absolute and normalized.".to_owned(),
        ),
        (
            &["CopyToMachine", "sss", name, "/etc/../etc/hosts", "/x"],
            "Source path must be absolute.".to_owned(),
        ),
        (&["CopyToMachineWithFlags", "ssst", name, "/etc/hosts", "/x", "2"], "Invalid flags".to_owned()),
        (
            &["OpenMachineShell", "sssasas", name, "", "bin/sh", "0", "0"],
            "Specified path 'bin/sh' is not absolute".to_owned(),
        ),
        (
            &["OpenMachineShell", "sssasas", name, "", "", "0", "1", "x"],
            "Invalid environment assignment \"x\"".to_owned(),
        ),
        (
            &["RegisterMachine", "sayssus", name, "0", "s", "container", "2", ""],
            format!("Machine '{name}' already exists"),
        ),
        (
            &["RegisterMachine", "sayssus", "a", "1", "7", "s", "container", "2", ""],
            "Invalid machine ID parameter".to_owned(),
        ),
        (
            &["RegisterMachine", "sayssus", "a", "0", "s", "host", "2", ""],
            "Invalid machine class parameter".to_owned(),
        ),
        (&["RegisterMachine", "sayssus", "a", "0", "s", "", "1", ""], "Invalid leader PID".to_owned()),
        (&["UnregisterMachine", "s", name], "It is there as long as it runs.".to_owned()),
    ];
    for (arguments, expected) in rows {
        let said = manager_call(&bus, arguments);
        assert_eq!(said.status, 1, "{:?}", arguments.first());
        assert!(said.stderr.contains(expected.as_str()), "{:?}: {}", arguments.first(), said.stderr);
    }
    over(manager, machine)
}
