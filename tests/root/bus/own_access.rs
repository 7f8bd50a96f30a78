//! What a user who is not root may do with our own interfaces: by every method of every object, with a polkit that allows nothing.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use spinney::manager::object_path::encode;
use spinney::manager::own::access::METHODS;
use zbus::{Array, Dict, Fd, OwnedObjectPath, Signature, Structure, Type, Variant};

use super::fixture::Bus;
use super::images::Pool;
use super::own_client::{Client, Refused};
use super::own_images::lasting;
use super::polkit::Polkit;
use crate::command::PATIENCE;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

/// What is said to who could be asked for a password, and has not said that this may be done.
pub const NOT_ALLOWED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// A user who is nobody.
const NOBODY: u32 = 65534;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 2] = [("every_method", every_method), ("allowed", allowed)];
    rows.map(|(name, test)| Test::new(format!("{}own_access::{name}", super::TIER), test)).into()
}

/// Does `work` with a connection of nobody's.
pub fn as_nobody<T: Send>(
    bus: &Bus,
    work: impl FnOnce(&Client) -> Result<T, Stop> + Send,
) -> Result<T, Stop> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Of this thread alone: the bus asks the kernel who has connected.
            rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(NOBODY))?;
            work(&Client::connect(bus)?)
        });
        let panicked = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
            Ok(text) => Stop::from(*text),
            Err(_) => "the thread has panicked".into(),
        };
        thread.join().map_err(panicked)?
    })
}

/// A method and the types of its arguments, as the object says it has them.
type Methods = BTreeMap<String, Vec<String>>;

fn introspected(client: &Client, path: &str, interface: &str) -> Result<Methods, Stop> {
    let xml: String = client.call(path, "org.freedesktop.DBus.Introspectable.Introspect", &())?;
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let mut methods = Methods::new();
    let mut inside = false;
    let mut method = String::new();
    for line in xml.lines().map(str::trim) {
        match line {
            _ if line.starts_with("<interface") => {
                inside = attribute(line, "name").as_deref() == Some(interface)
            }
            _ if !inside => {}
            _ if line.starts_with("<method") => {
                method = attribute(line, "name").ok_or("a method without a name")?;
                methods.insert(method.clone(), Vec::new());
            }
            _ if line.starts_with("<arg") && line.contains("direction=\"in\"") => {
                let of = methods.get_mut(&method).ok_or("an argument of no method")?;
                of.push(attribute(line, "type").ok_or("an argument without a type")?);
            }
            _ => {}
        }
    }
    Ok(methods)
}

/// Some arguments of these types.
pub fn arguments<'a>(types: &[String], fd: &'a std::fs::File) -> Result<Option<Structure<'a>>, Stop> {
    arguments_with("x", types, fd)
}

