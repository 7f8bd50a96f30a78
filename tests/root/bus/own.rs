//! Our own interfaces: machines started, seen, changed, entered and ended by a program.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::process::Signal;
use spinney::manager::object_path::encode;
use zbus::{Fd, OwnedFd as PassedFd, OwnedObjectPath, OwnedVariant, Variant};

use super::fixture::Bus;
use super::own_client::{Client, Refused};
use crate::command::{PATIENCE, Process, run};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::start::Made;

const MANAGER: &str = "/org/spinney";

/// Options and results.
pub type Dictionary = HashMap<String, OwnedVariant>;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 7] = [
        ("started", started),
        ("not_started", not_started),
        ("changes_are_told", changes_are_told),
        ("commands", commands),
        ("commands_that_are_ended", commands_that_are_ended),
        ("files_and_logs", files_and_logs),
        ("tree_of_objects", tree_of_objects),
    ];
    rows.map(|(name, test)| Test::new(format!("{}own::{name}", super::TIER), test)).into()
}

/// A bus, a manager, and a client of them.
struct Scene {
    client: Client,
    manager: Process,
    bus: Bus,
}

impl Scene {
    fn new(context: &Context) -> Result<Self, Stop> {
        let bus = Bus::start(context)?;
        let manager = bus.manager(&[])?;
        Ok(Self { client: Client::connect(&bus)?, manager, bus })
    }

    fn over(mut self) -> TestResult {
        self.manager.signal(Signal::TERM.as_raw());
        self.manager.wait(PATIENCE).ok_or("the manager does not end")?;
        Ok(())
    }
}

fn path_of(name: &str) -> String {
    format!("{MANAGER}/machine/{}", encode(name))
}

