//! systemd and systemd-machined, played by a thread on a bus of the test's own, in the mood that the test wants them in.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use spinney::host::CgroupHierarchy;
use spinney::manager::problem::{Kind, Machined, Problem, Refusal};
use spinney::sys::attributes;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant};

use super::fixture::Bus;
use crate::command::PATIENCE;
use crate::harness::{Context, Stop};
use crate::machine::Machine;

/// How the two are today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Willing,
    Refusing,
    Silent,
}

/// What they have been told, and know.
#[derive(Debug, Default)]
pub struct Told {
    pub calls: Vec<String>,
    /// The machine that is registered, by its leader.
    pub leader: Option<u32>,
}

pub type Shared = Arc<Mutex<Told>>;

async fn mind(mood: Mood, problem: &'static str) -> Result<(), Refusal<Machined>> {
    match mood {
        Mood::Willing => Ok(()),
        Mood::Refusing => Err(Problem::new(Kind::AccessDenied, problem).into()),
        Mood::Silent => std::future::pending().await,
    }
}

const JOB: &str = "/org/freedesktop/systemd1/job/7";

struct Systemd {
    mood: Mood,
    told: Shared,
    /// Where scopes are made.
    cgroups: PathBuf,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    async fn subscribe(&self) {}

    async fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: Vec<(String, OwnedVariant)>,
        auxiliary: Vec<(String, Vec<(String, OwnedVariant)>)>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal<Machined>> {
        assert!(auxiliary.is_empty());
        mind(self.mood, "no scopes today").await?;
        let mut said = Vec::new();
        for (property, value) in properties {
            if property == "PIDs" {
                let pids: Vec<u32> = value.try_into().unwrap();
                let cgroup = self.cgroups.join(name);
                fs::create_dir_all(&cgroup).unwrap();
                attributes::set(fs::File::open(&cgroup).unwrap(), b"trusted.delegate", b"1").unwrap();
                pids.iter().for_each(|pid| fs::write(cgroup.join("cgroup.procs"), pid.to_string()).unwrap());
            } else if let Ok(text) = String::try_from(value) {
                said.push(format!("{property}={text}"));
            }
        }
        self.told.lock().unwrap().calls.push(format!("scope {name} {mode} {}", said.join(" ")));
        let job = ObjectPath::try_from(JOB).unwrap();
        Self::job_removed(&emitter, 7, job.clone(), name, "done").await.unwrap();
        Ok(job.into())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct MachineManager {
    mood: Mood,
    told: Shared,
}

#[zbus::interface(name = "org.freedesktop.machine1.Manager")]
impl MachineManager {
    #[allow(clippy::too_many_arguments)]
    async fn register_machine_with_network(
        &self,
        name: &str,
        id: Vec<u8>,
        service: &str,
        class: &str,
        leader: u32,
        root: &str,
        interfaces: Vec<i32>,
    ) -> Result<OwnedObjectPath, Refusal<Machined>> {
        mind(self.mood, "no machines today").await?;
        let mut told = self.told.lock().unwrap();
        let said = format!("{name} {} {service} {class} {root} {}", id.len(), interfaces.len());
        if told.leader.is_some() {
            told.calls.push("exists".to_owned());
            return Err(Problem::new(Kind::MachineExists, format!("Machine '{name}' already exists")).into());
        }
        told.calls.push(format!("register {said}"));
        told.leader = Some(leader);
        Ok(ObjectPath::try_from("/machine").unwrap().into())
    }

    async fn get_machine(&self, name: &str) -> Result<OwnedObjectPath, Refusal<Machined>> {
        match self.told.lock().unwrap().leader {
            Some(_) => Ok(ObjectPath::try_from("/machine").unwrap().into()),
            None => Err(Problem::new(Kind::NoSuchMachine, format!("No machine '{name}' known")).into()),
        }
    }

    async fn unregister_machine(&self, name: &str) {
        let mut told = self.told.lock().unwrap();
        told.calls.push(format!("unregister {name}"));
        told.leader = None;
    }
}

struct KnownMachine(Shared);

#[zbus::interface(name = "org.freedesktop.machine1.Machine")]
impl KnownMachine {
    #[zbus(property)]
    async fn leader(&self) -> u32 {
        self.0.lock().unwrap().leader.unwrap_or_default()
    }
}

/// The two of them on a bus, until this goes.
pub struct Played {
    pub told: Shared,
    pub bus: Bus,
    pub cgroups: PathBuf,
    /// Of the machine, which has the tests' prefix.
    pub scope: PathBuf,
    pub name: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Played {
    pub fn start(context: &Context, systemd: Mood, machined: Mood) -> Result<Self, Stop> {
        let bus = Bus::start(context)?;
        let cgroups = CgroupHierarchy::at_usual_place().and_then(|cgroups| cgroups.mount_point);
        let cgroups = cgroups.ok_or_else(|| Stop::Skip("no cgroup v2 is mounted".to_owned()))?;
        let name = context.machine_name();
        let scope = cgroups.join(format!("machine-{}.scope", name.replace('-', "\\x2d")));
        let told = Shared::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = {
            let (address, told, cgroups) = (bus.address(), told.clone(), cgroups.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let connection =
                        zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
                    let server = connection.object_server();
                    let manager = Systemd { mood: systemd, told: told.clone(), cgroups };
                    server.at("/org/freedesktop/systemd1", manager).await.unwrap();
                    let manager = MachineManager { mood: machined, told: told.clone() };
                    server.at("/org/freedesktop/machine1", manager).await.unwrap();
                    server.at("/machine", KnownMachine(told)).await.unwrap();
                    for name in ["org.freedesktop.systemd1", "org.freedesktop.machine1"] {
                        connection.request_name(name).await.unwrap();
                    }
                    ready.send(()).unwrap();
                    let _ = stopped.await;
                });
            })
        };
        is_ready.recv_timeout(PATIENCE)?;
        Ok(Self { told, bus, cgroups, scope, name, stop: Some(stop), thread: Some(thread) })
    }

    pub fn machine(&self, context: &Context, options: &[&str]) -> Result<Machine, Stop> {
        let mut command = context.spinney();
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address())
            .args(["run", "-x", "-M", &self.name, "--console=read-only", "--notify-ready"])
            .args(options)
            .arg(context.tree("busybox")?);
        Ok(Machine::spawn(context, &self.name, command))
    }

    pub fn calls(&self) -> Vec<String> {
        self.told.lock().unwrap().calls.clone()
    }

    /// Waits until they have been told so many things.
    pub fn told(&self, count: usize) -> Result<Vec<String>, Stop> {
        wait_until(|| self.calls().len() >= count).map_err(|_| format!("only {:?}", self.calls()))?;
        Ok(self.calls())
    }

    /// The machine's cgroup, from the root of the hierarchy.
    pub fn in_scope(&self) -> String {
        let scope = self.scope.strip_prefix(&self.cgroups).unwrap().display();
        format!("/{scope}/machine-{}/payload", self.name)
    }
}

pub fn wait_until(done: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            return Err("it does not come".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

impl Drop for Played {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
        // As systemd does when it is empty: what is to be told at the end is told from in there.
        let empty = || {
            fs::read_to_string(self.scope.join("cgroup.events"))
                .map_or(true, |text| text.contains("populated 0"))
        };
        let _ = wait_until(empty);
        let _ = fs::remove_dir(self.scope.join("supervisor"));
        let _ = fs::remove_dir(&self.scope);
    }
}
