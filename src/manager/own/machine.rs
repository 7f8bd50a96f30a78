//! `org.spinney.Machine1`: one machine. What its methods do is in [`super::machine_calls`], what its properties say in
//! [`super::machine_facts`].

use std::collections::HashMap;
use std::sync::Arc;

use zbus::fdo;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedFd, OwnedObjectPath};

use super::machine_calls::{Call, Streams};
use super::machine_facts::{self as facts, Limits};
use super::variants::Dictionary;
use super::{Result, events};
use crate::machine::usage::Usage;
use crate::manager::context::Context;
use crate::manager::machines::Machine;

/// The interface.
pub const INTERFACE: &str = "org.spinney.Machine1";

/// The object of one machine.
#[derive(Debug)]
pub struct MachineObject {
    context: Context,
    name: String,
    /// Somebody wants to hear what happens.
    events: events::Following,
}

impl MachineObject {
    /// Of the machine called `name`.
    pub fn new(context: Context, name: &str) -> Self {
        Self { context, name: name.to_owned(), events: events::Following::default() }
    }

    fn machine(&self) -> fdo::Result<Arc<Machine>> {
        let gone = || fdo::Error::UnknownObject(format!("machine {} is gone", self.name));
        self.context.machines().get(&self.name).ok_or_else(gone)
    }

    fn call<'a>(&'a self, header: &'a Header<'a>) -> Call<'a> {
        Call { context: &self.context, header, name: &self.name }
    }
}