pub fn options(options: &[(&str, Variant<'_>)]) -> Dictionary {
    let owned = |value: &Variant<'_>| OwnedVariant::try_from(value).unwrap();
    options.iter().map(|(name, value)| ((*name).to_owned(), owned(value))).collect()
}

pub fn refused<T>(answer: Result<T, Refused>) -> Refused {
    answer.err().unwrap_or_default()
}

fn started(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = &scene.client;
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    let asked = options(&[
        ("ephemeral", true.into()),
        ("resources.memory-max", (100u64 << 20).into()),
        ("hostname", "other".into()),
        ("port", vec!["18080:80"].into()),
    ]);
    let (machine, job): (OwnedObjectPath, OwnedObjectPath) =
        client.call(MANAGER, "Manager1.Start", &(&name, asked))?;
    assert_eq!(machine.as_str(), path_of(&name));
    let result: Dictionary = client.call(&job, "Job1.Wait", &())?;
    assert_eq!(result, options(&[("Machine", name.as_str().into())]));
    assert_eq!(client.property::<String>(&job, "Job1", "State")?, "done");
    let of = Detached::find(&name)?;
    // What was asked for holds.
    assert_eq!(of.says("hostname")?, "other");
    assert_eq!(client.property::<String>(&machine, "Machine1", "Phase")?, "ready");
    assert!(client.property::<bool>(&machine, "Machine1", "Ephemeral")?);
    assert_eq!(client.property::<Vec<String>>(&machine, "Machine1", "Ports")?, ["tcp:18080:80"]);
    let limits: HashMap<String, String> = client.property(&machine, "Machine1", "Limits")?;
    assert_eq!(limits, HashMap::from([("MemoryMax".to_owned(), "104857600".to_owned())]));
    let listed: Vec<(String, OwnedObjectPath, Dictionary)> =
        client.call(MANAGER, "Manager1.ListMachines", &())?;
    let [(listed, path, properties)] = &listed[..] else { return Err("not one machine".into()) };
    assert_eq!((listed, path), (&name, &machine));
    assert_eq!(properties.get("State"), options(&[("S", "running".into())]).get("S"));
    let leader = of.state()?.leader.unsigned_abs();
    let found: OwnedObjectPath = client.call(MANAGER, "Manager1.GetMachineByPID", &leader)?;
    assert_eq!(found, machine);
    // Told to stop, it is waited for.
    client.call::<()>(&machine, "Machine1.Stop", &())?;
    client.call::<()>(&machine, "Machine1.Wait", &("stopped", 0u64))?;
    let gone = refused(client.call::<OwnedObjectPath>(MANAGER, "Manager1.GetMachine", &name));
    assert_eq!(
        gone,
        Refused("org.spinney.Error.NoSuchMachine".to_owned(), format!("No machine '{name}' known"))
    );
    scene.over()
}

/// Each way not to start: at once, by its own name, with nothing left behind.
fn not_started(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = &scene.client;
    let mut made = Made::default();
    let (name, unknown) = (context.machine_name(), context.machine_name());
    made.image(context, &name)?;
    let invalid = "org.freedesktop.DBus.Error.InvalidArgs";
    let rows = [
        (
            unknown.as_str(),
            options(&[]),
            "org.spinney.Error.NoSuchImage",
            format!("No image '{unknown}' known"),
        ),
        ("../etc", options(&[]), invalid, "\"../etc\" has a character that no hostname has".to_owned()),
        (&name, options(&[("ephemerl", true.into())]), invalid, "Unknown option \"ephemerl\"".to_owned()),
        (
            &name,
            options(&[("ephemeral", 7u32.into())]),
            invalid,
            "Option \"ephemeral\" is to be a boolean".to_owned(),
        ),
        (
            &name,
            options(&[("memory-max", "much".into())]),
            invalid,
            "bad value for --memory-max=: \"much\" is not a size of memory".to_owned(),
        ),
        (&name, options(&[("bind", vec!["/nonexistent"].into())]), "org.spinney.Error.Failed", String::new()),
    ];
    for (name, options, error, text) in rows {
        let said = refused(client.call::<(OwnedObjectPath, OwnedObjectPath)>(
            MANAGER,
            "Manager1.Start",
            &(name, &options),
        ));
        assert_eq!(said.0, error, "{name} {options:?}: {}", said.1);
        assert!(said.1.starts_with(&text), "{name} {options:?}: {}", said.1);
    }
    // One of that name runs.
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let said = refused(client.call::<()>(MANAGER, "Manager1.Start", &(&machine.name, options(&[]))));
    assert_eq!(said.0, "org.spinney.Error.MachineExists");
    machine.stop()?;
    scene.over()
}

fn changes_are_told(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = &scene.client;
    let mut added = client.signals("InterfacesAdded")?;
    let mut removed = client.signals("InterfacesRemoved")?;
    let mut changed = client.signals("PropertiesChanged")?;
    let mut events = client.signals("Event")?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = path_of(&machine.name);
    added.wait(|message| {
        let (added, interfaces): (OwnedObjectPath, HashMap<String, Dictionary>) =
            message.body().deserialize().ok()?;
        (added.as_str() == path && interfaces.contains_key("org.spinney.Machine1")).then_some(())
    })?;
    client.call::<()>(&path, "Machine1.Subscribe", &())?;
    let mut change = |name: &str, expected: Variant<'_>| {
        let expected = OwnedVariant::try_from(expected).unwrap();
        changed.wait(|message| {
            let (interface, values, _): (String, Dictionary, Vec<String>) =
                message.body().deserialize().ok()?;
            let of = message.header().path().is_some_and(|of| of.as_str() == path);
            let found = interface == "org.spinney.Machine1" && values.get(name) == Some(&expected);
            (of && found).then_some(())
        })
    };
    client.call::<()>(&path, "Machine1.Pause", &())?;
    change("Paused", true.into())?;
    client.call::<()>(&path, "Machine1.Resume", &())?;
    change("Paused", false.into())?;
    client.call::<()>(&path, "Machine1.Publish", &(vec!["18081:81"], Vec::<String>::new()))?;
    change("Ports", vec!["tcp:18081:81"].into())?;
    client.call::<()>(&path, "Machine1.Unpublish", &(vec!["18081"], Vec::<String>::new()))?;
    change("Ports", Vec::<String>::new().into())?;
    let warnings: Vec<String> =
        client.call(&path, "Machine1.SetLimits", &options(&[("TasksMax", 50u32.into())]))?;
    assert_eq!(warnings, [""; 0]);
    change("Limits", HashMap::from([("TasksMax", "50")]).into())?;
    let said = refused(client.call::<()>(&path, "Machine1.SetLimits", &options(&[("Tasks", 50u32.into())])));
    assert_eq!(said.1, "Unknown limit \"Tasks\"");
    // What happens is told, too, by the name that it has everywhere.
    let event = |name: &'static str| {
        move |message: &zbus::Message| {
            let (_, event, data): (u64, String, Dictionary) = message.body().deserialize().ok()?;
            (event == name).then_some(data)
        }
    };
    events.wait(event("paused"))?;
    let published = events.wait(event("published"))?;
    assert_eq!(published, options(&[("port", "tcp:18081:81".into())]));
    client.call::<()>(&path, "Machine1.Reboot", &())?;
    change("Boots", 2u32.into())?;
    client.call::<()>(&path, "Machine1.Wait", &("ready", 0u64))?;
    client.call::<()>(&path, "Machine1.Terminate", &())?;
    removed.wait(|message| {
        let (removed, _): (OwnedObjectPath, Vec<String>) = message.body().deserialize().ok()?;
        (removed.as_str() == path).then_some(())
    })?;
    machine.wait()?;
    scene.over()
}

