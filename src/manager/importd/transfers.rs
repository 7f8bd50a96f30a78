//! The transfers there are, whoever has begun them: those of clients of ours, and those of the command line.
//!
//! A transfer is a process, and what is known of it its record ([`crate::transfer::running`]): who started it, makes no difference,
//! and a manager that is started again finds those that run. A client's is a verb of ours, whose record is begun here so that its
//! number is known before it runs.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::wish::{Stream, Wish};
use crate::manager::child::{Child, command};
use crate::manager::problem::{Kind, Problem};
use crate::supervisor::printable;
use crate::sys::process::{keep_on_exec, pidfd_send_signal};
use crate::transfer::fetch::shown_address;
use crate::transfer::followed::Followed;
use crate::transfer::recording::{Begun, VARIABLE};
use crate::transfer::running::{self, DIRECTORY, Record};
use crate::transfer::told::{Line, Outcome};

/// A command line of ours that moves an image.
#[derive(Debug)]
pub struct Order {
    /// What it does, in the record: `pull-tar`, ...
    pub kind: String,
    /// Where it is from; nothing for what is a client's own.
    pub remote: String,
    /// The image; nothing where that is not said.
    pub local: String,
    /// What it is held to, where that was said.
    pub verify: Option<&'static str>,
    /// What comes after `spinney`.
    pub arguments: Vec<String>,
    /// What the client's fd is for, if it has one.
    pub stream: Option<Stream>,
}

impl From<&Wish> for Order {
    fn from(wish: &Wish) -> Self {
        Self {
            kind: wish.kind.word().to_owned(),
            remote: wish.remote.clone(),
            local: wish.local.clone(),
            verify: wish.verify_word(),
            arguments: wish.arguments(),
            stream: wish.kind.stream(),
        }
    }
}

/// More do not run at once: each is a process, and some threads (systemd-importd, TRANSFERS_MAX).
const MOST: usize = 64;

/// After so many requests to end it does so at once (systemd-importd has the same).
const PATIENCE: u32 = 3;

/// How many events are kept for who is slow.
const EVENTS: usize = 64;

/// A transfer.
#[derive(Debug)]
pub struct Transfer {
    followed: Followed,
    process: Option<OwnedFd>,
    state: Mutex<State>,
    events: Sender<Event>,
}

#[derive(Debug, Default)]
struct State {
    record: Record,
    verify: String,
    outcome: Option<Outcome>,
    /// How many lines of it were passed on.
    heard: u64,
    /// From 0 to 1; it never goes back.
    progress: f64,
    /// How often somebody wanted it to end.
    cancelled: u32,
}

/// What is told of a transfer to who follows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It says something: a priority of syslog(3), and a line that is safe to print.
    Line(u32, String),
    /// How far it is, from 0 to 1.
    Progress(f64),
    /// It is over.
    Over(Outcome),
}

/// What is new of a transfer.
#[derive(Debug, Default)]
pub struct News {
    /// What it has said. Safe to print.
    pub lines: Vec<(u32, String)>,
    /// How far it is, if that is further.
    pub progress: Option<f64>,
}

impl Transfer {
    fn of(followed: Followed, process: Option<OwnedFd>) -> Self {
        let (events, _) = channel(EVENTS);
        Self { followed, process, state: Mutex::default(), events }
    }

    /// What is told of it from now on.
    pub fn events(&self) -> Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells who follows it.
    pub(super) fn tell(&self, event: Event) {
        // Nobody is the usual case.
        let _ = self.events.send(event);
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.followed.id()
    }

    /// What it does: `import-tar`, `pull-raw`, `pull`, ...
    pub fn kind(&self) -> String {
        self.state().record.kind.clone()
    }

    /// Where it is from; nothing for what is a client's own, or a file. Safe to print.
    pub fn remote(&self) -> String {
        let state = self.state();
        let is_stream = matches!(state.record.remote.as_str(), "-" | DIRECTORY_FD);
        if is_stream { String::new() } else { printable::line(state.record.remote.as_bytes()) }
    }

