//! Starting machines in the background and waiting for them.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::EXIT_FAILURE;
use super::arguments::RunArguments;
use super::output::Output;
use super::progress::Progress;
use crate::settings::{ConsoleMode, MachineName, Payload, Resolved, SettingsError};
use crate::supervisor::background::{Failure, News, Starting};
use crate::supervisor::{self, EventOf, Request, background};
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::timeout::until;
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
    /// PID 1 runs, which is all that was asked.
    Started,
    /// It is ready.
    Ready,
    /// It did not come so far.
    Failed(Failure),
    /// We were told to end by this signal; it goes on.
    Left(i32),
}

impl Outcome {
    /// What our process exits with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Started | Self::Ready => 0,
            Self::Failed(failure) => failure.exit_status,
            Self::Left(signal) => u8::try_from(128 + signal).unwrap_or(EXIT_FAILURE),
        }
    }
}

/// How long `run --detach` and `start` wait for a guest by default: services with systemd's default of 90 s to start
/// may use it up one after another, and a hundred machines may boot at once.
const TIMEOUT_READY: Duration = Duration::from_secs(300);

/// `run --detach`: starts the machine, waits for it, gives the exit status.
pub(super) fn run(request: Request, options: &RunArguments, output: Output) -> u8 {
    let until = if options.no_wait { Until::Started } else { Until::Ready };
    let run = || -> Result<(MachineName, Outcome), supervisor::Error> {
        let name = supervisor::name_of(&request.settings)?;
        let mut detached = Detached::new(output).map_err(cannot_start)?;
        detached.start(name, request, until).map_err(cannot_start)?;
        loop {
            if let Some(over) = detached.wait(None).map_err(cannot_start)?.pop() {
                return Ok(over);
            }
        }
    };
    match run() {
        Ok((name, outcome)) => {
            let status = outcome.exit_status();
            if status == 0 && (options.quiet || !std::io::stdout().is_terminal()) {
                output.text(&format!("{name}\n"));
            }
            status
        }
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            error.exit_status()
        }
    }
}

fn cannot_start(source: SysError) -> supervisor::Error {
    supervisor::Error::System { action: "start the machine in the background", source }
}

/// The same settings for a machine in the background, where nobody's terminal is the console.
pub(super) fn in_background(
    options: &RunArguments,
    mut resolved: Resolved,
) -> Result<Resolved, SettingsError> {
    let refuse = |problem: &str, hint: &str| Err(SettingsError::combination(problem, hint));
    if !options.detach {
        return match options.no_wait {
            true => refuse("--no-wait goes with --detach only", "spinney run --detach --no-wait TREE"),
            false => Ok(resolved),
        };
    }
    if options.pipe || options.console.as_deref().is_some_and(|mode| mode != "passive") {
        return refuse(
            "a machine in the background has no terminal as its console",
            "leave --console= out; spinney attach NAME meets the console later",
        );
    }
    resolved.settings.console = Some(ConsoleMode::Passive);
    resolved.provenance.decide("console", "mode", "passive", "--detach");
    if !options.no_wait && !resolved.provenance.is_given("execution", "timeout-ready") {
        resolved.settings.timeout_ready = Some(TIMEOUT_READY);
        resolved.provenance.decide("execution", "timeout-ready", "5min", "--detach");
    }
    Ok(resolved)
}

/// Machines that were started in the background and are waited for.
#[derive(Debug)]
pub struct Detached {
    signals: SignalFd,
    waiting: Vec<Waiting>,
    interrupted: Option<i32>,
    /// What this host lacks it lacks for all machines: told once.
    warned: BTreeSet<String>,
    output: Output,
}

#[derive(Debug)]
struct Waiting {
    name: MachineName,
    starting: Starting,
    progress: Progress,
    until: Until,
}