fn pipe() -> Result<(std::io::PipeReader, std::io::PipeWriter), Stop> {
    Ok(std::io::pipe()?)
}

/// Runs a command: what it wrote, and what came of it.
fn exec(
    client: &Client,
    path: &str,
    argv: &[&str],
    options: Dictionary,
    input: &str,
) -> Result<(String, Result<i64, Refused>), Stop> {
    let (stdin, mut to_stdin) = pipe()?;
    let (mut from_stdout, stdout) = pipe()?;
    let job: OwnedObjectPath = {
        let fds = [Fd::from(&stdin), Fd::from(&stdout), Fd::from(&stdout)];
        let [stdin, stdout, stderr] = fds;
        client.call(path, "Machine1.Exec", &(argv, options, stdin, stdout, stderr))?
    };
    // The command has its own.
    drop((stdin, stdout));
    to_stdin.write_all(input.as_bytes())?;
    drop(to_stdin);
    let mut said = String::new();
    from_stdout.read_to_string(&mut said)?;
    let result = client.call::<Dictionary>(&job, "Job1.Wait", &());
    let status = result.map(|result| match result.get("ExitStatus").map(|value| &**value) {
        Some(Variant::U64(status)) => i64::try_from(*status).unwrap_or(-1),
        _ => -1,
    });
    Ok((said, status))
}

