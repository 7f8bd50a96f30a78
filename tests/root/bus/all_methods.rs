//! No method is left out: what the manager says that it has, on the bus and on its sockets, is what the tables of this tier hold to
//! polkit's word. A method that comes without a row here fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use rustix::process::Signal;
use serde_json::{Value, json};
use spinney::manager::own::access::METHODS as OWN;
use zbus::{Fd, OwnedObjectPath};

use super::described::{interfaces, objects};
use super::fixture::Bus;
use super::images::Pool;
use super::own_access::{NOT_ALLOWED, arguments, as_nobody};
use super::own_client::{Client, Refused};
use super::own_images::lasting;
use super::polkit::Polkit;
use super::{access, images, varlink};
use crate::command::{PATIENCE, Process};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

/// What the manager is called on the bus.
const SERVICES: [&str; 3] = ["org.spinney", "org.freedesktop.machine1", "org.freedesktop.import1"];

const IMPORT1: &str = "org.freedesktop.import1";
const IMPORT_MANAGER: &str = "org.freedesktop.import1.Manager";
const IMPORT_TRANSFER: &str = "org.freedesktop.import1.Transfer";

/// Methods of images that stand in no other table.
const MORE_OF_IMAGES: [(&str, Option<&str>); 2] =
    [("ListImages", None), ("CleanPool", Some("manage-images"))];

/// The last word of the action that each takes.
const IMPORT_METHODS: &[(&str, Option<&str>)] = &[
    ("ImportTar", Some("import")),
    ("ImportTarEx", Some("import")),
    ("ImportRaw", Some("import")),
    ("ImportRawEx", Some("import")),
    ("ImportFileSystem", Some("import")),
    ("ImportFileSystemEx", Some("import")),
    ("ExportTar", Some("export")),
    ("ExportTarEx", Some("export")),
    ("ExportRaw", Some("export")),
    ("ExportRawEx", Some("export")),
    ("PullTar", Some("pull")),
    ("PullTarEx", Some("pull")),
    ("PullRaw", Some("pull")),
    ("PullRawEx", Some("pull")),
    ("PullOci", Some("pull")),
    ("ListTransfers", None),
    ("ListTransfersEx", None),
    ("ListImages", None),
    ("CancelTransfer", Some("cancel")),
];

const TRANSFER_METHODS: &[(&str, Option<&str>)] = &[("Cancel", Some("cancel"))];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] =
        [("on_the_bus", on_the_bus), ("of_transfers", of_transfers), ("by_varlink", by_varlink)];
    rows.map(|(name, test)| Test::new(format!("{}all_methods::{name}", super::TIER), test)).into()
}

/// A manager with an object of each kind.
pub struct Scene {
    pub client: Client,
    pub machine: Machine,
    pub pool: Pool,
    pub transfer: OwnedObjectPath,
    pub bus: Bus,
    writer: std::io::PipeWriter,
    job: OwnedObjectPath,
    manager: Process,
}

impl Scene {
    pub fn new(context: &Context) -> Result<Self, Stop> {
        let bus = Bus::strict(context)?;
        let manager = bus.manager(&[])?;
        let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
        machine.ready()?;
        let client = Client::connect(&bus)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (one, two, three) = (Fd::from(&null), Fd::from(&null), Fd::from(&null));
        let sleep = (&["sleep", "1000"][..], super::own::Dictionary::new(), one, two, three);
        let machine_path =
            format!("/org/spinney/machine/{}", spinney::manager::object_path::encode(&machine.name));
        let job = client.call(&machine_path, "Machine1.Exec", &sleep)?;
        let pool = Pool::new(context)?;
        pool.tree("image")?;
        let _: OwnedObjectPath = client.call("/org/spinney", "Manager1.GetImage", &pool.name("image"))?;
        let (transfer, writer) = lasting(&client, &pool.name("half"))?;
        Ok(Self { client, machine, pool, transfer, bus, writer, job, manager })
    }

    /// All interfaces of all objects of all services.
    pub fn interfaces(&self) -> Result<BTreeMap<String, super::described::Interface>, Stop> {
        let mut all = BTreeMap::new();
        for service in SERVICES {
            for (name, members) in interfaces(&objects(&self.client, service)?) {
                // One connection has all names: who asks for one sees the objects of all.
                let first = all.entry(name.clone()).or_insert_with(|| members.clone());
                assert_eq!(*first, members, "{name} of {service}");
            }
        }
        Ok(all)
    }

    pub fn over(mut self) -> TestResult {
        drop(self.writer);
        let _ = self.client.call::<()>(self.transfer.as_str(), "Transfer1.Wait", &());
        self.client.call::<()>(self.job.as_str(), "Job1.Cancel", &())?;
        self.machine.stop()?;
        self.manager.signal(Signal::TERM.as_raw());
        self.manager.wait(PATIENCE).ok_or("the manager does not end")?;
        Ok(())
    }
}

/// Methods, by interface and name, and the action that each takes.
pub type Actions = BTreeMap<(String, String), Option<String>>;

