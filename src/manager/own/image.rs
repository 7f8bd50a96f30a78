//! `org.spinney.Image1`: one image. What is read quickly is read here; all else is done by verbs of ours.

use serde_json::{Value, json};
use zbus::message::Header;
use zbus::{OwnedObjectPath, fdo};

use super::job::About;
use super::jobs;
use super::options::{Takes, VerbOptions, waits, words};
use super::variants::{Dictionary, camel_case, dictionaries, dictionary};
use super::verb::Verb;
use super::{Result, access, image_path};
use crate::image::{ImageName, Store, hidden, origin};
use crate::manager::context::Context;
use crate::manager::machined::images::{Facts, announce, find};
use crate::manager::problem::{Kind, Problem};

/// The interface.
pub const INTERFACE: &str = "org.spinney.Image1";

/// The object of one image.
#[derive(Debug)]
pub struct ImageObject {
    context: Context,
    name: String,
}

impl ImageObject {
    /// Of the image called `name`.
    pub fn new(context: Context, name: &str) -> Self {
        Self { context, name: name.to_owned() }
    }

    fn facts(&self) -> fdo::Result<Facts> {
        Facts::told(&self.name)
    }

    /// Whether the caller may call `method`, and there is such an image.
    async fn may(&self, header: &Header<'_>, method: &str) -> Result<(), Problem> {
        access::check(&self.context, header, INTERFACE, method, &self.name).await?;
        find(&Store::system(), &self.name).map(drop)
    }

    /// A verb with options, then the image's name and other operands.
    async fn verb(&self, verb: &str, options: &[&str], operands: &[&str]) -> Result<Value, Problem> {
        let _busy = self.context.busy();
        let line = [&[verb], options, &["--", self.name.as_str()], operands].concat();
        let ended = Verb::new(line).run().await?;
        // What is told of from here on is as it is now.
        announce(&self.context).await?;
        Ok(ended.last)
    }

    /// The same as a job, that makes another image.
    async fn make(
        &self,
        verb: &'static str,
        new: &str,
        options: &Dictionary,
        known: &VerbOptions,
        header: &Header<'_>,
    ) -> Result<(OwnedObjectPath, OwnedObjectPath), Problem> {
        let new: ImageName = new.parse().map_err(|source| crate::image::Error::Name { source })?;
        if Facts::named(new.as_str()).is_some() {
            return Err(Problem::new(Kind::ImageExists, format!("Image '{new}' exists already")));
        }
        let operands = [self.name.clone(), new.to_string()];
        let path = self.job(verb, words(options, known)?, &operands, waits(options)?, header).await?;
        Ok((image_path(new.as_str()), path))
    }

    async fn job(
        &self,
        verb: &'static str,
        options: Vec<String>,
        operands: &[String],
        wait: bool,
        header: &Header<'_>,
    ) -> Result<OwnedObjectPath, Problem> {
        let line = [verb, "--quiet"].map(str::to_owned).into_iter().chain(options).chain(["--".to_owned()]);
        let place = jobs::reserve(&self.context).await?;
        let running = Verb::new(line.chain(operands.iter().cloned())).spawn()?;
        let process = running.process()?;
        let (context, image) = (self.context.clone(), operands.last().cloned().unwrap_or_default());
        let work = async move {
            let ended = running.ended(|_| {}).await?;
            if ended.was_killed() {
                sweep().await;
            }
            ended.well()?;
            // Its object is there before anybody hears of it.
            announce(&context).await?;
            Ok(json!({ "image": image }))
        };
        let about = About::image(verb, &self.name, header);
        let job = place.begin(about, Some(process), work).await?;
        if wait {
            job.wait().await?;
        }
        Ok(job.path())
    }
}

