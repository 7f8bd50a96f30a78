//! What is asked of systemd and systemd-machined over the system bus (org.freedesktop.systemd1(5), org.freedesktop.machine1(5)), in a
//! child of the supervisor's own.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::{Connection, DBusError, ObjectPath, OwnedObjectPath, Variant, fdo};

use super::errand::Answer;
use super::{Entry, scope};
use crate::settings::Slice;
use crate::supervisor::machined_file::SERVICE;

/// How long machined may take, which the bus may have to start first: as long as systemd's own clients wait.
const PATIENCE: Duration = Duration::from_secs(25);

/// The last machine's scope of this name goes by itself, when systemd has seen that it is empty.
const AGAIN: Duration = Duration::from_millis(20);

/// So long the scope of a machine that has just ended may take to go; one that stays is somebody else's.
const LAST_ONE_GOES: Duration = Duration::from_millis(500);

/// How long systemd waits for a machine that it has told to end, as spinney@.service has it.
const TIMEOUT_STOP: Duration = Duration::from_secs(120);

/// As spinney@.service has it.
const TASKS_MAX: u64 = 16384;

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.machine1.Manager",
    default_service = "org.freedesktop.machine1",
    default_path = "/org/freedesktop/machine1"
)]
trait Machined {
    #[allow(clippy::too_many_arguments, reason = "machined's own")]
    fn register_machine_with_network(
        &self,
        name: &str,
        id: &[u8],
        service: &str,
        class: &str,
        leader: u32,
        root: &str,
        interfaces: &[i32],
    ) -> zbus::Result<OwnedObjectPath>;
    fn unregister_machine(&self, name: &str) -> zbus::Result<()>;
    fn get_machine(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(interface = "org.freedesktop.machine1.Machine", default_service = "org.freedesktop.machine1")]
trait Machine {
    #[zbus(property)]
    fn leader(&self) -> zbus::Result<u32>;
}

/// Has systemd make the scope `name` in `slice`, with `member` in it.
///
/// It names no Controller=: that would be a connection of ours, which nobody keeps open; the supervisor hears of a stop by SIGTERM.
pub(super) fn make_scope(name: &str, slice: &Slice, description: &str, member: Pid) -> Answer {
    let work = async {
        let systemd = SystemdProxy::new(&connect().await?).await?;
        // Without it systemd tells nobody.
        systemd.subscribe().await?;
        let mut removed = systemd.receive_job_removed().await?;
        let properties = [
            ("Description", Variant::from(description)),
            ("PIDs", Variant::from(vec![number(member)])),
            ("Slice", Variant::from(slice.as_str())),
            ("Delegate", Variant::from(true)),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("TasksMax", Variant::from(TASKS_MAX)),
            ("TimeoutStopUSec", Variant::from(u64::try_from(TIMEOUT_STOP.as_micros()).unwrap_or(u64::MAX))),
        ];
        let begun = Instant::now();
        let job = loop {
            match systemd.start_transient_unit(name, "fail", &properties, &[]).await {
                Err(error)
                    if is_called(&error, "org.freedesktop.systemd1.UnitExists")
                        && begun.elapsed() < LAST_ONE_GOES =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                job => break job?,
            }
        };
        while let Some(signal) = removed.next().await {
            let ended = signal.args()?;
            if *ended.job() == *job {
                return match ended.result() {
                    &"done" => Ok(()),
                    result => Err(zbus::Error::Failure(format!("the job of {name} ended as {result}"))),
                };
            }
        }
        Err(zbus::Error::Failure("the bus is gone".to_owned()))
    };
    answer(work, scope::PATIENCE)
}

/// Registers the machine of `entry`, whose leader is new. An entry of its own that is there already, of the last boot or of a
/// supervisor that was killed, gives way; that of a machine that lives does not.
pub(super) fn register(entry: &Entry, leader: Pid, interfaces: &[i32]) -> Answer {
    let work = async {
        let connection = connect().await?;
        let machined = MachinedProxy::new(&connection).await?;
        let root = entry.root.to_str().unwrap_or_default();
        let mut tried = false;
        loop {
            let registered = machined.register_machine_with_network(
                &entry.name,
                &entry.id,
                SERVICE,
                "container",
                number(leader),
                root,
                interfaces,
            );
            match registered.await {
                Err(error) if !tried && is_called(&error, "org.freedesktop.machine1.MachineExists") => {
                    let registered = leader_of(&connection, &machined, &entry.name).await?;
                    if lives(registered) {
                        return Err(error);
                    }
                    unless_gone(machined.unregister_machine(&entry.name).await)?;
                    tried = true;
                }
                other => return other.map(drop),
            }
        }
    };
    answer(work, PATIENCE)
}

/// Takes the entry `name` away, if it is that of the machine whose leader is, or was, `leader`.
pub(super) fn unregister(name: &str, leader: Pid) -> Answer {
    let work = async {
        let connection = connect().await?;
        let machined = MachinedProxy::new(&connection).await?;
        if leader_of(&connection, &machined, name).await? == number(leader) {
            unless_gone(machined.unregister_machine(name).await)?;
        }
        Ok(())
    };
    answer(work, PATIENCE)
}

/// The leader that machined knows; 0 where it knows none.
async fn leader_of(connection: &Connection, machined: &MachinedProxy<'_>, name: &str) -> zbus::Result<u32> {
    let path = match machined.get_machine(name).await {
        Err(error) if is_called(&error, NO_SUCH_MACHINE) => return Ok(0),
        path => path?,
    };
    let machine = MachineProxy::builder(connection)
        .path(path)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    machine.leader().await
}

const NO_SUCH_MACHINE: &str = "org.freedesktop.machine1.NoSuchMachine";

/// That of which there is none is not there, which was wanted.
fn unless_gone(done: zbus::Result<()>) -> zbus::Result<()> {
    match done {
        Err(error) if is_called(&error, NO_SUCH_MACHINE) => Ok(()),
        done => done,
    }
}

fn lives(pid: u32) -> bool {
    pid > 0 && Path::new("/proc").join(pid.to_string()).exists()
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

fn is_called(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(called, _, _) if called.as_str() == name)
}

/// The system bus. Whoever cannot reach it has nobody to ask.
async fn connect() -> zbus::Result<Connection> {
    Connection::system().await.map_err(|error| fdo::Error::NoServer(error.to_string()).into())
}

/// Does `work` in a loop of its own, for which there is `patience`.
fn answer(work: impl Future<Output = zbus::Result<()>>, patience: Duration) -> Answer {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Answer::Failed(format!("cannot speak to the system bus: {error}")),
    };
    match runtime.block_on(async { tokio::time::timeout(patience, work).await }) {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(error)) => of_error(error),
        Err(_) => Answer::Failed(format!("no answer within {} s", patience.as_secs())),
    }
}

fn of_error(error: zbus::Error) -> Answer {
    match error {
        zbus::Error::FDO(error) => match *error {
            fdo::Error::NoServer(why) | fdo::Error::ServiceUnknown(why) | fdo::Error::NameHasNoOwner(why) => {
                Answer::Absent(why)
            }
            error => Answer::Failed(error.description().unwrap_or("it is refused").to_owned()),
        },
        zbus::Error::MethodError(_, Some(why), _) => Answer::Failed(why),
        error => Answer::Failed(error.to_string()),
    }
}
