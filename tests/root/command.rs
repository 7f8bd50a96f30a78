//! Running programs with a deadline.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use spinney::sys::process::{pidfd_open, pidfd_send_signal};

use crate::harness::{Stop, TestResult};

/// For whatever must come to an end, on a machine on which others work too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often, and how long, something is done that takes too long: often enough that others let it be once.
const TRIES: usize = 100;
const TRIED: Duration = Duration::from_secs(30);

/// How long `work` takes when the host does nothing else: the shortest of several times, or the first that is below `enough`.
pub fn quickest(enough: Duration, mut work: impl FnMut() -> TestResult) -> Result<Duration, Stop> {
    let (mut best, since) = (Duration::MAX, Instant::now());
    for _ in 0..TRIES {
        let begun = Instant::now();
        work()?;
        best = best.min(begun.elapsed());
        if best < enough || since.elapsed() > TRIED {
            break;
        }
    }
    Ok(best)
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and more for a signal, as in a shell.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its stdout, if it ended well.
    pub fn ok(self) -> Result<String, String> {
        if self.status == 0 { Ok(self.stdout) } else { Err(format!("unexpected end: {self:#?}")) }
    }
}

/// A child known by pidfd, killed when dropped.
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self::of(child)
    }

    pub fn of(child: Child) -> Self {
        let pid = Pid::from_child(&child);
        Self { child, pidfd: pidfd_open(pid).unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let timeout =
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status as a shell tells it.
pub fn shell_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A file that a child writes and we read, which has no name.
pub fn capture() -> File {
    tempfile::tempfile().unwrap()
}

/// All of `file`, whose offset stays the writer's.
pub fn contents(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let read = file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    run_with(command, PATIENCE)
}

pub fn run_with(command: &mut Command, patience: Duration) -> Ended {
    let (stdout, stderr) = (capture(), capture());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut process = Process::spawn(command);
    let status = process.wait(patience);
    let (stdout, stderr) = (contents(&stdout), contents(&stderr));
    match status {
        Some(status) => Ended { status: shell_status(status), stdout, stderr },
        None => panic!("{command:?} did not end within {patience:?}\nstdout: {stdout}\nstderr: {stderr}"),
    }
}

/// Runs a command with `input` on its stdin.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Ended {
    let mut file = capture();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    run(command.stdin(Stdio::from(file)))
}