/// A machine that runs.
#[zbus::interface(name = "org.spinney.Machine1")]
impl MachineObject {
    /// Asks it to power off, in the way of its init. One that does not stop in time is killed. Comes back at once: the object goes
    /// with the machine, and `Wait("stopped")` waits for that.
    async fn stop(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).stop().await?)
    }

    /// Asks it to reboot, in the way of its init. It keeps its name, its supervisor and its throw-away layer.
    async fn reboot(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).reboot().await?)
    }

    /// Ends it now, without asking it.
    async fn terminate(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).terminate().await?)
    }

    /// Sends a signal: `leader`, `supervisor`, or `all` of its processes.
    async fn kill(&self, whom: &str, signal: i32, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).kill(whom, signal).await?)
    }

    /// Stops all of its processes from running.
    async fn pause(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).pause().await?)
    }

    /// Lets them run again.
    async fn resume(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).resume().await?)
    }

    /// Comes back when a condition holds: `ready`, `stopped`, `unit=UNIT`, `target=TARGET`, `port=PORT`, `file=PATH`,
    /// `exec=COMMAND` (spinney-wait(1)); nothing is `ready`. After `timeout` microseconds, 0 being none, it is an error.
    async fn wait(&self, condition: &str, timeout: u64, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).wait(condition, timeout).await?)
    }

    /// Runs a command in it, with the caller's fds as its streams. The job is over with the command, and has its `ExitStatus`.
    /// Options: `user` (s, `USER[:GROUP]`), `directory` (s), `environment` (a{ss}, or as of `NAME=value`), `timeout` and
    /// `kill-after` (t in microseconds, or s).
    #[zbus(out_args("job"))]
    #[allow(clippy::too_many_arguments, reason = "three streams")]
    async fn exec(
        &self,
        argv: Vec<String>,
        options: Dictionary,
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        let streams = Streams([stdin.into(), stdout.into(), stderr.into()]);
        Ok(self.call(&header).exec(argv, &options, streams).await?)
    }

    /// A login shell of a user (root without one) on a terminal, or a command that it runs: the terminal's master, and the path of
    /// its slave in the machine. Options: `environment`, as of Exec; of that TERM is the terminal's type.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_shell(
        &self,
        user: &str,
        command: Vec<String>,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.call(&header).open_shell(user, command, &options).await?;
        Ok((pty.into(), path))
    }

    /// A login prompt on a terminal.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_login(&self, #[zbus(header)] header: Header<'_>) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.call(&header).open_login().await?;
        Ok((pty.into(), path))
    }

    /// A terminal of its own, with nothing on it.
    #[zbus(name = "OpenPTY", out_args("pty", "pty_path"))]
    async fn open_pty(&self, #[zbus(header)] header: Header<'_>) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.call(&header).open_pty().await?;
        Ok((pty.into(), path))
    }

    /// Its root directory.
    #[zbus(out_args("fd"))]
    async fn open_root_directory(&self, #[zbus(header)] header: Header<'_>) -> Result<OwnedFd> {
        Ok(self.call(&header).open_root().await?.into())
    }

    /// What it has logged, to be read from a pipe. Options are those of spinney-logs(1): `follow` (b), `lines` (s or u), `since`,
    /// `until`, `priority`, `boot`, `source`, `output` (s), `unit` (as), `reverse`, `json`, `no-hostname` (b).
    #[zbus(out_args("fd"))]
    async fn open_logs(&self, options: Dictionary, #[zbus(header)] header: Header<'_>) -> Result<OwnedFd> {
        Ok(self.call(&header).open_logs(&options).await?.into())
    }

    /// Copies files of the host into it. Options: `replace` (b), `wait` (b: come back when it is done).
    #[zbus(out_args("job"))]
    async fn copy_to(
        &self,
        source: &str,
        destination: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        Ok(self.call(&header).copy(true, source, destination, &options).await?)
    }

    /// Copies files of it to the host. Options as of CopyTo.
    #[zbus(out_args("job"))]
    async fn copy_from(
        &self,
        source: &str,
        destination: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        Ok(self.call(&header).copy(false, source, destination, &options).await?)
    }

    /// Mounts a path of the host in it; without a destination at the same path. Options: `read-only`, `mkdir` (b).
    async fn bind(
        &self,
        source: &str,
        destination: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.call(&header).bind(source, destination, &options).await?)
    }

    /// Unmounts what Bind has mounted.
    async fn unbind(&self, destination: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.call(&header).unbind(destination).await?)
    }

    /// Changes what it may have of the host, by the names of systemd.resource-control(5): `MemoryMax`, `CPUQuota`, ... `infinity`
    /// takes a limit away. Gives warnings: limits that this host does not have.
    #[zbus(out_args("warnings"))]
    async fn set_limits(
        &self,
        limits: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>> {
        Ok(self.call(&header).set_limits(&limits).await?)
    }

    /// Has ports of the host lead to it (`8080:80`, `udp:127.0.0.1:53:53`), and offers ports and sockets of the host's in it: all
    /// that is named, or nothing.
    async fn publish(
        &self,
        ports: Vec<String>,
        offers: Vec<String>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.call(&header).ports("Publish", &ports, &offers).await?)
    }

    /// Takes them away again.
    async fn unpublish(
        &self,
        ports: Vec<String>,
        offers: Vec<String>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.call(&header).ports("Unpublish", &ports, &offers).await?)
    }

    /// The addresses that its interfaces have now.
    #[zbus(out_args("addresses"))]
    async fn get_addresses(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>> {
        Ok(self.call(&header).addresses().await?)
    }

    /// What it uses of the host at this moment: `MemoryCurrent`, `MemoryPeak`, `CPUUsageNSec`, `IOReadBytes`, `IOWriteBytes`,
    /// `TasksCurrent`, `NetworkReceivedBytes`, `NetworkSentBytes`, as far as the host counts it.
    #[zbus(out_args("usage"))]
    async fn get_usage(&self, #[zbus(header)] header: Header<'_>) -> Result<HashMap<String, u64>> {
        self.call(&header).may("GetUsage").await?;
        let machine = self.context.machine(&self.name).await?;
        Ok(facts::usage(&Usage::of(&machine.state)))
    }

    /// The fields of its os-release(5).
    #[zbus(name = "GetOSRelease", out_args("fields"))]
    async fn get_os_release(&self, #[zbus(header)] header: Header<'_>) -> Result<HashMap<String, String>> {
        Ok(self.call(&header).os_release().await?)
    }

    /// All that its supervisor knows, as its method of this name on the control socket says it.
    #[zbus(out_args("description"))]
    async fn describe(&self, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        Ok(self.call(&header).describe().await?)
    }

    /// What is odd about it: `check`, `verdict` (`ok`, `warning`, `problem`), `text`, `hint`.
    #[zbus(out_args("findings"))]
    async fn doctor(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dictionary>> {
        Ok(self.call(&header).doctor().await?)
    }

    /// Has the signal Event sent from now on, for as long as the machine runs and the manager does.
    async fn subscribe(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.call(&header).may("Subscribe").await?;
        Ok(self.events.begin(&self.context, &self.name)?)
    }

    /// Something happened (spinney-events(1)): when, in microseconds since 1970, what (`ready`, `unit-active`, `rebooting`, ...),
    /// and what there is to say of it.
    #[zbus(signal)]
    pub(super) async fn event(
        emitter: &SignalEmitter<'_>,
        time: u64,
        event: &str,
        data: Dictionary,
    ) -> zbus::Result<()>;

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// Its machine ID (machine-id(5)): 32 digits, or nothing.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> fdo::Result<String> {
        Ok(self.machine()?.file.id.clone())
    }

    /// When this boot began, in microseconds since 1970.
    #[zbus(property)]
    fn timestamp(&self) -> fdo::Result<u64> {
        Ok(self.machine()?.state.started_at)
    }

    /// When it was up, in microseconds since 1970; 0 before.
    #[zbus(property)]
    fn ready_timestamp(&self) -> fdo::Result<u64> {
        Ok(facts::ready_timestamp(&*self.machine()?))
    }

    /// `opening`, `running` or `closing`, as systemd-machined has it: running is it from its PID 1's start on.
    #[zbus(property)]
    fn state(&self) -> fdo::Result<&'static str> {
        Ok(self.machine()?.progress().as_str())
    }

    /// `booting`, `ready` or `stopping`.
    #[zbus(property)]
    fn phase(&self) -> fdo::Result<&'static str> {
        Ok(facts::phase(&*self.machine()?))
    }

    /// Its processes are stopped from running.
    #[zbus(property)]
    fn paused(&self) -> fdo::Result<bool> {
        Ok(self.machine()?.state.paused)
    }

    /// What its init last said of itself.
    #[zbus(property)]
    fn status_text(&self) -> fdo::Result<String> {
        Ok(facts::status_text(&*self.machine()?))
    }

    /// Its PID 1, as the host sees it.
    #[zbus(property)]
    fn leader(&self) -> fdo::Result<u32> {
        Ok(facts::leader(&*self.machine()?))
    }

    /// Who watches it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn supervisor(&self) -> fdo::Result<u32> {
        Ok(self.machine()?.state.supervisor.unsigned_abs())
    }

    /// Its tree, on the host.
    #[zbus(property(emits_changed_signal = "const"))]
    fn root_directory(&self) -> fdo::Result<String> {
        Ok(facts::root_directory(&*self.machine()?))
    }

    /// Its operating system, in words.
    #[zbus(property, name = "OS")]
    fn os(&self) -> fdo::Result<String> {
        Ok(self.machine()?.state.os.clone())
    }

    /// Its init, with version where known.
    #[zbus(property)]
    fn init(&self) -> fdo::Result<String> {
        Ok(self.machine()?.state.init.clone())
    }

    /// How often it booted.
    #[zbus(property)]
    fn boots(&self) -> fdo::Result<u32> {
        Ok(self.machine()?.state.boots)
    }

    /// It runs on a throw-away layer.
    #[zbus(property(emits_changed_signal = "const"))]
    fn ephemeral(&self) -> fdo::Result<bool> {
        Ok(self.machine()?.state.ephemeral)
    }

    /// Nobody's terminal is its console.
    #[zbus(property(emits_changed_signal = "const"))]
    fn background(&self) -> fdo::Result<bool> {
        Ok(self.machine()?.state.background)
    }

    /// The unit of systemd's that it is in.
    #[zbus(property(emits_changed_signal = "const"))]
    fn unit(&self) -> fdo::Result<String> {
        Ok(self.machine()?.file.unit.clone())
    }

    /// Its cgroup, below the root of the v2 hierarchy.
    #[zbus(property(emits_changed_signal = "const"))]
    fn control_group(&self) -> fdo::Result<String> {
        Ok(self.machine()?.state.cgroup.clone())
    }

    /// Where its IDs begin on the host.
    #[zbus(property(emits_changed_signal = "const"), name = "UIDShift")]
    fn uid_shift(&self) -> fdo::Result<u32> {
        Ok(self.machine()?.state.id_base)
    }

    /// How many there are; 0 without a user namespace.
    #[zbus(property(emits_changed_signal = "const"), name = "UIDRange")]
    fn uid_range(&self) -> fdo::Result<u32> {
        Ok(self.machine()?.state.id_size)
    }

    /// Interfaces of the host that lead to it, by index.
    #[zbus(property(emits_changed_signal = "const"))]
    fn network_interfaces(&self) -> fdo::Result<Vec<i32>> {
        Ok(self.machine()?.interfaces.clone())
    }

    /// The addresses that it was given.
    #[zbus(property)]
    fn addresses(&self) -> fdo::Result<Vec<String>> {
        Ok(facts::addresses(&*self.machine()?))
    }

    /// Ports of the host that lead to it.
    #[zbus(property)]
    fn ports(&self) -> fdo::Result<Vec<String>> {
        Ok(facts::ports(&*self.machine()?))
    }

    /// What of the host's is offered in it.
    #[zbus(property)]
    fn offers(&self) -> fdo::Result<Vec<String>> {
        Ok(facts::offers(&*self.machine()?))
    }

    /// What it may have of the host, by the names of systemd.resource-control(5).
    #[zbus(property)]
    fn limits(&self) -> fdo::Result<Limits> {
        Ok(facts::limits(&*self.machine()?))
    }

    /// How many of its processes the kernel killed for want of memory.
    #[zbus(property, name = "OOMKills")]
    fn oom_kills(&self) -> fdo::Result<u64> {
        Ok(self.machine()?.state.oom_kills)
    }
}
