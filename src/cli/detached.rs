//! Waiting for machines that were started in the background.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::EXIT_FAILURE;
use super::output::Output;
use super::progress::Progress;
use crate::supervisor::background::{Failure, News, Starting};
use crate::supervisor::{EventOf, Request, background};
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::{SysError, SysResult};

/// What ends our waiting, and nothing else: the machines have no part in our terminal.
const SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// PID 1 runs.
    Started,
    /// The guest is up.
    Ready,
}

/// What became of a machine that was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as far as was asked.
    Up,
    /// It did not come so far.
    Failed(Failure),
    /// We were told to end by this signal; it goes on.
    Left(i32),
}

impl Outcome {
    /// What our process exits with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Failed(failure) => failure.exit_status,
            Self::Left(signal) => u8::try_from(128 + signal).unwrap_or(EXIT_FAILURE),
        }
    }
}

/// A machine that is waited for.
#[derive(Debug)]
pub struct Waiting {
    name: String,
    starting: Starting,
    progress: Progress,
    until: Until,
    outcome: Option<Outcome>,
}

impl Waiting {
    /// Starts the machine called `name` in the background.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn start(name: &str, request: Request, progress: Progress, until: Until) -> SysResult<Self> {
        // A signal that comes while we start is taken when we wait.
        SignalSet::of(&SIGNALS).block()?;
        let starting = background::start(request)?;
        Ok(Self { name: name.to_owned(), starting, progress, until, outcome: None })
    }

    /// The machine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of it; after [`wait`].
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Takes one piece of news.
    fn hear(&mut self) -> SysResult<()> {
        let news = self.starting.next()?;
        if let Some(News::Event(event)) = &news {
            self.progress.report(event);
        }
        self.outcome = match news {
            Some(News::Event(EventOf::Started { .. })) if self.until == Until::Started => Some(Outcome::Up),
            Some(News::Event(EventOf::Ready { .. })) => Some(Outcome::Up),
            Some(News::Event(_)) => None,
            Some(News::Failed(failure)) => Some(Outcome::Failed(failure)),
            Some(News::Ended { exit_status }) => Some(self.failed(
                format!("{} was stopped before it was up, with exit status {exit_status}", self.name),
                "somebody else told it to stop",
            )),
            None => Some(self.failed(
                format!("the supervisor of {} died", self.name),
                "spinney gc removes what it left; the kernel's log may say who killed it",
            )),
        };
        Ok(())
    }

    fn failed(&self, message: String, hint: &str) -> Outcome {
        let hint = Some(hint.to_owned());
        Outcome::Failed(Failure { message, console: Vec::new(), hint, exit_status: EXIT_FAILURE })
    }
}

/// Waits until each machine is as far as was asked, or has failed; failures are told as they come. A signal to us ends
/// the waiting and not the machines.
///
/// # Errors
/// When we cannot wait.
pub fn wait(machines: &mut [Waiting], output: Output) -> SysResult<()> {
    let set = SignalSet::of(&SIGNALS);
    let before = set.block()?;
    let signals = SignalFd::open(&set)?;
    while machines.iter().any(|machine| machine.outcome.is_none()) {
        for index in ready(machines, &signals)? {
            let Some(machine) = machines.get_mut(index) else { continue };
            machine.hear()?;
            if let Some(Outcome::Failed(failure)) = &machine.outcome {
                output.failure(failure, &failure.console, failure.hint.as_deref());
            }
        }
        if let Some(signal) = signals.read()? {
            for machine in machines.iter_mut().filter(|machine| machine.outcome.is_none()) {
                output.warning(&format!(
                    "{} starts on in the background; spinney stop {} ends it",
                    machine.name, machine.name
                ));
                machine.outcome = Some(Outcome::Left(signal.signal));
            }
        }
    }
    before.set_mask().map(drop)
}

/// Which machines that are still waited for have news; none when it is a signal that came.
fn ready(machines: &[Waiting], signals: &SignalFd) -> SysResult<Vec<usize>> {
    let open: Vec<usize> = machines
        .iter()
        .enumerate()
        .filter(|(_, machine)| machine.outcome.is_none())
        .map(|(index, _)| index)
        .collect();
    let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    let sockets = open.iter().filter_map(|index| machines.get(*index));
    fds.extend(sockets.map(|machine| PollFd::from_borrowed_fd(machine.starting.as_fd(), PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(errno) => return Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
    }
    let news = fds.iter().skip(1).map(|fd| !fd.revents().is_empty());
    Ok(open.into_iter().zip(news).filter(|(_, news)| *news).map(|(index, _)| index).collect())
}
