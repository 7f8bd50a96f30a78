//! Very many machines, calls and clients: times and memory that do not run away.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal as Kill;
use serde_json::json;
use zbus::message::Message;
use zbus::{OwnedObjectPath, OwnedVariant};

use super::client::{Client, MANAGER, NAME, PATH};
use super::fixture::Bus;
use super::varlink;
use crate::command::{PATIENCE, Process, quickest};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use spinney::manager::object_path::encode;
use spinney::supervisor::registry::MACHINES;
use spinney::supervisor::state::State;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 5] = [
        ("registered_machines", registered_machines),
        ("own_machines", own_machines),
        ("calls_at_once", calls_at_once),
        ("killed_at_work", killed_at_work),
        ("who_never_reads", who_never_reads),
    ];
    rows.map(|(name, test)| Test::new(format!("{}load::{name}", super::TIER), test)).into()
}

const MANY: usize = 500;

type Rows = Vec<(String, String, String, OwnedObjectPath)>;

fn ended(mut manager: Process) -> TestResult {
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// How long all machines may take to be listed, one to be told of, and all objects: what is read of files each time takes more.
const LIST: Duration = Duration::from_millis(20);
const ALL: Duration = Duration::from_millis(2);
const MANAGED: Duration = Duration::from_millis(100);
/// The first after a change, of a debug build: that not all is read.
const CHANGED: Duration = Duration::from_millis(60);

/// What the manager has in memory that is no file's, in KiB (proc_pid_smaps(5)). Pages of a program that was just built, and is not on disk
/// yet, count as dirty.
fn memory(manager: &Process) -> Result<u64, Stop> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", manager.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// With `count` machines that are listed, `one` of them is told of, in the time that they may take.
fn is_quick(client: &Client, count: usize, one: &str) -> TestResult {
    let list = quickest(LIST, || {
        let rows: Rows = client.call("ListMachines", &())?;
        // The host is one more.
        assert_eq!(rows.len(), count + 1);
        Ok(())
    })?;
    let path = format!("{PATH}/machine/{}", encode(one));
    let all = quickest(ALL, || {
        let body = ("org.freedesktop.machine1.Machine",);
        let reply = client.message(&path, "org.freedesktop.DBus.Properties", "GetAll", &body)?;
        let all: std::collections::HashMap<String, OwnedVariant> = reply.body().deserialize()?;
        assert_eq!(all.len(), 20);
        Ok(())
    })?;
    println!("    ListMachines with {count}: {list:?}, GetAll: {all:?}");
    assert!(list < LIST, "ListMachines takes {list:?}");
    assert!(all < ALL, "GetAll takes {all:?}");
    Ok(())
}

/// The same of our own interfaces; all objects with all that is known of them are told in one answer.
fn own_is_quick(client: &Client, count: usize, one: &str) -> TestResult {
    const OWN: &str = "/org/spinney";
    type Properties = std::collections::HashMap<String, OwnedVariant>;
    // A debug build is ten times slower than what is shipped, in what it makes of its own code: values of any type.
    let shipped = |time| time * if cfg!(debug_assertions) { 5 } else { 1 };
    let list = quickest(shipped(LIST), || {
        let reply = client.message(OWN, "org.spinney.Manager1", "ListMachines", &())?;
        let rows: Vec<(String, OwnedObjectPath, Properties)> = reply.body().deserialize()?;
        assert_eq!(rows.len(), count);
        Ok(())
    })?;
    let path = format!("{OWN}/machine/{}", encode(one));
    let all = quickest(ALL, || {
        let body = ("org.spinney.Machine1",);
        let reply = client.message(&path, "org.freedesktop.DBus.Properties", "GetAll", &body)?;
        let all: Properties = reply.body().deserialize()?;
        assert_eq!(
            all.get("Name").and_then(|name| String::try_from(name.clone()).ok()).as_deref(),
            Some(one)
        );
        Ok(())
    })?;
    let managed = quickest(shipped(MANAGED), || {
        let interface = "org.freedesktop.DBus.ObjectManager";
        let reply = client.message(OWN, interface, "GetManagedObjects", &())?;
        let objects: std::collections::HashMap<
            OwnedObjectPath,
            std::collections::HashMap<String, Properties>,
        > = reply.body().deserialize()?;
        let machines = objects.values().filter(|object| object.contains_key("org.spinney.Machine1"));
        assert_eq!(machines.count(), count);
        Ok(())
    })?;
    println!(
        "    org.spinney: ListMachines with {count}: {list:?}, GetAll: {all:?}, GetManagedObjects: {managed:?}"
    );
    assert!(list < shipped(LIST), "ListMachines takes {list:?}");
    assert!(all < ALL, "GetAll takes {all:?}");
    assert!(managed < shipped(MANAGED), "GetManagedObjects takes {managed:?}");
    Ok(())
}

fn registered_machines(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let client = Client::of(&bus)?;
    let mut leader = Process::spawn(Command::new("sleep").arg("600").stdin(Stdio::null()));
    for number in 0..MANY {
        let body = (format!("m{number}"), Vec::<u8>::new(), "lab", "", leader.pid(), "");
        let _: OwnedObjectPath = client.call("RegisterMachine", &body)?;
    }
    is_quick(&client, MANY, "m7")?;
    let memory = memory(&manager)?;
    assert!(memory < 32 << 10, "{memory} KiB");
    leader.signal(libc::SIGKILL);
    leader.wait(PATIENCE).ok_or("it does not end")?;
    let rows: Rows = client.call("ListMachines", &())?;
    assert_eq!(rows.len(), 1);
    ended(manager)?;
    // The directory is systemd's, as far as can be seen here.
    assert_eq!(fs::read_dir("/run/systemd/machines")?.count(), 0);
    Ok(())
}

/// Records of machines that go with the test.
struct Records(Vec<PathBuf>);

impl Records {
    fn add(&mut self, state: &State) -> TestResult {
        let directory = Path::new(MACHINES).join(&state.name);
        fs::create_dir(&directory)?;
        self.0.push(directory.clone());
        Ok(fs::write(directory.join(State::FILE), serde_json::to_vec(state)?)?)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        for directory in &self.0 {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Records of machines of ours, all of one supervisor.
fn own_machines(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let mut state = machine.state()?;
    let mut records = Records(Vec::new());
    for number in 100..100 + MANY - 1 {
        state.name = format!("{}-{number}", context.prefix);
        records.add(&state)?;
    }
    let manager = bus.manager(&[])?;
    let client = Client::of(&bus)?;
    is_quick(&client, MANY, &machine.name)?;
    own_is_quick(&client, MANY, &machine.name)?;
    // One that says something new all the time is all that is read anew.
    let text = serde_json::to_vec(&state)?;
    let last = records.0.last().cloned().ok_or("no record")?;
    let busy = quickest(CHANGED, || {
        fs::write(last.join(".state"), &text)?;
        fs::rename(last.join(".state"), last.join("state"))?;
        let rows: Rows = client.call("ListMachines", &())?;
        assert_eq!(rows.len(), MANY + 1);
        Ok(())
    })?;
    println!("    ListMachines after a change: {busy:?}");
    assert!(busy < CHANGED, "after a change it takes {busy:?}");
    let memory = memory(&manager)?;
    assert!(memory < 32 << 10, "{memory} KiB");
    drop(records);
    let rows: Rows = client.call("ListMachines", &())?;
    assert_eq!(rows.len(), 2);
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    ended(manager)
}

/// All are answered; those that take a process each wait for one another.
fn calls_at_once(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    // A bus lets nobody wait for more than 128 replies at once.
    let clients = (0..10).map(|_| Client::of(&bus)).collect::<Result<Vec<_>, _>>()?;
    let before = memory(&manager)?;
    let answered = std::thread::scope(|scope| {
        let threads = clients.iter().map(|client| scope.spawn(|| hundred_calls(client, &machine.name)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")).collect::<Vec<_>>()
    });
    for answers in answered {
        assert_eq!(answers??, 100);
    }
    // Of the processes that were at it none is left, not even dead.
    let children = format!("/proc/{0}/task/{0}/children", manager.pid());
    let begun = Instant::now();
    while !fs::read_to_string(&children)?.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "they stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    let more = memory(&manager)?.saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB more");
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    ended(manager)
}

/// How many of a hundred calls, all made before the first answer, are answered well.
fn hundred_calls(client: &Client, name: &str) -> Result<usize, String> {
    let calls = async {
        let calls = (0..100).map(|number| {
            let (connection, name) = (client.connection.clone(), name.to_owned());
            let method = if number % 10 == 0 { "GetMachineOSRelease" } else { "GetMachine" };
            tokio::spawn(async move {
                connection.call_method(Some(NAME), PATH, Some(MANAGER), method, &(name,)).await.map(drop)
            })
        });
        let mut answers = 0;
        for call in calls.collect::<Vec<_>>() {
            call.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            answers += 1;
        }
        Ok(answers)
    };
    client.wait_for(calls).unwrap_or_else(|stop| Err(format!("{stop:?}")))
}

/// Whatever it was at, the next one knows all that there is, and the machine has noticed nothing.
fn killed_at_work(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let mut leader = Process::spawn(Command::new("sleep").arg("600").stdin(Stdio::null()));
    let mut last = 0;
    for round in 0..5_u32 {
        let mut manager = bus.manager(&[])?;
        last = manager.pid();
        let client = Client::of(&bus)?;
        client.wait_for(async {
            for number in 0..40 {
                let (connection, name, pid) = (client.connection.clone(), machine.name.clone(), leader.pid());
                tokio::spawn(async move {
                    let body = (format!("r{round}-{number}"), Vec::<u8>::new(), "lab", "", pid, "");
                    let _ = connection
                        .call_method(Some(NAME), PATH, Some(MANAGER), "RegisterMachine", &body)
                        .await;
                    let _ = connection
                        .call_method(Some(NAME), PATH, Some(MANAGER), "GetMachineOSRelease", &(name,))
                        .await;
                });
            }
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 15)).await;
        })?;
        manager.signal(libc::SIGKILL);
        manager.wait(PATIENCE).ok_or("the manager does not end")?;
    }
    // One that was killed while it wrote leaves this, which seldom happens in five rounds.
    fs::write(format!("/run/systemd/machines/.#r9-9.{last}"), "NAME=r9-")?;
    let manager = bus.manager(&[])?;
    let client = Client::of(&bus)?;
    let rows: Rows = client.call("ListMachines", &())?;
    let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    let files = fs::read_dir("/run/systemd/machines")?.flatten();
    let files: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    // What is written down is known, and nothing is there by half.
    assert!(names.contains(&machine.name.as_str()), "{names:?}");
    let unknown: Vec<&String> = files.iter().filter(|file| !names.contains(&file.as_str())).collect();
    assert_eq!(unknown, [] as [&String; 0], "{names:?}");
    assert_eq!(files.len() + 1, names.len(), "{files:?}, {names:?}");
    assert_eq!(machine.says("echo here")?, "here");
    leader.signal(libc::SIGKILL);
    leader.wait(PATIENCE).ok_or("it does not end")?;
    bus.machinectl(&["terminate", &machine.name]).ok()?;
    machine.wait()?;
    ended(manager)
}

/// Clients that ask and do not listen, on the bus and on the socket, hold up nobody.
fn who_never_reads(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut on_socket = varlink::Client::connect()?;
    on_socket.send_all_that_is_taken("io.systemd.Machine.List")?;
    let mut on_bus = deaf(&bus)?;
    let call = Message::method_call(PATH, "ListMachines");
    let call = call.destination(NAME).interface(MANAGER).build(&())?;
    for _ in 0..500 {
        on_bus.write_all(call.data())?;
    }
    let client = Client::of(&bus)?;
    for _ in 0..20 {
        let rows: Rows = client.call("ListMachines", &())?;
        assert_eq!(rows.len(), 1);
        assert!(varlink::Client::connect()?.call("List", json!({ "name": ".host" }))?.is_ok());
    }
    let memory = memory(&manager)?;
    assert!(memory < 32 << 10, "{memory} KiB");
    drop((on_socket, on_bus));
    ended(manager)
}

/// A connection to the bus that has said hello, and reads no more.
fn deaf(bus: &Bus) -> Result<UnixStream, Stop> {
    let path = bus.address();
    let mut stream = UnixStream::connect(path.strip_prefix("unix:path=").ok_or("another address")?)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The user's number in hexadecimal digits of its decimal ones (D-Bus specification, EXTERNAL).
    stream.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    assert!(answer[..length].starts_with(b"OK "), "{:?}", String::from_utf8_lossy(&answer[..length]));
    stream.write_all(b"BEGIN\r\n")?;
    let hello = Message::method_call("/org/freedesktop/DBus", "Hello");
    let hello = hello.destination("org.freedesktop.DBus").interface("org.freedesktop.DBus").build(&())?;
    stream.write_all(hello.data())?;
    Ok(stream)
}
