//! The manager's life: begun by the bus, idle, killed.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use spinney::manager::object_path::encode;

use super::fixture::Bus;
use super::images::Pool;
use super::own_images::lasting;
use super::{own_client, varlink};
use crate::command::PATIENCE;
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;

const MANAGER: [&str; 3] =
    ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 7] = [
        ("machines_of_machinectl", machines_of_machinectl),
        ("ends_when_idle", ends_when_idle),
        ("stays_with_transfers", stays_with_transfers),
        ("stays_with_who_is_connected", stays_with_who_is_connected),
        ("begun_by_the_bus", begun_by_the_bus),
        ("gives_its_own_name_back_last", gives_its_own_name_back_last),
        ("killed", killed),
    ];
    rows.map(|(name, test)| Test::new(format!("{}daemon::{name}", super::TIER), test)).into()
}

fn machines_of_machinectl(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    assert_eq!(bus.machinectl(&["list", "--no-legend"]).ok()?, "");
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let listed = bus.machinectl(&["list", "--no-legend"]).ok()?;
    let row: Vec<&str> = listed.split_whitespace().take(3).collect();
    assert_eq!(row, [machine.name.as_str(), "container", "spinney"]);
    let path = format!("{}/machine/{}", MANAGER[1], encode(&machine.name));
    assert_eq!(bus.machine_property(&path, "State").ok()?.trim_end(), "s \"running\"");
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    assert_eq!(bus.machinectl(&["list", "--no-legend"]).ok()?, "");
    let unknown = bus.machinectl(&["terminate", "nobody"]);
    assert_eq!(unknown.status, 1);
    assert_eq!(unknown.stderr.trim_end(), "Could not terminate machine: No machine 'nobody' known");
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn ends_when_idle(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&["--exit-idle-time=200ms"])?;
    let status = manager.wait(PATIENCE).ok_or("the manager does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

/// Several times as long as it stays when there is nothing to do.
const A_WHILE: Duration = Duration::from_secs(1);

/// It tells of what it has started, until that is over.
fn stays_with_transfers(context: &Context) -> TestResult {
    let pool = Pool::new(context)?;
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&["--exit-idle-time=200ms"])?;
    let client = own_client::Client::connect(&bus)?;
    let mut finished = client.signals("Finished")?;
    let (transfer, writer) = lasting(&client, &pool.name("half"))?;
    assert_eq!(manager.wait(A_WHILE), None);
    // No archive at all.
    drop(writer);
    let state = finished.wait(|message| {
        let (state, _): (String, String) = message.body().deserialize().ok()?;
        (message.header().path()?.as_str() == transfer.as_str()).then_some(state)
    })?;
    assert_eq!(state, "failed");
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// Who is connected to a socket of its own may call again.
fn stays_with_who_is_connected(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&["--exit-idle-time=200ms"])?;
    let mut client = varlink::Client::connect()?;
    assert_eq!(manager.wait(A_WHILE), None);
    assert_eq!(client.gives("List", json!({ "name": ".host" }))?["class"], json!("host"));
    drop(client);
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn begun_by_the_bus(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    bus.make_activatable(&[MANAGER[0]], "--exit-idle-time=200ms")?;
    // Each time, whether one is just ending or not.
    for _ in 0..20 {
        let listed = bus.call(&[MANAGER[0], MANAGER[1], MANAGER[2], "ListMachines"]).ok()?;
        // The host is one of them.
        let host = format!("{}/machine/_2ehost", MANAGER[1]);
        assert_eq!(listed.trim_end(), format!("a(ssso) 1 \".host\" \"host\" \"\" \"{host}\""));
    }
    Ok(())
}

/// The bus starts a successor as soon as one of the names is asked for that has been given back. That one waits for our own name, and
/// would fail for another that is still taken.
fn gives_its_own_name_back_last(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let client = own_client::Client::connect(&bus)?;
    let mut owners = client.signals("NameOwnerChanged")?;
    manager.signal(Signal::TERM.as_raw());
    let mut given_back = || {
        owners.wait(|message| {
            let (name, _, new): (String, String, String) = message.body().deserialize().ok()?;
            (new.is_empty() && !name.starts_with(':')).then_some(name)
        })
    };
    let names = [given_back()?, given_back()?, given_back()?];
    assert_eq!(names, ["org.freedesktop.machine1", "org.freedesktop.import1", "org.spinney"]);
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn killed(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let mut manager = bus.manager(&[])?;
    manager.signal(Signal::KILL.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    let mut manager = bus.manager(&[])?;
    let listed = bus.machinectl(&["list", "--no-legend"]).ok()?;
    assert_eq!(listed.split_whitespace().next(), Some(machine.name.as_str()));
    assert_eq!(machine.says("echo here")?, "here");
    machine.stop()?;
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}
