//! Tasks in processes of their own.
//!
//! What joins a machine's namespaces wants a process with one thread, what changes images takes time, and neither may be lost when
//! the manager is killed half-way: each is a task ([`task::Task`]) that a fresh process of ours carries out. It gets the task over
//! a socket, as its standard input, and answers there: with progress, and at the end with a value or a [`Problem`], each with fds.
//!
//! | file | what it owns |
//! |---|---|
//! | [`task`] | what can be asked, and the answers: data |
//! | `process` | the worker's side |
//! | `machine_work` | what is done to machines |
//! | `image_work` | what is done to images |

mod image_work;
pub(super) mod machine_work;
mod process;
pub mod task;

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use super::child::{Child, command};
use super::problem::{Kind, Problem};
use crate::sys::files::memory_file;
use crate::sys::process::pidfd_send_signal;
use crate::sys::readiness::watched;
use crate::sys::socket::{message_pair, receive, send};
use task::{Pace, Said, Task};

pub use process::{is_called, main};

/// What the executable is called by: argv[0].
pub const PERSONALITY: &str = "spinney-worker";

/// The argument of a worker that enters a machine whose root is the host's: nothing in there may get hold of our program.
const SEALED: &str = "--sealed";

/// The most that a message is: below what a socket's buffer holds (net.core.wmem_default).
const MESSAGE: usize = 160 << 10;

/// How many are at work at once, by how long that may take: each is a process. Who ends a machine waits for nobody who copies
/// files, or looks into a tree that does not answer.
const AT_ONCE: usize = 32;

static URGENT: Semaphore = Semaphore::const_new(AT_ONCE);
static QUICK: Semaphore = Semaphore::const_new(AT_ONCE);
static LONG: Semaphore = Semaphore::const_new(AT_ONCE);

/// What is done quickly is not done after that: clients have given up by then (sd_bus_set_method_call_timeout(3): 25 seconds).
const QUICKLY: Duration = Duration::from_secs(30);

/// How many there are at most that attend sessions and commands, which stay after their answer, or as long as those last.
const SESSIONS: usize = 1024;

static ATTENDING: Semaphore = Semaphore::const_new(SESSIONS);

/// What a worker gave.
#[derive(Debug)]
pub struct Done {
    /// The task's own value, in JSON.
    pub value: serde_json::Value,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
}

/// Has `task` done, with `fds` that it needs, and waits for it. `progress` is told of what it says on the way.
///
/// # Errors
/// Those of the task; [`Kind::Failed`] where it could not be begun, or its process was killed.
pub async fn perform(
    task: &Task,
    fds: Vec<OwnedFd>,
    mut progress: impl FnMut(serde_json::Value) + Send,
) -> Result<Done, Problem> {
    let pace = task.pace();
    let places = match pace {
        Pace::Urgent => &URGENT,
        Pace::Quick => &QUICK,
        Pace::Long => &LONG,
    };
    // Never closed: it has no other error.
    let _place = places.acquire().await;
    let attended = attend(task, fds)?;
    if pace != Pace::Quick {
        return attended.outcome(&mut progress).await;
    }
    let process = attended.process()?;
    tokio::time::timeout(QUICKLY, attended.outcome(&mut progress)).await.unwrap_or_else(|_| {
        // What holds it up may be the machine's, a file system that does not answer.
        let _ = pidfd_send_signal(&process, libc::SIGKILL);
        Err(Problem::new(Kind::TimedOut, format!("It was not done in {} seconds", QUICKLY.as_secs())))
    })
}

/// A task that is being done, for as long as it takes.
#[derive(Debug)]
pub struct Attended {
    socket: AsyncFd<OwnedFd>,
    process: OwnedFd,
}

/// Has `task` begun, with `fds` that it needs. It waits for nobody's place.
///
/// # Errors
/// [`Kind::Failed`] where it could not be begun; [`Kind::TooMany`] where there are too many.
pub fn attend(task: &Task, fds: Vec<OwnedFd>) -> Result<Attended, Problem> {
    let busy = |_| Problem::new(Kind::TooMany, "Too many sessions are open");
    let attending = task.stays().then(|| ATTENDING.try_acquire().map_err(busy)).transpose()?;
    let (ours, child) = begin(task, &fds)?;
    drop(fds);
    let socket = watched(ours).map_err(failed)?;
    let process = child.process()?;
    // Whatever becomes of its task: one that attends a session goes on after its answer.
    tokio::spawn(async move {
        child.ended().await;
        drop(attending);
    });
    Ok(Attended { socket, process })
}

impl Attended {
    /// Who is at it.
    ///
    /// # Errors
    /// When we have too many fds.
    pub fn process(&self) -> Result<OwnedFd, Problem> {
        self.process.try_clone().map_err(|error| Problem::of(Kind::Failed, &error, None))
    }

    /// Waits for it. `progress` is told of what it says on the way.
    ///
    /// # Errors
    /// Those of the task; [`Kind::Failed`] where its process was killed.
    pub async fn outcome(self, mut progress: impl FnMut(serde_json::Value) + Send) -> Result<Done, Problem> {
        loop {
            match next(&self.socket).await? {
                Some((Said::Progress(value), _)) => progress(value),
                Some((Said::Done(value), fds)) => return Ok(Done { value, fds }),
                Some((Said::Failed(problem), _)) => return Err(problem),
                None => return Err(Problem::new(Kind::Failed, "the process that was at it was killed")),
            }
        }
    }
}

fn begin(task: &Task, fds: &[OwnedFd]) -> Result<(OwnedFd, Child), Problem> {
    let bytes = serde_json::to_vec(task).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    // Arguments of clients may be long: they go as a file.
    let file = memory_file(c"task", &bytes).map_err(failed)?;
    let (ours, theirs) = message_pair().map_err(failed)?;
    let all: Vec<_> = [&file].into_iter().chain(fds).map(AsFd::as_fd).collect();
    send(&ours, b"task", &all).map_err(failed)?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|errno| failed_call("ioctl", errno))?;
    let mut command = command(PERSONALITY);
    command.args(task.is_sealed().then_some(SEALED)).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let child = Child::spawn(&mut command)?;
    Ok((ours, child))
}

/// What the worker says next; `None` when it is gone.
async fn next(socket: &AsyncFd<OwnedFd>) -> Result<Option<(Said, Vec<OwnedFd>)>, Problem> {
    let mut buffer = vec![0; MESSAGE];
    loop {
        let mut ready = socket.readable().await.map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        let Some(message) = receive(socket.get_ref(), &mut buffer).map_err(failed)? else {
            ready.clear_ready();
            continue;
        };
        if message.length == 0 {
            return Ok(None);
        }
        let said = serde_json::from_slice(buffer.get(..message.length).unwrap_or_default());
        let said = said.map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        return Ok(Some((said, message.fds)));
    }
}

fn failed(error: crate::sys::SysError) -> Problem {
    Problem::of(Kind::Failed, &error, None)
}

fn failed_call(call: &'static str, errno: Errno) -> Problem {
    failed(crate::sys::SysError::new(call, String::new(), errno))
}
