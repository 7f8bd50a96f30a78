//! The manager's life: begun by the bus, idle, killed.

use rustix::process::Signal;
use spinney::manager::object_path::encode;

use super::fixture::Bus;
use crate::command::PATIENCE;
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;

const MANAGER: [&str; 3] =
    ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("machines_of_machinectl", machines_of_machinectl),
        ("ends_when_idle", ends_when_idle),
        ("begun_by_the_bus", begun_by_the_bus),
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
