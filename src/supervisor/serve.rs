//! The life of a machine after its leader has started: one poll loop, until it is over.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::guest::{Processes, ReadySignal, Verdict};
use crate::settings::ConsoleMode;
use crate::sys::process::Ended;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::{SysError, SysResult};

use super::console::Action;
use super::error::Error;
use super::fault;
use super::hotkeys::Hotkey;
use super::launch_record::LaunchRecord;
use super::notify::GuestEvent;
use super::running::Running;
use super::start::{Machine, SIGNALS};
use super::state::{Phase, State};
use super::stop::{Goal, Guest, Stop};
use super::verdict::Verdict as BootVerdict;
use super::{Event, Outcome, Report, Request};

/// How often evidence of readiness is looked for while a guest boots that does not notify. A look costs some 50 µs.
const LOOK: Duration = Duration::from_millis(10);

/// The same signal twice within this is one request: timeout(1) sends to us and to our process group, and a terminal that
/// closes has its shell send SIGHUP once more. A later one, or another, is impatience, and kills.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// How long the user's side may take the console's last output.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the machine until it is over, then gives everything back.
pub(super) fn serve(
    mut machine: Machine,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Outcome, Error> {
    let mut boots = 0;
    let mut since = request.started;
    let (result, stopping) = loop {
        boots += 1;
        let mut boot = match Boot::begin(&mut machine, request, since, boots, report) {
            Ok(boot) => boot,
            Err(error) => break (Err(error), None),
        };
        let ended = boot.run(&mut machine, report);
        fault::point("ended");
        let verdict = ended.map(|ended| boot.judge(&machine, ended));
        match verdict {
            Ok(BootVerdict::Reboot) => {
                since = Instant::now();
                report(&Event::Rebooting { name: machine.parts.plan.name.as_str() });
                if let Err(source) = machine.parts.cgroup.renew() {
                    break (Err(Error::System { action: "make the machine's cgroup anew", source }), None);
                }
                let mounts = machine.claimed.mount_points();
                if let Err(source) =
                    crate::runtime::root::make_writable_again(&machine.parts.plan.root, mounts)
                {
                    break (Err(Error::System { action: "make the root writable again", source }), None);
                }
            }
            Ok(BootVerdict::End(result)) => break (result, boot.stop.map(|stop| stop.since.elapsed())),
            Err(error) => break (Err(error), None),
        }
    };
    finish(machine, request, result, stopping, report)
}

/// The time of day.
fn now_in_microseconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Leaves terminal and host as they were.
fn finish(
    machine: Machine,
    request: &Request,
    result: Result<Outcome, Error>,
    stopping: Option<Duration>,
    report: &mut Report<'_>,
) -> Result<Outcome, Error> {
    let Machine { claimed, parts } = machine;
    let name = parts.plan.name.clone();
    if let Some(console) = parts.console {
        // Whatever the console says at the very end, the machine's own result is what counts.
        let _ = console.finish(PATIENCE);
    }
    drop((parts.user_namespace, parts.cgroup, parts.legacy_cgroup, parts.scratch, parts.tree));
    if request.background {
        super::archive::keep_or_warn(request, claimed.directory(), result.as_ref().copied(), report);
    }
    let faults = claimed.release();
    if result.is_ok() {
        report(&Event::Ended { name: name.as_str(), after: stopping });
    }
    match (result, faults.is_empty()) {
        (Err(error), _) => {
            for fault in faults {
                report(&Event::Warning(&format!("left behind: {fault}")));
            }
            Err(error)
        }
        (Ok(_), false) => Err(Error::Teardown { name: name.to_string(), faults }),
        (Ok(outcome), true) => Ok(outcome),
    }
}

/// One boot: from a launch to the end of the leader.
pub(super) struct Boot<'a> {
    pub(super) running: Running,
    signals: SignalFd,
    pub(super) request: &'a Request,
    pub(super) phase: Phase,
    since: Instant,
    /// Of this boot, in microseconds since 1970.
    started_at: u64,
    ready_at: Option<u64>,
    boots: u32,
    /// When the guest must be up.
    ready_by: Option<Instant>,
    pub(super) stop: Option<Stop>,
    /// The signal that we were told to end by.
    pub(super) told_by: Option<i32>,
    killed: bool,
    pub(super) status: Option<String>,
    /// The guest was not up in time and is being killed for it.
    pub(super) late: bool,
}