fn commands(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let (client, path) = (&scene.client, path_of(&machine.name));
    let environment = HashMap::from([("GREETING", "hello")]);
    let rows: [(&[&str], Dictionary, &str, &str, i64); 6] = [
        (&["sh", "-c", "cat; echo err >&2; exit 7"], options(&[]), "in\n", "in\nerr\n", 7),
        (&["true"], options(&[]), "", "", 0),
        (&["sh", "-c", "kill -9 $$"], options(&[]), "", "", 137),
        (
            &["sh", "-c", "echo $GREETING; pwd; id -u"],
            options(&[
                ("environment", environment.into()),
                ("directory", "/tmp".into()),
                ("user", "65534".into()),
            ]),
            "",
            "hello\n/tmp\n65534\n",
            0,
        ),
        (&["sleep", "1000"], options(&[("timeout", 50_000u64.into())]), "", "", 124),
        (&["sh", "-c", "sleep 1000"], options(&[("timeout", "50ms".into())]), "", "", 124),
    ];
    for (argv, options, input, output, status) in rows {
        let (said, ended) = exec(client, &path, argv, options, input)?;
        assert_eq!((said.as_str(), ended), (output, Ok(status)), "{argv:?}");
    }
    let (_, ended) = exec(client, &path, &["nonsense"], options(&[]), "")?;
    let Refused(error, text) = refused(ended);
    assert_eq!(error, "org.freedesktop.DBus.Error.FileNotFound", "{text}");
    assert!(text.starts_with("nonsense: command not found in the machine"), "{text}");
    let refusals: [(&[&str], Dictionary, &str); 3] = [
        (&[], options(&[]), "No command given"),
        (&["true"], options(&[("cwd", "/".into())]), "Unknown option \"cwd\""),
        (&["true"], options(&[("timeout", "soon".into())]), "\"soon\" is not a time span"),
    ];
    for (argv, options, expected) in refusals {
        let Err(Stop::Fail(said)) = exec(client, &path, argv, options, "") else {
            return Err(format!("{argv:?} was not refused").into());
        };
        assert!(said.contains(expected), "{argv:?}: {said}");
    }
    machine.stop()?;
    scene.over()
}

fn commands_that_are_ended(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let (client, path) = (&scene.client, path_of(&machine.name));
    let begin = || -> Result<(OwnedObjectPath, std::io::PipeReader), Stop> {
        let (mut reader, writer) = pipe()?;
        let null = std::fs::File::open("/dev/null")?;
        let (one, two, three) = (Fd::from(&null), Fd::from(&writer), Fd::from(&null));
        let argv = ["sh", "-c", "trap 'echo told; exit 3' USR1; echo here; while :; do sleep 0.1; done"];
        let job = client.call(&path, "Machine1.Exec", &(&argv[..], options(&[]), one, two, three))?;
        let mut here = [0; 5];
        reader.read_exact(&mut here)?;
        Ok((job, reader))
    };
    // A signal is the command's.
    let (job, mut output) = begin()?;
    client.call::<()>(&job, "Job1.Kill", &Signal::USR1.as_raw())?;
    let mut said = String::new();
    output.read_to_string(&mut said)?;
    assert_eq!(said, "told\n");
    let result: Dictionary = client.call(&job, "Job1.Wait", &())?;
    assert_eq!(result, options(&[("ExitStatus", 3u64.into())]));
    assert_eq!(refused(client.call::<()>(&job, "Job1.Kill", &19)).1, "Invalid signal 19");
    // One that is cancelled has ended, and says so.
    let mut finished = client.signals("Finished")?;
    let (job, _output) = begin()?;
    client.call::<()>(&job, "Job1.Cancel", &())?;
    let state = finished.wait(|message| {
        let (state, _, error, _): (String, Dictionary, String, String) = message.body().deserialize().ok()?;
        (message.header().path()?.as_str() == job.as_str()).then_some((state, error))
    })?;
    assert_eq!(state, ("done".to_owned(), String::new()));
    let result: Dictionary = client.call(&job, "Job1.Wait", &())?;
    assert_eq!(result, options(&[("ExitStatus", 143u64.into())]));
    // A machine that ends, ends its commands.
    let (job, _output) = begin()?;
    machine.signal(Signal::KILL.as_raw());
    machine.wait()?;
    let ended = client.call::<Dictionary>(&job, "Job1.Wait", &());
    assert_eq!(ended, Ok(options(&[("ExitStatus", 137u64.into())])));
    run(context.spinney().arg("gc")).ok()?;
    scene.over()
}