    /// The image. Safe to print.
    pub fn local(&self) -> String {
        printable::line(self.state().record.local.as_bytes())
    }

    /// What a download is held to, where that was said.
    pub fn verify(&self) -> String {
        self.state().verify.clone()
    }

    /// How far it is, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.state().progress
    }

    /// The same as systemd-importd has it: -DBL_MAX where its end is not known.
    pub fn known_progress(&self) -> f64 {
        let state = self.state();
        if state.record.total.is_some_and(|total| total > 0) { state.progress } else { f64::MIN }
    }

    /// Its process.
    pub fn process(&self) -> Option<OwnedFd> {
        self.process.as_ref()?.try_clone().ok()
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.followed.is_over()
    }

    /// A path that tells when its record changes.
    pub fn path(&self) -> std::path::PathBuf {
        self.followed.path()
    }

    /// Has it end: what there is of it is removed. Who insists has it killed, and the next command removes the rest.
    ///
    /// # Errors
    /// [`Kind::NoSuchTransfer`] when it has ended.
    pub fn cancel(&self) -> Result<(), Problem> {
        let process = self.process.as_ref().ok_or_else(|| no_transfer(self.id()))?;
        let mut state = self.state();
        let signal = if state.cancelled < PATIENCE { libc::SIGTERM } else { libc::SIGKILL };
        pidfd_send_signal(process, signal).map_err(|_| no_transfer(self.id()))?;
        state.cancelled += 1;
        Ok(())
    }

    /// What came of it, now that it is over.
    pub fn outcome(&self) -> Outcome {
        let state = self.state();
        match state.outcome {
            Some(outcome) => outcome,
            // It was killed: at once, as its user wished, or by somebody.
            None if state.cancelled > 0 => Outcome::Cancelled,
            None => Outcome::Failed,
        }
    }

    /// Reads its record anew.
    fn look(&self) -> News {
        let Some((record, told)) = self.followed.read() else { return News::default() };
        let mut state = self.state();
        let safe = |line: &Line| (line.level.priority(), printable::line(line.text.as_bytes()));
        let lines = told.since(state.heard).map(safe).collect();
        let now = progress(&record).max(state.progress);
        let further = (now > state.progress).then_some(now);
        state.heard = told.said();
        state.progress = now;
        state.outcome = told.outcome;
        state.verify = told.verify.unwrap_or_default();
        state.record = record;
        News { lines, progress: further }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client's directory is called by the process that reads it.
const DIRECTORY_FD: &str = "/proc/self/fd/0";

#[allow(clippy::cast_precision_loss, reason = "a fraction that a person looks at")]
fn progress(record: &Record) -> f64 {
    match record.total {
        Some(total) if total > 0 => (record.moved as f64 / total as f64).min(1.0),
        _ => 0.0,
    }
}

/// There is no transfer of that number.
pub fn no_transfer(id: u32) -> Problem {
    Problem::new(Kind::NoSuchTransfer, format!("No transfer by id {id}"))
}

/// All of them.
#[derive(Debug, Default)]
pub struct Transfers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    transfers: BTreeMap<u32, Arc<Transfer>>,
    /// The last number: a client that waits for the end of its transfer is not to take another's for it.
    last: u32,
}

/// What is different from before.
#[derive(Debug, Default)]
pub struct Changes {
    /// They were not there.
    pub came: Vec<(Arc<Transfer>, News)>,
    /// They go on, or have just ended.
    pub told: Vec<(Arc<Transfer>, News)>,
    /// They are over.
    pub went: Vec<(Arc<Transfer>, Outcome)>,
}

impl Transfers {
    /// The transfer of the number `id`.
    pub fn get(&self, id: u32) -> Option<Arc<Transfer>> {
        self.lock().transfers.get(&id).cloned()
    }