impl<'a> Boot<'a> {
    fn begin(
        machine: &mut Machine,
        request: &'a Request,
        since: Instant,
        boots: u32,
        report: &mut Report<'_>,
    ) -> Result<Self, Error> {
        let running = machine.launch()?;
        let signals = SignalFd::open(&SignalSet::of(&SIGNALS)).map_err(Error::system("open a signalfd"))?;
        let boot = Self {
            ready_by: request.settings.timeout_ready.map(|timeout| running.since + timeout),
            running,
            signals,
            request,
            phase: match machine.parts.contract.ready {
                ReadySignal::AtStart => Phase::Ready,
                _ => Phase::Booting,
            },
            since,
            started_at: now_in_microseconds(),
            ready_at: None,
            boots,
            stop: None,
            told_by: None,
            killed: false,
            status: None,
            late: false,
        };
        let parts = &machine.parts;
        // Before anyone is told: who hears of the machine may look at once.
        if let Err(error) = machine
            .claimed
            .directory()
            .write_launch(&LaunchRecord::of(&parts.plan), &parts.plan.process.seccomp)
        {
            report(&Event::Warning(&format!("the machine cannot be entered: {error}")));
        }
        boot.write_state(machine, report);
        report(&Event::Started {
            name: parts.plan.name.as_str(),
            os: &parts.os,
            init: parts.init.as_deref(),
            after: boot.running.since - since,
            interactive: parts.plan.console == ConsoleMode::Interactive,
        });
        boot.tell(machine, report, |manager| manager.leader_started(boot.running.pid));
        if !request.settings.notify_ready {
            boot.tell(machine, report, super::manager_notifier::ManagerNotifier::ready);
        }
        Ok(boot)
    }

    /// Tells our own manager; that it does not listen is worth a warning and no more.
    fn tell(
        &self,
        machine: &Machine,
        report: &mut Report<'_>,
        message: impl FnOnce(
            &super::manager_notifier::ManagerNotifier,
        ) -> Result<(), super::manager_notifier::ManagerNotifierError>,
    ) {
        if let Err(error) = message(&machine.parts.manager) {
            report(&Event::Warning(&error.to_string()));
        }
    }

    fn write_state(&self, machine: &Machine, report: &mut Report<'_>) {
        let parts = &machine.parts;
        let state = State {
            name: parts.plan.name.to_string(),
            phase: self.phase,
            leader: self.running.pid.as_raw_nonzero().get(),
            leader_started: self.running.started,
            supervisor: rustix::process::getpid().as_raw_nonzero().get(),
            supervisor_started: parts.supervisor_started,
            tree: self.request.settings.tree.clone(),
            ephemeral: self.request.settings.ephemeral,
            background: self.request.background,
            uuid: parts.plan.uuid.to_string(),
            started_at: self.started_at,
            ready_at: self.ready_at,
            init: parts.init.clone().unwrap_or_default(),
            os: parts.os.clone(),
            id_base: parts.plan.ids.map_or(0, |ids| ids.base),
            id_size: parts.plan.ids.map_or(0, |ids| ids.size),
            cgroup: parts.cgroup.path().to_string_lossy().into_owned(),
            legacy_controllers: std::collections::BTreeMap::new(),
            boots: self.boots,
            status: self.status.clone(),
        };
        if let Err(error) = machine.claimed.directory().write_state(&state) {
            report(&Event::Warning(&format!("the machine's state cannot be written: {error}")));
        }
    }