fn files_and_logs(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let (client, path) = (&scene.client, path_of(&machine.name));
    let directory = context.subdirectory("files");
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("one");
    std::fs::write(&file, "text")?;
    let source = file.to_str().ok_or("no text")?;
    let wait = || options(&[("wait", true.into())]);
    let _: OwnedObjectPath = client.call(&path, "Machine1.CopyTo", &(source, "/tmp/one", wait()))?;
    assert_eq!(machine.says("cat /tmp/one")?, "text");
    let back = directory.join("two");
    let _: OwnedObjectPath =
        client.call(&path, "Machine1.CopyFrom", &("/tmp/one", back.to_str().ok_or("no text")?, wait()))?;
    assert_eq!(std::fs::read_to_string(&back)?, "text");
    let missing = client.call::<OwnedObjectPath>(&path, "Machine1.CopyTo", &("/nonexistent", "/x", wait()));
    assert_eq!(refused(missing).0, "org.spinney.Error.Failed");
    client.call::<()>(
        &path,
        "Machine1.Bind",
        &(directory.to_str().ok_or("no text")?, "/tmp/here", options(&[("mkdir", true.into())])),
    )?;
    assert_eq!(machine.says("cat /tmp/here/one")?, "text");
    client.call::<()>(&path, "Machine1.Unbind", &"/tmp/here")?;
    assert_eq!(machine.says("ls /tmp/here")?, "");
    // A shell on a terminal, the root directory, and logs come as fds.
    let shell = client.message(
        &path,
        "Machine1.OpenShell",
        &("", vec!["/bin/sh", "-c", "stty -echo; echo from a shell"], options(&[])),
    )?;
    let (pty, pty_path): (PassedFd, String) = shell.body().deserialize()?;
    assert!(pty_path.starts_with("/dev/pts/"), "{pty_path}");
    let mut said = Vec::new();
    // The other end is gone: EIO.
    let _ = std::fs::File::from(OwnedFd::from(pty)).read_to_end(&mut said);
    assert_eq!(String::from_utf8_lossy(&said), "from a shell\r\n");
    let logs = client.message(&path, "Machine1.OpenLogs", &options(&[("source", "console".into())]))?;
    let logs: PassedFd = logs.body().deserialize()?;
    let mut said = String::new();
    std::fs::File::from(OwnedFd::from(logs)).read_to_string(&mut said)?;
    assert!(said.contains("login:"), "{said:?}");
    let fields: HashMap<String, String> = client.call(&path, "Machine1.GetOSRelease", &())?;
    assert_eq!(fields.get("ID").map(String::as_str), Some("busybox"));
    machine.stop()?;
    scene.over()
}

/// What busctl sees: all objects, nothing that it complains of, and little of it where there is much below.
fn tree_of_objects(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = path_of(&machine.name);
    let job = {
        let null = std::fs::File::open("/dev/null")?;
        let (one, two, three) = (Fd::from(&null), Fd::from(&null), Fd::from(&null));
        let body = (&["true"][..], options(&[]), one, two, three);
        scene.client.call::<OwnedObjectPath>(&path, "Machine1.Exec", &body)?
    };
    let tree = run(scene.bus.command("busctl").args(["--system", "tree", "--list", "org.spinney"]));
    assert_eq!(tree.stderr, "");
    let objects: Vec<&str> = tree.stdout.lines().collect();
    for object in [MANAGER, &path, job.as_str()] {
        assert!(objects.contains(&object), "{object}: {objects:?}");
    }
    let managed: HashMap<OwnedObjectPath, HashMap<String, Dictionary>> =
        scene.client.call(MANAGER, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", &())?;
    let machine_path = OwnedObjectPath::try_from(path.as_str())?;
    assert!(managed.get(&machine_path).is_some_and(|object| object.contains_key("org.spinney.Machine1")));
    // Methods are described.
    let xml: String = scene.client.call(&path, "org.freedesktop.DBus.Introspectable.Introspect", &())?;
    assert!(xml.contains("<method name=\"Exec\">") && xml.contains("Runs a command in it"), "{xml}");
    machine.stop()?;
    scene.over()
}