/// All tables of this tier.
pub fn tables() -> Actions {
    const MANAGER: &str = "org.freedesktop.machine1.Manager";
    let own = OWN.iter().flat_map(|(interface, methods)| {
        methods.iter().map(|(method, action)| (*interface, *method, action.map(str::to_owned)))
    });
    let of_manager = access::OF_MANAGER.iter().map(|method| (MANAGER, method.0, method.3));
    let of_images = images::METHODS.iter().map(|method| (MANAGER, method.0, method.4));
    let more_of_images = MORE_OF_IMAGES.iter().map(|(method, word)| (MANAGER, *method, *word));
    let of_machine = access::OF_MACHINE.iter();
    let of_machine = of_machine.map(|method| ("org.freedesktop.machine1.Machine", method.0, method.3));
    let of_image = images::METHODS.iter().filter(|method| !method.1.is_empty());
    let of_image = of_image.map(|method| ("org.freedesktop.machine1.Image", method.1, method.4));
    let of_import = IMPORT_METHODS.iter().map(|(method, word)| (IMPORT_MANAGER, *method, *word));
    let of_transfer = TRANSFER_METHODS.iter().map(|(method, word)| (IMPORT_TRANSFER, *method, *word));
    let words = of_manager.chain(of_images).chain(more_of_images).chain(of_machine).chain(of_image);
    let words = words.chain(of_import).chain(of_transfer).map(|(interface, method, word)| {
        let service = interface.rsplit_once('.').map_or(interface, |(service, _)| service);
        (interface, method, word.map(|word| format!("{service}.{word}")))
    });
    own.chain(words)
        .map(|(interface, method, action)| ((interface.to_owned(), method.to_owned()), action))
        .collect()
}

fn on_the_bus(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let mut there = BTreeSet::new();
    for (interface, members) in scene.interfaces()? {
        let methods = members.iter().filter(|(_, member)| member.kind == "method");
        there.extend(methods.map(|(method, _)| (interface.clone(), method.clone())));
    }
    let tables: BTreeSet<_> = tables().into_keys().collect();
    assert_eq!(&there - &tables, BTreeSet::new(), "nobody holds these to polkit");
    assert_eq!(&tables - &there, BTreeSet::new(), "these are not there");
    scene.over()
}

fn of_transfers(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let described = scene.interfaces()?;
    let listed: Vec<(u32, OwnedObjectPath, super::own::Dictionary)> =
        scene.client.call("/org/spinney", "Manager1.ListTransfers", &())?;
    let [(id, ..)] = &listed[..] else { return Err("not one transfer".into()) };
    let transfer = format!("/org/freedesktop/import1/transfer/_{id}");
    let objects = [
        ("/org/freedesktop/import1", IMPORT_MANAGER, IMPORT_METHODS),
        (transfer.as_str(), IMPORT_TRANSFER, TRANSFER_METHODS),
    ];
    as_nobody(&scene.bus, |client| {
        for (path, interface, methods) in objects {
            for (method, word) in methods {
                let member = described.get(interface).and_then(|members| members.get(*method));
                let types = member.map(super::described::Member::types).ok_or("no such method")?;
                let called = format!("{interface}.{method}");
                let call = || -> Result<Refused, Stop> {
                    let said = match arguments(&types, &null)? {
                        Some(arguments) => client.message_to(IMPORT1, path, &called, &arguments),
                        None => client.message_to(IMPORT1, path, &called, &()),
                    };
                    Ok(said.err().unwrap_or_default())
                };
                polkit.allow(&[]);
                let Refused(error, _) = call()?;
                let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
                let Some(word) = word else {
                    assert_ne!(error, NOT_ALLOWED, "{called}");
                    assert_eq!(asked, [""; 0], "{called}");
                    continue;
                };
                let action = format!("{IMPORT1}.{word}");
                assert_eq!((error.as_str(), &asked[..]), (NOT_ALLOWED, &[action.clone()][..]), "{called}");
                if *word == "cancel" {
                    // It would be done.
                    continue;
                }
                // What is asked for makes no sense, which is said to who may ask.
                polkit.allow(&[&action]);
                let Refused(error, text) = call()?;
                assert_eq!(error, "org.freedesktop.DBus.Error.InvalidArgs", "{called}: {text}");
                polkit.asked();
            }
        }
        Ok(())
    })?;
    // Nothing of it was done.
    assert_eq!(scene.client.property::<String>(scene.transfer.as_str(), "Transfer1", "State")?, "running");
    scene.over()
}

