//! Machines in the registers of systemd and systemd-machined, both of which are played here: what they are told, and what becomes of a
//! machine when they refuse or never answer. The real ones are asked in the VM of check-vm.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spinney::sys::attributes;

use super::fixture::Bus;
use super::played::{Mood, Played, wait_until};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 9] = [
        ("a_life", a_life),
        ("unit", unit),
        ("unit_of_a_users_manager", unit_of_a_users_manager),
        ("no_scope", no_scope),
        ("refused", refused),
        ("systemd_never_answers", systemd_never_answers),
        ("machined_never_answers", machined_never_answers),
        ("nobody_there", nobody_there),
        ("not_wanted", not_wanted),
    ];
    rows.map(|(name, test)| Test::new(format!("{}enlisted::{name}", super::TIER), test)).into()
}

/// It gets a scope before its cgroups, is registered while it boots, once more with each leader, and taken off at the end.
fn a_life(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Willing, Mood::Willing)?;
    let mut machine =
        played.machine(context, &["--register=yes", "--private-network", "--slice=machine-lab"])?;
    machine.ready()?;
    let name = machine.name.clone();
    let unit = played.scope.file_name().unwrap().to_string_lossy();
    let scope = format!(
        "scope {unit} fail Description=Machine {name} Slice=machine-lab.slice CollectMode=inactive-or-failed"
    );
    let tree = context.tree("busybox")?.display().to_string();
    let register = format!("register {name} 16 spinney container {tree} 0");
    assert_eq!(played.told(2)?, [scope, register.clone()]);
    let state = machine.state()?;
    assert_eq!(state.cgroup, played.in_scope());
    let leader = || played.told.lock().unwrap().leader;
    assert_eq!(leader(), state.leader.try_into().ok());
    let supervisor = fs::read_to_string(format!("/proc/{}/cgroup", state.supervisor))?;
    assert!(supervisor.contains(&format!("0::/{unit}/supervisor\n")), "{supervisor}");

    run_reboot(context, &played)?;
    machine.ready()?;
    assert_eq!(played.told(5)?[2..], ["exists".to_owned(), format!("unregister {name}"), register]);
    assert_eq!(leader(), machine.state()?.leader.try_into().ok());
    machine.stop()?;
    assert_eq!(played.told(6)?[5..], [format!("unregister {name}")]);
    Ok(())
}

/// The cgroup of a unit that is handed over, and those above it that were made with it.
struct Unit(Vec<PathBuf>);

impl Unit {
    fn make(root: &Path, path: &str) -> Result<Self, Stop> {
        let unit = root.join(path);
        let made = unit.ancestors().take_while(|above| *above != root).map(Path::to_owned).collect();
        fs::create_dir_all(unit.join("supervisor"))?;
        attributes::set(fs::File::open(&unit)?, b"trusted.delegate", b"1")?;
        Ok(Self(made))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // What is to be told at the end is told from in there.
        let _ = wait_until(|| {
            fs::read_to_string(self.0[0].join("cgroup.events"))
                .map_or(true, |text| text.contains("populated 0"))
        });
        let _ = fs::remove_dir(self.0[0].join("supervisor"));
        self.0.iter().for_each(|cgroup| drop(fs::remove_dir(cgroup)));
    }
}

/// A machine that goes into the unit at `path`: how often it is told that this cannot be registered, and what machined is told.
fn in_unit(context: &Context, path: &str, calls: &[&str]) -> Result<usize, Stop> {
    let played = Played::start(context, Mood::Willing, Mood::Willing)?;
    let unit = Unit::make(&played.cgroups, path)?;
    let script = format!("echo $$ >{}/supervisor/cgroup.procs; exec \"$@\"", unit.0[0].display());
    let spinney = context.spinney();
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", &script, "sh"])
        .arg(crate::harness::program())
        .args(["run", "-x", "-M", &played.name, "--console=read-only", "--notify-ready"])
        .args(["--register=yes", "--keep-unit"])
        .arg(context.tree("busybox")?)
        .envs(spinney.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .env("DBUS_SYSTEM_BUS_ADDRESS", played.bus.address());
    let mut machine = Machine::spawn(context, &played.name, command);
    machine.ready()?;
    assert_eq!(machine.state()?.cgroup, format!("/{path}/machine-{}/payload", machine.name));
    let warning = "warning: machinectl does not know the machine: it is in no unit of the system's\n";
    let warnings = machine.messages().matches(warning).count();
    if !calls.is_empty() {
        played.told(1)?;
    }
    machine.stop()?;
    let told = played.told(calls.len())?;
    let told: Vec<&str> = told.iter().filter_map(|call| call.split(' ').next()).collect();
    assert_eq!(told, calls);
    Ok(warnings)
}

fn unit(context: &Context) -> TestResult {
    let warnings = in_unit(context, &format!("{}.service", context.prefix), &["register", "unregister"])?;
    assert_eq!(warnings, 0);
    Ok(())
}

/// To machined a machine there would be in `user@.service`, which it would stop with the machine.
fn unit_of_a_users_manager(context: &Context) -> TestResult {
    let prefix = &context.prefix;
    let path = format!("user@{prefix}.service/app.slice/{prefix}.service");
    assert_eq!(in_unit(context, &path, &[])?, 1);
    Ok(())
}

fn run_reboot(context: &Context, played: &Played) -> TestResult {
    crate::command::run(context.spinney().args(["reboot", "--no-wait", &played.name])).ok()?;
    Ok(())
}

fn no_scope(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Refusing, Mood::Willing)?;
    let mut machine = played.machine(context, &["--register=yes"])?;
    machine.ready()?;
    assert_eq!(machine.state()?.cgroup, format!("/spinney/{}/payload", machine.name));
    let warning = "warning: the machine is in no scope of systemd's, and machinectl does not know it: no scopes today\n";
    assert_eq!(machine.messages().matches(warning).count(), 1, "{}", machine.messages());
    machine.stop()?;
    assert_eq!(played.calls(), [""; 0]);
    Ok(())
}

