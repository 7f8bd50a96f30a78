//! Our own interfaces: images cloned, kept, taken back and moved by a program.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;

use spinney::manager::object_path::encode;
use zbus::{Fd, OwnedObjectPath};

use super::images::Scene;
use super::own::{Dictionary, options, refused};
use super::own_client::Client;
use crate::harness::{Context, Row, Stop, Test, TestResult};

const MANAGER: &str = "/org/spinney";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("images", images),
        ("told_of_again", told_of_again),
        ("moved", moved),
        ("moved_and_cancelled", moved_and_cancelled),
    ];
    rows.map(|(name, test)| Test::new(format!("{}own_images::{name}", super::TIER), test)).into()
}

fn path_of(name: &str) -> String {
    format!("{MANAGER}/image/{}", encode(name))
}

fn wait() -> Dictionary {
    options(&[("wait", true.into())])
}

fn images(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = Client::connect(&scene.bus)?;
    let tree = scene.pool.tree("base")?;
    let (base, clone, other) = (scene.pool.name("base"), scene.pool.name("clone"), scene.pool.name("other"));
    let mut added = client.signals("InterfacesAdded")?;
    let image: OwnedObjectPath = client.call(MANAGER, "Manager1.GetImage", &base)?;
    assert_eq!(image.as_str(), path_of(&base));
    assert_eq!(client.property::<String>(&image, "Image1", "Path")?, tree.to_str().unwrap());
    assert_eq!(client.property::<String>(&image, "Image1", "Type")?, "directory");
    let found: Dictionary = client.call(&image, "Image1.Inspect", &())?;
    assert!(found.contains_key("Verdict") && found.contains_key("Findings"), "{found:?}");
    // A clone, whose object is there when the call comes back.
    let (cloned, job): (OwnedObjectPath, OwnedObjectPath) =
        client.call(&image, "Image1.Clone", &(&clone, wait()))?;
    assert_eq!(cloned.as_str(), path_of(&clone));
    assert_eq!(client.property::<String>(&job, "Job1", "Type")?, "clone");
    assert_eq!(client.property::<String>(&cloned, "Image1", "Type")?, "mstack");
    let origin: Dictionary = client.property(&cloned, "Image1", "Origin")?;
    assert_eq!(origin.get("Parent"), options(&[("P", base.as_str().into())]).get("P"));
    added.wait(|message| {
        let (path, _): (OwnedObjectPath, HashMap<String, Dictionary>) = message.body().deserialize().ok()?;
        (path == cloned).then_some(())
    })?;
    let again = refused(client.call::<()>(&image, "Image1.Clone", &(&clone, wait())));
    assert_eq!(again.0, "org.spinney.Error.ImageExists", "{again}");
    // Its state is kept, and had back.
    let taken: String = client.call(&cloned, "Image1.Snapshot", &("first", "as it was"))?;
    assert_eq!(taken, "first");
    let unnamed: String = client.call(&cloned, "Image1.Snapshot", &("", ""))?;
    assert_ne!(unnamed, "");
    let snapshots: Vec<Dictionary> = client.call(&cloned, "Image1.ListSnapshots", &())?;
    assert_eq!(snapshots.len(), 2);
    client.call::<()>(&cloned, "Image1.DeleteSnapshot", &unnamed)?;
    client.call::<()>(&cloned, "Image1.Rollback", &("first", options(&[("discard", true.into())])))?;
    let said = refused(client.call::<()>(&cloned, "Image1.Rollback", &("none", options(&[]))));
    assert_eq!(said.0, "org.spinney.Error.Failed");
    let diff: String = client.call(&cloned, "Image1.Diff", &"")?;
    assert!(diff.starts_with("{\"") && diff.contains("\"files\":[]"), "{diff}");
    // Another name, another object.
    let renamed: OwnedObjectPath = client.call(&cloned, "Image1.Rename", &other)?;
    assert_eq!(renamed.as_str(), path_of(&other));
    client.call::<()>(&image, "Image1.SetReadOnly", &true)?;
    assert!(client.property::<bool>(&image, "Image1", "ReadOnly")?);
    let listed: Vec<(String, OwnedObjectPath, Dictionary)> =
        client.call(MANAGER, "Manager1.ListImages", &())?;
    assert_eq!(listed.iter().map(|(name, ..)| name).collect::<Vec<_>>(), [&base, &other]);
    // What another one depends on stays, and what is read-only.
    let said = refused(client.call::<()>(&image, "Image1.Remove", &wait()));
    assert_eq!(said.0, "org.spinney.Error.Failed", "{said}");
    let _: OwnedObjectPath = client.call(&renamed, "Image1.Remove", &wait())?;
    client.call::<()>(&image, "Image1.SetReadOnly", &false)?;
    let _: OwnedObjectPath = client.call(&image, "Image1.Remove", &wait())?;
    let gone = refused(client.call::<OwnedObjectPath>(MANAGER, "Manager1.GetImage", &base));
    assert_eq!(gone.0, "org.spinney.Error.NoSuchImage");
    scene.over()
}

/// A directory that could not be read for a while is no reason to tell of no image any more.
fn told_of_again(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = Client::connect(&scene.bus)?;
    let mut added = client.signals("InterfacesAdded")?;
    let mut told_of = |name: &str| {
        added.wait(|message| {
            let (path, _): (OwnedObjectPath, HashMap<String, Dictionary>) =
                message.body().deserialize().ok()?;
            (path.as_str() == path_of(&scene.pool.name(name))).then_some(())
        })
    };
    scene.pool.tree("first")?;
    told_of("first")?;
    std::os::unix::fs::symlink("machines", "/run/machines")?;
    // It has come upon it: who asks is told so.
    let said = refused(client.call::<()>(MANAGER, "Manager1.ListImages", &()));
    fs::remove_file("/run/machines")?;
    assert!(said.1.contains("ELOOP") || said.1.contains("symbolic links"), "{said}");
    scene.pool.tree("second")?;
    told_of("second")?;
    scene.over()
}

