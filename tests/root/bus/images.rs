//! Images as systemd's clients see, change and remove them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use spinney::manager::object_path::encode;

use super::fixture::Bus;
use super::polkit::Polkit;
use crate::command::{Ended, PATIENCE, Process, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

const NAME: &str = "org.freedesktop.machine1";
const PATH: &str = "/org/freedesktop/machine1";
const MANAGER: [&str; 3] = [NAME, PATH, "org.freedesktop.machine1.Manager"];
const IMAGE: &str = "org.freedesktop.machine1.Image";

/// Where images are.
const POOL: &str = "/var/lib/machines";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 8] = [
        ("listed", listed),
        ("shown", shown),
        ("changed", changed),
        ("in_use", in_use),
        ("cleaned", cleaned),
        ("objects", objects),
        ("refused", refused),
        ("access", access),
    ];
    rows.map(|(name, test)| Test::new(format!("{}images::{name}", super::TIER), test)).into()
}

/// Images of the test's own, which go with it, and the pool with them if it was not there.
pub struct Pool {
    prefix: String,
    made: bool,
}

impl Pool {
    pub fn new(context: &Context) -> Result<Self, Stop> {
        let made = !Path::new(POOL).exists();
        fs::create_dir_all(POOL)?;
        Ok(Self { prefix: context.prefix.clone(), made })
    }

    /// The name of the image that the test calls `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(POOL).join(self.name(name))
    }

    /// A small tree that says what it is.
    pub fn tree(&self, name: &str) -> Result<PathBuf, Stop> {
        let tree = self.path(name);
        fs::create_dir_all(tree.join("etc"))?;
        fs::create_dir_all(tree.join("usr"))?;
        fs::write(tree.join("etc/os-release"), "ID=acme\nPRETTY_NAME=\"Acme \\\"1\\\"\"\n")?;
        fs::write(tree.join("etc/machine-id"), "00112233445566778899aabbccddeeff\n")?;
        fs::write(tree.join("etc/hostname"), "# none\nweb.example.org\n")?;
        fs::write(tree.join("etc/machine-info"), "PRETTY_HOSTNAME=\"A Web\"\nDEPLOYMENT=test\n")?;
        Ok(tree)
    }

    /// A disk image with nothing on it.
    pub fn disk(&self, name: &str, size: u64) -> Result<PathBuf, Stop> {
        let path = Path::new(POOL).join(format!("{}.raw", self.name(name)));
        fs::File::create(&path)?.set_len(size)?;
        Ok(path)
    }

    /// What is in the pool, the test's own parts without their prefix.
    pub fn entries(&self) -> BTreeSet<String> {
        let own = format!("{}-", self.prefix);
        let entries = fs::read_dir(POOL).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap().replace(&own, "")).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for entry in fs::read_dir(POOL).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&self.prefix) {
                let _ = run(std::process::Command::new("chattr").arg("-i").arg(entry.path()));
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
        let _ = fs::remove_dir("/var/lib/spinney/origins");
        let _ = fs::remove_dir_all("/var/lib/spinney");
        if self.made {
            let _ = fs::remove_dir(POOL);
        }
    }
}

/// A bus, a manager, and no images so far.
pub struct Scene {
    pub bus: Bus,
    pub manager: Process,
    pub pool: Pool,
}

impl Scene {
    pub fn new(context: &Context) -> Result<Self, Stop> {
        let pool = Pool::new(context)?;
        let bus = Bus::start(context)?;
        let manager = bus.manager(&[])?;
        Ok(Self { bus, manager, pool })
    }

    /// machinectl, with `@` before names of images of the test's.
    pub fn machinectl(&self, arguments: &[&str]) -> Ended {
        let named: Vec<String> = arguments.iter().map(|argument| self.named(argument)).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        self.bus.machinectl(&named)
    }

    pub fn named(&self, argument: &str) -> String {
        argument.strip_prefix('@').map_or(argument.to_owned(), |name| self.pool.name(name))
    }

    pub fn call(&self, arguments: &[&str]) -> Ended {
        let named: Vec<String> = arguments.iter().map(|argument| self.named(argument)).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        self.bus.call(&[&MANAGER[..], &named].concat())
    }