/// Removes what a verb that was killed left of the image that it was making, and of any other: that is nobody's any more.
async fn sweep() {
    let swept = tokio::task::spawn_blocking(|| {
        let store = Store::system();
        // What cannot be removed is not seen all the same, and the next verb says so.
        let _ = hidden::sweep(&store);
        origin::sweep(&store);
    });
    let _ = swept.await;
}

/// What lists tell of an image.
pub fn listed(facts: &Facts) -> Dictionary {
    dictionary(&json!({
        "Path": facts.path,
        "Type": facts.kind,
        "ReadOnly": facts.read_only,
        "CreationTimestamp": facts.created,
        "ModificationTimestamp": facts.modified,
        "Usage": facts.usage,
        "Limit": facts.limit,
    }))
}

/// An image that machines are made from. Times are in microseconds since 1970, or 0 where nobody knows; sizes in bytes, or all ones.
/// What takes time is a job; with the option `wait` (b) a method comes back when that is over.
#[zbus::interface(name = "org.spinney.Image1")]
impl ImageObject {
    /// Makes another image of its state, in no time: they share what neither changes. Options: `copy` (b: neither needs the other),
    /// `read-only` (b). Gives the new image's object.
    #[zbus(name = "Clone", out_args("image", "job"))]
    async fn clone_image(
        &self,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedObjectPath, OwnedObjectPath)> {
        self.may(&header, "Clone").await?;
        let known: &VerbOptions = &[("copy", Takes::Flag), ("read-only", Takes::Flag)];
        Ok(self.make("clone", name, &options, known, &header).await?)
    }

    /// Makes an image of one piece of its state, which needs none of its layers. Options: `layered` (b: it shares them),
    /// `read-only` (b).
    #[zbus(out_args("image", "job"))]
    async fn commit(
        &self,
        name: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedObjectPath, OwnedObjectPath)> {
        self.may(&header, "Commit").await?;
        let known: &VerbOptions = &[("layered", Takes::Flag), ("read-only", Takes::Flag)];
        Ok(self.make("commit", name, &options, known, &header).await?)
    }

    /// Removes it, with its settings and snapshots. Options: `force` (b: also one that is read-only).
    #[zbus(out_args("job"))]
    async fn remove(
        &self,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        self.may(&header, "Remove").await?;
        let flags = words(&options, &[("force", Takes::Flag)])?;
        let operands = [self.name.clone()];
        Ok(self.job("remove", flags, &operands, waits(&options)?, &header).await?)
    }