    /// The loop. Comes back when the leader has ended and was reaped.
    fn run(&mut self, machine: &mut Machine, report: &mut Report<'_>) -> Result<Ended, Error> {
        if self.phase == Phase::Ready {
            self.tell_ready(machine, report);
        }
        loop {
            let ended = self.wait(machine).map_err(Error::system("wait for the machine"))?;
            if let Some(notify) = &self.running.notify {
                let events = notify.receive(self.running.pid).unwrap_or_default();
                self.notified(events, machine, report);
            }
            if ended {
                return self.running.reap();
            }
            while let Some(signal) = self.signals.read().map_err(Error::system("read a signal"))? {
                self.signalled(signal.signal, machine, report);
            }
            if let Some(console) = &mut machine.parts.console {
                let actions = console.on_ready(Instant::now());
                self.console(actions, machine, report);
            }
            self.look_for_evidence(machine, report);
            self.deadlines(machine, report)?;
        }
    }

    /// Waits for something to do; says whether the leader has ended.
    fn wait(&self, machine: &Machine) -> SysResult<bool> {
        let console = machine.parts.console.as_ref();
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.running.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        if let Some(notify) = &self.running.notify {
            fds.push(PollFd::from_borrowed_fd(notify.as_fd(), PollFlags::IN));
        }
        if let Some(console) = console {
            fds.extend(console.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        }
        let looking =
            self.phase == Phase::Booting && matches!(machine.parts.contract.ready, ReadySignal::Evidence(_));
        let deadlines = [
            looking.then(|| Instant::now() + LOOK),
            self.ready_by.filter(|_| self.phase == Phase::Booting),
            self.stop.as_ref().and_then(|stop| stop.deadline),
            console.and_then(super::console::Console::deadline),
        ];
        let timeout = deadlines.into_iter().flatten().min().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(fds.first().is_some_and(|leader| !leader.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
        }
    }

    fn notified(&mut self, events: Vec<GuestEvent>, machine: &mut Machine, report: &mut Report<'_>) {
        // Of many statuses the last one counts: a guest that sends without end must not have us wait for our manager.
        let mut status = None;
        for event in events {
            match event {
                GuestEvent::Ready if machine.parts.contract.ready == ReadySignal::Notify => {
                    self.ready(machine, report);
                }
                GuestEvent::Status(text) => status = Some(text),
                GuestEvent::Stopping | GuestEvent::Shutdown(_) if self.phase == Phase::Ready => {
                    self.phase = Phase::Stopping;
                    self.write_state(machine, report);
                }
                _ => {}
            }
        }
        if let Some(status) = status.filter(|status| self.status.as_ref() != Some(status)) {
            self.tell(machine, report, |manager| manager.status(&status));
            self.status = Some(status);
        }
    }

    fn ready(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        if self.phase != Phase::Booting {
            return;
        }
        self.phase = Phase::Ready;
        self.ready_at = Some(now_in_microseconds());
        self.write_state(machine, report);
        self.tell_ready(machine, report);
    }

    fn tell_ready(&self, machine: &Machine, report: &mut Report<'_>) {
        let parts = &machine.parts;
        if parts.init.is_some() {
            report(&Event::Ready {
                name: parts.plan.name.as_str(),
                after: self.since.elapsed(),
                assumed: parts.contract.ready == ReadySignal::AtStart,
            });
        }
        if self.request.settings.notify_ready {
            self.tell(machine, report, super::manager_notifier::ManagerNotifier::ready);
        }
        fault::point("ready");
    }

    fn look_for_evidence(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let ReadySignal::Evidence(evidence) = machine.parts.contract.ready else { return };
        if self.phase != Phase::Booting {
            return;
        }
        let pid = self.running.pid.as_raw_nonzero().get().unsigned_abs();
        let (Some(root), Ok(processes)) = (&self.running.root, Processes::of(pid)) else { return };
        match evidence.check(root, &processes) {
            Verdict::Ready => self.ready(machine, report),
            Verdict::NotYet(why) => self.status = Some(why.to_owned()),
        }
    }

    fn signalled(&mut self, signal: i32, machine: &mut Machine, report: &mut Report<'_>) {
        match signal {
            libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
                let repeated = self.told_by.replace(signal) == Some(signal);
                match &self.stop {
                    Some(stop) if stop.goal == Goal::PowerOff => {
                        if !repeated || stop.since.elapsed() >= ONE_REQUEST {
                            self.kill(machine, report);
                        }
                    }
                    _ => self.begin_stop(Goal::PowerOff, machine, report),
                }
            }
            libc::SIGWINCH | libc::SIGCONT => {
                if let Some(console) = &mut machine.parts.console {
                    let done = if signal == libc::SIGCONT {
                        console.resume().map_err(|error| error.to_string())
                    } else {
                        console.resize().map_err(|error| error.to_string())
                    };
                    if let Err(error) = done {
                        report(&Event::Warning(&error));
                    }
                }
            }
            _ => {}
        }
    }

    fn console(&mut self, actions: Vec<Action>, machine: &mut Machine, report: &mut Report<'_>) {
        for action in actions {
            match action {
                Action::Hotkey(Hotkey::Kill) => self.kill(machine, report),
                Action::Hotkey(Hotkey::PowerOff) => self.begin_stop(Goal::PowerOff, machine, report),
                Action::Hotkey(Hotkey::Reboot) => self.begin_stop(Goal::Reboot, machine, report),
                Action::LogFailed(error) => {
                    report(&Event::Warning(&format!("the console log has stopped: {error}")));
                }
                Action::InputClosed | Action::OutputClosed(_) => {}
            }
        }
    }

    /// A power-off takes the place of a reboot that is under way, not the other way round.
    fn begin_stop(&mut self, goal: Goal, machine: &mut Machine, report: &mut Report<'_>) {
        if self.stop.as_ref().is_some_and(|stop| stop.goal == goal || stop.goal == Goal::PowerOff) {
            return;
        }
        let settings = &self.request.settings;
        let signal = settings.kill_signal.filter(|_| goal == Goal::PowerOff).map(|signal| signal.0);
        let contract = &machine.parts.contract;
        let stop = Stop::new(goal, contract, signal, settings.timeout_stop, Instant::now());
        self.stop = Some(stop);
        let name = machine.parts.plan.name.as_str();
        report(&Event::Stopping { name, reboot: goal == Goal::Reboot });
        self.tell(machine, report, super::manager_notifier::ManagerNotifier::stopping);
        if self.phase == Phase::Ready {
            self.phase = Phase::Stopping;
            self.write_state(machine, report);
        }
    }

    fn kill(&mut self, machine: &mut Machine, report: &mut Report<'_>) {
        let now = Instant::now();
        match &mut self.stop {
            Some(stop) => stop.kill_now(now),
            None => {
                self.stop = Some(Stop::kill(now));
                report(&Event::Killing { name: machine.parts.plan.name.as_str() });
                self.tell(machine, report, super::manager_notifier::ManagerNotifier::stopping);
            }
        }
    }

    fn deadlines(&mut self, machine: &mut Machine, report: &mut Report<'_>) -> Result<(), Error> {
        let now = Instant::now();
        if self.phase == Phase::Booting && !self.late && self.ready_by.is_some_and(|by| now >= by) {
            self.late = true;
            self.ready_by = None;
            self.kill(machine, report);
        }
        if let Some(stop) = &mut self.stop
            && stop.deadline.is_some_and(|deadline| now >= deadline)
        {
            let said = stop.is_untouched();
            let guest = Guest {
                leader: &self.running.pidfd,
                root: self.running.root.as_ref(),
                users: machine.parts.user_namespace.as_ref(),
            };
            let kill = stop.step(&guest, now).map_err(Error::Stop)?;
            self.killed |= kill;
            if !said {
                report(&Event::Escalating { name: machine.parts.plan.name.as_str(), kill });
            }
        }
        Ok(())
    }
}