    /// The first `columns` of machinectl's list, a line each, names without the prefix.
    pub fn rows(&self, arguments: &[&str], columns: usize) -> Result<Vec<String>, Stop> {
        let listed = self.bus.machinectl(arguments).ok()?;
        let own = format!("{}-", self.pool.prefix);
        let row = |line: &str| {
            line.split_whitespace().take(columns).collect::<Vec<_>>().join(" ").replace(&own, "")
        };
        Ok(listed.lines().map(row).collect())
    }

    pub fn over(mut self) -> TestResult {
        self.manager.signal(rustix::process::Signal::TERM.as_raw());
        self.manager.wait(PATIENCE).ok_or("the manager does not end")?;
        Ok(())
    }
}

fn listed(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let none = scene.machinectl(&["list-images"]).ok()?;
    assert_eq!(none, "No images.\n");
    scene.pool.tree("web")?;
    let disk = scene.pool.disk("disk", 8 << 20)?;
    fs::write(&disk, vec![1; 4096])?;
    fs::File::options().write(true).open(&disk)?.set_len(8 << 20)?;
    fs::create_dir(Path::new(POOL).join(format!("{}.mstack", scene.pool.name("layers"))))?;
    symlink(context.tree("busybox")?, scene.pool.path("link"))?;
    let hidden = format!(".tar-http:x-{}", scene.pool.prefix);
    fs::create_dir(Path::new(POOL).join(&hidden))?;
    fs::create_dir(Path::new(POOL).join(format!(".#{}.0123456789abcdef", scene.pool.name("half"))))?;
    fs::create_dir(Path::new(POOL).join(format!("{} x", scene.pool.prefix)))?;
    fs::remove_dir(Path::new(POOL).join(format!("{} x", scene.pool.prefix)))?;
    assert_eq!(
        scene.rows(&["list-images", "--no-legend"], 3)?,
        ["disk raw no", "layers mstack no", "link directory no", "web directory no"]
    );
    let all = scene.rows(&["list-images", "--no-legend", "--all"], 2)?;
    assert_eq!(
        all,
        [
            ".host directory",
            &format!("{hidden} directory"),
            "disk raw",
            "layers mstack",
            "link directory",
            "web directory"
        ]
    );
    // What it is sent by: all ones where nobody counts.
    let said = scene.call(&["ListImages"]).ok()?;
    let web = scene.pool.name("web");
    assert!(said.starts_with("a(ssbttto) 6 "), "{said}");
    assert!(said.contains(&format!("18446744073709551615 \"{PATH}/image/{}\"", encode(&web))), "{said}");
    scene.over()
}

