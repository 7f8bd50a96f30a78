//! Machines in the registers of systemd and systemd-machined, both of which are played here: what they are told, and what becomes of a
//! machine when they refuse or never answer. The real ones are asked in the VM of check-vm.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use spinney::host::CgroupHierarchy;
use spinney::manager::problem::{Kind, Machined, Problem, Refusal};
use spinney::sys::attributes;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant};

use super::fixture::Bus;
use crate::command::PATIENCE;
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

/// How the two are today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Willing,
    Refusing,
    Silent,
}

/// What they have been told, and know.
#[derive(Debug, Default)]
struct Told {
    calls: Vec<String>,
    /// The machine that is registered, by its leader.
    leader: Option<u32>,
}

type Shared = Arc<Mutex<Told>>;

async fn mind(mood: Mood, problem: &'static str) -> Result<(), Refusal<Machined>> {
    match mood {
        Mood::Willing => Ok(()),
        Mood::Refusing => Err(Problem::new(Kind::AccessDenied, problem).into()),
        Mood::Silent => std::future::pending().await,
    }
}

const JOB: &str = "/org/freedesktop/systemd1/job/7";

struct Systemd {
    mood: Mood,
    told: Shared,
    /// Where scopes are made.
    cgroups: PathBuf,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    async fn subscribe(&self) {}

    async fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: Vec<(String, OwnedVariant)>,
        auxiliary: Vec<(String, Vec<(String, OwnedVariant)>)>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal<Machined>> {
        assert!(auxiliary.is_empty());
        mind(self.mood, "no scopes today").await?;
        let mut said = Vec::new();
        for (property, value) in properties {
            if property == "PIDs" {
                let pids: Vec<u32> = value.try_into().unwrap();
                let cgroup = self.cgroups.join(name);
                fs::create_dir_all(&cgroup).unwrap();
                attributes::set(fs::File::open(&cgroup).unwrap(), b"trusted.delegate", b"1").unwrap();
                pids.iter().for_each(|pid| fs::write(cgroup.join("cgroup.procs"), pid.to_string()).unwrap());
            } else if let Ok(text) = String::try_from(value) {
                said.push(format!("{property}={text}"));
            }
        }
        self.told.lock().unwrap().calls.push(format!("scope {name} {mode} {}", said.join(" ")));
        let job = ObjectPath::try_from(JOB).unwrap();
        Self::job_removed(&emitter, 7, job.clone(), name, "done").await.unwrap();
        Ok(job.into())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct MachineManager {
    mood: Mood,
    told: Shared,
}

#[zbus::interface(name = "org.freedesktop.machine1.Manager")]
impl MachineManager {
    #[allow(clippy::too_many_arguments)]
    async fn register_machine_with_network(
        &self,
        name: &str,
        id: Vec<u8>,
        service: &str,
        class: &str,
        leader: u32,
        root: &str,
        interfaces: Vec<i32>,
    ) -> Result<OwnedObjectPath, Refusal<Machined>> {
        mind(self.mood, "no machines today").await?;
        let mut told = self.told.lock().unwrap();
        let said = format!("{name} {} {service} {class} {root} {}", id.len(), interfaces.len());
        if told.leader.is_some() {
            told.calls.push("exists".to_owned());
            return Err(Problem::new(Kind::MachineExists, format!("Machine '{name}' already exists")).into());
        }
        told.calls.push(format!("register {said}"));
        told.leader = Some(leader);
        Ok(ObjectPath::try_from("/machine").unwrap().into())
    }

    async fn get_machine(&self, name: &str) -> Result<OwnedObjectPath, Refusal<Machined>> {
        match self.told.lock().unwrap().leader {
            Some(_) => Ok(ObjectPath::try_from("/machine").unwrap().into()),
            None => Err(Problem::new(Kind::NoSuchMachine, format!("No machine '{name}' known")).into()),
        }
    }

    async fn unregister_machine(&self, name: &str) {
        let mut told = self.told.lock().unwrap();
        told.calls.push(format!("unregister {name}"));
        told.leader = None;
    }
}

struct KnownMachine(Shared);

#[zbus::interface(name = "org.freedesktop.machine1.Machine")]
impl KnownMachine {
    #[zbus(property)]
    async fn leader(&self) -> u32 {
        self.0.lock().unwrap().leader.unwrap_or_default()
    }
}

/// The two of them on a bus, until this goes.
struct Played {
    told: Shared,
    bus: Bus,
    cgroups: PathBuf,
    /// Of the machine, which has the tests' prefix.
    scope: PathBuf,
    name: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Played {
    fn start(context: &Context, systemd: Mood, machined: Mood) -> Result<Self, Stop> {
        let bus = Bus::start(context)?;
        let cgroups = CgroupHierarchy::at_usual_place().and_then(|cgroups| cgroups.mount_point);
        let cgroups = cgroups.ok_or_else(|| Stop::Skip("no cgroup v2 is mounted".to_owned()))?;
        let name = context.machine_name();
        let scope = cgroups.join(format!("machine-{}.scope", name.replace('-', "\\x2d")));
        let told = Shared::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = {
            let (address, told, cgroups) = (bus.address(), told.clone(), cgroups.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let connection =
                        zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
                    let server = connection.object_server();
                    let manager = Systemd { mood: systemd, told: told.clone(), cgroups };
                    server.at("/org/freedesktop/systemd1", manager).await.unwrap();
                    let manager = MachineManager { mood: machined, told: told.clone() };
                    server.at("/org/freedesktop/machine1", manager).await.unwrap();
                    server.at("/machine", KnownMachine(told)).await.unwrap();
                    for name in ["org.freedesktop.systemd1", "org.freedesktop.machine1"] {
                        connection.request_name(name).await.unwrap();
                    }
                    ready.send(()).unwrap();
                    let _ = stopped.await;
                });
            })
        };
        is_ready.recv_timeout(PATIENCE)?;
        Ok(Self { told, bus, cgroups, scope, name, stop: Some(stop), thread: Some(thread) })
    }

    fn machine(&self, context: &Context, options: &[&str]) -> Result<Machine, Stop> {
        let mut command = context.spinney();
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address())
            .args(["run", "-x", "-M", &self.name, "--console=read-only", "--notify-ready"])
            .args(options)
            .arg(context.tree("busybox")?);
        Ok(Machine::spawn(context, &self.name, command))
    }

    fn calls(&self) -> Vec<String> {
        self.told.lock().unwrap().calls.clone()
    }

    /// Waits until they have been told so many things.
    fn told(&self, count: usize) -> Result<Vec<String>, Stop> {
        wait_until(|| self.calls().len() >= count).map_err(|_| format!("only {:?}", self.calls()))?;
        Ok(self.calls())
    }

    /// The machine's cgroup, from the root of the hierarchy.
    fn in_scope(&self) -> String {
        let scope = self.scope.strip_prefix(&self.cgroups).unwrap().display();
        format!("/{scope}/machine-{}/payload", self.name)
    }
}

fn wait_until(done: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            return Err("it does not come".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

impl Drop for Played {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
        // As systemd does when it is empty: what is to be told at the end is told from in there.
        let empty = || {
            fs::read_to_string(self.scope.join("cgroup.events"))
                .map_or(true, |text| text.contains("populated 0"))
        };
        let _ = wait_until(empty);
        let _ = fs::remove_dir(self.scope.join("supervisor"));
        let _ = fs::remove_dir(&self.scope);
    }
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
    assert!(took < Duration::from_secs(10), "{took:?}");
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