fn refused(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Willing, Mood::Refusing)?;
    let mut machine = played.machine(context, &["--register=yes"])?;
    machine.ready()?;
    let warning = "warning: machinectl does not know the machine: no machines today\n";
    wait_until(|| machine.messages().contains(warning)).map_err(|_| machine.output())?;
    assert_eq!(machine.state()?.cgroup, played.in_scope());
    machine.stop()?;
    Ok(())
}

fn systemd_never_answers(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Silent, Mood::Willing)?;
    let mut machine = played.machine(context, &["--register=yes"])?;
    machine.ready()?;
    let warning = "machinectl does not know it: no answer within 3 s\n";
    assert!(machine.messages().contains(warning), "{}", machine.messages());
    machine.stop()?;
    Ok(())
}

/// Nobody waits for machined, neither at the start nor at the end.
fn machined_never_answers(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Willing, Mood::Silent)?;
    let mut machine = played.machine(context, &["--register=yes"])?;
    machine.ready()?;
    assert_eq!(machine.state()?.cgroup, played.in_scope());
    assert_eq!(machine.says("echo lives")?, "lives");
    let took = machine.stop()?;
    assert!(took < Duration::from_secs(20), "{took:?}");
    Ok(())
}

/// Where the bus knows neither, one is told only who asked for it.
fn nobody_there(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let tree = context.tree("busybox")?;
    for (address, why) in [
        (bus.address(), "The name org.freedesktop.systemd1 was not provided by any .service files"),
        (
            "unix:path=/nowhere/at/all".to_owned(),
            "failed to connect to `unix:path=/nowhere/at/all`: No such file or directory (os error 2)",
        ),
    ] {
        let name = context.machine_name();
        let mut command = context.spinney();
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
        command
            .args(["run", "-x", "-M", &name, "--console=read-only", "--notify-ready", "--register=yes"])
            .arg(&tree);
        let mut machine = Machine::spawn(context, &name, command);
        machine.ready()?;
        let warning = format!("machinectl does not know it: {why}\n");
        assert!(machine.messages().contains(&warning), "{}", machine.messages());
        machine.stop()?;
    }
    Ok(())
}

fn not_wanted(context: &Context) -> TestResult {
    let played = Played::start(context, Mood::Willing, Mood::Willing)?;
    // Here PID 1 is no systemd, or the tests are told not to.
    for options in [&["--register=no"][..], &["--register=auto"]] {
        if options[0].ends_with("auto") && Path::new("/run/systemd/private").exists() {
            continue;
        }
        let mut machine = played.machine(context, options)?;
        machine.ready()?;
        assert_eq!(machine.state()?.cgroup, format!("/spinney/{}/payload", machine.name));
        machine.stop()?;
    }
    assert_eq!(played.calls(), [""; 0]);
    let wrong = crate::command::run(context.spinney().args(["run", "--register=perhaps", "/"]));
    assert_eq!(wrong.status, 125);
    assert!(wrong.stderr.contains("perhaps") && wrong.stderr.contains("hint: "), "{wrong:#?}");
    let wrong = crate::command::run(context.spinney().env("SPINNEY_REGISTER", "perhaps").args(["run", "/"]));
    assert_eq!(wrong.status, 125);
    let expected = "spinney: error: bad value for $SPINNEY_REGISTER: \"perhaps\" is not known\n  hint: yes, no or auto\n";
    assert_eq!(wrong.stderr, expected);
    Ok(())
}