impl Detached {
    /// None yet. From now on a signal to us ends the waiting and not the machines.
    ///
    /// # Errors
    /// When signals cannot be had as an fd.
    pub fn new(output: Output) -> SysResult<Self> {
        let set = SignalSet::of(&SIGNALS);
        set.block()?;
        Ok(Self {
            signals: SignalFd::open(&set)?,
            waiting: Vec::new(),
            interrupted: None,
            warned: BTreeSet::new(),
            output,
        })
    }

    /// Starts the machine `name`. A command has nothing to be waited for but its start.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn start(&mut self, name: MachineName, request: Request, until: Until) -> SysResult<()> {
        let boots = matches!(request.settings.payload, Payload::Boot { .. });
        let until = if boots { until } else { Until::Started };
        let progress = Progress::new(self.output, boots);
        let starting = background::start(request)?;
        self.waiting.push(Waiting { name, starting, progress, until });
        Ok(())
    }

    /// The signal that has ended the waiting, if one did.
    pub fn interrupted(&self) -> Option<i32> {
        self.interrupted
    }

    /// Waits for news, at most until `deadline`, and gives the machines that are waited for no longer. Failures are told
    /// as they come.
    ///
    /// # Errors
    /// When we cannot wait.
    pub fn wait(&mut self, deadline: Option<Instant>) -> SysResult<Vec<(MachineName, Outcome)>> {
        let mut over = Vec::new();
        // The last first: those before keep their place.
        for index in self.ready(deadline)?.into_iter().rev() {
            let Some(machine) = self.waiting.get(index) else { continue };
            let news = machine.starting.next()?;
            if let Some(News::Event(event)) = &news {
                match event {
                    EventOf::Warning(text) if !self.warned.insert(text.clone()) => {}
                    event => machine.progress.report(event),
                }
            }
            if let Some(outcome) = machine.judge(news) {
                if let Outcome::Failed(failure) = &outcome {
                    self.output.failure(failure, &failure.console, failure.hint.as_deref());
                }
                over.push((self.waiting.remove(index).name, outcome));
            }
        }
        if let Some(signal) = self.signals.read()? {
            self.interrupted = Some(signal.signal);
            for machine in self.waiting.drain(..) {
                let name = machine.name;
                self.output
                    .warning(&format!("{name} starts on in the background; spinney stop {name} ends it"));
                over.push((name, Outcome::Left(signal.signal)));
            }
        }
        Ok(over)
    }

    /// Which machines have news.
    fn ready(&self, deadline: Option<Instant>) -> SysResult<Vec<usize>> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let sockets = self.waiting.iter().map(|machine| machine.starting.as_fd());
        fds.extend(sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        let timeout = deadline.map(until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
        }
        let news = fds.iter().skip(1).enumerate().filter(|(_, fd)| !fd.revents().is_empty());
        Ok(news.map(|(index, _)| index).collect())
    }
}

impl Waiting {
    /// What `news` means for who waits.
    fn judge(&self, news: Option<News>) -> Option<Outcome> {
        match news {
            Some(News::Event(EventOf::Started { .. })) if self.until == Until::Started => {
                Some(Outcome::Started)
            }
            Some(News::Event(EventOf::Ready { .. })) => Some(Outcome::Ready),
            Some(News::Event(_)) => None,
            Some(News::Failed(failure)) => Some(Outcome::Failed(failure)),
            Some(News::Ended { exit_status }) => Some(failed(
                format!("{} ended before it was up, with exit status {exit_status}", self.name),
                &format!("it did so by itself or was told to; spinney logs {} may tell why", self.name),
            )),
            None => Some(failed(
                format!("the supervisor of {} died", self.name),
                "spinney gc removes what it left; the kernel's log may say who killed it",
            )),
        }
    }
}

fn failed(message: String, hint: &str) -> Outcome {
    let hint = Some(hint.to_owned());
    Outcome::Failed(Failure { message, console: Vec::new(), hint, exit_status: EXIT_FAILURE })
}
