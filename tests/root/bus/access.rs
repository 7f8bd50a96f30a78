//! What a user who is not root may do: by every method, with a polkit that allows nothing, one action, or is not there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::Bus;
use super::polkit::{Asked, Polkit};
use crate::command::{Ended, PATIENCE, Process, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use spinney::manager::object_path::encode;

const NAME: &str = "org.freedesktop.machine1";
const PATH: &str = "/org/freedesktop/machine1";

/// Methods of images are held to theirs elsewhere.
const OF_IMAGES: [&str; 12] = [
    "GetImage",
    "ListImages",
    "RemoveImage",
    "RenameImage",
    "CloneImage",
    "MarkImageReadOnly",
    "GetImageHostname",
    "GetImageMachineID",
    "GetImageMachineInfo",
    "GetImageOSRelease",
    "SetImageLimit",
    "CleanPool",
];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 5] = [
        ("every_method", every_method),
        ("owner", owner),
        ("allowed", allowed),
        ("without_polkit", without_polkit),
        ("slow_polkit", slow_polkit),
    ];
    rows.map(|(name, test)| Test::new(format!("{}access::{name}", super::TIER), test)).into()
}

/// A method, the signature of its arguments, those (`NAME` is the machine's), and the last word of its action.
pub type Method = (&'static str, &'static str, &'static [&'static str], Option<&'static str>);

pub const OF_MANAGER: &[Method] = &[
    ("GetMachine", "s", &["NAME"], None),
    ("GetMachineByPID", "u", &["LEADER"], None),
    ("ListMachines", "", &[], None),
    ("GetMachineAddresses", "s", &["NAME"], None),
    ("GetMachineUIDShift", "s", &["NAME"], None),
    ("MapFromMachineUser", "su", &["NAME", "0"], None),
    ("MapToMachineUser", "u", &["4294900000"], None),
    ("MapFromMachineGroup", "su", &["NAME", "0"], None),
    ("MapToMachineGroup", "u", &["4294900000"], None),
    ("CreateMachine", "sayssusa(sv)", &["n", "0", "", "", "0", "", "0"], Some("create-machine")),
    (
        "CreateMachineWithNetwork",
        "sayssusaia(sv)",
        &["n", "0", "", "", "0", "", "0", "0"],
        Some("create-machine"),
    ),
    ("CreateMachineEx", "sa(sv)a(sv)", &["n", "0", "0"], Some("create-machine")),
    ("RegisterMachine", "sayssus", &["n", "0", "", "", "0", ""], Some("register-machine")),
    ("RegisterMachineWithNetwork", "sayssusai", &["n", "0", "", "", "0", "", "0"], Some("register-machine")),
    ("RegisterMachineEx", "sa(sv)", &["n", "0"], Some("register-machine")),
    ("UnregisterMachine", "s", &["NAME"], Some("manage-machines")),
    ("TerminateMachine", "s", &["NAME"], Some("manage-machines")),
    ("KillMachine", "ssi", &["NAME", "leader", "9"], Some("manage-machines")),
    ("GetMachineSSHInfo", "s", &["NAME"], Some("inspect-machines")),
    ("GetMachineOSRelease", "s", &["NAME"], Some("inspect-machines")),
    ("OpenMachinePTY", "s", &["NAME"], Some("open-pty")),
    ("OpenMachineLogin", "s", &["NAME"], Some("login")),
    ("OpenMachineShell", "sssasas", &["NAME", "", "", "0", "0"], Some("shell")),
    ("BindMountMachine", "sssbb", &["NAME", "/etc", "/opt", "no", "no"], Some("manage-machines")),
    ("CopyFromMachine", "sss", &["NAME", "/etc/passwd", "/tmp/x"], Some("manage-machines")),
    ("CopyToMachine", "sss", &["NAME", "/etc/passwd", "/tmp/x"], Some("manage-machines")),
    ("CopyFromMachineWithFlags", "ssst", &["NAME", "/etc/passwd", "/tmp/x", "0"], Some("manage-machines")),
    ("CopyToMachineWithFlags", "ssst", &["NAME", "/etc/passwd", "/tmp/x", "0"], Some("manage-machines")),
    ("OpenMachineRootDirectory", "s", &["NAME"], Some("manage-machines")),
    ("SetPoolLimit", "t", &["1"], Some("manage-images")),
];