/// A socket, and calls there: method, parameters (`@` is the machine, `%` the image), the whole name of the action.
type Calls = (&'static str, &'static [(&'static str, &'static str, Option<&'static str>)]);

const BY_VARLINK: &[Calls] = &[
    (
        "/run/systemd/machine/io.systemd.Machine",
        &[
            ("Machine.Register", r#"{"name":"n","class":"container"}"#, Some("machine1.register-machine")),
            ("Machine.Unregister", r#"{"name":"@"}"#, Some("machine1.manage-machines")),
            ("Machine.Terminate", r#"{"name":"@"}"#, Some("machine1.manage-machines")),
            ("Machine.Kill", r#"{"name":"@","signal":9}"#, Some("machine1.manage-machines")),
            ("Machine.List", r#"{"name":"@"}"#, None),
            ("Machine.List", r#"{"name":"@","acquireMetadata":"yes"}"#, Some("machine1.inspect-machines")),
            ("Machine.Open", r#"{"name":"@","mode":"tty"}"#, Some("machine1.open-pty")),
            ("Machine.Open", r#"{"name":"@","mode":"login"}"#, Some("machine1.login")),
            ("Machine.Open", r#"{"name":"@","mode":"shell"}"#, Some("machine1.shell")),
            ("Machine.Open", r#"{"name":".host","mode":"shell"}"#, Some("machine1.host-shell")),
            ("Machine.MapFrom", r#"{"name":"@","uid":0}"#, None),
            ("Machine.MapTo", r#"{"uid":4294900000}"#, None),
            ("Machine.BindMount", r#"{"name":"@","source":"/etc"}"#, Some("machine1.manage-machines")),
            ("Machine.CopyFrom", r#"{"name":"@","source":"/etc"}"#, Some("machine1.manage-machines")),
            ("Machine.CopyTo", r#"{"name":"@","source":"/etc"}"#, Some("machine1.manage-machines")),
            ("Machine.OpenRootDirectory", r#"{"name":"@"}"#, Some("machine1.manage-machines")),
            ("MachineImage.List", r#"{"name":"%"}"#, None),
            ("MachineImage.List", r#"{"name":"%","acquireMetadata":"yes"}"#, Some("machine1.inspect-images")),
            ("MachineImage.Update", r#"{"name":"%","readOnly":true}"#, Some("machine1.manage-images")),
            ("MachineImage.Update", r#"{"name":"%","newName":"x"}"#, Some("machine1.manage-images")),
            ("MachineImage.Update", r#"{"name":"%","limit":1}"#, Some("machine1.manage-images")),
            ("MachineImage.Clone", r#"{"name":"%","newName":"x"}"#, Some("machine1.manage-images")),
            ("MachineImage.Remove", r#"{"name":"%"}"#, Some("machine1.manage-images")),
            ("MachineImage.SetPoolLimit", r#"{"limit":1}"#, Some("machine1.manage-images")),
            ("MachineImage.CleanPool", r#"{"mode":"all","more":true}"#, Some("machine1.manage-images")),
        ],
    ),
    (
        "/run/systemd/io.systemd.Import",
        &[
            ("Import.ListTransfers", "{}", None),
            (
                "Import.Pull",
                r#"{"remote":"http://127.0.0.1:1/a","local":"x","type":"tar","class":"machine"}"#,
                Some("import1.pull"),
            ),
        ],
    ),
];

/// The methods that are described by who listens at `socket`, without `io.systemd.`.
fn described(socket: &str) -> Result<BTreeSet<String>, Stop> {
    let mut client = varlink::Client::connect_to(socket)?;
    let info = client.gives("org.varlink.service.GetInfo", json!({}))?;
    let names = info["interfaces"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut methods = BTreeSet::new();
    for name in names.filter(|name| name.starts_with("io.systemd.")) {
        let asked = json!({ "interface": name });
        let said = client.gives("org.varlink.service.GetInterfaceDescription", asked)?;
        let text = said["description"].as_str().unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix("method ")?.split_once('('));
        methods
            .extend(lines.map(|(method, _)| format!("{}.{method}", name.trim_start_matches("io.systemd."))));
    }
    Ok(methods)
}

fn by_varlink(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    let (machine, image) = (&scene.machine.name, scene.pool.name("image"));
    for (socket, calls) in BY_VARLINK {
        let listed: BTreeSet<String> = calls.iter().map(|(method, ..)| (*method).to_owned()).collect();
        assert_eq!(described(socket)?, listed, "{socket}");
        as_nobody(&scene.bus, |_| {
            for (method, parameters, action) in *calls {
                let mut client = varlink::Client::connect_to(socket)?;
                let mut parameters: Value =
                    serde_json::from_str(&parameters.replace('@', machine).replace('%', &image))?;
                let more = parameters.as_object_mut().and_then(|object| object.remove("more")).is_some();
                let called = format!("{method} {parameters}");
                client.send(&format!("io.systemd.{method}"), &parameters, more)?;
                let reply = client.reply()?.ok_or("the connection is closed")?;
                let error = reply.get("error").and_then(Value::as_str).unwrap_or_default();
                let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
                match action {
                    Some(action) => {
                        assert_eq!(asked, [format!("org.freedesktop.{action}")], "{called}");
                        assert_eq!(error, "io.systemd.InteractiveAuthenticationRequired", "{called}");
                    }
                    None => {
                        assert_eq!(asked, [""; 0], "{called}");
                        assert!(
                            !error.contains("Permission") && !error.contains("Interactive"),
                            "{called}: {error}"
                        );
                    }
                }
            }
            Ok(())
        })?;
    }
    // Nothing of it was done.
    assert_eq!(scene.machine.says("echo here")?, "here");
    assert!(scene.pool.path("image").join("etc/hostname").exists());
    scene.over()
}
