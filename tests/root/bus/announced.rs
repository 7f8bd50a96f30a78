//! Machines that come, change and go, however they go: what is told of them, and by whom they are had no more.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal as Kill;

use super::client::{Client, Signal};
use super::fixture::Bus;
use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;
use spinney::manager::object_path::encode;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("killed_supervisor", killed_supervisor),
        ("reboot", reboot),
        ("power_off_busybox", |context| power_off(context, "busybox")),
        ("power_off_systemd", |context| power_off(context, "debian-12")),
    ];
    rows.map(|(name, test)| Test::new(format!("{}announced::{name}", super::TIER), test)).into()
}

fn killed_supervisor(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut client = Client::listening(&bus)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    assert_eq!(client.signal()?, Signal::New(machine.name.clone()));
    // What is in the registry stays as it is.
    machine.signal(libc::SIGKILL);
    client.signal_of(&Signal::Removed(machine.name.clone()))?;
    machine.wait()?;
    assert_eq!(bus.machinectl(&["list", "--no-legend"]).ok()?, "");
    let path = format!("/org/freedesktop/machine1/machine/{}", encode(&machine.name));
    assert_eq!(bus.machine_property(&path, "State").status, 1);
    // What systemd's tools were told goes with the rest.
    let file = format!("/run/systemd/machines/{}", machine.name);
    assert!(Path::new(&file).exists());
    run(context.spinney().args(["gc", "--quiet"])).ok()?;
    assert!(!Path::new(&file).exists());
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn reboot(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let element = encode(&machine.name);
    let leader =
        || bus.machine_property(&format!("/org/freedesktop/machine1/machine/{element}"), "Leader").ok();
    let first = machine.state()?.leader;
    assert_eq!(leader()?, format!("u {first}\n"));
    let mut client = Client::listening(&bus)?;
    bus.machinectl(&["reboot", &machine.name]).ok()?;
    machine.ready()?;
    // One by one; its links are others too.
    let mut changed = BTreeSet::new();
    let all = ["Leader", "LeaderPIDFDId", "NetworkInterfaces", "Timestamp", "TimestampMonotonic"];
    while changed.len() < all.len() {
        if let Signal::Changed(of, names) = client.signal()? {
            assert_eq!(of, element);
            changed.extend(names);
        }
    }
    assert_eq!(changed, all.map(str::to_owned).into());
    let second = machine.state()?.leader;
    assert_ne!(first, second);
    assert_eq!(leader()?, format!("u {second}\n"));
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    client.signal_of(&Signal::Removed(machine.name.clone()))?;
    machine.wait()?;
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// Both end by themselves, in the way of their inits.
fn power_off(context: &Context, tree: &str) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree(tree)?, &[]);
    machine.ready()?;
    let mut client = Client::listening(&bus)?;
    bus.machinectl(&["poweroff", &machine.name]).ok()?;
    client.signal_of(&Signal::Removed(machine.name.clone()))?;
    assert_eq!(machine.wait()?, 0, "{}", machine.output());
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}
