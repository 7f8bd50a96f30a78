//! What polkit's word opens: every method of every interface, called by nobody, is done for who may do its action, and for nobody whom
//! all other actions are allowed.

use std::collections::BTreeSet;
use std::fs::File;

use spinney::manager::object_path::encode;
use zbus::{Fd, OwnedObjectPath};

use super::all_methods::{Scene, tables};
use super::own::Dictionary;
use super::own_access::{NOT_ALLOWED, arguments_with, as_nobody};
use super::own_client::{Client, Refused};
use super::own_images::lasting;
use super::polkit::Polkit;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

/// What is said to who is not even asked for a password.
const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// Methods of machines after which there is none, or another.
const ENDS: [&str; 3] = ["Stop", "Reboot", "Terminate"];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 1] = [("every_method", every_method)];
    rows.map(|(name, test)| Test::new(format!("{}granted::{name}", super::TIER), test)).into()
}

/// The object of a call, and what is to go once that is done.
struct Object {
    service: &'static str,
    path: String,
    machine: Option<Machine>,
    writer: Option<std::io::PipeWriter>,
}

impl Object {
    fn at(service: &'static str, path: impl Into<String>) -> Self {
        Self { service, path: path.into(), machine: None, writer: None }
    }
}

const OWN: &str = "org.spinney";
const MACHINE1: &str = "org.freedesktop.machine1";
const IMPORT1: &str = "org.freedesktop.import1";

/// One of the objects that have `interface`: of its own where `method` would end it.
fn object(context: &Context, scene: &Scene, interface: &str, method: &str) -> Result<Object, Stop> {
    let (service, kind) = interface.rsplit_once('.').ok_or("no interface")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    Ok(match (service, kind) {
        (OWN, "Manager1") => Object::at(OWN, "/org/spinney"),
        (MACHINE1, "Manager") => {
            scene.pool.tree("image")?;
            Object::at(MACHINE1, "/org/freedesktop/machine1")
        }
        (IMPORT1, "Manager") => Object::at(IMPORT1, "/org/freedesktop/import1"),
        (_, "Machine1" | "Machine") => {
            let mut machine = None;
            if ENDS.contains(&method) {
                let mut own = Machine::start(context, &context.tree("busybox")?, &[]);
                own.ready()?;
                machine = Some(own);
            }
            let name = encode(&machine.as_ref().unwrap_or(&scene.machine).name);
            let (service, root) = if kind == "Machine" {
                (MACHINE1, "/org/freedesktop/machine1")
            } else {
                (OWN, "/org/spinney")
            };
            Object { machine, ..Object::at(service, format!("{root}/machine/{name}")) }
        }
        (_, "Image1" | "Image") => {
            scene.pool.tree("image")?;
            let (service, call, root) = if kind == "Image" {
                (MACHINE1, "org.freedesktop.machine1.Manager.GetImage", "/org/freedesktop/machine1")
            } else {
                (OWN, "org.spinney.Manager1.GetImage", "/org/spinney")
            };
            let answer = scene.client.message_to(service, root, call, &scene.pool.name("image"))?;
            Object::at(service, answer.body().deserialize::<OwnedObjectPath>()?.to_string())
        }
        (_, "Transfer1" | "Transfer") => {
            let (path, writer) = lasting(&scene.client, &scene.pool.name("other"))?;
            let object = match kind {
                "Transfer" => {
                    let id: u32 = scene.client.property(path.as_str(), "Transfer1", "Id")?;
                    Object::at(IMPORT1, format!("/org/freedesktop/import1/transfer/_{id}"))
                }
                _ => Object::at(OWN, path.to_string()),
            };
            Object { writer: Some(writer), ..object }
        }
        (OWN, "Job1") => {
            let (one, two, three) = (Fd::from(&null), Fd::from(&null), Fd::from(&null));
            let sleep = (&["sleep", "1000"][..], Dictionary::new(), one, two, three);
            let machine = format!("/org/spinney/machine/{}", encode(&scene.machine.name));
            let job: OwnedObjectPath = scene.client.call(&machine, "Machine1.Exec", &sleep)?;
            Object::at(OWN, job.to_string())
        }
        _ => return Err(format!("no object has {interface}").into()),
    })
}

/// Ends what a call has begun or left: transfers but `kept`, and images but the scene's.
fn undo(scene: &Scene, object: Object) -> TestResult {
    if let Some(mut machine) = object.machine {
        // Of what ends it, it ends; after a reboot it is there.
        let _ = scene.bus.machinectl(&["terminate", &machine.name]);
        machine.wait()?;
    }
    drop(object.writer);
    let transfers: Vec<(u32, OwnedObjectPath, Dictionary)> =
        scene.client.call("/org/spinney", "Manager1.ListTransfers", &())?;
    for (_, path, _) in transfers.iter().filter(|(_, path, _)| *path != scene.transfer) {
        let _ = scene.client.call::<()>(path.as_str(), "Transfer1.Wait", &());
    }
    for name in ["image", "new", "other"] {
        let _ = scene.client.message_to(
            MACHINE1,
            "/org/freedesktop/machine1",
            "org.freedesktop.machine1.Manager.RemoveImage",
            &scene.pool.name(name),
        );
    }
    Ok(())
}

fn every_method(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let polkit = Polkit::start(&scene.bus)?;
    let nobody = as_nobody(&scene.bus, |_| Client::connect(&scene.bus))?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let described = scene.interfaces()?;
    let tables = tables();
    let actions: BTreeSet<&str> = tables.values().flatten().map(String::as_str).collect();
    let (image, new) = (scene.pool.name("image"), scene.pool.name("new"));
    for ((interface, method), action) in &tables {
        let Some(action) = action else { continue };
        let types = described[interface][method].types();
        let object = object(context, &scene, interface, method)?;
        let called = format!("{interface}.{method}");
        // What makes no sense at all is refused before polkit is asked, as by systemd-machined.
        let word = match (object.service, method.as_str()) {
            (MACHINE1, "OpenShell" | "OpenMachineShell" | "CreateMachineEx" | "RegisterMachineEx") => "",
            (MACHINE1, "CleanPool") => "hidden",
            (MACHINE1, _) if interface.ends_with("Manager") && method.contains("Image") => &image,
            _ => &new,
        };
        let call = || -> Result<(Refused, String), Stop> {
            let said = match arguments_with(word, &types, &null)? {
                Some(arguments) => nobody.message_to(object.service, &object.path, &called, &arguments),
                None => nobody.message_to(object.service, &object.path, &called, &()),
            };
            let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
            Ok((said.err().unwrap_or_default(), asked.join(" ")))
        };
        let others: Vec<&str> = actions.iter().copied().filter(|other| other != action).collect();
        polkit.allow(&others);
        let (Refused(error, text), asked) = call()?;
        assert_eq!((error.as_str(), &asked), (NOT_ALLOWED, action), "{called}: {text}");
        polkit.allow(&[action]);
        let (Refused(error, text), asked) = call()?;
        assert_eq!(asked, *action, "{called}: {error}: {text}");
        assert!(![NOT_ALLOWED, DENIED].contains(&error.as_str()), "{called}: {error}: {text}");
        undo(&scene, object)?;
    }
    scene.over()
}
