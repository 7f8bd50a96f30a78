//! Logins and shells that a client is given the terminal of: they run on by themselves, and end as terminals end.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::process::Signal as Kill;
use std::io::Write;

use super::client::{Client, read_to_end, read_until};
use super::fixture::Bus;
use crate::command::{PATIENCE, Process};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [
        ("of_busybox", |context| logins(context, "busybox")),
        ("of_systemd", |context| logins(context, "debian-12")),
        ("outlive_the_manager", outlive_the_manager),
    ];
    rows.map(|(name, test)| Test::new(format!("{}sessions::{name}", super::TIER), test)).into()
}

fn with_machine(context: &Context, tree: &str) -> Result<(Bus, Process, Machine, Client), Stop> {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree(tree)?, &[]);
    machine.ready()?;
    let client = Client::of(&bus)?;
    Ok((bus, manager, machine, client))
}

fn over(bus: &Bus, mut manager: Process, mut machine: Machine) -> TestResult {
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// The master of a shell's terminal, and the path of its slave.
fn shell(client: &Client, machine: &Machine, script: &str) -> Result<(File, String), Stop> {
    let arguments = vec!["sh", "-c", script];
    let body = (machine.name.as_str(), "", "/bin/sh", arguments, Vec::<&str>::new());
    let (master, path): (zbus::OwnedFd, String) = client.call("OpenMachineShell", &body)?;
    Ok((File::from(OwnedFd::from(master)), path))
}

fn logins(context: &Context, tree: &str) -> TestResult {
    let (bus, manager, machine, client) = with_machine(context, tree)?;
    let (master, path): (zbus::OwnedFd, String) =
        client.call("OpenMachineLogin", &(machine.name.as_str(),))?;
    assert!(path.starts_with("/dev/pts/"), "{path}");
    let mut master = File::from(OwnedFd::from(master));
    read_until(&mut master, "login: ")?;
    // What is behind it is gone when the last who has it hangs up.
    drop(master);
    // A shell that ends is the end of its terminal; what it said last is there still.
    let (mut master, path) = shell(&client, &machine, "tty; exit 3")?;
    assert_eq!(read_to_end(&mut master)?, format!("{path}\n"));
    // One that is hung up on ends, with all that it has begun.
    let (mut master, _) = shell(&client, &machine, "trap '' INT; echo $$; sleep 1000")?;
    let pid = read_until(&mut master, "\n")?;
    drop(master);
    let gone = format!("while kill -0 {} 2>/dev/null; do sleep 0.05; done; echo gone", pid.trim());
    assert_eq!(machine.says(&gone)?, "gone");
    over(&bus, manager, machine)
}

fn outlive_the_manager(context: &Context) -> TestResult {
    let (bus, mut manager, machine, client) = with_machine(context, "busybox")?;
    let (mut master, _) = shell(&client, &machine, "echo begun; read line; echo \"heard $line\"")?;
    read_until(&mut master, "begun\n")?;
    manager.signal(libc::SIGKILL);
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    master.write_all(b"it\n")?;
    assert_eq!(read_to_end(&mut master)?, "it\nheard it\n");
    let manager = bus.manager(&[])?;
    over(&bus, manager, machine)
}