fn shown(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let tree = scene.pool.tree("web")?;
    // All properties, which it asks for without saying of which interface.
    let shown = scene.machinectl(&["show-image", "@web"]).ok()?;
    for line in [
        format!("Name={}", scene.pool.name("web")),
        format!("Path={}", tree.display()),
        "Type=directory".into(),
        "ReadOnly=no".into(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in {shown}");
    }
    let status = scene.machinectl(&["image-status", "@web"]).ok()?;
    for part in [
        format!("{}\n", scene.pool.name("web")),
        "    Type: directory\n".to_owned(),
        format!("    Path: {}\n", tree.display()),
        "Hostname: web.example.org\n".to_owned(),
        "Machine ID: 00112233445566778899aabbccddeeff\n".to_owned(),
        "OS: Acme \"1\"\n".to_owned(),
        "RO: writable\n".to_owned(),
    ] {
        assert!(status.contains(&part), "{part:?} is not in {status}");
    }
    let said = scene.call(&["GetImageMachineInfo", "s", "@web"]).ok()?;
    assert_eq!(said, "a{ss} 2 \"DEPLOYMENT\" \"test\" \"PRETTY_HOSTNAME\" \"A Web\"\n".to_owned());
    // A hostile tree says nothing of the host.
    let evil = scene.pool.tree("evil")?;
    for file in ["hostname", "machine-id", "machine-info", "os-release"] {
        fs::remove_file(evil.join("etc").join(file))?;
        symlink(format!("/etc/{file}"), evil.join("etc").join(file))?;
    }
    assert_eq!(scene.call(&["GetImageHostname", "s", "@evil"]).ok()?, "s \"\"\n");
    assert_eq!(scene.call(&["GetImageMachineID", "s", "@evil"]).ok()?, "ay 0\n");
    assert_eq!(scene.call(&["GetImageOSRelease", "s", "@evil"]).ok()?, "a{ss} 0\n");
    // The host, as systemd-machined has it.
    let host = scene.machinectl(&["show-image", ".host", "-p", "Path", "--value"]).ok()?;
    assert_eq!(host, "/\n");
    let pool = scene.machinectl(&["image-status"]).ok()?;
    assert!(pool.contains(&format!("Path: {POOL}\n")), "{pool}");
    scene.over()
}

fn changed(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let tree = scene.pool.tree("web")?;
    scene.machinectl(&["clone", "@web", "@copy"]).ok()?;
    scene.machinectl(&["clone", "--read-only", "@web", "@golden"]).ok()?;
    let list = |scene: &Scene| scene.rows(&["list-images", "--no-legend"], 3);
    assert_eq!(list(&scene)?, ["copy directory no", "golden directory yes", "web directory no"]);
    // A clone needs nothing of what it is of.
    fs::write(tree.join("etc/hostname"), "changed\n")?;
    scene.machinectl(&["remove", "@web"]).ok()?;
    assert_eq!(
        fs::read_to_string(scene.pool.path("copy").join("etc/hostname"))?,
        "# none\nweb.example.org\n"
    );
    scene.machinectl(&["rename", "@copy", "@other"]).ok()?;
    scene.machinectl(&["read-only", "@other"]).ok()?;
    assert_eq!(list(&scene)?, ["golden directory yes", "other directory yes"]);
    scene.machinectl(&["read-only", "@golden", "no"]).ok()?;
    assert_eq!(list(&scene)?, ["golden directory no", "other directory yes"]);
    // The mark is no lock.
    scene.machinectl(&["remove", "@other", "@golden"]).ok()?;
    assert_eq!(scene.pool.entries(), BTreeSet::new());
    scene.pool.disk("disk", 1 << 20)?;
    scene.machinectl(&["clone", "@disk", "@disk2"]).ok()?;
    scene.machinectl(&["read-only", "@disk2", "yes"]).ok()?;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(scene.pool.entries(), names(&["disk.raw", "disk2.raw"]));
    scene.machinectl(&["remove", "@disk", "@disk2"]).ok()?;
    assert_eq!(scene.pool.entries(), names(&[]));
    scene.over()
}

/// An image that a machine runs from: it stays as it is, and can be cloned.
fn in_use(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let image = scene.pool.path("used");
    run(std::process::Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&image)).ok()?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-M", &name, "--console=read-only", "--notify-ready"]).arg(&image);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    machine.says("echo kept > /etc/kept")?;
    for arguments in [&["remove", "@used"][..], &["rename", "@used", "@other"], &["read-only", "@used"]] {
        let said = scene.machinectl(arguments);
        assert_eq!(said.status, 1, "{arguments:?}");
        assert!(said.stderr.contains("is in use: "), "{}", said.stderr);
    }
    let named = scene.call(&["RemoveImage", "s", "@used"]);
    assert!(named.stderr.contains("is in use"), "{named:?}");
    scene.machinectl(&["clone", "@used", "@copy"]).ok()?;
    assert_eq!(fs::read_to_string(scene.pool.path("copy").join("etc/kept"))?, "kept\n");
    assert_eq!(machine.says("echo on")?, "on");
    let cleaned = scene.machinectl(&["clean", "--all"]);
    assert_eq!(
        cleaned.stderr,
        format!("Removed image '{}'\nRemoved 1 images in total.\n", scene.pool.name("copy"))
    );
    machine.stop()?;
    scene.machinectl(&["remove", "@used"]).ok()?;
    scene.over()
}

fn cleaned(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let nothing = scene.machinectl(&["clean"]);
    assert!(nothing.status == 0 && nothing.stderr.starts_with("Removed 0 images in total."), "{nothing:?}");
    scene.pool.tree("web")?;
    scene.pool.disk("disk", 1 << 20)?;
    let hidden = format!(".raw-http:x-{}.raw", scene.pool.prefix);
    let left = format!(".#{}.0123456789abcdef", scene.pool.name("half"));
    fs::write(Path::new(POOL).join(&hidden), vec![1; 8192])?;
    fs::create_dir(Path::new(POOL).join(&left))?;
    let said = scene.call(&["CleanPool", "s", "hidden"]).ok()?;
    assert_eq!(said, format!("a(st) 2 \"{left}\" 18446744073709551615 \"{hidden}\" 18446744073709551615\n"));
    scene.machinectl(&["read-only", "@web"]).ok()?;
    let said = scene.call(&["CleanPool", "s", "all"]).ok()?;
    let unknown = u64::MAX;
    assert_eq!(
        said,
        format!("a(st) 2 \"{}\" 0 \"{}\" {unknown}\n", scene.pool.name("disk"), scene.pool.name("web"))
    );
    assert_eq!(scene.pool.entries(), BTreeSet::new());
    scene.over()
}

