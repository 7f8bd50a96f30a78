//! The process: its connection, its names, its end.
//!
//! It ends by itself when nobody has asked anything for a while, no machine runs and nothing is under way: the bus starts it again.
//! Names of systemd's daemons are taken only where those are not installed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

use super::context::Context;
use super::problem::Problem;
use super::{announcer, bus, importd, machined, own, varlink};
use crate::host::systemd;
use crate::sys::activation::passed_sockets;
use crate::sys::process::raise_soft_limit;

/// What the executable is called by: argv[0].
pub const PERSONALITY: &str = "spinneyd";

/// Our own name on the bus.
pub const NAME: &str = "org.spinney";

/// Names of daemons of systemd's, and their programs, which distributions have in one of [`PROGRAMS`].
const SYSTEMD: [(&str, &str); 2] = [(machined::NAME, "systemd-machined"), (importd::NAME, "systemd-importd")];

/// Where those are.
const PROGRAMS: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// How long it stays without anything to do.
const IDLE: Duration = Duration::from_secs(30);

/// How long the bus may take to see that a predecessor is gone.
const SUCCESSION: Duration = Duration::from_secs(2);

/// How long the answer to a call that is quick may take.
const LAST: Duration = Duration::from_millis(100);

/// How long it is until what could not be watched is watched again.
const REST: Duration = Duration::from_secs(1);

/// How long calls under way are waited for by who is told to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What it is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long it stays without anything to do, `Some(None)` being for good (default: 30 seconds).
    pub idle: Option<Option<Duration>>,
    /// It takes the names of systemd's daemons also where those are installed.
    pub instead_of_machined: bool,
    /// Told of what goes wrong where nobody waits for it.
    pub complain: Option<fn(&Problem)>,
}

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

/// Serves the system bus until there is nothing left to do.
///
/// # Errors
/// When it cannot serve it any more.
pub fn run(options: &Options) -> Result<(), Error> {
    // Before anything else has their numbers.
    let passed = passed_sockets();
    // A machine is an fd, or two. What is not had is missed by who has that many of them.
    let _ = raise_soft_limit(libc::RLIMIT_NOFILE);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let ended = runtime.block_on(serve(options, passed));
    // Who is still removing what a verb left is not waited for: it goes with the next one's.
    runtime.shutdown_background();
    ended
}

async fn serve(options: &Options, passed: Vec<OwnedFd>) -> Result<(), Error> {
    let connection = bus::connect().await?;
    let context = Context::new(connection.clone(), options.complain.unwrap_or(|_| ()))?;
    machined::serve(&context).await?;
    own::serve(&context).await?;
    importd::serve(&context).await?;
    // What is there already is no news: nobody knows our names yet.
    announcer::announce(&context).await?;
    importd::announce(&context).await?;
    let names = take_names(&connection, options.instead_of_machined).await?;
    let sockets = varlink::start(&context, passed, &names);
    let ends = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    // Nobody there to be told is the usual case.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let watch = tokio::spawn(announcer::watch(context.clone()));
    tokio::spawn(again(context.clone(), importd::watch));
    tokio::spawn(again(context.clone(), machined::images::watch));
    let ended = tokio::select! {
        () = told_to_end(ends) => Ok(()),
        () = quiet_for(&context, options.idle.unwrap_or(Some(IDLE)).unwrap_or(Duration::MAX), Context::is_busy) => Ok(()),
        () = connection.closed() => Ok(()),
        // It comes back only when it cannot go on.
        outcome = watch => outcome.unwrap_or(Ok(())),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // Before the bus starts a successor, which would find them taken.
    sockets.iter().for_each(AbortHandle::abort);
    // What takes longer goes on without us, and is told to nobody.
    let _ = tokio::time::timeout(FAREWELL, give_names_back(&context)).await;
    connection.close().await?;
    Ok(ended?)
}

/// Has `watch` go on for as long as the manager runs. Where it cannot, what it tells is told when somebody asks.
async fn again<W: Future<Output = Result<(), Problem>>>(context: Context, watch: impl Fn(Context) -> W) {
    let mut said = String::new();
    loop {
        if let Err(problem) = watch(context.clone()).await {
            // Once, and not each second that it lasts.
            if std::mem::replace(&mut said, problem.text.clone()) != problem.text {
                context.complain(&problem);
            }
        }
        tokio::time::sleep(REST).await;
    }
}

/// Comes back when one of `signals` came: our sockets are not to be left, and calls under way are answered. They have handlers and
/// are not blocked, which children would inherit.
async fn told_to_end([terminate, interrupt]: [io::Result<Signal>; 2]) {
    let told = async |signal: io::Result<Signal>| match signal {
        Ok(mut signal) => drop(signal.recv().await),
        // Then it ends us at once, as it does who knows nothing of it.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = told(terminate) => {}
        () = told(interrupt) => {}
    }
}

/// Comes back when nothing was said for `time`, and it is not `busy`.
async fn quiet_for(context: &Context, time: Duration, busy: impl Fn(&Context) -> bool) {
    loop {
        let activity = context.connection().monitor_activity();
        let said = async {
            tokio::select! {
                () = activity => {}
                () = context.departures().notified() => {}
            }
        };
        match tokio::time::timeout(time, said).await {
            Err(_) if !busy(context) => return,
            _ => {}
        }
    }
}

/// What comes in from here on, the bus keeps for our successor; what came before is answered.
async fn give_names_back(context: &Context) {
    // Our own last, which a successor takes first: when it has that, it finds none of the others taken.
    for name in [machined::NAME, importd::NAME, NAME] {
        // One that is not ours is no failure, and a bus that is gone wants no answers.
        let _ = context.connection().release_name(name).await;
    }
    // The answers to these came after all calls to us; what is sent for those is activity.
    quiet_for(context, LAST, Context::is_at_work).await;
}

/// Takes the names that are ours to take; gives those that we have.
async fn take_names(connection: &Connection, instead: bool) -> Result<Vec<&'static str>, Error> {
    let flags = RequestNameFlags::DO_NOT_QUEUE;
    let taken = |error: zbus::Error, name| match error {
        zbus::Error::NameTaken => Error::Taken { name },
        error => Error::Bus(error),
    };
    let request = |name: &'static str| connection.request_name_with_flags(name, flags);
    // What a predecessor that was killed had, the bus may not have noticed yet. Its other names go with this one.
    let begun = tokio::time::Instant::now();
    while let Err(error) = request(NAME).await {
        if !matches!(error, zbus::Error::NameTaken) || begun.elapsed() > SUCCESSION {
            return Err(taken(error, NAME));
        }
        tokio::time::sleep(SUCCESSION / 100).await;
    }
    let mut taken_names = vec![NAME];
    let has = |program| PROGRAMS.iter().any(|path| Path::new(path).join(program).exists());
    for (name, program) in SYSTEMD {
        if !instead && systemd::is_pid1() && has(program) {
            continue;
        }
        match request(name).await {
            Ok(_) => taken_names.push(name),
            // Somebody who was faster does the same; who asked for just this is to know.
            Err(zbus::Error::NameTaken) if !instead => {}
            Err(error) => return Err(taken(error, name)),
        }
    }
    Ok(taken_names)
}
