//! A machine as the service of a unit: its cgroups are below the unit's, and the service manager hears what it must.
//!
//! The unit's cgroup is made here as systemd makes it. The real one starts machines in `packages::` and in the VM of check-vm.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spinney::host::{CgroupHierarchy, Controller};
use spinney::sys::attributes;

use crate::command::{PATIENCE, Process, capture, contents, run, shell_status};
use crate::exec::exec;
use crate::harness::{Context, Row, Stop, Test, TestResult, program};
use crate::machine::state_of;

pub fn tests() -> Vec<Test> {
    const ROWS: [Row; 11] = [
        ("service::busybox::cgroups-notifications-and-watchdog", whole_life),
        ("service::busybox::a-supervisor-in-the-units-own-cgroup-leaves-it", without_subgroup),
        ("service::busybox::a-service-of-ones-own", found_out),
        ("service::debian-13::exec-finds-a-place", exec_in_unit),
        ("service::busybox::killed", killed),
        ("service::busybox::two-in-one-unit", two_in_one_unit),
        ("service::busybox::controllers-of-v1", legacy_controllers),
        ("service::not-delegated", not_delegated),
        ("service::busybox::nspawn", nspawn),
        ("service::busybox::reboot", rebooted),
        ("service::no-unit", no_unit),
    ];
    ROWS.into_iter().map(|(name, run)| Test::new(name, run)).collect()
}

/// How machines are run here.
const RUN: &str = "run -x --console=passive --notify-ready";

/// A unit's cgroup, and the socket of its service manager. Both go with it.
struct Unit {
    cgroup: PathBuf,
    /// What it has in v1 hierarchies.
    legacy: Vec<PathBuf>,
    socket: UnixDatagram,
    socket_path: PathBuf,
}

impl Unit {
    /// One with `Delegate=yes`.
    fn make(context: &Context) -> Result<Self, Stop> {
        let unit = Self::undelegated(context)?;
        unit.delegate()?;
        Ok(unit)
    }

    /// Hands it over as systemd does.
    fn delegate(&self) -> Result<(), Stop> {
        Ok(attributes::set(std::fs::File::open(&self.cgroup)?, b"trusted.delegate", b"1")?)
    }

    fn undelegated(context: &Context) -> Result<Self, Stop> {
        let root = CgroupHierarchy::at_usual_place().and_then(|cgroups| cgroups.mount_point);
        let root = root.ok_or_else(|| Stop::Skip("no cgroup v2 is mounted".to_owned()))?;
        let cgroup = root.join(format!("{}.service", context.prefix));
        std::fs::create_dir_all(cgroup.join("supervisor"))?;
        let socket_path = context.directory.join("manager");
        let socket = UnixDatagram::bind(&socket_path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { cgroup, legacy: Vec::new(), socket, socket_path })
    }

    /// Its path as /proc has it.
    fn path(&self) -> String {
        format!("/{}", self.cgroup.file_name().unwrap().to_string_lossy())
    }

    /// Runs a machine of `tree` in its cgroup `subgroup`.
    fn start(&self, context: &Context, subgroup: &str, prologue: &str, rest: &[&str]) -> Service {
        self.start_called(&context.machine_name(), context, &format!("{subgroup} {RUN}"), prologue, rest)
    }

    /// Runs machine `name`, of `how`: the subgroup, and what goes before its options.
    fn start_called(
        &self,
        name: &str,
        context: &Context,
        how: &str,
        prologue: &str,
        rest: &[&str],
    ) -> Service {
        let (subgroup, verb) = how.split_once(' ').unwrap();
        let (stdout, stderr) = (capture(), capture());
        let script = format!(
            "echo $$ >{}/cgroup.procs; {prologue}; exec {} {verb} --machine={name} \"$@\"",
            self.cgroup.join(subgroup).display(),
            program().display(),
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &script, "sh"])
            .args(rest)
            .envs(context.spinney().get_envs().filter_map(|(key, value)| Some((key, value?))))
            .env("NOTIFY_SOCKET", &self.socket_path)
            .stdin(std::process::Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap());
        let name = name.to_owned();
        Service { name, process: Process::spawn(&mut command), output: [stdout, stderr] }
    }

    /// What the manager hears next, but for what the guest has to say of itself.
    fn heard(&self) -> Result<String, String> {
        let mut datagram = [0; 4096];
        loop {
            let length =
                self.socket.recv(&mut datagram).map_err(|error| format!("nothing is told: {error}"))?;
            let text = String::from_utf8_lossy(&datagram[..length]).trim_end().to_owned();
            if !text.starts_with("STATUS=") || text.contains('\n') {
                return Ok(text);
            }
        }
    }

    /// Hears the manager out until `message`.
    fn hears(&self, message: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.heard()? == message {
                return Ok(());
            }
        }
        Err(format!("{message} does not come"))
    }

    fn has(&self, name: &str) -> bool {
        self.cgroup.join(name).exists()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.legacy.iter().for_each(|cgroup| drop(std::fs::remove_dir(cgroup)));
        let _ = std::fs::remove_dir(self.cgroup.join("supervisor"));
        let _ = std::fs::remove_dir(&self.cgroup);
        let _ = std::fs::remove_file(&self.socket_path);
    }
}

