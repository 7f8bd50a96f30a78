//! The process: its connection, its names, its end.
//!
//! It ends by itself when nobody has asked anything for a while, no machine runs and nothing is under way: the bus starts it again.
//! Names of systemd's daemons are taken only where those are not installed.

use std::path::Path;
use std::time::Duration;

use zbus::fdo::{DBusProxy, RequestNameFlags};
use zbus::{Connection, connection};

use super::context::Context;
use super::problem::Problem;
use super::{announcer, machined};
use crate::machine::autostart::is_systemd_host;

/// What the executable is called by: argv[0].
pub const PERSONALITY: &str = "spinneyd";

/// Our own name on the bus.
pub const NAME: &str = "org.spinney";

/// Where distributions have it.
const SYSTEMD_MACHINED: [&str; 2] = ["/usr/lib/systemd/systemd-machined", "/lib/systemd/systemd-machined"];

/// How long it stays without anything to do.
const IDLE: Duration = Duration::from_secs(30);

/// Why the manager ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no loop to run in.
    #[error("cannot begin")]
    Runtime(#[source] std::io::Error),
    /// The bus cannot be reached, or has thrown us out.
    #[error("cannot use the system bus")]
    Bus(#[from] zbus::Error),
    /// Another process has our name.
    #[error("another process is {name} on the bus already")]
    Taken {
        /// The name.
        name: &'static str,
    },
    /// Machines cannot be watched.
    #[error(transparent)]
    Machines(#[from] Problem),
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bus(_) => {
                Some("is dbus-daemon or dbus-broker running? DBUS_SYSTEM_BUS_ADDRESS names another bus")
            }
            Self::Taken { .. } => Some("the bus starts spinneyd by itself when it is needed"),
            Self::Runtime(_) | Self::Machines(_) => None,
        }
    }
}

/// Serves the system bus until there is nothing left to do. `idle` is how long it waits then.
///
/// # Errors
/// When it cannot serve it any more.
pub fn run(idle: Option<Duration>) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(serve(idle.unwrap_or(IDLE)))
}

async fn serve(idle: Duration) -> Result<(), Error> {
    let connection = connection::Builder::system().build().await?;
    let context = Context::new(connection.clone());
    machined::serve(&context).await?;
    // What is there already is no news: nobody knows our names yet.
    announcer::announce(&context).await?;
    take_names(&connection).await?;
    // Nobody there to be told is the usual case.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let watch = tokio::spawn(announcer::watch(context.clone()));
    let ended = tokio::select! {
        () = idle_for(&context, idle) => Ok(()),
        () = connection.closed() => Ok(()),
        // It comes back only when it cannot go on.
        outcome = watch => outcome.unwrap_or(Ok(())),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    give_names_back(&connection).await;
    connection.close().await?;
    Ok(ended?)
}

/// Comes back when there was nothing to do for so long.
async fn idle_for(context: &Context, idle: Duration) {
    loop {
        let activity = context.connection().monitor_activity();
        match tokio::time::timeout(idle, activity).await {
            Err(_) if !context.is_busy() => return,
            _ => {}
        }
    }
}

/// What comes in from here on, the bus keeps for our successor; what came before is answered.
async fn give_names_back(connection: &Connection) {
    for name in [NAME, machined::NAME] {
        // One that is not ours is no failure, and a bus that is gone wants no answers.
        let _ = connection.release_name(name).await;
    }
    // The answer to the last call above came after all calls to us.
    tokio::task::yield_now().await;
}

async fn take_names(connection: &Connection) -> Result<(), Error> {
    let flags = RequestNameFlags::DO_NOT_QUEUE;
    let taken = |error: zbus::Error, name| match error {
        zbus::Error::NameTaken => Error::Taken { name },
        error => Error::Bus(error),
    };
    let request = |name: &'static str| connection.request_name_with_flags(name, flags);
    request(NAME).await.map_err(|error| taken(error, NAME))?;
    let systemd = is_systemd_host() && SYSTEMD_MACHINED.iter().any(|path| Path::new(path).exists());
    let activatable =
        DBusProxy::new(connection).await?.list_activatable_names().await.map_err(zbus::Error::from)?;
    for name in [machined::NAME] {
        // Where systemd-machined could be started, the name is its own, whether it runs now or not.
        if systemd && activatable.iter().any(|other| other.as_str() == name) {
            continue;
        }
        // Somebody who was faster does the same.
        if !matches!(request(name).await, Ok(_) | Err(zbus::Error::NameTaken)) {
            return Err(Error::Taken { name });
        }
    }
    Ok(())
}