pub const OF_MACHINE: &[Method] = &[
    ("GetAddresses", "", &[], None),
    ("GetUIDShift", "", &[], None),
    ("Terminate", "", &[], Some("manage-machines")),
    ("Kill", "si", &["leader", "9"], Some("manage-machines")),
    ("GetSSHInfo", "", &[], Some("inspect-machines")),
    ("GetOSRelease", "", &[], Some("inspect-machines")),
    ("OpenPTY", "", &[], Some("open-pty")),
    ("OpenLogin", "", &[], Some("login")),
    ("OpenShell", "ssasas", &["", "", "0", "0"], Some("shell")),
    ("BindMount", "ssbb", &["/etc", "/opt", "no", "no"], Some("manage-machines")),
    ("CopyFrom", "ss", &["/etc/passwd", "/tmp/x"], Some("manage-machines")),
    ("CopyTo", "ss", &["/etc/passwd", "/tmp/x"], Some("manage-machines")),
    ("CopyFromWithFlags", "sst", &["/etc/passwd", "/tmp/x", "0"], Some("manage-machines")),
    ("CopyToWithFlags", "sst", &["/etc/passwd", "/tmp/x", "0"], Some("manage-machines")),
    ("OpenRootDirectory", "", &[], Some("manage-machines")),
];

/// The bus as it is shipped for, a manager, and a machine that is up.
struct Scene {
    machine: Machine,
    manager: Process,
    bus: Bus,
}

impl Scene {
    fn new(context: &Context) -> Result<Self, Stop> {
        let bus = Bus::strict(context)?;
        let manager = bus.manager(&[])?;
        let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
        machine.ready()?;
        Ok(Self { bus, manager, machine })
    }

    fn objects(&self) -> [(String, &'static str, &'static [Method]); 2] {
        [
            (PATH.to_owned(), "org.freedesktop.machine1.Manager", OF_MANAGER),
            (
                format!("{PATH}/machine/{}", encode(&self.machine.name)),
                "org.freedesktop.machine1.Machine",
                OF_MACHINE,
            ),
        ]
    }

    fn call(&self, path: &str, interface: &str, method: &Method, options: &[&str]) -> Result<Ended, Stop> {
        let leader = self.machine.state()?.leader.to_string();
        let arguments = method.2.iter().map(|argument| match *argument {
            "NAME" => self.machine.name.as_str(),
            "LEADER" => leader.as_str(),
            other => other,
        });
        let mut command = self.bus.command_of_nobody("busctl");
        command.arg("--system").args(options).args(["call", "--", NAME, path, interface, method.0]);
        let signature = Some(method.1).filter(|signature| !signature.is_empty());
        Ok(run(command.args(signature).args(arguments)))
    }

    fn over(mut self) -> TestResult {
        self.machine.stop()?;
        self.manager.signal(rustix::process::Signal::TERM.as_raw());
        self.manager.wait(PATIENCE).ok_or("the manager does not end")?;
        Ok(())
    }
}

/// The methods that the object says it has.
fn introspected(scene: &Scene, path: &str, interface: &str) -> Result<BTreeSet<String>, Stop> {
    let mut command = scene.bus.command_of_nobody("busctl");
    let said =
        run(command.args(["--system", "introspect", "--no-legend", "--no-pager", NAME, path, interface]));
    let said = said.ok()?;
    let methods = said.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "method", ..] => Some(name.trim_start_matches('.').to_owned()),
        _ => None,
    });
    Ok(methods.collect())
}

