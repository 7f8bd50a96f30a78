//! What is done to a machine: who may, with which arguments, by whom.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use zbus::OwnedObjectPath;
use zbus::message::Header;

use super::access::{self, SHELL};
use super::job::{self, About};
use super::machine::INTERFACE;
use super::options::{Takes, VerbOptions, assignments, boolean, text, texts, time, waits, words};
use super::variants::{Dictionary, dictionaries, dictionary};
use super::verb::{Verb, logs, tell};
use crate::machine::addresses;
use crate::manager::context::Context;
use crate::manager::departure::departure;
use crate::manager::problem::{Kind, Problem};
use crate::manager::worker::Done;
use crate::manager::worker::machine_work::whom;
use crate::manager::worker::task::{MachineWork, Program};
use crate::settings::limits::keys::KEYS;
use crate::settings::parse_duration;

/// How many may wait for something at once: each has a process.
const WAITING: usize = 256;

static WAITERS: Semaphore = Semaphore::const_new(WAITING);

/// What the kernel takes (signal(7)).
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// What waiting ends with when the time is over, and when it cannot hold any more (spinney-wait(1)).
const TIMED_OUT: i32 = 124;
const NEVER: i32 = 1;

/// How long a command may go on that was told to end, where nobody says.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// One call: what it is about, and whose it is.
#[derive(Debug)]
pub struct Call<'a> {
    /// What all objects share.
    pub context: &'a Context,
    /// Who asks.
    pub header: &'a Header<'a>,
    /// The machine.
    pub name: &'a str,
}

/// The standard streams of a command.
#[derive(Debug)]
pub struct Streams(pub [OwnedFd; 3]);

/// A pty: its master, and the path of its slave in the machine.
pub type Pty = (OwnedFd, String);

/// What all of these give: no such machine, the caller may not, an invalid argument, the work has failed.
type Result<T> = std::result::Result<T, Problem>;

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidArgument, text)
}

