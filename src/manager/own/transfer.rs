//! `org.spinney.Transfer1`: an image that is pulled, imported or exported, whoever has begun that; and the command lines that do it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::FileType;
use tokio::sync::watch;
use zbus::fdo::Properties;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, Variant};

use super::options::{Takes, VerbOptions, waits, words};
use super::variants::{Dictionary, dictionary};
use super::{PATH, Result, access};
use crate::image::ImageName;
use crate::manager::context::Context;
use crate::manager::importd::transfers::{News, Order, Transfer};
use crate::manager::importd::wish::{Stream, check_fd};
use crate::manager::importd::{self, announce};
use crate::manager::problem::{Kind, Problem};
use crate::transfer::told::{Level, Outcome};

/// The interface.
pub const INTERFACE: &str = "org.spinney.Transfer1";

/// How long an outcome is kept for who asks late.
const KEPT: Duration = Duration::from_secs(60);

/// Options of the methods that begin one.
const PULL: &VerbOptions = &[
    ("arch", Takes::Value),
    ("force", Takes::Flag),
    ("keep-partial", Takes::Flag),
    ("key", Takes::Values),
    ("read-only", Takes::Flag),
    ("refresh", Takes::Flag),
    ("sha256", Takes::Value),
    ("source", Takes::Value),
    ("verify", Takes::Value),
];
const IMPORT: &VerbOptions = &[("force", Takes::Flag), ("read-only", Takes::Flag), ("sha256", Takes::Value)];
const EXPORT: &VerbOptions =
    &[("format", Takes::Value), ("mtime", Takes::Value), ("clamp-mtime", Takes::Flag)];

/// What came of one: `done`, `cancelled` or `failed`, and its last error.
#[derive(Debug, Clone)]
struct End {
    outcome: Outcome,
    error: String,
}

impl End {
    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Done => "done",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        }
    }
}

/// The object of one transfer.
#[derive(Debug)]
pub struct TransferObject {
    context: Context,
    transfer: Arc<Transfer>,
    error: Mutex<String>,
    end: watch::Sender<Option<End>>,
}

impl TransferObject {
    async fn wait_for_end(&self) -> Result<(), Problem> {
        let mut end = self.end.subscribe();
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match end {
            Some(End { outcome: Outcome::Done, .. }) => Ok(()),
            Some(End { outcome: Outcome::Failed, error }) if !error.is_empty() => {
                Err(Problem::new(Kind::Failed, error))
            }
            Some(End { outcome: Outcome::Failed, .. }) => Err(Problem::new(Kind::Failed, "It was killed")),
            _ => Err(Problem::new(Kind::Cancelled, "It was cancelled")),
        }
    }
}

/// The object of the transfer `id`.
pub fn transfer_path(id: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{PATH}/transfer/{id}")).unwrap_or_default()
}

/// What lists tell of a transfer.
pub fn listed(transfer: &Transfer) -> Dictionary {
    dictionary(&serde_json::json!({
        "Type": transfer.kind(),
        "Local": transfer.local(),
        "Remote": transfer.remote(),
        "Progress": transfer.progress(),
    }))
}

/// Makes the object of a transfer that came.
pub async fn came(context: &Context, transfer: &Arc<Transfer>) {
    let (server, path) = (context.connection().object_server(), transfer_path(transfer.id()));
    // That of an earlier one whose number this has.
    let _ = server.remove::<TransferObject, _>(&path).await;
    let object = TransferObject {
        context: context.clone(),
        transfer: Arc::clone(transfer),
        error: Mutex::default(),
        end: watch::Sender::new(None),
    };
    // A connection that is gone is seen by who waits for its end.
    let _ = server.at(&path, object).await;
}

