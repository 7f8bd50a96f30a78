//! Verbs of our own executable, run as children: starts, transfers, and what takes time.
//!
//! A verb that runs goes on when the manager is killed, as it does when its user's shell is. It has nothing of ours but its streams.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde_json::Value;
use tokio::io::unix::AsyncFd;

use super::options::{Takes, VerbOptions, words};
use super::variants::Dictionary;
use crate::manager::child::{Child, command};
use crate::manager::problem::{Kind, Problem};
use crate::sys::process::pidfd_send_signal;
use crate::sys::readiness::watched;
use crate::sys::{SysError, sys};

/// What the executable is called by.
const PROGRAM: &str = "spinney";

/// A line of JSON is no longer; lists of differences are.
const LINE: usize = 16 << 20;

/// What is kept of stderr: errors are a few lines.
const ERRORS: usize = 64 << 10;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// How long its streams are read after its end.
const LINGER: Duration = Duration::from_millis(200);

/// What verbs exit with that were told to end (bash(1), "EXIT STATUS").
const INTERRUPTED: [i32; 2] = [128 + libc::SIGINT, 128 + libc::SIGTERM];

/// A verb, before it runs.
#[derive(Debug, Default)]
pub struct Verb {
    arguments: Vec<String>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
}

/// One that runs.
#[derive(Debug)]
pub struct RunningVerb {
    child: Child,
    lines: Option<AsyncFd<OwnedFd>>,
    errors: AsyncFd<OwnedFd>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; that of a shell where a signal ended it.
    pub status: i32,
    /// The last line of its stdout that is JSON.
    pub last: Value,
    /// Its last line that is something else.
    pub text: String,
    /// What it said of its failure.
    pub errors: String,
}

impl Verb {
    /// `words` as they are typed after `spinney`.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { arguments: words.into_iter().map(Into::into).collect(), stdin: None, stdout: None }
    }

    /// With `fd` to read from; without there is nothing.
    #[must_use]
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.stdin = Some(fd);
        self
    }

    /// With `fd` to write to, in place of us.
    #[must_use]
    pub fn stdout(mut self, fd: OwnedFd) -> Self {
        self.stdout = Some(fd);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn spawn(self) -> Result<RunningVerb, Problem> {
        let (errors, their_errors) = pipe()?;
        let mut command = command(PROGRAM);
        command.args(&self.arguments);
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from)).stderr(Stdio::from(their_errors));
        let lines = match self.stdout {
            Some(fd) => {
                command.stdout(Stdio::from(fd));
                None
            }
            None => {
                let (lines, theirs) = pipe()?;
                command.stdout(Stdio::from(theirs));
                Some(watched(lines).map_err(failed)?)
            }
        };
        let errors = watched(errors).map_err(failed)?;
        Ok(RunningVerb { child: Child::spawn(&mut command)?, lines, errors })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// What it says of its failure.
    pub async fn run(self) -> Result<Ended, Problem> {
        self.spawn()?.ended(|_| {}).await?.well()
    }
}

impl RunningVerb {
    /// Its process.
    ///
    /// # Errors
    /// When we have too many fds.
    pub fn process(&self) -> Result<OwnedFd, Problem> {
        self.child.process()
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits for its end. `line` is told of each line of JSON.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(self, mut line: impl FnMut(&Value) + Send) -> Result<Ended, Problem> {
        let Self { mut child, lines, errors } = self;
        let mut said = Said::default();
        let streams = async {
            let Said { last, text, errors: said } = &mut said;
            tokio::join!(read_lines(lines, last, text, &mut line), read_errors(errors, said));
        };
        tokio::select! {
            biased;
            () = streams => {}
            // What it has started may hold its streams for longer than it lives.
            () = async {
                child.over().await;
                tokio::time::sleep(LINGER).await;
            } => {}
        }
        let status = child.ended().await;
        let status = status.and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal)));
        let status = status.unwrap_or(-1);
        let Said { last, text, errors } = said;
        Ok(Ended { status, last, text, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

/// What was heard of it.
#[derive(Debug, Default)]
struct Said {
    last: Value,
    text: String,
    errors: Vec<u8>,
}

impl Ended {
    /// Nothing but a success.
    ///
    /// # Errors
    /// What it said of its failure.
    pub fn well(self) -> Result<Self, Problem> {
        if self.status == 0 { Ok(self) } else { Err(self.problem()) }
    }

    /// Why it has failed.
    pub fn problem(&self) -> Problem {
        if INTERRUPTED.contains(&self.status) {
            return Problem::new(Kind::Failed, "cancelled");
        }
        problem(&self.errors).unwrap_or_else(|| {
            Problem::new(Kind::Failed, format!("spinney ended with exit status {}", self.status))
        })
    }

    /// Whether a signal has ended it, so that it had no time to clean up; a shell's exit status would say the same.
    pub fn was_killed(&self) -> bool {
        self.status > 128
    }

    /// Whether somebody told it to end.
    pub fn was_cancelled(&self) -> bool {
        INTERRUPTED.contains(&self.status)
    }
}

/// The last error of what the command line prints: a line, its console's lines, a hint.
fn problem(text: &str) -> Option<Problem> {
    const ERROR: &str = "spinney: error: ";
    const HINT: &str = "  hint: ";
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with(ERROR))?;
    let hint = lines.iter().skip(at).find_map(|line| line.strip_prefix(HINT));
    let error = lines.get(at)?.strip_prefix(ERROR)?;
    let mut problem = Problem::new(kind(error), error);
    problem.hint = hint.map(str::to_owned);
    Some(problem)
}

/// What sort of failure a line tells of: by the words of [`crate::machine::Error`] and [`crate::image::Error`], which tests of
/// these hold.
fn kind(error: &str) -> Kind {
    let begins = [
        ("no image ", Kind::NoSuchImage),
        ("no machine ", Kind::NoSuchMachine),
        ("permission denied", Kind::AccessDenied),
        ("bad value for ", Kind::InvalidArgument),
    ];
    let ends = [("is running already", Kind::MachineExists)];
    let begun = begins.iter().find(|(words, _)| error.starts_with(words));
    let ended = ends.iter().find(|(words, _)| error.ends_with(words));
    begun.or(ended).map_or(Kind::Failed, |(_, kind)| *kind)
}

async fn read_lines(
    lines: Option<AsyncFd<OwnedFd>>,
    last: &mut Value,
    text: &mut String,
    line: &mut (impl FnMut(&Value) + Send),
) {
    let Some(lines) = lines else { return };
    let mut buffer = Vec::new();
    while read_some(&lines, &mut buffer).await {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let bytes: Vec<u8> = buffer.drain(..=end).collect();
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => {
                    line(&value);
                    *last = value;
                }
                Err(_) => *text = String::from_utf8_lossy(bytes.trim_ascii()).into_owned(),
            }
        }
        if buffer.len() > LINE {
            buffer.clear();
        }
    }
}

