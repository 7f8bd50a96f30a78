//! `org.freedesktop.import1`, systemd-importd's interface (org.freedesktop.import1(5)), where systemd-importd is not.
//!
//! | file | what it owns |
//! |---|---|
//! | [`manager`] | `org.freedesktop.import1.Manager` |
//! | [`transfer`] | `org.freedesktop.import1.Transfer` |
//! | [`wish`] | what a client wants moved, as the command line that does it |
//! | [`transfers`] | the transfers there are, whoever has begun them |
//! | [`access`] | which action of polkit each takes |

pub mod access;
pub mod manager;
pub mod transfer;
pub mod transfers;
pub mod wish;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use zbus::OwnedObjectPath;
use zbus::object_server::SignalEmitter;

use super::child::Child;
use super::context::Context;
use super::own;
use super::problem::{Importd, Kind, Problem, Refusal};
use crate::sys::readiness::watched;
use crate::sys::watch::Watch;
use crate::transfer::running::DIRECTORY;
use crate::transfer::told::Outcome;
use manager::{ManagerObject, ManagerObjectSignals};
use transfer::{TransferObject, TransferObjectSignals};
use transfers::{Event, News, Order, Transfer};

/// The bus name.
pub const NAME: &str = "org.freedesktop.import1";

/// Where its manager is, and below it all else.
pub const PATH: &str = "/org/freedesktop/import1";

/// What methods of this interface give.
type Result<T> = std::result::Result<T, Refusal<Importd>>;

/// How often it is looked whether a transfer is over whose process cannot be watched.
const LOOK: Duration = Duration::from_secs(1);

/// One at a time: what is told comes in the order in which it happened.
static TURN: Mutex<()> = Mutex::const_new(());

/// The object of the transfer `id`.
pub fn transfer_path(id: u32) -> OwnedObjectPath {
    // As systemd-importd has it; a number is an element of a path.
    OwnedObjectPath::try_from(format!("{PATH}/transfer/_{id}")).unwrap_or_default()
}

/// Serves the manager's object.
///
/// # Errors
/// When the connection is gone.
pub async fn serve(context: &Context) -> zbus::Result<()> {
    let server = context.connection().object_server();
    server.at(PATH, ManagerObject::new(context.clone())).await?;
    Ok(())
}

/// Starts what a client wants, and says so.
///
/// # Errors
/// When it cannot be started.
pub async fn start(
    context: &Context,
    order: &Order,
    fd: Option<OwnedFd>,
) -> std::result::Result<Arc<Transfer>, Problem> {
    let _turn = TURN.lock().await;
    let (transfer, child) = context.transfers().start(order, fd)?;
    came(context, &transfer, Some(child)).await;
    Ok(transfer)
}

/// Tells what is different from before.
///
/// # Errors
/// When the records cannot be read.
pub async fn announce(context: &Context) -> std::result::Result<(), Problem> {
    let _turn = TURN.lock().await;
    let changes = context.transfers().refresh()?;
    for (transfer, news) in changes.told {
        tell(context, &transfer, news).await;
    }
    for (transfer, outcome) in changes.went {
        went(context, &transfer, outcome).await;
    }
    for (transfer, news) in changes.came {
        came(context, &transfer, None).await;
        tell(context, &transfer, news).await;
    }
    Ok(())
}

/// Tells of transfers for as long as the manager runs.
///
/// # Errors
/// When records cannot be watched.
pub async fn watch(context: Context) -> std::result::Result<(), Problem> {
    let failed = |error: &dyn std::error::Error| Problem::of(Kind::Failed, error, None);
    let watch = Watch::new().map_err(|error| failed(&error))?;
    let told = watch.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    let told = watched(told).map_err(|error| failed(&error))?;
    let directories: Vec<&Path> = Path::new(DIRECTORY).ancestors().collect();
    loop {
        watch.clear().map_err(|error| failed(&error))?;
        // Watched before it is looked at, the outer directories first: nothing comes in between.
        for directory in directories.iter().rev().skip(1) {
            if !watch.add(directory).map_err(|error| failed(&error))? {
                break;
            }
        }
        // What they say is told once each is watched, also of those that have just come.
        let known = context.transfers().all().len();
        announce(&context).await?;
        let transfers = context.transfers().all();
        for transfer in &transfers {
            watch.add_file(&transfer.path()).map_err(|error| failed(&error))?;
        }
        if transfers.len() != known {
            announce(&context).await?;
        }
        let mut ready = told.readable().await.map_err(|error| failed(&error))?;
        ready.clear_ready();
    }
}

/// Makes the object of a transfer that came, and says so.
async fn came(context: &Context, transfer: &Arc<Transfer>, child: Option<Child>) {
    let (id, path) = (transfer.id(), transfer_path(transfer.id()));
    let server = context.connection().object_server();
    // A connection that is gone is seen by who waits for its end.
    let _ = server.at(&path, TransferObject::new(context.clone(), Arc::clone(transfer))).await;
    own::transfer::came(context, transfer).await;
    if let Ok(emitter) = SignalEmitter::new(context.connection(), PATH) {
        let _ = emitter.transfer_new(id, path.as_ref()).await;
    }
    tokio::spawn(end_of(context.clone(), Arc::clone(transfer), child));
}

async fn tell(context: &Context, transfer: &Transfer, news: News) {
    for (priority, line) in &news.lines {
        transfer.tell(Event::Line(*priority, line.clone()));
    }
    if let Some(progress) = news.progress {
        transfer.tell(Event::Progress(progress));
    }
    own::transfer::tell(context, transfer, &news).await;
    let Ok(emitter) = SignalEmitter::new(context.connection(), transfer_path(transfer.id())) else { return };
    for (priority, line) in &news.lines {
        let _ = emitter.log_message(*priority, line).await;
    }
    if let Some(progress) = news.progress {
        let _ = emitter.progress_update(progress).await;
    }
}

/// Says what came of a transfer, and removes its object.
async fn went(context: &Context, transfer: &Arc<Transfer>, outcome: Outcome) {
    transfer.tell(Event::Over(outcome));
    own::transfer::went(context, transfer, outcome).await;
    let (id, path) = (transfer.id(), transfer_path(transfer.id()));
    let result = match outcome {
        Outcome::Done => "done",
        Outcome::Cancelled => "canceled",
        Outcome::Failed => "failed",
    };
    if let Ok(emitter) = SignalEmitter::new(context.connection(), PATH) {
        let _ = emitter.transfer_removed(id, path.as_ref(), result).await;
    }
    let _ = context.connection().object_server().remove::<TransferObject, _>(&path).await;
}

/// Looks again when a transfer's process ends: of one that is killed its record tells nothing.
///
/// Boxed, as it begins others of its kind.
fn end_of(
    context: Context,
    transfer: Arc<Transfer>,
    child: Option<Child>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(wait_for_end_of(context, transfer, child))
}

async fn wait_for_end_of(context: Context, transfer: Arc<Transfer>, child: Option<Child>) {
    match (child, transfer.process().map(watched)) {
        (Some(child), _) => drop(child.ended().await),
        (None, Some(Ok(process))) => drop(process.readable().await),
        // Where fds ran out nothing else tells. One without a process is over.
        (None, Some(Err(_)) | None) => {
            while !transfer.is_over() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    // The next look tells what this one cannot.
    let _ = announce(&context).await;
}