struct Service {
    name: String,
    process: Process,
    output: [std::fs::File; 2],
}

impl Service {
    fn said(&self) -> String {
        self.output.iter().map(contents).collect()
    }

    /// Has it killed, which is quicker where the stop is not what is tested.
    fn ends(mut self) -> Result<(), String> {
        self.process.signal(libc::SIGTERM);
        self.process.signal(libc::SIGINT);
        match self.process.wait(PATIENCE).map(shell_status) {
            Some(_) => Ok(()),
            None => Err(format!("SIGTERM and SIGINT do not end it\n{}", self.said())),
        }
    }

    fn stops(mut self) -> Result<(), String> {
        self.process.signal(libc::SIGTERM);
        match self.process.wait(PATIENCE).map(shell_status) {
            Some(0) => Ok(()),
            other => Err(format!("SIGTERM ends it with {other:?}\n{}", self.said())),
        }
    }
}

fn cgroup_of(process: impl std::fmt::Display) -> String {
    let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

fn whole_life(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::make(context)?;
    let prologue = "export WATCHDOG_USEC=200000 WATCHDOG_PID=$$";
    let options = ["--keep-unit", "--timeout-ready=40", "--timeout-stop=20", tree.to_str().unwrap()];
    let service = unit.start(context, "supervisor", prologue, &options);
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "READY=1") {
        told.push(unit.heard().map_err(|error| format!("{error}\n{}", service.said()))?);
    }
    let state = state_of(&service.name)?;
    told.retain(|message| message != "WATCHDOG=1");
    let leader = format!("STATUS=Container started.\nX_NSPAWN_LEADER_PID={}", state.leader);
    assert_eq!(told, [leader.as_str(), "EXTEND_TIMEOUT_USEC=110000000", "READY=1"]);
    assert_eq!(
        (state.cgroup.as_str(), state.background),
        (&*format!("{}/machine-{}/payload", unit.path(), service.name), true)
    );
    assert!(cgroup_of(state.leader).starts_with(&state.cgroup));
    assert_eq!(cgroup_of(state.supervisor), format!("{}/supervisor", unit.path()));
    // It goes on saying that it lives, in time.
    let started = Instant::now();
    for _ in 0..5 {
        unit.hears("WATCHDOG=1")?;
    }
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?} for 5 of 100 ms", started.elapsed());
    service.process.signal(libc::SIGTERM);
    unit.hears("STOPPING=1")?;
    unit.hears("EXTEND_TIMEOUT_USEC=70000000")?;
    let Service { mut process, name, .. } = service;
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(0));
    assert_eq!((unit.has(&format!("machine-{name}")), unit.has("supervisor")), (false, true));
    Ok(())
}

fn without_subgroup(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::make(context)?;
    let service = unit.start(context, ".", ":", &["--keep-unit", tree.to_str().unwrap()]);
    unit.hears("READY=1")?;
    let state = state_of(&service.name)?;
    assert_eq!(cgroup_of(state.supervisor), format!("{}/supervisor", unit.path()));
    assert_eq!(state.cgroup, format!("{}/machine-{}/payload", unit.path(), service.name));
    Ok(service.ends()?)
}