fn moved(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = Client::connect(&scene.bus)?;
    let tree = scene.pool.tree("base")?;
    fs::write(tree.join("usr/noise"), vec![7; 300_000])?;
    let (base, copy) = (scene.pool.name("base"), scene.pool.name("copy"));
    let file = context.directory.join("image.tar.gz");
    let options = |more: &[(&str, zbus::Variant<'_>)]| {
        let mut all = wait();
        all.extend(options(more));
        all
    };
    let out = File::create(&file)?;
    let asked = (&base, Fd::from(&out), options(&[("format", "gzip".into())]));
    let transfer: OwnedObjectPath = client.call(MANAGER, "Manager1.Export", &asked)?;
    assert_eq!(client.property::<String>(&transfer, "Transfer1", "State")?, "done");
    assert_eq!(client.property::<String>(&transfer, "Transfer1", "Local")?, base);
    let input = File::open(&file)?;
    let asked = (Fd::from(&input), &copy, options(&[]));
    let _: OwnedObjectPath = client.call(MANAGER, "Manager1.Import", &asked)?;
    assert_eq!(fs::read(scene.pool.path("copy").join("usr/noise"))?, vec![7; 300_000]);
    // It is there already: the error says so.
    let input = File::open(&file)?;
    let again =
        refused(client.call::<()>(MANAGER, "Manager1.Import", &(Fd::from(&input), &copy, options(&[]))));
    assert!(again.0 == "org.spinney.Error.Failed" && again.1.contains("there is an image"), "{again}");
    // Of a directory, and from a server, which file:// is one of.
    let directory = File::open(&tree)?;
    let asked = (Fd::from(&directory), &copy, options(&[("force", true.into())]));
    let _: OwnedObjectPath = client.call(MANAGER, "Manager1.Import", &asked)?;
    let asked = options(&[("verify", "no".into()), ("force", true.into()), ("type", "tar".into())]);
    let url = format!("file://{}", file.display());
    let transfer: OwnedObjectPath = client.call(MANAGER, "Manager1.Pull", &(&url, &copy, asked))?;
    assert_eq!(client.property::<String>(&transfer, "Transfer1", "Type")?, "pull-tar");
    assert_eq!(client.property::<String>(&transfer, "Transfer1", "Verify")?, "no");
    let rows = [
        ("--help", "x", options(&[]), "No source given"),
        ("debian:13", "a/b", options(&[]), "\"a/b\" "),
        ("debian:13", "x", options(&[("type", "zip".into())]), "Unknown type \"zip\": there are tar, raw"),
        ("debian:13", "x", options(&[("image-root", "/".into())]), "Unknown option \"image-root\""),
    ];
    for (source, name, options, text) in rows {
        let said = refused(client.call::<()>(MANAGER, "Manager1.Pull", &(source, name, options)));
        assert_eq!(said.0, "org.freedesktop.DBus.Error.InvalidArgs", "{said}");
        assert!(said.1.starts_with(text), "{said}");
    }
    scene.over()
}

fn moved_and_cancelled(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = Client::connect(&scene.bus)?;
    let before = scene.pool.entries();
    let mut finished = client.signals("Finished")?;
    let (reader, mut writer) = std::io::pipe()?;
    let name = scene.pool.name("half");
    // The beginning of an archive: a header of 512 bytes, and not all of what it says that comes.
    let asked = (Fd::from(&reader), &name, options(&[("type", "tar".into())]));
    let transfer: OwnedObjectPath = client.call(MANAGER, "Manager1.Import", &asked)?;
    drop(reader);
    let mut header = [0u8; 512];
    header[..3].copy_from_slice(b"big");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(b"00010000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    writer.write_all(&header)?;
    writer.write_all(&[1; 4096])?;
    let listed: Vec<(u32, OwnedObjectPath, Dictionary)> =
        client.call(MANAGER, "Manager1.ListTransfers", &())?;
    let [(id, path, _)] = &listed[..] else { return Err("not one transfer".into()) };
    assert_eq!(path, &transfer);
    let found: OwnedObjectPath = client.call(MANAGER, "Manager1.GetTransfer", id)?;
    assert_eq!(found, transfer);
    client.call::<()>(&transfer, "Transfer1.Cancel", &())?;
    let state = finished.wait(|message| {
        let (state, _): (String, String) = message.body().deserialize().ok()?;
        (message.header().path()?.as_str() == transfer.as_str()).then_some(state)
    })?;
    assert_eq!(state, "cancelled");
    let said = refused(client.call::<()>(&transfer, "Transfer1.Wait", &()));
    assert_eq!(said.0, "org.spinney.Error.Cancelled");
    assert_eq!(scene.pool.entries(), before);
    drop(writer);
    let unknown = refused(client.call::<OwnedObjectPath>(MANAGER, "Manager1.GetTransfer", &9999u32));
    assert_eq!(unknown.0, "org.spinney.Error.NoSuchTransfer");
    scene.over()
}

/// A transfer that lasts: an import of what does not come. It ends with the writer.
pub fn lasting(client: &Client, name: &str) -> Result<(OwnedObjectPath, std::io::PipeWriter), Stop> {
    let (reader, writer) = std::io::pipe()?;
    let asked = (Fd::from(&reader), name, options(&[("type", "tar".into())]));
    Ok((client.call(MANAGER, "Manager1.Import", &asked)?, writer))
}