fn every_method(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    for (path, interface, methods) in scene.objects() {
        let listed: BTreeSet<String> = methods.iter().map(|method| method.0.to_owned()).collect();
        let of_images: BTreeSet<String> = OF_IMAGES.map(str::to_owned).into();
        let there: BTreeSet<String> = &introspected(&scene, &path, interface)? - &of_images;
        assert_eq!(there, listed, "{interface}");
        for method in methods {
            let said = scene.call(&path, interface, method, &[])?;
            let asked = polkit.asked();
            let Some(action) = method.3 else {
                assert!(!said.stderr.contains("denied"), "{}: {}", method.0, said.stderr);
                assert_eq!(asked, [], "{}", method.0);
                continue;
            };
            assert_eq!(
                (said.status, said.stderr.as_str()),
                (1, "Call failed: Access denied\n"),
                "{}",
                method.0
            );
            let actions: Vec<&str> = asked.iter().map(|asked| asked.action.as_str()).collect();
            assert_eq!(actions, [format!("{NAME}.{action}")], "{}", method.0);
            assert_eq!((asked[0].subject.as_str(), asked[0].interactive), ("system-bus-name", true));
            let machine = match action {
                "create-machine" | "register-machine" => "n",
                "manage-images" => "",
                _ => &scene.machine.name,
            };
            assert_eq!(asked[0].details.get("machine").map(String::as_str), Some(machine), "{}", method.0);
        }
    }
    // Nothing of it was done.
    assert_eq!(scene.machine.says("ls /tmp")?, "");
    scene.over()
}

fn allowed(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    let [(manager, interface, _), _] = scene.objects();
    let shell: Method =
        ("OpenMachineShell", "sssasas", &["NAME", "root", "/bin/sh", "2", "sh", "-l", "0"], None);
    // Who may be asked, and is not to be.
    let quietly = ["--allow-interactive-authorization=no"];
    let said = scene.call(&manager, interface, &shell, &quietly)?;
    assert_eq!(said.stderr, "Call failed: Interactive authentication required.\n");
    let asked = polkit.asked();
    assert_eq!(asked.iter().map(|asked| asked.interactive).collect::<Vec<_>>(), [false]);
    // One action opens its own doors alone.
    polkit.allow(&["org.freedesktop.machine1.shell"]);
    let said = scene.call(&manager, interface, &shell, &[])?.ok()?;
    assert_eq!(said, "hs 4 \"/dev/pts/1\"\n");
    let details = [("machine", scene.machine.name.as_str()), ("program", "/bin/sh -l"), ("user", "root")];
    let details = details.iter().chain([&("verb", "shell")]);
    let details = details.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(
        polkit.asked(),
        [Asked {
            action: "org.freedesktop.machine1.shell".to_owned(),
            subject: "system-bus-name".to_owned(),
            details,
            interactive: true,
        }]
    );
    let login: Method = ("OpenMachineLogin", "s", &["NAME"], None);
    assert_eq!(scene.call(&manager, interface, &login, &[])?.stderr, "Call failed: Access denied\n");
    // With leave to register machines, it is still of one's own processes. (busctl has its own words for all that is denied.)
    polkit.allow(&["org.freedesktop.machine1.register-machine", "org.freedesktop.machine1.manage-machines"]);
    let register: Method = ("RegisterMachine", "sayssus", &["n", "0", "", "", "LEADER", ""], None);
    let said = scene.call(&manager, interface, &register, &[])?;
    assert_eq!(said.stderr, "Call failed: Access denied\n");
    let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
    assert_eq!(asked.last().map(String::as_str), Some("org.freedesktop.machine1.register-machine"));
    let own: Method = ("RegisterMachine", "sayssus", &["n", "0", "", "", "0", ""], None);
    let said = scene.call(&manager, interface, &own, &[])?.ok()?;
    assert_eq!(said, format!("o \"{PATH}/machine/n\"\n"));
    let terminate: Method = ("TerminateMachine", "s", &["NAME"], None);
    scene.call(&manager, interface, &terminate, &[])?.ok()?;
    let mut scene = scene;
    scene.machine.wait()?;
    scene.manager.signal(rustix::process::Signal::TERM.as_raw());
    scene.manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// Who has registered a machine may end it and signal it, as with systemd-machined 262; what mounts and copies is asked for still, and
/// others' machines are others'.
fn owner(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    let manager = "org.freedesktop.machine1.Manager";
    let own = format!("{}-own", context.prefix);
    let call = |words: &[&str]| {
        let mut command = scene.bus.command_of_nobody("busctl");
        run(command.args(["--system", "call", "--", NAME, PATH, manager]).args(words))
    };
    let mut sleep = std::process::Command::new("setpriv");
    sleep.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "600"]);
    let mut leader = Process::spawn(sleep.stdin(std::process::Stdio::null()));
    let pid = leader.pid().to_string();
    let is_nobodys = || {
        std::fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| status.contains("Uid:\t65534"))
    };
    while !is_nobodys() {
        std::thread::yield_now();
    }
    polkit.allow(&["org.freedesktop.machine1.register-machine"]);
    call(&["RegisterMachine", "sayssus", &own, "0", "lab", "", &pid, ""]).ok()?;
    polkit.allow(&[]);
    polkit.asked();
    call(&["KillMachine", "ssi", &own, "leader", "18"]).ok()?;
    call(&["UnregisterMachine", "s", &own]).ok()?;
    assert_eq!(polkit.asked(), []);
    // One of root's is not its to end, whose process it may be.
    let root =
        scene.bus.call(&[NAME, PATH, manager, "RegisterMachine", "sayssus", &own, "0", "lab", "", &pid, ""]);
    root.ok()?;
    assert_eq!(call(&["TerminateMachine", "s", &own]).stderr, "Call failed: Access denied\n");
    scene.bus.call(&[NAME, PATH, manager, "UnregisterMachine", "s", &own]).ok()?;
    polkit.allow(&["org.freedesktop.machine1.register-machine"]);
    call(&["RegisterMachine", "sayssus", &own, "0", "lab", "", &pid, ""]).ok()?;
    polkit.allow(&[]);
    polkit.asked();
    for words in [
        &["OpenMachineRootDirectory", "s", own.as_str()][..],
        &["CopyFromMachine", "sss", &own, "/etc/passwd", "/tmp/x"],
        &["BindMountMachine", "sssbb", &own, "/etc", "/opt", "no", "no"],
        &["TerminateMachine", "s", &scene.machine.name],
    ] {
        assert_eq!(call(words).stderr, "Call failed: Access denied\n", "{words:?}");
        let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
        assert_eq!(asked, ["org.freedesktop.machine1.manage-machines"], "{words:?}");
    }
    call(&["TerminateMachine", "s", &own]).ok()?;
    assert_eq!(polkit.asked(), []);
    leader.wait(PATIENCE).ok_or("it does not end")?;
    scene.over()
}