/// Says what is new of one.
pub async fn tell(context: &Context, transfer: &Transfer, news: &News) {
    let server = context.connection().object_server();
    let Ok(object) = server.interface::<_, TransferObject>(transfer_path(transfer.id())).await else {
        return;
    };
    let emitter = object.signal_emitter();
    for (priority, line) in &news.lines {
        if *priority == Level::Error.priority() {
            let object = object.get().await;
            line.clone_into(&mut object.error.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let _ = emitter.message(*priority, line).await;
    }
    if let Some(progress) = news.progress {
        let _ = changed(emitter, "Progress", progress.into()).await;
    }
}

/// Says what came of one; its object goes later.
pub async fn went(context: &Context, transfer: &Arc<Transfer>, outcome: Outcome) {
    let (server, path) = (context.connection().object_server(), transfer_path(transfer.id()));
    let Ok(object) = server.interface::<_, TransferObject>(&path).await else { return };
    let end = {
        let object = object.get().await;
        let error = object.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        End { outcome, error }
    };
    let (word, error) = (end.word(), end.error.clone());
    object.get().await.end.send_replace(Some(end));
    let _ = changed(object.signal_emitter(), "State", word.into()).await;
    let _ = object.signal_emitter().finished(word, &error).await;
    let (context, transfer) = (context.clone(), Arc::clone(transfer));
    tokio::spawn(async move {
        tokio::time::sleep(KEPT).await;
        let server = context.connection().object_server();
        // Its number may be another's by now.
        if let Ok(object) = server.interface::<_, TransferObject>(&path).await
            && Arc::ptr_eq(&object.get().await.transfer, &transfer)
        {
            let _ = server.remove::<TransferObject, _>(&path).await;
        }
    });
}

async fn changed(emitter: &SignalEmitter<'_>, name: &str, value: Variant<'_>) -> zbus::Result<()> {
    Properties::properties_changed(emitter, INTERFACE.try_into()?, [(name, value)].into(), (&[][..]).into())
        .await
}

/// Begins one; with the option `wait` its end is waited for.
///
/// # Errors
/// When it cannot be begun; then why it failed.
pub async fn begin(
    context: &Context,
    order: Order,
    fd: Option<OwnedFd>,
    options: &Dictionary,
) -> Result<OwnedObjectPath, Problem> {
    let wait = waits(options)?;
    let transfer = importd::start(context, &order, fd).await?;
    let path = transfer_path(transfer.id());
    if wait {
        let object = context.connection().object_server().interface::<_, TransferObject>(&path).await?;
        object.get().await.wait_for_end().await?;
    }
    Ok(path)
}

/// What pulls `source` as the image `name`.
///
/// # Errors
/// When an argument is invalid.
pub fn pull(source: &str, name: &str, options: &Dictionary) -> Result<Order, Problem> {
    let (kind, options) = kind_of("pull", &["tar", "raw"], options)?;
    if source.is_empty() || source.starts_with('-') {
        return Err(invalid("No source given"));
    }
    let arguments = line(&kind, words(&options, PULL)?, &[source, &image_name(name)?]);
    let verify = match options.get("verify").map(|value| &**value) {
        Some(Variant::Str(word)) => {
            ["no", "checksum", "signature"].into_iter().find(|known| *known == word.as_str())
        }
        _ => None,
    };
    Ok(Order { kind, remote: source.to_owned(), local: name.to_owned(), verify, arguments, stream: None })
}

/// What makes the image `name` of what comes from `fd`: an archive, a disk image or a directory.
///
/// # Errors
/// When an argument is invalid.
pub fn import(fd: &OwnedFd, name: &str, options: &Dictionary) -> Result<Order, Problem> {
    let (mut kind, options) = kind_of("import", &["tar", "raw", "fs"], options)?;
    if name.is_empty() {
        return Err(invalid("No name given"));
    }
    let is_directory =
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if is_directory && kind == "import" {
        "import-fs".clone_into(&mut kind);
    }
    let (stream, operand) = match kind == "import-fs" {
        true => (Stream::Directory, "/proc/self/fd/0"),
        false => (Stream::Read, "-"),
    };
    check_fd(fd, stream)?;
    let arguments = line(&kind, words(&options, IMPORT)?, &[operand, &image_name(name)?]);
    let (remote, local, stream) = (String::new(), name.to_owned(), Some(stream));
    Ok(Order { kind, remote, local, verify: None, arguments, stream })
}

/// What writes the image `name` to `fd`.
///
/// # Errors
/// When an argument is invalid.
pub fn export(name: &str, fd: &OwnedFd, options: &Dictionary) -> Result<Order, Problem> {
    let (kind, options) = kind_of("export", &["tar", "raw"], options)?;
    if name.is_empty() {
        return Err(invalid("No name given"));
    }
    check_fd(fd, Stream::Write)?;
    let arguments = line(&kind, words(&options, EXPORT)?, &[&image_name(name)?, "-"]);
    let (remote, local, stream) = (String::new(), name.to_owned(), Some(Stream::Write));
    Ok(Order { kind, remote, local, verify: None, arguments, stream })
}

/// The verb, by the option `type`, and the other options.
fn kind_of(verb: &str, types: &[&str], options: &Dictionary) -> Result<(String, Dictionary), Problem> {
    let mut options = options.clone();
    let kind = match options.remove("type") {
        None => return Ok((verb.to_owned(), options)),
        Some(kind) => super::options::text("type", &kind)?,
    };
    if kind.is_empty() {
        return Ok((verb.to_owned(), options));
    }
    if !types.contains(&kind.as_str()) {
        return Err(invalid(format!("Unknown type {kind:?}: there are {}", types.join(", "))));
    }
    Ok((format!("{verb}-{kind}"), options))
}

fn line(verb: &str, options: Vec<String>, operands: &[&str]) -> Vec<String> {
    let mut line = vec![verb.to_owned(), "--quiet".to_owned()];
    line.extend(options);
    // Whatever a client writes is no option.
    line.push("--".to_owned());
    line.extend(operands.iter().filter(|operand| !operand.is_empty()).map(|operand| (*operand).to_owned()));
    line
}

/// The name of an image, or nothing.
fn image_name(name: &str) -> Result<String, Problem> {
    if name.is_empty() {
        return Ok(String::new());
    }
    let name: ImageName = name.parse().map_err(|source| crate::image::Error::Name { source })?;
    Ok(name.to_string())
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidArgument, text)
}

/// An image that is pulled, imported or exported. Its object stays for a minute after its end.
#[zbus::interface(name = "org.spinney.Transfer1")]
impl TransferObject {
    /// Comes back when it is over. An error is why it failed.
    async fn wait(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        access::check(&self.context, &header, INTERFACE, "Wait", &self.transfer.local()).await?;
        Ok(self.wait_for_end().await?)
    }

    /// Has it end; what there is of it is removed. Who insists, four times, has it killed.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        access::check(&self.context, &header, INTERFACE, "Cancel", &self.transfer.local()).await?;
        self.transfer.cancel()?;
        // It may be over this moment.
        Ok(announce(&self.context).await?)
    }

    /// It is over: `done`, `cancelled` or `failed`, and in words why.
    #[zbus(signal)]
    async fn finished(emitter: &SignalEmitter<'_>, state: &str, error: &str) -> zbus::Result<()>;

    /// What it says: a priority of syslog(3), and a line.
    #[zbus(signal)]
    async fn message(emitter: &SignalEmitter<'_>, priority: u32, text: &str) -> zbus::Result<()>;

    /// Its number, by which spinney-cancel-transfer(1) knows it too.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u32 {
        self.transfer.id()
    }

    /// `pull`, `pull-tar`, `import-raw`, `export`, ...
    #[zbus(property(emits_changed_signal = "const"), name = "Type")]
    fn kind(&self) -> String {
        self.transfer.kind()
    }

    /// The image.
    #[zbus(property(emits_changed_signal = "const"))]
    fn local(&self) -> String {
        self.transfer.local()
    }

    /// Where it is from; nothing for what is a client's own.
    #[zbus(property(emits_changed_signal = "const"))]
    fn remote(&self) -> String {
        self.transfer.remote()
    }

    /// What a download is held to: `no`, `checksum` or `signature`; nothing where nobody said.
    #[zbus(property(emits_changed_signal = "const"))]
    fn verify(&self) -> String {
        self.transfer.verify()
    }

    /// How far it is, from 0 to 1.
    #[zbus(property)]
    fn progress(&self) -> f64 {
        self.transfer.progress()
    }

    /// `running`, `done`, `cancelled` or `failed`.
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.end.borrow().as_ref().map_or("running", End::word)
    }
}