async fn read_errors(errors: AsyncFd<OwnedFd>, said: &mut Vec<u8>) {
    while read_some(&errors, said).await {
        // The end says why.
        let excess = said.len().saturating_sub(ERRORS);
        said.drain(..excess);
    }
}

/// Adds what there is; says whether there may be more.
async fn read_some(fd: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; CHUNK];
    loop {
        let Ok(mut ready) = fd.readable().await else { return false };
        match rustix::io::read(fd.get_ref(), &mut chunk) {
            Ok(0) => return false,
            Ok(count) => {
                buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                return true;
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// A pipe: our end does not wait, theirs does.
fn pipe() -> Result<(OwnedFd, OwnedFd), Problem> {
    let ends = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (ours, theirs) = sys("pipe2", ends, || "O_CLOEXEC".to_owned()).map_err(failed)?;
    sys("fcntl", rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK), || "F_SETFL, O_NONBLOCK".to_owned())
        .map_err(failed)?;
    Ok((ours, theirs))
}

/// What the machine `name` has logged, also after its end: the end of a pipe. `options` are those of spinney-logs(1).
///
/// # Errors
/// For other options; when there can be no further process.
pub fn logs(name: &str, options: &Dictionary) -> Result<OwnedFd, Problem> {
    const KNOWN: &VerbOptions = &[
        ("follow", Takes::Flag),
        ("lines", Takes::Value),
        ("since", Takes::Value),
        ("until", Takes::Value),
        ("unit", Takes::Values),
        ("priority", Takes::Value),
        ("boot", Takes::Value),
        ("reverse", Takes::Flag),
        ("output", Takes::Value),
        ("json", Takes::Flag),
        ("no-hostname", Takes::Flag),
        ("source", Takes::Value),
    ];
    let mut line = vec!["logs".to_owned()];
    line.extend(words(options, KNOWN)?);
    line.extend(["--".to_owned(), name.to_owned()]);
    let (ours, theirs) = pipe()?;
    // Who reads it waits.
    sys("fcntl", rustix::fs::fcntl_setfl(&ours, OFlags::empty()), || "F_SETFL, 0".to_owned())
        .map_err(failed)?;
    let running = Verb::new(line).stdout(theirs).spawn()?;
    tokio::spawn(running.ended(|_| {}));
    Ok(ours)
}

/// Tells a verb, or a worker, to end.
///
/// # Errors
/// When it may not be told; that it has ended is none.
pub fn tell(process: impl AsFd, signal: i32) -> Result<(), Problem> {
    match pidfd_send_signal(process, signal) {
        Err(error) if error.errno() != Errno::SRCH => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failed(error: SysError) -> Problem {
    Problem::of(Kind::Failed, &error, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_says() {
        let of = |text: &str| problem(text).map(|problem| (problem.kind, problem.text, problem.hint));
        let table = [
            ("", None),
            ("spinney: web is starting\n", None),
            (
                "spinney: warning: x\nspinney: error: no image \"nix\"\n  hint: spinney images lists them\n",
                Some((Kind::NoSuchImage, "no image \"nix\"", Some("spinney images lists them"))),
            ),
            (
                "spinney: error: \"web\" is running already\n",
                Some((Kind::MachineExists, "\"web\" is running already", None)),
            ),
            (
                "spinney: error: web died\n  last lines of its console:\n  | x\n  hint: look\n",
                Some((Kind::Failed, "web died", Some("look"))),
            ),
        ];
        for (text, expected) in table {
            let expected =
                expected.map(|(kind, text, hint)| (kind, text.to_owned(), hint.map(str::to_owned)));
            assert_eq!(of(text), expected, "{text:?}");
        }
    }

    /// The words are those of the errors themselves.
    #[test]
    fn kinds_of_errors() {
        use crate::machine::Error;
        let name = || "web".to_owned();
        let table = [
            (Error::NoImage { name: name(), nearest: None }, Kind::NoSuchImage),
            (Error::NotRunning { name: name() }, Kind::NoSuchMachine),
            (Error::RunningAlready { name: name() }, Kind::MachineExists),
            (Error::PermissionDenied { action: "enter", name: name() }, Kind::AccessDenied),
            (Error::Starting { name: name() }, Kind::Failed),
        ];
        for (error, expected) in table {
            assert_eq!(kind(&error.to_string()), expected, "{error}");
        }
    }
}
