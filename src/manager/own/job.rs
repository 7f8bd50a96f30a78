//! `org.spinney.Job1`: something that takes time, from its beginning until its outcome has been there for a while.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use zbus::fdo::Properties;
use zbus::message::Header;
use zbus::names::OwnedUniqueName;
use zbus::object_server::SignalEmitter;
use zbus::{DBusError, OwnedObjectPath, OwnedVariant, Variant};

use super::access::{self, MANAGE_IMAGES, MANAGE_MACHINES};
use super::meter::{Meter, Progress};
use super::variants::{Dictionary, camel_case, dictionary};
use super::{PATH, Refused, Result, verb};
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};

/// The interface.
pub const INTERFACE: &str = "org.spinney.Job1";

/// What may be sent to the process of a job: what asks it to end, and what is the command's own.
const SIGNALS: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGKILL,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
    libc::SIGCONT,
];

/// How a job ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Done(Value),
    Failed(Problem),
    Cancelled,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn result(&self) -> Dictionary {
        match self {
            Self::Done(value) => camel_case(dictionary(value)),
            Self::Failed(_) | Self::Cancelled => Dictionary::new(),
        }
    }

    /// The error's name and text; empty without one.
    fn error(&self) -> (String, String) {
        let problem = match self {
            Self::Done(_) => return Default::default(),
            Self::Failed(problem) => problem.clone(),
            Self::Cancelled => cancelled(),
        };
        let refused = Refused::from(problem);
        (refused.name().to_string(), refused.description().unwrap_or_default().to_owned())
    }
}

fn cancelled() -> Problem {
    Problem::new(Kind::Cancelled, "It was cancelled")
}

/// What is known of a job.
#[derive(Debug)]
pub struct Job {
    pub(super) id: u32,
    pub(super) about: About,
    /// Who is at it.
    process: Option<OwnedFd>,
    /// Somebody has told it to end.
    pub(super) told: Mutex<bool>,
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

/// What a job is about.
#[derive(Debug)]
pub struct About {
    /// `start`, `exec`, `clone`, ...
    pub kind: &'static str,
    /// The machine or image.
    pub subject: String,
    /// Who has begun it.
    pub owner: Option<OwnedUniqueName>,
    /// What others need to end it.
    pub action: &'static str,
    /// Where its work says how far it is.
    pub meter: Meter,
}

impl About {
    /// Of the machine `name`, asked for by the sender of `header`.
    pub fn machine(kind: &'static str, name: &str, header: &Header<'_>) -> Self {
        let owner = header.sender().map(|sender| sender.to_owned().into());
        Self { kind, subject: name.to_owned(), owner, action: MANAGE_MACHINES, meter: Meter::default() }
    }

    /// Of the image `name`.
    pub fn image(kind: &'static str, name: &str, header: &Header<'_>) -> Self {
        Self { action: MANAGE_IMAGES, ..Self::machine(kind, name, header) }
    }
}

impl Job {
    pub(super) fn new(id: u32, about: About, process: Option<OwnedFd>) -> Self {
        Self { id, about, process, told: Mutex::new(false), outcome: watch::Sender::new(None) }
    }

