//! A supervisor in the background: a process of its own, with nothing of the terminal that it was started from.
//!
//! Who starts it stays connected to it by a socketpair, hears the same events as the foreground does, and may go at any
//! time: the machine goes on. Messages are JSON, a packet each.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::archive::SupervisorLog;
use super::{Error, Event, EventOf, Outcome, Request, name_of, run};
use crate::settings::MachineName;
use crate::sys::files::open_at;
use crate::sys::fork::{close_from_but, fork};
use crate::sys::in_words;
use crate::sys::{FdPath, SysError, SysResult, socket, sys};

/// The longest message: a failure with the last lines of the console, and room to spare.
const MESSAGE_BYTES: usize = 128 << 10;

/// The first fd that is not one of the standard three.
const FIRST_FD: u32 = 3;

/// What who started a machine hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// Something happened.
    Event(EventOf<String>),
    /// It ran, and is over.
    Ended {
        /// The payload's exit status.
        exit_status: u8,
    },
    /// It did not run, or not well.
    Failed(Failure),
}

/// Why a machine in the background did not run, in words: an [`Error`] that has crossed a process boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// The error and its causes.
    pub message: String,
    /// The last lines of the guest's console, safe to print.
    pub console: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
    /// What our process exits with.
    pub exit_status: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// `error` and its causes, in words.
    pub fn new(error: &dyn std::error::Error, hint: Option<String>, exit_status: u8) -> Self {
        Self { message: in_words(error), console: Vec::new(), hint, exit_status }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let console = error.console().to_vec();
        Self { console, ..Self::new(error, error.hint(), error.exit_status()) }
    }
}

/// A machine in the background, as the one who started it has it. Dropping it leaves the machine alone.
#[derive(Debug)]
pub struct Starting {
    socket: OwnedFd,
}

impl Starting {
    /// The next news; waits for it. `None` when there will be none: the supervisor has told all that it tells, or died.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn next(&self) -> SysResult<Option<News>> {
        let mut buffer = vec![0; MESSAGE_BYTES];
        let length = match socket::receive(&self.socket, &mut buffer) {
            Ok(message) => message.map_or(0, |message| message.length),
            Err(error) if error.errno() == rustix::io::Errno::CONNRESET => 0,
            Err(error) => return Err(error),
        };
        let text = buffer.get(..length).filter(|text| !text.is_empty());
        text.map(|text| {
            serde_json::from_slice(text)
                .map_err(|_| SysError::new("recvmsg", "news of a machine", rustix::io::Errno::BADMSG))
        })
        .transpose()
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Starts the machine with a supervisor of its own, a child of ours that outlives us.
///
/// # Errors
/// When there can be no further process. All else is news.
pub fn start(request: Request) -> SysResult<Starting> {
    let (ours, theirs) = socket::message_pair()?;
    fork(|| {
        let teller = Teller { socket: Some(theirs), name: name_of(&request.settings).ok(), log: None };
        match leave_terminal(&teller) {
            Ok(()) => supervise(request, teller),
            Err(source) => {
                let error = Error::System { action: "go to the background", source };
                teller.tell(News::Failed(Failure::from(&error)));
                i32::from(error.exit_status())
            }
        }
    })?;
    Ok(Starting { socket: ours })
}

/// Runs the machine; gives the exit status of our process, which nobody may be there to see.
fn supervise(request: Request, mut teller: Teller) -> i32 {
    let result = run(request, &mut |event| teller.event(event));
    let news = match &result {
        Ok(Outcome { exit_status, .. }) => News::Ended { exit_status: *exit_status },
        Err(error) => News::Failed(Failure::from(error)),
    };
    if let (News::Failed(failure), Some(log)) = (&news, &teller.log) {
        log.line(&format!("error: {failure}"));
    }
    teller.tell(news);
    i32::from(result.map_or_else(|error| error.exit_status(), |outcome| outcome.exit_status))
}

/// Lets go of all that we have of who started us, but for the socket: its session and terminal, standard streams,
/// working directory, and whatever else it had open.
fn leave_terminal(teller: &Teller) -> SysResult<()> {
    sys("setsid", rustix::process::setsid(), String::new)?;
    let null = open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
    let describe = || FdPath::of(&null).to_string();
    sys("dup2", rustix::stdio::dup2_stdin(&null), describe)?;
    sys("dup2", rustix::stdio::dup2_stdout(&null), describe)?;
    sys("dup2", rustix::stdio::dup2_stderr(&null), describe)?;
    drop(null);
    sys("chdir", rustix::process::chdir(Path::new("/")), || "\"/\"".to_owned())?;
    match &teller.socket {
        Some(socket) => close_from_but(FIRST_FD, &[socket.as_fd()]),
        None => Ok(()),
    }
}

/// The supervisor's end, and its log.
#[derive(Debug)]
struct Teller {
    socket: Option<OwnedFd>,
    name: Option<MachineName>,
    /// From the first event on: then the name is ours, and the log no other machine's.
    log: Option<SupervisorLog>,
}

impl Teller {
    fn event(&mut self, event: &Event<'_>) {
        if self.log.is_none() {
            // It cannot be made, say since /var is read-only: then there is none.
            self.log = self.name.as_ref().and_then(|name| SupervisorLog::open(name).ok());
        }
        if let Some(log) = &self.log {
            let kind = if matches!(event, Event::Warning(_)) { "warning: " } else { "" };
            log.line(&format!("{kind}{event}"));
        }
        self.tell(News::Event(event.map(|text| (*text).to_owned())));
        if matches!(event, Event::Ready { .. }) {
            // Whoever waited has what it waited for.
            self.socket = None;
        }
    }

    /// A listener that is gone is none of the machine's business, nor is one that does not listen.
    fn tell(&self, news: News) {
        if let (Some(socket), Ok(text)) = (&self.socket, serde_json::to_vec(&news)) {
            let _ = socket::send_at_once(socket, &text);
        }
    }
}
