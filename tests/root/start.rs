//! Machines from images: found by name, started together, with the host, and each once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use spinney::supervisor::state::Phase;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult};

const MACHINES: &str = "/var/lib/machines";
const MARKERS: &str = "/etc/spinney/autostart";
pub const SETTINGS: &str = "/etc/spinney/machines";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 6] = [
        ("together", together),
        ("refusals", refusals),
        ("twice_at_once", twice_at_once),
        ("run_by_name", run_by_name),
        ("enabled", enabled),
        ("order", order),
    ];
    rows.map(|(name, test)| Test::new(format!("start::{name}"), test)).into()
}

/// Files and directories of the host that go with a test, the last first.
#[derive(Default)]
pub struct Made(Vec<PathBuf>);

impl Made {
    pub fn directory(&mut self, path: &str) -> TestResult {
        let path = Path::new(path);
        let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
        self.0.extend(missing.iter().rev().map(|path| path.to_path_buf()));
        Ok(fs::create_dir_all(path)?)
    }

    /// A copy of the busybox tree as an image.
    pub fn image(&mut self, context: &Context, name: &str) -> TestResult {
        self.directory(MACHINES)?;
        let image = Path::new(MACHINES).join(name);
        self.0.push(image.clone());
        run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&image)).ok()?;
        Ok(())
    }

    pub fn file(&mut self, path: PathBuf, text: &str) -> TestResult {
        self.directory(path.parent().and_then(Path::to_str).ok_or("no parent")?)?;
        fs::write(&path, text)?;
        self.0.push(path);
        Ok(())
    }

    fn settings(&mut self, name: &str, autostart: &str) -> TestResult {
        self.file(Path::new(SETTINGS).join(format!("{name}.toml")), &format!("[autostart]\n{autostart}\n"))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
    }
}

fn spinney(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().args(arguments))
}

/// What `start --json` says: name and result of each.
fn results(ended: &Ended) -> Result<Vec<(String, String)>, Stop> {
    let reports: Vec<serde_json::Value> = serde_json::from_str(&ended.stdout)?;
    let text = |report: &serde_json::Value, key: &str| report[key].as_str().unwrap_or_default().to_owned();
    Ok(reports.iter().map(|report| (text(report, "name"), text(report, "result"))).collect())
}

/// Two at once; both are ready when the program returns; what each was is known after its end.
fn together(context: &Context) -> TestResult {
    let mut made = Made::default();
    let (one, two) = (context.machine_name(), context.machine_name());
    made.image(context, &one)?;
    made.image(context, &two)?;
    let started = spinney(context, &["start", "--json", "-q", &one, &two]);
    let machines = [Detached::find(&one)?, Detached::find(&two)?];
    assert_eq!(started.status, 0, "{started:#?}");
    let mut results = results(&started)?;
    results.sort();
    assert_eq!(results, [(one.clone(), "ready".to_owned()), (two.clone(), "ready".to_owned())]);
    for machine in &machines {
        let state = machine.state()?;
        assert_eq!((state.phase, state.ephemeral), (Phase::Ready, false));
        assert_eq!(state.tree, Path::new(MACHINES).join(&machine.name));
    }
    let again = spinney(context, &["start", &one]);
    assert_eq!(
        (again.status, again.stderr.as_str()),
        (
            125,
            format!("spinney: error: {one:?} is running already\n  hint: spinney status {one} shows it\n")
                .as_str()
        )
    );
    for machine in machines {
        machine.stop()?;
    }
    let last = spinney::supervisor::archive::last_run(&one.parse()?)?.ok_or("no record of the last run")?;
    assert_eq!((last.exit_status, last.reason.as_str()), (0, "it powered off"));
    assert_eq!(last.state.map(|state| (state.boots, state.background)), Some((1, true)));
    let archive = Path::new("/var/log/spinney").join(&one);
    assert!(
        fs::read_to_string(archive.join("console.log"))?.contains("The system is going down"),
        "no console log"
    );
    let log = fs::read_to_string(archive.join("supervisor.log"))?;
    let ends: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once("Z ")?.1)).collect();
    assert!(ends.last().is_some_and(|line| line.starts_with(&format!("{one} is off after "))), "{log}");
    Ok(())
}