    /// Where its object is.
    pub fn path(&self) -> OwnedObjectPath {
        path(self.id)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is about, for lists.
    pub fn properties(&self) -> Dictionary {
        let text = |text: &str| OwnedVariant::try_from(Variant::from(text)).ok();
        let fields = [
            ("Type", text(self.about.kind)),
            ("Subject", text(&self.about.subject)),
            ("State", text(self.state())),
            ("Progress", Some(self.fraction().into())),
            ("Bytes", Some(self.about.meter.progress().bytes.into())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn state(&self) -> &'static str {
        self.outcome.borrow().as_ref().map_or("running", Outcome::word)
    }

    /// From 0 to 1; below 0 where nobody knows.
    fn fraction(&self) -> f64 {
        match &*self.outcome.borrow() {
            Some(Outcome::Done(_)) => 1.0,
            _ => self.about.meter.progress().fraction(),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it has failed.
    pub async fn wait(&self) -> Result<Value, Problem> {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) {
            Some(Outcome::Done(value)) => Ok(value),
            Some(Outcome::Failed(problem)) => Err(problem),
            Some(Outcome::Cancelled) | None => Err(cancelled()),
        }
    }

    fn tell(&self, signal: i32) -> Result<(), Problem> {
        if self.outcome.borrow().is_some() {
            return Ok(());
        }
        let nobody = || Problem::new(Kind::NotSupported, format!("A {} cannot be ended", self.about.kind));
        let process = self.process.as_ref().ok_or_else(nobody)?;
        if [libc::SIGTERM, libc::SIGKILL, libc::SIGINT].contains(&signal) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        verb::tell(process, signal)
    }

    async fn allowed(&self, context: &Context, header: &Header<'_>) -> Result<(), Problem> {
        let own =
            self.about.owner.as_ref().zip(header.sender()).is_some_and(|(owner, sender)| owner == sender);
        if own { Ok(()) } else { access::ask(context, header, self.about.action, &self.about.subject).await }
    }
}

/// Where the object of the job of that number is.
pub(super) fn path(id: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{PATH}/job/{id}")).unwrap_or_default()
}

pub(super) async fn tell_progress(context: &Context, job: &Job, progress: Progress) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(context.connection(), job.path())?;
    let changed = [("Progress", Variant::from(progress.fraction())), ("Bytes", progress.bytes.into())];
    let interface = INTERFACE.try_into()?;
    Properties::properties_changed(&emitter, interface, changed.into(), (&[][..]).into()).await
}

pub(super) async fn tell_end(context: &Context, job: &Job, outcome: &Outcome) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(context.connection(), job.path())?;
    let (result, error) = (outcome.result(), outcome.error());
    let changed = [
        ("State", Variant::from(outcome.word())),
        ("Progress", job.fraction().into()),
        ("Bytes", job.about.meter.progress().bytes.into()),
        ("Result", Variant::from(result.clone())),
        ("Error", Variant::from(error.clone())),
    ];
    let interface = INTERFACE.try_into()?;
    Properties::properties_changed(&emitter, interface, changed.into(), (&[][..]).into()).await?;
    emitter.finished(outcome.word(), result, &error.0, &error.1).await
}

/// The object of one job.
#[derive(Debug)]
pub struct JobObject {
    context: Context,
    job: Arc<Job>,
}

impl JobObject {
    /// Of `job`.
    pub fn new(context: Context, job: Arc<Job>) -> Self {
        Self { context, job }
    }

    fn outcome<T: Default>(&self, of: impl FnOnce(&Outcome) -> T) -> T {
        self.job.outcome.borrow().as_ref().map(of).unwrap_or_default()
    }
}

/// Something that takes time: a start, a command, a copy. Its object stays for a minute after its end.
#[zbus::interface(name = "org.spinney.Job1")]
impl JobObject {
    /// Comes back when it is over, with what came of it: of a command `ExitStatus` (128 and more for a signal, 124 when it took
    /// too long), of a start `Machine`. An error is why it failed.
    #[zbus(out_args("result"))]
    async fn wait(&self, #[zbus(header)] header: Header<'_>) -> Result<Dictionary> {
        access::check(&self.context, &header, INTERFACE, "Wait", &self.job.about.subject).await?;
        Ok(camel_case(dictionary(&self.job.wait().await?)))
    }

    /// Has it end; what there is of an image that it was making is never seen, and is removed. Whoever began it may; others need what
    /// the job itself takes.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.job.allowed(&self.context, &header).await?;
        Ok(self.job.tell(libc::SIGTERM)?)
    }

    /// Sends a signal to it; of a command, to that: SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGTERM or SIGCONT.
    async fn kill(&self, signal: i32, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.job.allowed(&self.context, &header).await?;
        if !SIGNALS.contains(&signal) {
            return Err(Problem::new(Kind::InvalidArgument, format!("Invalid signal {signal}")).into());
        }
        Ok(self.job.tell(signal)?)
    }

    /// Its number.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u32 {
        self.job.id
    }

    /// What it does: `start`, `exec`, `clone`, `commit`, `copy-to`, `copy-from`, ...
    #[zbus(property(emits_changed_signal = "const"), name = "Type")]
    fn kind(&self) -> &'static str {
        self.job.about.kind
    }

    /// The machine or image that it is about.
    #[zbus(property(emits_changed_signal = "const"))]
    fn subject(&self) -> &str {
        &self.job.about.subject
    }

    /// `running`, `done`, `failed` or `cancelled`.
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.job.state()
    }

    /// How far it is, from 0 to 1; below 0 where nobody knows, as with a command.
    #[zbus(property)]
    fn progress(&self) -> f64 {
        self.job.fraction()
    }

    /// How many bytes it has moved: of a copy.
    #[zbus(property)]
    fn bytes(&self) -> u64 {
        self.job.about.meter.progress().bytes
    }

    /// What came of it, as Wait gives it; empty until then.
    #[zbus(property)]
    fn result(&self) -> Dictionary {
        self.outcome(Outcome::result)
    }

    /// Why it failed: name and text of the error; empty without one.
    #[zbus(property)]
    fn error(&self) -> (String, String) {
        self.outcome(Outcome::error)
    }

    /// It is over: `done`, `failed` or `cancelled`.
    #[zbus(signal)]
    async fn finished(
        emitter: &SignalEmitter<'_>,
        state: &str,
        result: Dictionary,
        error_name: &str,
        error_text: &str,
    ) -> zbus::Result<()>;
}