/// A service with `Delegate=` gets what it asked for without the option; its children, and other services, do not.
fn found_out(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::undelegated(context)?;
    let tree = tree.to_str().unwrap();
    let outside = |name: &str| format!("/spinney/{name}/payload");
    let inside = |name: &str| format!("{}/machine-{name}/payload", unit.path());
    type Place<'a> = &'a dyn Fn(&str) -> String;
    let rows: [(&str, bool, &str, Place<'_>); 3] = [
        ("not delegated", false, "export SYSTEMD_EXEC_PID=$$", &outside),
        ("a child", true, "export SYSTEMD_EXEC_PID=1", &outside),
        ("delegated", true, "export SYSTEMD_EXEC_PID=$$", &inside),
    ];
    for (name, delegated, prologue, expected) in rows {
        if delegated {
            unit.delegate()?;
        }
        let service = unit.start(context, "supervisor", prologue, &[tree]);
        unit.hears("READY=1").map_err(|error| format!("{name}: {error}\n{}", service.said()))?;
        assert_eq!(state_of(&service.name)?.cgroup, expected(&service.name), "{name}");
        service.ends()?;
    }
    Ok(())
}

fn exec_in_unit(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let unit = Unit::make(context)?;
    let service = unit.start(context, "supervisor", ":", &["--keep-unit", tree.to_str().unwrap()]);
    unit.hears("READY=1").map_err(|error| format!("{error}\n{}", service.said()))?;
    let done = run(&mut exec(context, &[&service.name, "systemctl", "is-system-running"]));
    assert_eq!(done.ok()?, "running\n");
    let done =
        run(&mut exec(context, &[&service.name, "sh", "-c", "sleep 0; cat /proc/self/cgroup"])).ok()?;
    assert!(done.contains("0::/"), "{done}");
    let places: BTreeSet<String> = ["supervisor".to_owned(), format!("machine-{}", service.name)].into();
    let found = std::fs::read_dir(&unit.cgroup)?.flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(found.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<_>>(), places);
    Ok(service.stops()?)
}

fn killed(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::make(context)?;
    let mut service = unit.start(context, "supervisor", ":", &["--keep-unit", tree.to_str().unwrap()]);
    unit.hears("READY=1")?;
    service.process.signal(libc::SIGKILL);
    assert_eq!(service.process.wait(PATIENCE).map(shell_status), Some(137));
    let cgroup = format!("machine-{}", service.name);
    assert!(unit.has(&cgroup));
    let done = run(context.spinney().arg("gc"));
    assert_eq!(done.ok()?, "");
    assert!(!unit.has(&cgroup) && !Path::new("/run/spinney/machines").join(&service.name).exists());
    Ok(())
}

/// One is killed, and what clears after it does not take the other along.
fn two_in_one_unit(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::make(context)?;
    let options = ["--keep-unit", tree.to_str().unwrap()];
    let names = ["one", "two"].map(|name| format!("{}-{name}", context.prefix));
    let mut services = Vec::new();
    for name in &names {
        services.push(unit.start_called(name, context, &format!("supervisor {RUN}"), ":", &options));
        unit.hears("READY=1")?;
        assert_eq!(state_of(name)?.cgroup, format!("{}/machine-{name}/payload", unit.path()));
    }
    services[0].process.signal(libc::SIGKILL);
    assert_eq!(services[0].process.wait(PATIENCE).map(shell_status), Some(137));
    assert_eq!(run(context.spinney().arg("gc")).ok()?, "");
    assert_eq!(names.each_ref().map(|name| unit.has(&format!("machine-{name}"))), [false, true]);
    assert_eq!(run(&mut exec(context, &[&names[1], "echo", "lives"])).ok()?, "lives\n");
    Ok(services.remove(1).ends()?)
}

/// Where controllers are in v1, the limits of the unit hold as well, whether it was named or found out.
fn legacy_controllers(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let Some(pids) =
        CgroupHierarchy::at_usual_place().and_then(|host| host.legacy(Controller::Pids).cloned())
    else {
        return Err(Stop::Skip("this host has no controller pids in cgroup v1".to_owned()));
    };
    let mut unit = Unit::make(context)?;
    let cgroup = pids.join(unit.path().trim_start_matches('/'));
    std::fs::create_dir(&cgroup)?;
    unit.legacy.push(cgroup.clone());
    let enter = format!("echo $$ >{}/cgroup.procs", cgroup.display());
    let found_out = format!("{enter}; export SYSTEMD_EXEC_PID=$$");
    let pids_of = |leader: i32| -> Result<String, Stop> {
        let listed = std::fs::read_to_string(format!("/proc/{leader}/cgroup"))?;
        let line = listed.lines().find_map(|line| line.split_once(":pids:"));
        Ok(line.map(|(_, path)| path.to_owned()).unwrap_or_default())
    };
    let tree = tree.to_str().unwrap();
    for (prologue, options) in [(&enter, &["--keep-unit", tree][..]), (&found_out, &[tree])] {
        let service = unit.start(context, "supervisor", prologue, options);
        unit.hears("READY=1").map_err(|error| format!("{error}\n{}", service.said()))?;
        let state = state_of(&service.name)?;
        assert_eq!((pids_of(state.leader)?, state.legacy_controllers.is_empty()), (unit.path(), true));
        service.ends()?;
    }
    // With a limit of its own it has a cgroup of its own, below that of the unit; also with one that comes later.
    let own = |name: &str| format!("{}/spinney/{name}", unit.path());
    let service = unit.start(context, "supervisor", &enter, &["--keep-unit", "--tasks-max=300", tree]);
    unit.hears("READY=1").map_err(|error| format!("{error}\n{}", service.said()))?;
    assert_eq!(pids_of(state_of(&service.name)?.leader)?, own(&service.name));
    service.ends()?;
    let service = unit.start(context, "supervisor", &found_out, &[tree]);
    unit.hears("READY=1").map_err(|error| format!("{error}\n{}", service.said()))?;
    run(context.spinney().args(["set", &service.name, "--tasks-max=200"])).ok()?;
    assert_eq!(pids_of(state_of(&service.name)?.leader)?, own(&service.name));
    service.ends()?;
    let left: Vec<_> = std::fs::read_dir(&cgroup)?.flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn not_delegated(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::undelegated(context)?;
    let mut service = unit.start(context, "supervisor", ":", &["--keep-unit", tree.to_str().unwrap()]);
    assert_eq!(service.process.wait(PATIENCE).map(shell_status), Some(125));
    let expected = format!(
        "spinney: error: the cgroup of {}.service is not handed over to it, so no machine can be in it\n  \
         hint: Delegate=yes in the unit hands it over, see spinney@.service(8); without --keep-unit the machine has a \
         cgroup of its own\n",
        context.prefix
    );
    assert!(service.said().ends_with(&expected), "{}", service.said());
    Ok(())
}

/// A reboot in place is no stop of the service.
fn rebooted(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::make(context)?;
    let service = unit.start(context, "supervisor", ":", &["--keep-unit", tree.to_str().unwrap()]);
    unit.hears("READY=1")?;
    run(context.spinney().args(["reboot", "--no-wait", &service.name])).ok()?;
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "READY=1") {
        told.push(unit.heard().map_err(|error| format!("{error}\n{}", service.said()))?);
    }
    let leader =
        format!("STATUS=Container started.\nX_NSPAWN_LEADER_PID={}", state_of(&service.name)?.leader);
    assert_eq!(told, [leader.as_str(), "READY=1"]);
    Ok(service.ends()?)
}

/// systemd-nspawn's --keep-unit is no promise that there is one to keep.
fn nspawn(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let unit = Unit::undelegated(context)?;
    let tree = tree.to_str().unwrap();
    let outside = |name: &str| format!("/spinney/{name}/payload");
    let inside = |name: &str| format!("{}/machine-{name}/payload", unit.path());
    let warning = format!(
        "spinney nspawn: warning: --keep-unit has no effect: the cgroup of {}.service is not handed over to it, \
         so no machine can be in it\n",
        context.prefix
    );
    type Place<'a> = &'a dyn Fn(&str) -> String;
    let rows: [(&str, bool, Option<&str>, bool, Place<'_>); 3] = [
        ("not delegated", false, Some("--keep-unit"), true, &outside),
        ("delegated", true, Some("--keep-unit"), false, &inside),
        ("a child without the option", true, None, false, &outside),
    ];
    for (name, delegated, option, warned, expected) in rows {
        if delegated {
            unit.delegate()?;
        }
        let machine = context.machine_name();
        let how = "supervisor nspawn -xb --console=passive --notify-ready=yes";
        let options: Vec<&str> = option.into_iter().chain(["-D", tree]).collect();
        let service = unit.start_called(&machine, context, how, "unset SYSTEMD_EXEC_PID", &options);
        unit.hears("READY=1").map_err(|error| format!("{name}: {error}\n{}", service.said()))?;
        assert_eq!(state_of(&machine)?.cgroup, expected(&machine), "{name}");
        assert_eq!(service.said().contains(&warning), warned, "{name}: {}", service.said());
        service.ends()?;
    }
    Ok(())
}

fn no_unit(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let rows: [(&[&str], &str); 3] = [
        (
            &["--keep-unit", "-x", tree.to_str().unwrap()],
            "spinney: error: this process is in no unit whose cgroup a machine could have\n  \
             hint: --keep-unit is for ExecStart= of a service with Delegate=yes, see spinney@.service(8)\n",
        ),
        (
            &["--keep-unit", "--detach", "-x", tree.to_str().unwrap()],
            "spinney: error: the argument '--keep-unit' cannot be used with '--detach'\n  hint: see spinney run --help\n",
        ),
        (
            &["--machine=nosuch"],
            "spinney: error: no image \"nosuch\"\n  hint: spinney images lists those that there are; \
             spinney run PATH boots a tree or image that is elsewhere\n",
        ),
    ];
    for (arguments, expected) in rows {
        let mut command = Command::new("/bin/sh");
        let root = CgroupHierarchy::at_usual_place().and_then(|cgroups| cgroups.mount_point).unwrap();
        // Whoever runs the tests may be in a unit.
        let script =
            format!("echo $$ >{}/cgroup.procs; exec {} run \"$@\"", root.display(), program().display());
        command
            .args(["-c", &script, "sh"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(std::process::Stdio::null());
        let done = run(&mut command);
        // What this host lacks is told before.
        assert!(done.status == 125 && done.stderr.ends_with(expected), "{arguments:?}: {done:#?}");
    }
    Ok(())
}
