//! Our own interfaces: what is told of work that goes on, and what is not shown of it.

use std::collections::HashMap;
use std::fs::{self, File};

use rustix::process::Signal;
use spinney::manager::object_path::encode;
use zbus::{OwnedObjectPath, Variant};

use super::fixture::Bus;
use super::own::{Dictionary, options};
use super::own_client::Client;
use crate::command::PATIENCE;
use crate::detached::Detached;
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;
use crate::start::Made;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 2] = [("progress", progress), ("secrets", secrets)];
    rows.map(|(name, test)| Test::new(format!("{}own_jobs::{name}", super::TIER), test)).into()
}

/// A copy says how much has moved, while it goes on and when it is done.
fn progress(context: &Context) -> TestResult {
    const SIZE: u64 = 256 << 20;
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let client = Client::connect(&bus)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = format!("/org/spinney/machine/{}", encode(&machine.name));
    let source = context.directory.join("big");
    let file = File::create(&source)?;
    // Not sparse: it has to be moved.
    for offset in 0..SIZE >> 20 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 1 << 20], offset << 20)?;
    }
    let mut changed = client.signals("PropertiesChanged")?;
    let asked = (source.to_str().unwrap(), "/root/big", options(&[]));
    let job: OwnedObjectPath = client.call(&path, "Machine1.CopyTo", &asked)?;
    let mut last = 0;
    let (mut told, mut fraction) = (0, -1.0);
    while fraction < 1.0 {
        let (bytes, now) = changed.wait(|message| {
            let (_, values, _): (String, Dictionary, Vec<String>) = message.body().deserialize().ok()?;
            let of = message.header().path().is_some_and(|of| of.as_str() == job.as_str());
            let number = |name: &str| values.get(name).cloned();
            let (bytes, fraction) = (number("Bytes")?, number("Progress")?);
            of.then_some((u64::try_from(bytes).ok()?, f64::try_from(fraction).ok()?))
        })?;
        assert!(bytes >= last, "{bytes} after {last}");
        (last, fraction, told) = (bytes, now, told + 1);
    }
    // Names and the like are more than the file.
    assert!(told >= 2 && (SIZE..SIZE + (1 << 20)).contains(&last), "{told} times, {last}");
    assert_eq!(client.property::<u64>(&job, "Job1", "Bytes")?, last);
    let jobs: Vec<(u32, OwnedObjectPath, Dictionary)> =
        client.call("/org/spinney", "Manager1.ListJobs", &())?;
    let listed = jobs.iter().find(|(_, path, _)| *path == job).ok_or("it is not listed")?;
    assert_eq!(listed.2.get("Bytes"), options(&[("B", last.into())]).get("B"));
    machine.stop()?;
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// The command lines of all processes, which everybody may read.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

/// Credentials and variables that a machine is started with stand in no command line.
fn secrets(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let client = Client::connect(&bus)?;
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    let secret = format!("secret-of-{name}");
    let asked = options(&[
        ("ephemeral", true.into()),
        ("set-credential", Variant::from(HashMap::from([("key", format!("{secret} in a credential"))]))),
        ("setenv", Variant::from(HashMap::from([("KEY", format!("{secret}\nin two lines"))]))),
        ("wait", true.into()),
    ]);
    let (machine, _): (OwnedObjectPath, OwnedObjectPath) =
        client.call("/org/spinney", "Manager1.Start", &(&name, asked))?;
    let of = Detached::find(&name)?;
    let lines = command_lines();
    assert!(lines.iter().any(|line| line.contains(&format!("--machine={name}"))), "{lines:#?}");
    let shown: Vec<&String> = lines.iter().filter(|line| line.contains(&secret)).collect();
    assert_eq!(shown, [""; 0]);
    // They are what they should be.
    assert_eq!(of.says("cat /run/host/credentials/key")?, format!("{secret} in a credential"));
    let environment = of.says("tr '\\0' '|' </proc/1/environ")?;
    assert!(environment.contains(&format!("|KEY={secret}\nin two lines|")), "{environment}");
    client.call::<()>(&machine, "Machine1.Terminate", &())?;
    assert!(of.ended(PATIENCE));
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}