/// The same; each string is `word`.
pub fn arguments_with<'a>(
    word: &'a str,
    types: &[String],
    fd: &'a std::fs::File,
) -> Result<Option<Structure<'a>>, Stop> {
    let mut builder = Structure::builder();
    for kind in types {
        let value: Variant<'a> = match kind.as_str() {
            "s" => word.into(),
            "b" => false.into(),
            "i" => 9i32.into(),
            "u" => 1u32.into(),
            "t" => 1u64.into(),
            "as" => Array::new(&Signature::Str).into(),
            "ay" => Array::new(&Signature::U8).into(),
            "ai" => Array::new(&Signature::I32).into(),
            "a(sv)" => Array::new(<(String, Variant<'_>) as Type>::SIGNATURE).into(),
            "a{sv}" => Dict::new(&Signature::Str, <Variant<'_> as Type>::SIGNATURE).into(),
            "h" => Fd::from(fd).into(),
            other => return Err(format!("an argument of type {other}").into()),
        };
        builder = builder.append_field(value);
    }
    if types.is_empty() { Ok(None) } else { Ok(Some(builder.build()?)) }
}

fn every_method(context: &Context) -> TestResult {
    let bus = Bus::strict(context)?;
    let mut manager = bus.manager(&[])?;
    let polkit = Polkit::start(&bus)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let root = Client::connect(&bus)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let machine_path = format!("/org/spinney/machine/{}", encode(&machine.name));
    let (one, two, three) = (Fd::from(&null), Fd::from(&null), Fd::from(&null));
    let sleep = (&["sleep", "1000"][..], super::own::Dictionary::new(), one, two, three);
    let job: OwnedObjectPath = root.call(&machine_path, "Machine1.Exec", &sleep)?;
    let pool = Pool::new(context)?;
    pool.tree("image")?;
    let image: OwnedObjectPath = root.call("/org/spinney", "Manager1.GetImage", &pool.name("image"))?;
    let (transfer, writer) = lasting(&root, &pool.name("half"))?;
    let objects = [
        ("org.spinney.Image1", image.as_str()),
        ("org.spinney.Transfer1", transfer.as_str()),
        ("org.spinney.Manager1", "/org/spinney"),
        ("org.spinney.Machine1", &machine_path),
        ("org.spinney.Job1", job.as_str()),
    ];
    let listed: BTreeSet<&str> = METHODS.iter().map(|(interface, _)| *interface).collect();
    assert_eq!(listed, objects.iter().map(|(interface, _)| *interface).collect());
    as_nobody(&bus, |client| {
        for (interface, path) in objects {
            let there = introspected(client, path, interface)?;
            let (_, listed) =
                METHODS.iter().find(|(name, _)| *name == interface).ok_or("no such interface")?;
            let names: BTreeSet<&str> = listed.iter().map(|(method, _)| *method).collect();
            assert_eq!(there.keys().map(String::as_str).collect::<BTreeSet<_>>(), names, "{interface}");
            for (method, action) in *listed {
                // It would wait for the end of what goes on.
                if *method == "Wait" && action.is_none() {
                    continue;
                }
                let types = there.get(*method).map(Vec::as_slice).unwrap_or_default();
                let called = format!("{interface}.{method}");
                let said = match arguments(types, &null)? {
                    Some(arguments) => client.message(path, &called, &arguments),
                    None => client.message(path, &called, &()),
                };
                let Refused(error, _) = said.err().unwrap_or_default();
                let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
                match action {
                    Some(action) => {
                        assert_eq!(error, NOT_ALLOWED, "{called}");
                        assert_eq!(asked, [*action], "{called}");
                    }
                    None => {
                        assert_ne!(error, NOT_ALLOWED, "{called}");
                        assert_eq!(asked, [""; 0], "{called}");
                    }
                }
            }
        }
        Ok(())
    })?;
    // Nothing of it was done.
    assert_eq!(root.property::<String>(transfer.as_str(), "Transfer1", "State")?, "running");
    assert!(pool.path("image").join("etc/hostname").exists());
    drop(writer);
    let _ = root.call::<()>(transfer.as_str(), "Transfer1.Wait", &());
    assert_eq!(machine.says("echo here")?, "here");
    root.call::<()>(job.as_str(), "Job1.Cancel", &())?;
    machine.stop()?;
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// How long a command of this test sleeps, as no other does.
const SECONDS: &str = "1234567";

/// Whether there is a process with this command line.
fn runs(line: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|found| found == line.as_bytes())
}

/// One action opens its own doors alone; who began a job may end it.
fn allowed(context: &Context) -> TestResult {
    let bus = Bus::strict(context)?;
    let mut manager = bus.manager(&[])?;
    let polkit = Polkit::start(&bus)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = format!("/org/spinney/machine/{}", encode(&machine.name));
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    polkit.allow(&["org.spinney.shell"]);
    as_nobody(&bus, |client| {
        let (one, two, three) = (Fd::from(&null), Fd::from(&null), Fd::from(&null));
        let sleep = (&["sleep", SECONDS][..], super::own::Dictionary::new(), one, two, three);
        let job: OwnedObjectPath = client.call(&path, "Machine1.Exec", &sleep)?;
        let [asked] = &polkit.asked()[..] else { return Err("not one question".into()) };
        assert_eq!(asked.action, "org.spinney.shell");
        assert_eq!(asked.details.get("machine"), Some(&machine.name));
        // One that has not begun would be cancelled without a status.
        let deadline = std::time::Instant::now() + PATIENCE;
        while !runs(&format!("sleep\0{SECONDS}\0")) {
            assert!(std::time::Instant::now() < deadline, "it does not begin");
        }
        client.call::<()>(job.as_str(), "Job1.Cancel", &())?;
        let result: super::own::Dictionary = client.call(job.as_str(), "Job1.Wait", &())?;
        assert_eq!(result.len(), 1);
        assert_eq!(polkit.asked(), []);
        let refused = client.call::<()>(&path, "Machine1.Terminate", &()).err().unwrap_or_default();
        assert_eq!(refused.0, NOT_ALLOWED);
        Ok(())
    })?;
    machine.stop()?;
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}