fn refusals(context: &Context) -> TestResult {
    let mut made = Made::default();
    let names: Vec<String> = (0..5).map(|_| context.machine_name()).collect();
    made.directory(MACHINES)?;
    made.file(Path::new(MACHINES).join(format!("{}.raw", names[0])), "")?;
    made.directory(&format!("{MACHINES}/{}.mstack/layer", names[1]))?;
    made.directory(&format!("{MACHINES}/{}", names[2]))?;
    made.directory(&format!("{MACHINES}/.{}", names[3]))?;
    let rows = [
        (names[0].clone(), format!("cannot use disk image {MACHINES}/{}.raw: ", names[0])),
        (
            names[1].clone(),
            format!("layered image {MACHINES}/{}.mstack: \"layer\" is nothing that", names[1]),
        ),
        (names[2].clone(), format!("tree {MACHINES}/{} ", names[2])),
        (names[3].clone(), format!("no image {:?}", names[3])),
        (format!(".{}", names[3]), "begins or ends with a dot".to_owned()),
        (".host".to_owned(), "\".host\" is the host itself, which is no machine".to_owned()),
        ("../x".to_owned(), "has a character that no hostname has: '/'".to_owned()),
    ];
    for (name, expected) in &rows {
        let ended = spinney(context, &["start", name]);
        assert_eq!(ended.status, 125, "{ended:#?}");
        assert!(ended.stderr.contains(expected) && ended.stderr.contains("\n  hint: "), "{ended:#?}");
        assert_eq!(ended.stderr.lines().count(), 2, "{ended:#?}");
    }
    // One that is well starts all the same.
    made.image(context, &names[4])?;
    let both = spinney(context, &["start", "--json", &names[0], &names[4]]);
    let machine = Detached::find(&names[4])?;
    assert_eq!(both.status, 125, "{both:#?}");
    assert_eq!(
        results(&both)?,
        [(names[0].clone(), "failed".to_owned()), (names[4].clone(), "ready".to_owned())]
    );
    drop(machine);
    for arguments in
        [&["start"] as &[&str], &["start", "--all-enabled", "x"], &["start", "--timeout-ready=0", &names[4]]]
    {
        let ended = spinney(context, arguments);
        assert_eq!(ended.status, 125, "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.starts_with("spinney: error: "), "{ended:#?}");
    }
    Ok(())
}

/// Of ten that start the same name at once one wins, and each other says so.
fn twice_at_once(context: &Context) -> TestResult {
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    let mut starts: Vec<(Process, fs::File)> = (0..10)
        .map(|_| {
            let stderr = capture();
            let mut command = context.spinney();
            command.args(["start", "-q", &name]).stdout(Stdio::null()).stderr(stderr.try_clone().unwrap());
            (Process::spawn(&mut command), stderr)
        })
        .collect();
    let ends: Vec<(i32, String)> = starts
        .iter_mut()
        .map(|(process, stderr)| (process.wait(PATIENCE).map_or(-1, shell_status), contents(stderr)))
        .collect();
    let machine = Detached::find(&name)?;
    assert_eq!(ends.iter().filter(|(status, _)| *status == 0).count(), 1, "{ends:#?}");
    for (_, stderr) in ends.iter().filter(|(status, _)| *status != 0) {
        assert!(stderr.contains(&format!("{name:?} is running already")), "{ends:#?}");
    }
    assert_eq!(machine.says("cat /proc/sys/kernel/hostname")?, name);
    machine.stop()?;
    Ok(())
}

fn run_by_name(context: &Context) -> TestResult {
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    let ended = spinney(context, &["run", "-q", &name, "--", "cat", "/proc/sys/kernel/hostname"]);
    assert_eq!((ended.status, ended.stdout.trim_end()), (0, name.as_str()), "{ended:#?}");
    // A directory comes before an image, and a path is never one.
    let absent = run(context.spinney().args(["run", &format!("./{name}")]));
    assert!(absent.stderr.contains(" does not exist"), "{absent:#?}");
    let wrong = spinney(context, &["run", &format!("{name}0")]);
    assert_eq!(wrong.status, 125);
    assert!(wrong.stderr.contains(&format!("no image \"{name}0\"; did you mean {name:?}?")), "{wrong:#?}");
    Ok(())
}

fn enabled(context: &Context) -> TestResult {
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    made.directory(MARKERS)?;
    let says = |arguments: &[&str], status: i32, expected: &str| {
        let ended = spinney(context, arguments);
        assert_eq!(ended.status, status, "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:#?}");
    };
    says(&["start", "--all-enabled"], 0, "no machine is enabled; spinney enable NAME enables one");
    says(&["enable", "absent"], 125, "no image \"absent\"");
    // A link to nowhere in its place enables nothing, and is in nobody's way.
    std::os::unix::fs::symlink("/nowhere/at/all", Path::new(MARKERS).join(&name))?;
    says(&["enable", &name], 0, "is enabled: spinney start --all-enabled starts it");
    says(&["enable", &name], 0, "was enabled already");
    says(&["start", "--all-enabled"], 0, "is ready after");
    let machine = Detached::find(&name)?;
    says(&["start", "--all-enabled"], 0, &format!("{name} is running already"));
    says(&["disable", &name], 0, &format!("{name} is disabled"));
    says(&["disable", &name], 0, &format!("{name} was not enabled"));
    assert_eq!(machine.state()?.phase, Phase::Ready);
    says(&["enable", "--now", &name], 0, "is enabled");
    assert_eq!(machine.state()?.phase, Phase::Ready, "one that runs goes on");
    says(&["disable", "--now", &name], 0, &format!("{name} is off after"));
    says(&["disable", "--now", &name], 0, &format!("{name} was not enabled"));
    drop(machine);
    says(&["enable", "--now", &name], 0, "is ready after");
    let machine = Detached::find(&name)?;
    says(&["disable", &name], 0, &format!("{name} is disabled"));
    drop(machine);
    says(&["start", "--all-enabled"], 0, "no machine is enabled");
    let systemd = "systemd runs this host: to start machines with it, have a unit run";
    made.directory("/run/systemd/system")?;
    if !context.on_host && fs::read("/proc/1/comm")? != b"systemd\n" {
        // Made by hand, it says nothing of PID 1.
        let ended = spinney(context, &["start", "--all-enabled"]);
        assert!(!ended.stderr.contains(systemd), "{ended:#?}");
        let called = context.directory.join("comm");
        fs::write(&called, "systemd\n")?;
        mount_bind(&called, "/proc/1/comm")?;
        let ended = spinney(context, &["start", "--all-enabled"]);
        unmount("/proc/1/comm", UnmountFlags::DETACH)?;
        assert!(ended.stderr.contains(systemd), "{ended:#?}");
    } else {
        says(&["start", "--all-enabled"], 0, systemd);
    }
    fs::remove_dir_all("/run/systemd")?;
    made.settings(&name, "enabled = true")?;
    says(&["disable", &name], 125, &format!("{SETTINGS}/{name}.toml says that it is enabled"));
    made.settings(&name, "enabled = false")?;
    says(&["enable", &name], 125, &format!("{SETTINGS}/{name}.toml says that it is not enabled"));
    made.settings(&name, "requries = []")?;
    says(
        &["enable", &name],
        125,
        &format!("{SETTINGS}/{name}.toml:2: \"requries\": unknown key in [autostart]"),
    );
    Ok(())
}

/// What another one needs comes first; without what it requires a machine is not started; circles are named.
fn order(context: &Context) -> TestResult {
    let mut made = Made::default();
    let names: Vec<String> = (0..4).map(|_| context.machine_name()).collect();
    let [web, db, lost, orphan] = [&names[0], &names[1], &names[2], &names[3]];
    for name in [web, db, orphan] {
        made.image(context, name)?;
    }
    made.settings(web, &format!("enabled = true\nrequires = [{db:?}]\ndelay = \"100ms\""))?;
    made.settings(orphan, &format!("enabled = true\nrequires = [{lost:?}]"))?;
    let started = spinney(context, &["start", "--all-enabled", "--json"]);
    let machines = [Detached::find(web)?, Detached::find(db)?];
    assert_eq!(started.status, 125, "{started:#?}");
    let expected = [(lost, "failed"), (orphan, "skipped"), (db, "ready"), (web, "ready")];
    assert_eq!(results(&started)?, expected.map(|(name, result)| (name.clone(), result.to_owned())));
    assert!(
        started
            .stderr
            .contains(&format!("{orphan} is not started: it requires {lost}, which did not start\n")),
        "{started:#?}"
    );
    let (web_began, db_ready) = (machines[0].state()?.started_at, machines[1].state()?.ready_at);
    assert!(db_ready.is_some_and(|ready| web_began >= ready + 100_000), "{db_ready:?} {web_began}");
    drop(machines);
    made.settings(db, &format!("after = [{web:?}]"))?;
    let circle = spinney(context, &["start", "--all-enabled"]);
    assert_eq!(circle.status, 125);
    assert!(
        circle
            .stderr
            .contains(&format!("machines wait for each other: {web} after {db} after {web}\n  hint: ")),
        "{circle:#?}"
    );
    Ok(())
}