/// They come and go with the images, whoever makes and removes those.
fn objects(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let nodes = || -> Result<BTreeSet<String>, Stop> {
        let tree = run(scene.bus.command("busctl").args(["--system", "--list", "tree", NAME])).ok()?;
        let below = |line: &str| line.strip_prefix(&format!("{PATH}/image/")).map(str::to_owned);
        Ok(tree.lines().filter_map(below).collect())
    };
    let expect = |expected: &[&str]| -> TestResult {
        let expected: BTreeSet<String> = expected.iter().map(|name| encode(&scene.named(name))).collect();
        let deadline = std::time::Instant::now() + PATIENCE;
        // The manager is told by inotify: there is nothing for us to wait for.
        loop {
            let now = nodes()?;
            if now == expected {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                return Err(format!("{now:?}, not {expected:?}").into());
            }
        }
    };
    expect(&[".host"])?;
    let tree = scene.pool.tree("web")?;
    expect(&[".host", "@web"])?;
    fs::rename(&tree, scene.pool.path("other"))?;
    expect(&[".host", "@other"])?;
    fs::remove_dir_all(scene.pool.path("other"))?;
    expect(&[".host"])?;
    // Of one that has come this moment, the object is there when it is asked for.
    for _ in 0..20 {
        scene.pool.tree("now")?;
        let said = scene.call(&["GetImage", "s", "@now"]).ok()?;
        let path = said.trim_end().trim_start_matches("o \"").trim_end_matches('"').to_owned();
        let property = |name: &str| {
            run(scene.bus.command("busctl").args(["--system", "get-property", NAME, &path, IMAGE, name]))
        };
        assert_eq!(property("Type").ok()?, "s \"directory\"\n");
        fs::remove_dir_all(scene.pool.path("now"))?;
        assert_eq!(property("Type").status, 1);
        let gone = scene.call(&["GetImage", "s", "@now"]);
        assert_eq!(gone.stderr, format!("Call failed: No image '{}' known\n", scene.pool.name("now")));
    }
    // The methods of an object are those of the manager.
    scene.pool.tree("web")?;
    let path = format!("{PATH}/image/{}", encode(&scene.pool.name("web")));
    let call = |arguments: &[&str]| scene.bus.call(&[&[NAME, &path, IMAGE], arguments].concat());
    assert_eq!(call(&["GetHostname"]).ok()?, "s \"web.example.org\"\n");
    assert_eq!(call(&["GetOSRelease"]).ok()?, "a{ss} 2 \"ID\" \"acme\" \"PRETTY_NAME\" \"Acme \\\"1\\\"\"\n");
    assert!(call(&["GetMachineID"]).ok()?.starts_with("ay 16 0 17 34 "));
    assert!(call(&["GetMachineInfo"]).ok()?.starts_with("a{ss} 2 "));
    call(&["Clone", "sb", &scene.pool.name("copy"), "no"]).ok()?;
    call(&["MarkReadOnly", "b", "yes"]).ok()?;
    assert_eq!(call(&["SetLimit", "t", "1"]).status, 1);
    call(&["Rename", "s", &scene.pool.name("renamed")]).ok()?;
    expect(&[".host", "@copy", "@renamed"])?;
    let path = format!("{PATH}/image/{}", encode(&scene.pool.name("renamed")));
    scene.bus.call(&[NAME, &path, IMAGE, "Remove"]).ok()?;
    expect(&[".host", "@copy"])?;
    scene.over()
}

