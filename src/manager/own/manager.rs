//! `org.spinney.Manager1`: finding and starting machines.

use zbus::message::Header;
use zbus::{OwnedFd, OwnedObjectPath};

use super::machine_calls::findings;
use super::machine_facts::listed;
use super::variants::{Dictionary, dictionary};
use super::verb::{Verb, logs};
use super::{Result, access, machine_path, start};
use crate::manager::announcer;
use crate::manager::authority;
use crate::manager::context::Context;
use crate::manager::machined::{known::Known, operations::by_pid};
use crate::manager::problem::{Kind, Problem};

/// The interface.
pub const INTERFACE: &str = "org.spinney.Manager1";

/// The object.
#[derive(Debug)]
pub struct ManagerObject {
    context: Context,
}

impl ManagerObject {
    /// Of all machines.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    async fn may(&self, header: &Header<'_>, method: &str, name: &str) -> Result<(), Problem> {
        access::check(&self.context, header, INTERFACE, method, name).await
    }
}

/// Finds and starts machines. What takes time has an object of `org.spinney.Job1`: with the option `wait` (b) a method comes back
/// when that is over. All objects are listed by `org.freedesktop.DBus.ObjectManager`, which tells of those that come and go.
#[zbus::interface(name = "org.spinney.Manager1")]
impl ManagerObject {
    /// The object of a machine.
    #[zbus(out_args("machine"))]
    async fn get_machine(&self, name: &str) -> Result<OwnedObjectPath> {
        self.context.machine(name).await?;
        Ok(machine_path(name))
    }

    /// The object of the machine that a process is of; 0 is the caller.
    #[zbus(name = "GetMachineByPID", out_args("machine"))]
    async fn get_machine_by_pid(
        &self,
        pid: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        let pid = match pid {
            0 => authority::process(self.context.connection(), &header).await?,
            pid => pid,
        };
        match by_pid(&self.context, i32::try_from(pid).unwrap_or(-1)).await? {
            Known::Own(machine) => Ok(machine_path(&machine.state.name)),
            known => Err(Problem::no_machine(&known.file().name).into()),
        }
    }

    /// All machines that run: name, object, and the properties that it has.
    #[zbus(out_args("machines"))]
    async fn list_machines(&self) -> Result<Vec<(String, OwnedObjectPath, Dictionary)>> {
        announcer::announce(&self.context).await?;
        let machines = self.context.machines().all();
        let row = |name: &String| (name.clone(), machine_path(name));
        let rows = machines.iter().map(|machine| (row(&machine.state.name), listed(machine)));
        Ok(rows.map(|((name, path), properties)| (name, path, properties)).collect())
    }

    /// All jobs, also those that are over since a minute at most: number, object, and properties.
    #[zbus(out_args("jobs"))]
    async fn list_jobs(&self) -> Result<Vec<(u32, OwnedObjectPath, Dictionary)>> {
        let jobs = self.context.jobs().all();
        Ok(jobs.iter().map(|job| (job.id(), job.path(), job.properties())).collect())
    }

    /// Boots the image of a name. Options are the settings of machine files by their names (`ephemeral` b, `hostname` s, `port` as,
    /// `memory-max` t or s, ...; `machine.ephemeral` with the table's name); and `wait` (b): comes back when the machine is ready, and
    /// not when its PID 1 runs. Gives the machine, and the job that is over when it is ready.
    #[zbus(out_args("machine", "job"))]
    async fn start(
        &self,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedObjectPath, OwnedObjectPath)> {
        self.may(&header, "Start", name).await?;
        Ok(start::start(&self.context, &header, name, &options).await?)
    }

    /// Boots a tree (an absolute path), an image (a name), or what is pulled by a reference (`debian:trixie`); with a command, runs
    /// that in place of its init. Options as of Start, and `machine` (s): what it is called. Without that it comes back when the
    /// machine is ready.
    #[zbus(out_args("machine", "job"))]
    async fn run(
        &self,
        tree: &str,
        command: Vec<String>,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedObjectPath, OwnedObjectPath)> {
        self.may(&header, "Run", tree).await?;
        Ok(start::run(&self.context, &header, tree, command, &options).await?)
    }

    /// How Run would make a machine, and where each setting comes from, in JSON (spinney-explain(1)).
    #[zbus(out_args("json"))]
    async fn explain(
        &self,
        tree: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String> {
        self.may(&header, "Explain", tree).await?;
        Ok(start::explain(tree, &options).await?)
    }

    /// What a machine has logged, also after its end, to be read from a pipe. Options as of a machine's OpenLogs.
    #[zbus(out_args("fd"))]
    async fn open_logs(
        &self,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedFd> {
        self.may(&header, "OpenLogs", name).await?;
        Ok(logs(name, &options)?.into())
    }

    /// Has machines started with the host.
    async fn enable(&self, names: Vec<String>, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.may(&header, "Enable", &names.join(" ")).await?;
        Ok(all("enable", names).await?)
    }

    /// Has machines started with the host no more.
    async fn disable(&self, names: Vec<String>, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.may(&header, "Disable", &names.join(" ")).await?;
        Ok(all("disable", names).await?)
    }

    /// Removes what killed machines left behind: `removed` (as) is whose, `failed` (aa{sv}) what stays, and why.
    #[zbus(out_args("result"))]
    async fn collect_garbage(&self, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        self.may(&header, "CollectGarbage", "").await?;
        let ended = Verb::new(["gc", "--json"]).spawn().map(|running| running.ended(|_| {}))?.await?;
        if ended.last.is_object() { Ok(dictionary(&ended.last)) } else { Err(ended.problem().into()) }
    }

    /// What is odd about this host: `check`, `verdict` (`ok`, `warning`, `problem`), `text`, `hint`.
    #[zbus(out_args("findings"))]
    async fn doctor(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dictionary>> {
        self.may(&header, "Doctor", "").await?;
        Ok(findings(&[]).await?)
    }

    /// The program's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// A verb for several machines.
async fn all(verb: &str, names: Vec<String>) -> Result<(), Problem> {
    if names.is_empty() {
        return Err(Problem::new(Kind::InvalidArgument, "No machine given"));
    }
    let line = [verb, "--quiet", "--"].map(str::to_owned).into_iter().chain(names);
    Verb::new(line).run().await.map(drop)
}