fn without_polkit(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    for (path, interface, methods) in scene.objects() {
        for method in
            methods.iter().filter(|method| ["KillMachine", "Kill", "GetUIDShift"].contains(&method.0))
        {
            let said = scene.call(&path, interface, method, &[])?;
            let expected = if method.3.is_some() { "Call failed: Access denied\n" } else { "" };
            assert_eq!(said.stderr, expected, "{}", method.0);
        }
    }
    // What everybody may see.
    let listed = run(scene.bus.command_of_nobody("machinectl").args(["list", "--no-legend"])).ok()?;
    assert!(listed.starts_with(&format!("{} container spinney", scene.machine.name)), "{listed}");
    let shown = run(scene.bus.command_of_nobody("machinectl").args(["show", &scene.machine.name])).ok()?;
    assert!(shown.contains("State=running"), "{shown}");
    scene.over()
}

/// A manager that would end for want of work waits for the answer of a person.
fn slow_polkit(context: &Context) -> TestResult {
    let bus = Bus::strict(context)?;
    let polkit = Polkit::start(&bus)?;
    polkit.delay(Duration::from_millis(600));
    polkit.allow(&["org.freedesktop.machine1.manage-images"]);
    let mut manager = bus.manager(&["--exit-idle-time=100ms"])?;
    let words =
        ["--system", "call", NAME, PATH, "org.freedesktop.machine1.Manager", "SetPoolLimit", "t", "1"];
    let said = run(bus.command_of_nobody("busctl").args(words));
    assert_eq!(said.stderr, "Call failed: Images have no limit in common, and get none of 1 bytes.\n");
    assert_eq!(manager.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    Ok(())
}