/// Method, arguments, the error's name, and what is said.
fn refused(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    scene.pool.tree("web")?;
    scene.pool.tree("other")?;
    let long = "x".repeat(100_000);
    let unknown = |name: &str| format!("No image '{name}' known");
    let (no_image, invalid) =
        ("org.freedesktop.machine1.NoSuchImage", "org.freedesktop.DBus.Error.InvalidArgs");
    let rows: &[(&[&str], &str, String)] = &[
        (&["GetImage", "s", "nobody"], no_image, unknown("nobody")),
        (&["GetImage", "s", ""], no_image, unknown("")),
        (&["RemoveImage", "s", "../../etc"], no_image, unknown("../../etc")),
        (&["RemoveImage", "s", &long], no_image, unknown(&"x".repeat(64))),
        (&["RemoveImage", "s", "a\u{1b}[31m"], no_image, unknown("a[31m")),
        (&["RemoveImage", "s", ".#spinney"], no_image, unknown(".#spinney")),
        (
            &["RemoveImage", "s", ".host"],
            "System.Error.EROFS",
            "The host's own tree is no image to be changed".into(),
        ),
        (&["RenameImage", "ss", "@web", "a/b"], invalid, "Image name 'a/b' is invalid.".into()),
        (&["RenameImage", "ss", "@web", ".host"], invalid, "Image name '.host' is invalid.".into()),
        (
            &["RenameImage", "ss", "@web", "@other"],
            "org.freedesktop.DBus.Error.FileExists",
            "there is an image".into(),
        ),
        (
            &["CloneImage", "ssb", "@web", "@other", "no"],
            "org.freedesktop.DBus.Error.FileExists",
            "there is an image".into(),
        ),
        (&["CloneImage", "ssb", "@web", "", "no"], invalid, "Image name '' is invalid.".into()),
        (&["CloneImage", "ssb", "nobody", "@x", "no"], no_image, unknown("nobody")),
        (&["MarkImageReadOnly", "sb", "nobody", "yes"], no_image, unknown("nobody")),
        (&["GetImageOSRelease", "s", "nobody"], no_image, unknown("nobody")),
        (
            &["SetImageLimit", "st", "@web", "1000"],
            "org.freedesktop.DBus.Error.NotSupported",
            "cannot be limited".into(),
        ),
        (&["SetImageLimit", "st", "@web", "9223372036854775808"], invalid, "New limit out of range".into()),
        (&["SetImageLimit", "st", "nobody", "1"], no_image, unknown("nobody")),
        (
            &["SetPoolLimit", "t", "1000"],
            "org.freedesktop.DBus.Error.NotSupported",
            "Images have no limit in common".into(),
        ),
        (&["CleanPool", "s", "everything"], invalid, "Unknown mode".into()),
    ];
    for (arguments, name, text) in rows {
        let said = scene.call(arguments);
        assert_eq!(said.status, 1, "{arguments:?}");
        assert!(said.stderr.contains(text.as_str()), "{:?}: {}", arguments.first(), said.stderr);
        let named: Vec<String> = arguments.iter().map(|argument| scene.named(argument)).collect();
        assert_eq!(error_name(&scene.bus, &MANAGER, &named)?, *name, "{:?}", arguments.first());
    }
    let said = scene.machinectl(&["set-limit", "@web", "1G"]);
    assert_eq!(
        (said.status, said.stderr),
        (1, format!("Could not set limit: Image {} cannot be limited\n", scene.pool.name("web")))
    );
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 1)?, ["other", "web"]);
    scene.over()
}

/// The name of the error that a call comes back with: dbus-send says it, which busctl does not.
pub fn error_name(bus: &Bus, object: &[&str; 3], call: &[String]) -> Result<String, Stop> {
    let (method, arguments) = call.split_first().ok_or("no method")?;
    let signature = arguments.first().map(String::as_str).unwrap_or_default();
    let typed = signature.chars().zip(arguments.iter().skip(1)).map(|(kind, value)| match kind {
        's' => format!("string:{value}"),
        'b' => format!("boolean:{}", value == "yes"),
        't' => format!("uint64:{value}"),
        'u' => format!("uint32:{value}"),
        other => panic!("no way to send {other}"),
    });
    let [destination, path, interface] = object;
    let mut command = bus.command("dbus-send");
    command.args(["--system", "--print-reply", &format!("--dest={destination}"), path]);
    let said = run(command.arg(format!("{interface}.{method}")).args(typed));
    let name = said.stderr.strip_prefix("Error ").and_then(|rest| rest.split_once(':'));
    name.map(|(name, _)| name.to_owned()).ok_or_else(|| format!("{said:?}").into())
}