#[allow(clippy::missing_errors_doc, reason = "as the alias says")]
impl Call<'_> {
    /// Whether the caller may call `method`.
    pub async fn may(&self, method: &str) -> Result<()> {
        access::check(self.context, self.header, INTERFACE, method, self.name).await
    }

    /// Asks it to power off.
    pub async fn stop(&self) -> Result<()> {
        self.may("Stop").await?;
        self.supervisor("io.systemd.MachineInstance.PowerOff", json!({})).await.map(drop)
    }

    /// Asks it to reboot.
    pub async fn reboot(&self) -> Result<()> {
        self.may("Reboot").await?;
        self.supervisor("io.systemd.MachineInstance.Reboot", json!({})).await.map(drop)
    }

    /// Ends it now.
    pub async fn terminate(&self) -> Result<()> {
        self.may("Terminate").await?;
        self.work(MachineWork::Terminate).await.map(drop)
    }

    /// Sends a signal.
    pub async fn kill(&self, whom_word: &str, signal: i32) -> Result<()> {
        self.may("Kill").await?;
        whom(whom_word)?;
        if !SIGNALS.contains(&signal) {
            return Err(invalid(format!("Invalid signal {signal}")));
        }
        self.work(MachineWork::Kill { whom: whom_word.to_owned(), signal }).await.map(drop)
    }

    /// Stops its processes from running.
    pub async fn pause(&self) -> Result<()> {
        self.may("Pause").await?;
        self.supervisor("io.systemd.MachineInstance.Pause", json!({})).await.map(drop)
    }

    /// Lets them run again.
    pub async fn resume(&self) -> Result<()> {
        self.may("Resume").await?;
        self.supervisor("io.systemd.MachineInstance.Resume", json!({})).await.map(drop)
    }

    /// Waits until `condition` holds, `timeout` microseconds at most; for ever if that is 0.
    pub async fn wait(&self, condition: &str, timeout: u64) -> Result<()> {
        self.may("Wait").await?;
        if condition.starts_with("exec=") {
            access::ask(self.context, self.header, SHELL, self.name).await?;
        }
        self.context.machine(self.name).await?;
        let busy = |_| Problem::new(Kind::Busy, format!("{WAITING} calls wait already"));
        let _place = WAITERS.try_acquire().map_err(busy)?;
        let _busy = self.context.busy();
        let condition = if condition.is_empty() { "ready" } else { condition };
        let mut line = vec!["wait".to_owned(), "--json".to_owned(), format!("--for={condition}")];
        line.extend((timeout > 0).then(|| format!("--timeout={timeout}us")));
        line.extend(["--".to_owned(), self.name.to_owned()]);
        let running = Verb::new(line).spawn()?;
        let process = running.process()?;
        let mut end = std::pin::pin!(running.ended(|_| {}));
        let ended = tokio::select! {
            ended = &mut end => ended?,
            () = departure(self.context.connection(), self.header) => {
                tell(&process, libc::SIGTERM)?;
                end.await?
            }
        };
        let reason = || ended.last.get("reason").and_then(Value::as_str).unwrap_or("no reason is known");
        match ended.status {
            0 => Ok(()),
            TIMED_OUT => {
                Err(Problem::new(Kind::TimedOut, format!("{condition} does not hold: {}", reason())))
            }
            NEVER => Err(Problem::new(Kind::Failed, format!("{condition} will not hold: {}", reason()))),
            _ => Err(ended.problem()),
        }
    }

    /// Begins a command.
    pub async fn exec(
        &self,
        argv: Vec<String>,
        options: &Dictionary,
        streams: Streams,
    ) -> Result<OwnedObjectPath> {
        let mut asked = MachineWork::Exec {
            command: argv,
            user: None,
            directory: None,
            environment: Vec::new(),
            timeout: None,
            kill_after: Some(KILL_AFTER),
        };
        let MachineWork::Exec { command, user, directory, environment, timeout, kill_after } = &mut asked
        else {
            return Err(invalid("not a command"));
        };
        let may = self.may("Exec").await;
        may?;
        if command.is_empty() {
            return Err(invalid("No command given"));
        }
        for (name, value) in options {
            match name.as_str() {
                "user" => *user = Some(text(name, value)?).filter(|user| !user.is_empty()),
                "directory" => *directory = Some(text(name, value)?).filter(|path| !path.is_empty()),
                "environment" => *environment = assignments(name, value)?,
                "timeout" => *timeout = duration(&time(name, value)?)?,
                "kill-after" => *kill_after = duration(&time(name, value)?)?,
                _ => {
                    let known = "user, directory, environment, timeout, kill-after";
                    return Err(invalid(format!("Unknown option {name:?}: there are {known}")));
                }
            }
        }
        let place = job::reserve(self.context).await?;
        let attended = self.context.attend_on_machine(self.name, asked, streams.0.into()).await?;
        let process = attended.process()?;
        let work = async move { Ok(attended.outcome(|_| {}).await?.value) };
        let about = About::machine("exec", self.name, self.header);
        Ok(place.begin(about, Some(process), work).await?.path())
    }

    /// A shell of `user`, or a command of it, on a terminal.
    pub async fn open_shell(&self, user: &str, command: Vec<String>, options: &Dictionary) -> Result<Pty> {
        self.may("OpenShell").await?;
        let mut environment = Vec::new();
        for (name, value) in options {
            match name.as_str() {
                "environment" => environment = assignments(name, value)?,
                _ => return Err(invalid(format!("Unknown option {name:?}: there is environment"))),
            }
        }
        let user = if user.is_empty() { "root" } else { user }.to_owned();
        self.pty(MachineWork::OpenSession { program: Program::Shell { user, command, environment } }).await
    }

    /// A login prompt on a terminal.
    pub async fn open_login(&self) -> Result<Pty> {
        self.may("OpenLogin").await?;
        self.pty(MachineWork::OpenSession { program: Program::Login }).await
    }

    /// A terminal.
    pub async fn open_pty(&self) -> Result<Pty> {
        self.may("OpenPTY").await?;
        self.pty(MachineWork::OpenTerminal).await
    }

    /// Its root directory.
    pub async fn open_root(&self) -> Result<OwnedFd> {
        self.may("OpenRootDirectory").await?;
        let fd = self.work(MachineWork::OpenRoot).await?.fds.into_iter().next();
        fd.ok_or_else(|| Problem::new(Kind::Failed, "no root directory came"))
    }

    /// What it has logged.
    pub async fn open_logs(&self, options: &Dictionary) -> Result<OwnedFd> {
        self.may("OpenLogs").await?;
        logs(self.name, options)
    }

    /// Copies files into it, or out of it.
    pub async fn copy(
        &self,
        into: bool,
        source: &str,
        destination: &str,
        options: &Dictionary,
    ) -> Result<OwnedObjectPath> {
        self.may(if into { "CopyTo" } else { "CopyFrom" }).await?;
        words(options, &[("replace", Takes::Flag)])?;
        let replace = options.get("replace").map_or(Ok(false), |value| boolean("replace", value))?;
        let source = absolute("source", source)?.to_owned();
        let destination = if destination.is_empty() {
            source.clone()
        } else {
            absolute("destination", destination)?.to_owned()
        };
        let work = MachineWork::Copy { into, source, destination, replace };
        let place = job::reserve(self.context).await?;
        let attended = self.context.attend_on_machine(self.name, work, Vec::new()).await?;
        let process = attended.process()?;
        let about = About::machine(if into { "copy-to" } else { "copy-from" }, self.name, self.header);
        let meter = about.meter.clone();
        let work = async move { Ok(attended.outcome(|said| meter.take(&said)).await?.value) };
        let job = place.begin(about, Some(process), work).await?;
        if waits(options)? {
            job.wait().await?;
        }
        Ok(job.path())
    }

    /// Mounts a path of the host in it.
    pub async fn bind(&self, source: &str, destination: &str, options: &Dictionary) -> Result<()> {
        const KNOWN: &VerbOptions = &[("read-only", Takes::Flag), ("mkdir", Takes::Flag)];
        self.may("Bind").await?;
        words(options, KNOWN)?;
        let flag = |name: &str| options.get(name).map_or(Ok(false), |value| boolean(name, value));
        let source = absolute("source", source)?.to_owned();
        let destination = if destination.is_empty() {
            source.clone()
        } else {
            absolute("destination", destination)?.to_owned()
        };
        let (read_only, make_destination) = (flag("read-only")?, flag("mkdir")?);
        self.work(MachineWork::Bind { source, destination, read_only, make_destination }).await.map(drop)
    }

    /// Unmounts it.
    pub async fn unbind(&self, destination: &str) -> Result<()> {
        self.may("Unbind").await?;
        let destination = absolute("destination", destination)?.to_owned();
        self.work(MachineWork::Unbind { destination }).await.map(drop)
    }

    /// Changes limits; gives warnings.
    pub async fn set_limits(&self, limits: &Dictionary) -> Result<Vec<String>> {
        self.may("SetLimits").await?;
        let mut named = serde_json::Map::new();
        for (property, value) in limits {
            let key = KEYS.iter().find(|key| key.property == property || key.name == property);
            let key = key.ok_or_else(|| invalid(format!("Unknown limit {property:?}")))?;
            named.insert(key.name.to_owned(), json!(texts(property, value)?));
        }
        let done = self.supervisor("org.spinney.Machine.SetLimits", json!({ "limits": named })).await?;
        let warnings = done.get("warnings").and_then(Value::as_array).into_iter().flatten();
        Ok(warnings.filter_map(|warning| warning.as_str().map(str::to_owned)).collect())
    }

    /// Publishes ports and offers, or takes them away.
    pub async fn ports(&self, method: &str, ports: &[String], offers: &[String]) -> Result<()> {
        self.may(method).await?;
        if ports.is_empty() && offers.is_empty() {
            return Err(invalid("No port and no offer given"));
        }
        let wanted = json!({ "ports": ports, "offers": offers });
        self.supervisor(&format!("org.spinney.Machine.{method}"), wanted).await.map(drop)
    }

    /// The addresses that it has.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        self.may("GetAddresses").await?;
        let machine = self.context.machine(self.name).await?;
        Ok(addresses::of(machine.state.leader).iter().map(ToString::to_string).collect())
    }

    /// What it says it is.
    pub async fn os_release(&self) -> Result<HashMap<String, String>> {
        self.may("GetOSRelease").await?;
        let value = self.work(MachineWork::OsRelease).await?.value;
        let fields = value.as_object().into_iter().flatten();
        Ok(fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
    }

    /// All that its supervisor knows.
    pub async fn describe(&self) -> Result<Dictionary> {
        self.may("Describe").await?;
        Ok(dictionary(&self.supervisor("org.spinney.Machine.Describe", Value::Null).await?))
    }

    /// What is odd about it.
    pub async fn doctor(&self) -> Result<Vec<Dictionary>> {
        self.may("Doctor").await?;
        self.context.machine(self.name).await?;
        findings(&["--", self.name]).await
    }

    /// Has its supervisor do something.
    async fn supervisor(&self, method: &str, parameters: Value) -> Result<Value> {
        let work = MachineWork::Control { method: method.to_owned(), parameters };
        Ok(self.work(work).await?.value)
    }

    async fn pty(&self, work: MachineWork) -> Result<Pty> {
        let Done { value, fds } = self.work(work).await?;
        let path = value.as_str().unwrap_or_default().to_owned();
        let fd = fds.into_iter().next();
        fd.map(|fd| (fd, path)).ok_or_else(|| Problem::new(Kind::Failed, "no pty came"))
    }

    async fn work(&self, work: MachineWork) -> Result<Done> {
        self.context.work_on_machine(self.name, work).await
    }
}

/// What `spinney doctor` finds, of the host or of a machine.
///
/// # Errors
/// When it cannot look.
pub(super) async fn findings(words: &[&str]) -> Result<Vec<Dictionary>> {
    let line = ["doctor", "--json"].iter().chain(words).copied();
    let ended = Verb::new(line).spawn()?.ended(|_| {}).await?;
    // A problem that was found is no failure to look.
    match ended.last.get(0).and_then(|first| first.get("findings")) {
        Some(found) => Ok(dictionaries(found)),
        None => Err(ended.problem()),
    }
}

fn duration(text: &str) -> Result<Option<Duration>> {
    parse_duration(text).map_err(|error| invalid(format!("{error} ({})", error.hint())))
}

/// A path that means the same wherever it is said.
fn absolute<'a>(what: &str, path: &'a str) -> Result<&'a str> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(path);
    }
    Err(invalid(format!("The {what} is to be an absolute path")))
}
