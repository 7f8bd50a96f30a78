//! Processes that the manager starts: they hear what they are told, hold nobody else up, and end with who asked for them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use spinney::supervisor::registry::MACHINES;
use zbus::OwnedObjectPath;

use super::client;
use super::fixture::Bus;
use super::images::{Pool, Scene};
use super::own::{options, refused};
use super::own_client::Client;
use crate::command::{PATIENCE, Process, shell_status};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use spinney::manager::object_path::encode;

const MANAGER: &str = "/org/spinney";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("hear_signals", hear_signals),
        ("killed", killed),
        ("do_not_hold_up_urgent_ones", do_not_hold_up_urgent_ones),
        ("end_with_who_waits", end_with_who_waits),
    ];
    rows.map(|(name, test)| Test::new(format!("{}children::{name}", super::TIER), test)).into()
}

/// Its children, and what each was called by and with.
fn children(manager: &Process) -> Result<Vec<(u32, String)>, Stop> {
    let pids = fs::read_to_string(format!("/proc/{0}/task/{0}/children", manager.pid()))?;
    let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
    // One that has just ended has no command line.
    let line = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Ok(pids.map(|pid| (pid, String::from_utf8_lossy(&line(pid)).replace('\0', " "))).collect())
}

/// Waits until there are `count` of those whose command line begins with `beginning`.
fn wait_for_children(manager: &Process, beginning: &str, count: usize) -> Result<Vec<u32>, Stop> {
    let begun = Instant::now();
    loop {
        let all = children(manager)?;
        let pids: Vec<u32> =
            all.iter().filter(|(_, line)| line.starts_with(beginning)).map(|(pid, _)| *pid).collect();
        if pids.len() == count {
            return Ok(pids);
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} and not {count} of {beginning:?}: {all:?}", pids.len()).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The signals that a process has blocked (proc_pid_status(5)).
fn blocked(pid: u32) -> Result<String, Stop> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).ok_or("no such line")?;
    Ok(line.trim().to_owned())
}

fn signal(pid: u32, signal: Signal) -> TestResult {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or("no pid")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

fn hear_signals(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let client = Client::connect(&scene.bus)?;
    let (base, clone) = (scene.pool.name("base"), scene.pool.name("clone"));
    // It takes longer to copy than to stop who does.
    let mut large = fs::File::create(scene.pool.tree("base")?.join("usr/large"))?;
    (0..128).try_for_each(|_| large.write_all(&vec![7; 2 << 20]))?;
    let image: OwnedObjectPath = client.call(MANAGER, "Manager1.GetImage", &base)?;
    let (_, job): (OwnedObjectPath, OwnedObjectPath) =
        client.call(&image, "Image1.Clone", &(&clone, options(&[("copy", true.into())])))?;
    let [pid] = wait_for_children(&scene.manager, "spinney clone ", 1)?[..] else {
        return Err("not one".into());
    };
    signal(pid, Signal::STOP)?;
    assert_eq!(blocked(pid)?, "0".repeat(16));
    client.call::<()>(&job, "Job1.Cancel", &())?;
    signal(pid, Signal::CONT)?;
    let said = refused(client.call::<()>(&job, "Job1.Wait", &()));
    assert_eq!(said.0, "org.spinney.Error.Cancelled", "{said}");
    // What there was of it is gone by then. The files of locks that it had are left for a while, and in nobody's way.
    let left: Vec<String> =
        scene.pool.entries().into_iter().filter(|entry| !entry.ends_with(".lck")).collect();
    assert_eq!(left, ["base"]);
    if !context.on_host {
        let _ = fs::remove_dir_all("/run/systemd/nspawn");
    }
    scene.over()
}

/// What it was making is gone when it is told that it failed.
fn killed(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager_with(&[], &[("SPINNEY_FAULT", "commit-begun")])?;
    let pool = Pool::new(context)?;
    pool.tree("base")?;
    let client = Client::connect(&bus)?;
    let image: OwnedObjectPath = client.call(MANAGER, "Manager1.GetImage", &pool.name("base"))?;
    let copy = (pool.name("clone"), options(&[("copy", true.into())]));
    let (_, job): (OwnedObjectPath, OwnedObjectPath) = client.call(&image, "Image1.Clone", &copy)?;
    let said = refused(client.call::<()>(&job, "Job1.Wait", &()));
    assert_eq!(said.0, "org.spinney.Error.Failed", "{said}");
    assert!(said.1.starts_with("spinney ended with exit status 137"), "{said}");
    let left: Vec<String> = pool.entries().into_iter().filter(|entry| !entry.ends_with(".lck")).collect();
    assert_eq!(left, ["base"]);
    if !context.on_host {
        let _ = fs::remove_dir_all("/run/systemd/nspawn");
    }
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// Work that does not come to an end keeps nobody from ending a machine.
fn do_not_hold_up_urgent_ones(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut machines = [0, 1].map(|_| Machine::start(context, &context.tree("busybox").unwrap(), &[]));
    machines.iter_mut().try_for_each(Machine::ready)?;
    // Who binds something waits for this.
    let lock = fs::File::create(Path::new(MACHINES).join(&machines[0].name).join("binds.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let client = client::Client::of(&bus)?;
    let bind = (machines[0].name.clone(), "/etc", "/opt", false, true);
    client.wait_for(async {
        for _ in 0..100 {
            let (connection, bind) = (client.connection.clone(), bind.clone());
            tokio::spawn(async move {
                let (path, interface) = (client::PATH, Some(client::MANAGER));
                let _ = connection
                    .call_method(Some(client::NAME), path, interface, "BindMountMachine", &bind)
                    .await;
            });
        }
        tokio::task::yield_now().await;
    })?;
    wait_for_children(&manager, "spinney-worker", 32)?;
    client.call::<()>("TerminateMachine", &machines[1].name)?;
    machines[1].wait()?;
    client.call::<()>("KillMachine", &(&machines[0].name, "leader", 9))?;
    machines[0].wait()?;
    drop(lock);
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// Who waits and dies leaves no process behind.
fn end_with_who_waits(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let path = format!("{MANAGER}/machine/{}", encode(&machine.name));
    let wait = || -> Result<Process, Stop> {
        let mut command = bus.command("busctl");
        command.args(["--system", "--timeout=600", "call", "org.spinney", &path, "org.spinney.Machine1"]);
        Ok(Process::spawn(command.args(["Wait", "st", "stopped", "0"])))
    };
    let mut waiting = wait()?;
    wait_for_children(&manager, "spinney wait ", 1)?;
    waiting.signal(Signal::KILL.as_raw());
    waiting.wait(PATIENCE).ok_or("it does not end")?;
    wait_for_children(&manager, "spinney wait ", 0)?;
    // Who stays is told.
    let mut staying = wait()?;
    wait_for_children(&manager, "spinney wait ", 1)?;
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    assert_eq!(staying.wait(PATIENCE).map(shell_status), Some(0));
    manager.signal(Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}