/// A method of the manager and of an image's object, arguments after the name, and the last word of its action.
pub type Method = (&'static str, &'static str, &'static str, &'static [&'static str], Option<&'static str>);

pub const METHODS: &[Method] = &[
    ("GetImage", "", "", &[], None),
    ("RemoveImage", "Remove", "", &[], Some("manage-images")),
    ("RenameImage", "Rename", "s", &["@new"], Some("manage-images")),
    ("CloneImage", "Clone", "sb", &["@new", "no"], Some("manage-images")),
    ("MarkImageReadOnly", "MarkReadOnly", "b", &["yes"], Some("manage-images")),
    ("SetImageLimit", "SetLimit", "t", &["1"], Some("manage-images")),
    ("GetImageHostname", "GetHostname", "", &[], Some("inspect-images")),
    ("GetImageMachineID", "GetMachineID", "", &[], Some("inspect-images")),
    ("GetImageMachineInfo", "GetMachineInfo", "", &[], Some("inspect-images")),
    ("GetImageOSRelease", "GetOSRelease", "", &[], Some("inspect-images")),
];

/// What a user who is not root may do.
fn access(context: &Context) -> TestResult {
    let pool = Pool::new(context)?;
    let bus = Bus::strict(context)?;
    let manager = bus.manager(&[])?;
    let scene = Scene { bus, manager, pool };
    scene.pool.tree("web")?;
    let image = scene.pool.name("web");
    let object = format!("{PATH}/image/{}", encode(&image));
    let polkit = Polkit::start(&scene.bus)?;
    let call = |path: &str, interface: &str, words: &[&str]| {
        let mut command = scene.bus.command_of_nobody("busctl");
        command.args(["--system", "call", "--", NAME, path, interface]);
        run(command.args(words.iter().map(|word| scene.named(word))))
    };
    scene.call(&["GetImage", "s", "@web"]).ok()?;
    for allowed in [None, Some("inspect-images"), Some("manage-images")] {
        let action = allowed.map(|word| format!("{NAME}.{word}"));
        polkit.allow(&action.iter().map(String::as_str).collect::<Vec<_>>());
        for (of_manager, of_image, signature, arguments, needs) in METHODS {
            let of_all = format!("s{signature}");
            let words: Vec<&str> = [&[*of_manager, &of_all, "@web"], *arguments].concat();
            let mut calls = vec![(PATH, MANAGER[2], words)];
            if !of_image.is_empty() {
                let with = if signature.is_empty() { vec![] } else { vec![*signature] };
                calls.push((&object, IMAGE, [&[*of_image], &with[..], arguments].concat()));
            }
            for (path, interface, words) in calls {
                let may = needs.is_none() || *needs == allowed;
                if may && *needs == Some("manage-images") {
                    // It would be done.
                    continue;
                }
                let said = call(path, interface, &words);
                assert_eq!(said.stderr == "Call failed: Access denied\n", !may, "{words:?}: {said:?}");
                let asked = polkit.asked();
                let actions: Vec<String> = asked.iter().map(|asked| asked.action.clone()).collect();
                assert_eq!(actions, needs.iter().map(|word| format!("{NAME}.{word}")).collect::<Vec<_>>());
                for asked in asked {
                    assert_eq!(asked.details.get("image"), Some(&image), "{words:?}");
                }
            }
        }
    }
    polkit.allow(&[]);
    assert_eq!(call(PATH, MANAGER[2], &["CleanPool", "s", "all"]).stderr, "Call failed: Access denied\n");
    let asked = polkit.asked();
    assert_eq!(asked.first().and_then(|asked| asked.details.get("mode")).map(String::as_str), Some("all"));
    polkit.allow(&["org.freedesktop.machine1.manage-images"]);
    call(PATH, MANAGER[2], &["CloneImage", "ssb", "@web", "@new", "no"]).ok()?;
    call(PATH, MANAGER[2], &["CleanPool", "s", "all"]).ok()?;
    assert_eq!(scene.pool.entries(), BTreeSet::new());
    // What everybody may see.
    drop(polkit);
    let listed = run(scene.bus.command_of_nobody("machinectl").args(["list-images"])).ok()?;
    assert_eq!(listed, "No images.\n");
    scene.over()
}
