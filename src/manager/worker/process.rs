//! The worker's side: one task, then the end.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::image_work;
use super::machine_work::{self, Listener, Outcome};
use super::task::{Said, Task};
use super::{MESSAGE, PERSONALITY, SEALED};
use crate::manager::problem::{Kind, Problem};
use crate::sys::sealed_program::execute_from_sealed_copy;
use crate::sys::socket::{receive, send};
use crate::sys::{SysResult, sys};

/// Whether the executable was called as a worker.
pub fn is_called(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|name| name == PERSONALITY)
}

/// Does the task that comes over standard input. Gives the exit status, which tells nobody anything.
pub fn main(arguments: &[OsString]) -> u8 {
    if arguments.get(1).is_some_and(|word| word == SEALED) && execute_from_sealed_copy().is_err() {
        return 1;
    }
    let Ok(worker) = Worker::new() else { return 1 };
    let said = match worker.task().and_then(|(task, fds)| worker.perform(task, fds)) {
        Ok(Some((value, fds))) => (Said::Done(value), fds),
        Ok(None) => return 0,
        Err(problem) => (Said::Failed(problem), Vec::new()),
    };
    u8::from(worker.say(&said.0, &said.1).is_err())
}

struct Worker {
    channel: OwnedFd,
}

impl Worker {
    /// Takes the channel away from standard input, which what is run is not to find there.
    fn new() -> SysResult<Self> {
        let stdin = rustix::stdio::stdin();
        let channel =
            sys("fcntl", rustix::io::fcntl_dupfd_cloexec(stdin, 3), || "0, F_DUPFD_CLOEXEC".to_owned())?;
        let null = crate::sys::files::open_at(rustix::fs::CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
        sys("dup2", rustix::stdio::dup2_stdin(&null), || "/dev/null, 0".to_owned())?;
        Ok(Self { channel })
    }

    fn task(&self) -> Result<(Task, Vec<OwnedFd>), Problem> {
        let failed = |text: &str| Problem::new(Kind::Failed, text);
        let message =
            receive(&self.channel, &mut [0; 16]).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        let mut fds = message.ok_or_else(|| failed("no task came"))?.fds.into_iter();
        let file = fds.next().ok_or_else(|| failed("no task came"))?;
        let task = serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(file)));
        Ok((task.map_err(|error| Problem::of(Kind::Failed, &error, None))?, fds.collect()))
    }

    fn say(&self, said: &Said, fds: &[OwnedFd]) -> Result<(), Problem> {
        let mut bytes = serde_json::to_vec(said).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        if bytes.len() > MESSAGE {
            let problem = Problem::new(Kind::Failed, "the answer is too long");
            bytes = serde_json::to_vec(&Said::Failed(problem)).unwrap_or_default();
        }
        let fds: Vec<_> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
        send(&self.channel, &bytes, &fds).map_err(|error| Problem::of(Kind::Failed, &error, None))
    }

    fn perform(&self, task: Task, fds: Vec<OwnedFd>) -> Outcome {
        match task {
            Task::Machine { name, work, .. } => {
                let mut say = |value, fds: Vec<OwnedFd>| {
                    // Nobody is there to hear it any more: then the session has nobody either, and hangs up.
                    let _ = self.say(&Said::Done(value), &fds);
                };
                let tell = |value| {
                    let _ = self.say(&Said::Progress(value), &[]);
                };
                machine_work::perform(&name, work, fds, Listener { say: &mut say, tell: &tell })
            }
            Task::Image { name, work } => image_work::perform(&name, work),
            Task::Clean { all } => image_work::clean(all),
        }
    }
}
