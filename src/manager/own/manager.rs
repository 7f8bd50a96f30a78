//! `org.spinney.Manager1`: finding and starting machines.

use std::sync::Arc;

use zbus::message::Header;
use zbus::{OwnedFd, OwnedObjectPath};

use super::machine_calls::findings;
use super::machine_facts::Listed;
use super::options::{Takes, words};
use super::variants::{Dictionary, dictionaries, dictionary};
use super::verb::{Verb, logs};
use super::{Result, access, image, image_path, machine_path, start, transfer};
use crate::image::Store;
use crate::manager::announcer;
use crate::manager::authority;
use crate::manager::context::Context;
use crate::manager::importd::{self, transfers::no_transfer};
use crate::manager::machined::images::{self, Found, find};
use crate::manager::machined::{known::Known, operations::by_pid};
use crate::manager::machines::Machine;
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

    /// All machines that run: name, object, and of its properties `State`, `Phase`, `Paused`, `Leader`, `Timestamp`, `ReadyTimestamp`,
    /// `OS`, `Init`, `Addresses`, `RootDirectory`, `Ephemeral`.
    #[zbus(out_args("machines"))]
    async fn list_machines(&self) -> Result<Vec<(String, OwnedObjectPath, Listed)>> {
        announcer::announce(&self.context).await?;
        let machines = self.context.machines().all().into_iter();
        let row = |machine: Arc<Machine>| {
            let name = machine.state.name.clone();
            let path = machine_path(&name);
            (name, path, Listed(machine))
        };
        Ok(machines.map(row).collect())
    }

    /// All jobs, also those that are over since a minute at most: number, object, and properties.
    #[zbus(out_args("jobs"))]
    async fn list_jobs(&self) -> Result<Vec<(u32, OwnedObjectPath, Dictionary)>> {
        let jobs = self.context.jobs().all();
        Ok(jobs.iter().map(|job| (job.id(), job.path(), job.properties())).collect())
    }

    /// The object of an image.
    #[zbus(out_args("image"))]
    async fn get_image(&self, name: &str) -> Result<OwnedObjectPath> {
        let Found::Image(_) = find(&Store::system(), name)? else {
            return Err(Problem::no_image(name).into());
        };
        images::announce(&self.context).await?;
        Ok(image_path(name))
    }

    /// All images: name, object, and properties.
    #[zbus(out_args("images"))]
    async fn list_images(&self) -> Result<Vec<(String, OwnedObjectPath, Dictionary)>> {
        let images = images::announce(&self.context).await?;
        // What is hidden is none, and the host is listed by nobody here.
        let images = images.iter().filter(|facts| !facts.name.starts_with('.'));
        Ok(images.map(|facts| (facts.name.clone(), image_path(&facts.name), image::listed(facts))).collect())
    }

    /// The object of a transfer, by its number.
    #[zbus(out_args("transfer"))]
    async fn get_transfer(&self, id: u32) -> Result<OwnedObjectPath> {
        importd::announce(&self.context).await?;
        match self.context.transfers().get(id) {
            Some(_) => Ok(transfer::transfer_path(id)),
            None => Err(no_transfer(id).into()),
        }
    }

    /// All transfers that run, whoever has begun them: number, object, and properties.
    #[zbus(out_args("transfers"))]
    async fn list_transfers(&self) -> Result<Vec<(u32, OwnedObjectPath, Dictionary)>> {
        importd::announce(&self.context).await?;
        let all = self.context.transfers().all();
        let row = |id: u32| (id, transfer::transfer_path(id));
        let rows = all.iter().map(|one| (row(one.id()), transfer::listed(one)));
        Ok(rows.map(|((id, path), properties)| (id, path, properties)).collect())
    }

    /// Fetches an image: from an address, by a name of the catalogue (`debian:trixie`), or of a registry. Without a name it is called
    /// as its source is. Options are those of spinney-pull(1): `force`, `read-only`, `keep-partial`, `refresh` (b), `verify`,
    /// `sha256`, `arch`, `source` (s), `key` (as); `type` (s: `tar` or `raw`, which it then must be); and `wait` (b).
    #[zbus(out_args("transfer"))]
    async fn pull(
        &self,
        source: &str,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        self.may(&header, "Pull", name).await?;
        Ok(transfer::begin(&self.context, transfer::pull(source, name, &options)?, None, &options).await?)
    }

    /// Makes an image of what is read from a file or pipe (an archive, a disk image), or of a directory. Options: `force`, `read-only`
    /// (b), `sha256` (s), `type` (s: `tar`, `raw` or `fs`), `wait` (b).
    #[zbus(out_args("transfer"))]
    async fn import(
        &self,
        file: OwnedFd,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        self.may(&header, "Import", name).await?;
        let file = file.into();
        let order = transfer::import(&file, name, &options)?;
        Ok(transfer::begin(&self.context, order, Some(file), &options).await?)
    }

    /// Writes an image to a file or pipe, as an archive or a disk image. Options: `format` (s: `uncompressed`, `xz`, `gzip`, `bzip2`,
    /// `zstd`), `mtime` (s), `clamp-mtime` (b), `type` (s: `tar` or `raw`), `wait` (b).
    #[zbus(out_args("transfer"))]
    async fn export(
        &self,
        name: &str,
        file: OwnedFd,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        self.may(&header, "Export", name).await?;
        let file = file.into();
        let order = transfer::export(name, &file, &options)?;
        Ok(transfer::begin(&self.context, order, Some(file), &options).await?)
    }

    /// Removes what is hidden beside images and nobody's, and unused layers. Options: `all` (b: images too, but for those in use or
    /// read-only), `force` (b: read-only ones too), `dry-run` (b). Gives `removed` (as), `kept` (aa{sv}), `layers` (t).
    #[zbus(out_args("result"))]
    async fn clean(&self, options: Dictionary, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        self.may(&header, "Clean", "").await?;
        let known = [("all", Takes::Flag), ("dry-run", Takes::Flag), ("force", Takes::Flag)];
        let line = ["clean", "--json"].map(str::to_owned).into_iter().chain(words(&options, &known)?);
        let ended = Verb::new(line).run().await?;
        images::announce(&self.context).await?;
        Ok(dictionary(&ended.last))
    }

    /// Whether a tree or disk image of this host, by its path, can be booted here, and what there is to say of it.
    #[zbus(out_args("findings"))]
    async fn inspect(&self, path: &str, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        self.may(&header, "Inspect", path).await?;
        if !path.starts_with('/') {
            return Err(Problem::new(Kind::InvalidArgument, "The path is to be absolute").into());
        }
        Ok(image::inspect(path).await?)
    }

    /// Images that there are to pull, by a word of their names: as spinney-search(1) tells in JSON.
    #[zbus(out_args("images"))]
    async fn search(&self, word: &str, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dictionary>> {
        self.may(&header, "Search", "").await?;
        let operands: &[&str] = if word.is_empty() { &[] } else { &["--", word] };
        let ended = Verb::new(["search", "--json"].iter().chain(operands).copied()).run().await?;
        Ok(dictionaries(&ended.last))
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