    /// All, by number.
    pub fn all(&self) -> Vec<Arc<Transfer>> {
        self.lock().transfers.values().cloned().collect()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.lock().transfers.is_empty()
    }

    /// Reads all records anew.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn refresh(&self) -> Result<Changes, Problem> {
        let listed =
            running::list(Path::new(DIRECTORY)).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        let mut known = self.lock();
        let mut changes = Changes::default();
        for transfer in known.transfers.values() {
            // In this order: what it says last is said before it is over.
            let over = transfer.followed.is_over();
            changes.told.push((Arc::clone(transfer), transfer.look()));
            if over {
                changes.went.push((Arc::clone(transfer), transfer.outcome()));
            }
        }
        known.transfers.retain(|id, _| !changes.went.iter().any(|(gone, _)| gone.id() == *id));
        for running::Transfer { id, record } in listed {
            if known.transfers.contains_key(&id) {
                continue;
            }
            // It may have ended meanwhile.
            let Some(followed) = Followed::open(Path::new(DIRECTORY), id) else { continue };
            let transfer = Arc::new(Transfer::of(followed, Followed::process(&record)));
            let news = transfer.look();
            known.last = known.last.max(id);
            known.transfers.insert(id, Arc::clone(&transfer));
            changes.came.push((transfer, news));
        }
        Ok(changes)
    }

    /// Starts what a client wants; `fd` is what it reads from or writes to. Nobody is told yet.
    ///
    /// # Errors
    /// When the same is being pulled already, there are too many, or it cannot be started.
    pub fn start(&self, order: &Order, fd: Option<OwnedFd>) -> Result<(Arc<Transfer>, Child), Problem> {
        let failed = |error: &dyn std::error::Error| Problem::of(Kind::Failed, error, None);
        let mut known = self.lock();
        let remote = shown_address(&order.remote);
        let is_same = |transfer: &Arc<Transfer>| {
            !remote.is_empty() && transfer.kind() == order.kind && transfer.remote() == remote
        };
        if known.transfers.values().any(is_same) {
            return Err(Problem::new(Kind::Busy, format!("Transfer for {remote} already in progress.")));
        }
        if known.transfers.len() >= MOST {
            return Err(Problem::new(Kind::Failed, "Too many transfers are under way."));
        }
        let record =
            Record { kind: order.kind.clone(), remote, local: order.local.clone(), ..Record::default() };
        let begun = Begun::new(Path::new(DIRECTORY), record, order.verify, known.last)
            .map_err(|error| failed(&error))?;
        // Followed while it has its lock: nobody takes it for a dead one's.
        let followed = Followed::open(Path::new(DIRECTORY), begun.id())
            .ok_or_else(|| Problem::new(Kind::Failed, "the record of the transfer is gone"))?;
        let child = spawn(order, fd, &begun)?;
        let process = child.process()?;
        known.last = begun.id();
        let transfer = Arc::new(Transfer::of(followed, Some(process)));
        transfer.look();
        known.transfers.insert(begun.id(), Arc::clone(&transfer));
        Ok((transfer, child))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The verb of ours that does it, in a process group of its own: it goes on whatever becomes of us.
fn spawn(order: &Order, fd: Option<OwnedFd>, begun: &Begun) -> Result<Child, Problem> {
    let mut command = command("spinney");
    command.args(&order.arguments).process_group(0).env(VARIABLE, begun.variable());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    match (order.stream, fd) {
        (Some(Stream::Read | Stream::Directory), Some(fd)) => command.stdin(Stdio::from(fd)),
        (Some(Stream::Write), Some(fd)) => command.stdout(Stdio::from(fd)),
        _ => &mut command,
    };
    // The record goes along; nothing else is started in between, as nothing here waits.
    let kept = begun.file().as_raw_fd();
    keep_on_exec(kept.unsigned_abs()).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    Child::spawn(&mut command)
}