    /// Gives it another name; its settings, its snapshots and what is known of where it came from go with it.
    #[zbus(out_args("image"))]
    async fn rename(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<OwnedObjectPath> {
        self.may(&header, "Rename").await?;
        self.verb("rename", &["--quiet"], &[name]).await?;
        Ok(image_path(name))
    }

    /// Marks it read-only, or writable again.
    async fn set_read_only(&self, read_only: bool, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.may(&header, "SetReadOnly").await?;
        self.verb("read-only", &["--quiet"], &[if read_only { "yes" } else { "no" }]).await?;
        Ok(())
    }

    /// Keeps its state under a name, or without one by the time. Gives the name.
    #[zbus(out_args("snapshot"))]
    async fn snapshot(
        &self,
        name: &str,
        message: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String> {
        self.may(&header, "Snapshot").await?;
        let message = format!("--message={message}");
        let options: &[&str] = if message == "--message=" { &["--json"] } else { &["--json", &message] };
        let operands: &[&str] = if name.is_empty() { &[] } else { &[name] };
        let taken = self.verb("snapshot", options, operands).await?;
        Ok(taken.get("snapshot").and_then(Value::as_str).unwrap_or(name).to_owned())
    }

    /// Its snapshots: `Name`, `Created`, `Message`, `Automatic`, `Layers`.
    #[zbus(out_args("snapshots"))]
    async fn list_snapshots(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dictionary>> {
        self.may(&header, "ListSnapshots").await?;
        let listed = self.verb("snapshot", &["--list", "--json"], &[]).await?;
        Ok(dictionaries(&listed).into_iter().map(camel_case).collect())
    }

    /// Removes a snapshot.
    async fn delete_snapshot(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.may(&header, "DeleteSnapshot").await?;
        self.verb("snapshot", &["--delete", "--quiet"], &[name]).await?;
        Ok(())
    }

    /// Takes it back to a snapshot; without a name to the last that somebody made. What it was is kept as an automatic snapshot.
    /// Options: `discard` (b: keep nothing of it).
    async fn rollback(
        &self,
        snapshot: &str,
        options: Dictionary,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        self.may(&header, "Rollback").await?;
        let mut flags = words(&options, &[("discard", Takes::Flag)])?;
        flags.push("--quiet".to_owned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let operands: &[&str] = if snapshot.is_empty() { &[] } else { &[snapshot] };
        self.verb("rollback", &flags, operands).await?;
        Ok(())
    }

    /// What was changed against a snapshot or an image, or its own layers if that is empty: JSON, as of spinney-diff(1).
    #[zbus(out_args("json"))]
    async fn diff(&self, against: &str, #[zbus(header)] header: Header<'_>) -> Result<String> {
        self.may(&header, "Diff").await?;
        let against = format!("--against={against}");
        let options: &[&str] = if against == "--against=" { &["--json"] } else { &["--json", &against] };
        Ok(self.verb("diff", options, &[]).await?.to_string())
    }

    /// Whether it can be booted here, and what there is to say of it (spinney-inspect(1)).
    #[zbus(out_args("findings"))]
    async fn inspect(&self, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        self.may(&header, "Inspect").await?;
        let facts = Facts::named(&self.name).ok_or_else(|| Problem::no_image(&self.name))?;
        Ok(inspect(&facts.path).await?)
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[zbus(property(emits_changed_signal = "false"))]
    fn path(&self) -> fdo::Result<String> {
        Ok(self.facts()?.path)
    }

    /// `directory`, `subvolume`, `raw`, `block` or `mstack`.
    #[zbus(property(emits_changed_signal = "false"), name = "Type")]
    fn kind(&self) -> fdo::Result<&'static str> {
        Ok(self.facts()?.kind)
    }

    /// It is not to be changed.
    #[zbus(property(emits_changed_signal = "false"))]
    fn read_only(&self) -> fdo::Result<bool> {
        Ok(self.facts()?.read_only)
    }

    /// When it was made.
    #[zbus(property(emits_changed_signal = "const"))]
    fn creation_timestamp(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.created)
    }

    /// When it was last changed.
    #[zbus(property(emits_changed_signal = "false"))]
    fn modification_timestamp(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.modified)
    }

    /// What it takes on disk.
    #[zbus(property(emits_changed_signal = "false"))]
    fn usage(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.usage)
    }

    /// The most that it may take: a disk's size.
    #[zbus(property(emits_changed_signal = "false"))]
    fn limit(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.limit)
    }

    /// Where it came from: `Action`, `Reference`, `Source`, `Digest`, `Proof`, `Parent`, `When`, as far as that is known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn origin(&self) -> Dictionary {
        let store = Store::system();
        let image = self.name.parse().ok().and_then(|name: ImageName| store.find(&name).ok());
        let origin = image.and_then(|image| origin::of(&store, &image));
        let value = origin.and_then(|origin| serde_json::to_value(origin).ok()).unwrap_or_default();
        camel_case(dictionary(&value))
    }
}

/// What `spinney inspect` finds at `path`.
///
/// # Errors
/// When it cannot look.
pub async fn inspect(path: &str) -> Result<Dictionary, Problem> {
    let ended = Verb::new(["inspect", "--json", "--", path]).spawn()?.ended(|_| {}).await?;
    // That it cannot be booted is no failure to look.
    if ended.last.is_object() { Ok(camel_case(dictionary(&ended.last))) } else { Err(ended.problem()) }
}
