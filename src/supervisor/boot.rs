//! One boot of a machine: from a launch to the end of its leader, and the poll loop in between.
//!
//! What comes in is dealt with elsewhere: what the guest says in [`super::guest_says`], what the user and the host ask for in
//! [`super::asked`].

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::guest::ReadySignal;
use crate::settings::ConsoleMode;
use crate::sys::heap;
use crate::sys::process::Ended;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::timeout::until;
use crate::sys::{SysError, SysResult};

use super::control::methods::{self, Context};
use super::diagnosis::Evidence;
use super::error::Error;
use super::freezer::Freezer;
use super::host_resolv_conf::HostResolvConf;
use super::in_force::InForce;
use super::launch_record::LaunchRecord;
use super::machine::{Machine, Parts};
use super::machine_event::MachineEvent;
use super::manager_notifier::{ManagerNotifier, ManagerNotifierError};
use super::running::Running;
use super::snapshot::{Said, Snapshot};
use super::start::SIGNALS;
use super::state::{Phase, State};
use super::stop::Stop;
use super::unit::Watchdog;
use super::{Event, Report, Request};

/// How often evidence of readiness is looked for while a guest boots that does not notify. A look costs some 50 µs.
const LOOK: Duration = Duration::from_millis(10);

/// The time of day.
pub(super) fn now_in_microseconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// What poll has reported.
struct Woken {
    /// The leader has ended.
    ended: bool,
    /// Of the network's services, in their order.
    network: Vec<PollFlags>,
    /// Of the control socket and its clients, in their order.
    control: Vec<PollFlags>,
}

/// One boot: from a launch to the end of the leader.
pub(super) struct Boot<'a> {
    pub(super) running: Running,
    signals: SignalFd,
    pub(super) request: &'a Request,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    /// Of this boot, in microseconds since 1970.
    started_at: u64,
    pub(super) ready_at: Option<u64>,
    pub(super) boots: u32,
    /// When the guest must be up.
    pub(super) ready_by: Option<Instant>,
    pub(super) stop: Option<Stop>,
    /// The signal that we were told to end by.
    pub(super) told_by: Option<i32>,
    pub(super) killed: bool,
    pub(super) status: Option<String>,
    /// What the guest has said.
    pub(super) said: Said,
    pub(super) freezer: Freezer,
    /// The guest was not up in time and is being killed for it.
    pub(super) late: bool,
    /// What was seen of it then.
    pub(super) evidence: Option<Evidence>,
}

impl<'a> Boot<'a> {
    pub(super) fn begin(
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
            evidence: None,
            said: Said::default(),
            freezer: Freezer::default(),
        };
        for warning in machine.parts.network.link_warnings() {
            report(&Event::Warning(&warning));
        }
        boot.offer_sockets(machine, report);
        let parts = &machine.parts;
        // Before anyone is told: who hears of the machine may look at once.
        if let Err(error) = machine
            .claimed
            .directory()
            .write_launch(&LaunchRecord::of(&parts.plan), &parts.plan.process.seccomp)
        {
            report(&Event::Warning(&format!("the machine cannot be entered: {error}")));
        }
        // The boots after the first change nothing of it.
        if boots == 1
            && let Err(error) =
                machine.claimed.directory().write_in_force(&InForce::of(&request.provenance, &parts.plan))
        {
            report(&Event::Warning(&format!("the machine cannot be explained: {error}")));
        }
        boot.write_state(machine, report);
        boot.tell_systemds_tools(machine, report);
        report(&Event::Started {
            name: parts.plan.name.as_str(),
            os: &parts.os,
            init: parts.init.as_deref(),
            after: boot.running.since - since,
            interactive: parts.plan.console == ConsoleMode::Interactive,
        });
        machine.control.publish(MachineEvent::Started {
            leader: boot.running.pid.as_raw_nonzero().get(),
            boot: boots,
            os: parts.os.clone(),
            init: parts.init.clone().unwrap_or_default(),
        });
        boot.tell(machine, report, |manager| manager.leader_started(boot.running.pid));
        if let Some(warning) = machine.parts.registration.begin_boot(boot.running.pid) {
            report(&Event::Warning(&warning));
        }
        if let Some(timeout) = request.settings.timeout_ready.filter(|_| boots == 1) {
            boot.take_time(timeout, machine, report);
        }
        if !request.settings.notify_ready {
            boot.tell(machine, report, ManagerNotifier::ready);
        }
        Ok(boot)
    }

    /// Tells our own manager; that it does not listen is worth a warning and no more.
    pub(super) fn tell(
        &self,
        machine: &Machine,
        report: &mut Report<'_>,
        message: impl FnOnce(&ManagerNotifier) -> Result<(), ManagerNotifierError>,
    ) {
        if let Err(error) = message(&machine.parts.manager) {
            report(&Event::Warning(&error.to_string()));
        }
    }

    /// What the state file says.
    pub(super) fn state(&self, machine: &Machine) -> State {
        let parts = &machine.parts;
        State {
            name: parts.plan.name.to_string(),
            phase: self.phase,
            paused: self.is_paused(),
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
            legacy_controllers: parts
                .controllers
                .paths()
                .map(|(controller, path)| (controller.legacy_name().to_owned(), path.to_path_buf()))
                .collect(),
            limits: parts.limits.clone(),
            oom_kills: parts.out_of_memory.killed(),
            boots: self.boots,
            status: self.status.clone(),
        }
    }

    /// All that is known of the machine.
    pub(super) fn snapshot(&self, machine: &Machine) -> Snapshot {
        Snapshot { state: self.state(machine), said: self.said.clone() }
    }

    pub(super) fn write_state(&self, machine: &Machine, report: &mut Report<'_>) {
        if let Err(error) = machine.claimed.directory().write_state(&self.state(machine)) {
            report(&Event::Warning(&format!("the machine's state cannot be written: {error}")));
        }
    }

    /// The loop. Comes back when the leader has ended and was reaped.
    pub(super) fn run(&mut self, machine: &mut Machine, report: &mut Report<'_>) -> Result<Ended, Error> {
        if self.phase == Phase::Ready {
            self.tell_ready(machine, report);
        }
        if machine.parts.init.is_some() {
            // Links, rules and mounts are made: most of what that took is free. A command is over soon.
            heap::trim();
        }
        loop {
            let Woken { ended, network, control } =
                self.wait(machine).map_err(Error::system("wait for the machine"))?;
            self.look_for_kills(false, machine, report);
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
            if let Some(warning) = machine.parts.registration.look() {
                report(&Event::Warning(&warning));
            }
            for warning in machine.parts.network.turn(&network, Instant::now()) {
                report(&Event::Warning(&warning));
            }
            self.calls(&control, machine, report);
            self.look_at_freezer(machine, report);
            self.keep_directory(machine, report);
            self.follow_resolv_conf(machine);
            self.look_for_evidence(machine, report);
            self.deadlines(machine, report)?;
        }
    }

    /// Tells of processes that the kernel killed for want of memory. `last` is after the end of the leader.
    pub(super) fn look_for_kills(&self, last: bool, machine: &mut Machine, report: &mut Report<'_>) {
        if let Some(evidence) = machine.new_kills(last) {
            // Before anyone is told: who hears of it may look at once.
            self.write_state(machine, report);
            machine.tell_of_kills(&evidence, report);
        }
    }

    /// Gives the guest what the host's resolv.conf says now, if that has changed.
    fn follow_resolv_conf(&self, machine: &mut Machine) {
        let Parts { resolv_conf, plan, .. } = &mut machine.parts;
        if let Some(file) = resolv_conf
            && !file.follow(Instant::now(), self.running.root.as_ref(), &mut plan.mounts)
        {
            *resolv_conf = None;
        }
    }

    /// Does what clients of the control socket ask for.
    fn calls(&mut self, ready: &[PollFlags], machine: &mut Machine, report: &mut Report<'_>) {
        for mut incoming in machine.control.turn(ready) {
            let mut context = Context { boot: self, machine, report };
            let answer = methods::perform(&mut context, &mut incoming);
            machine.control.answer(incoming.from, &incoming.call, answer);
        }
    }

    /// When the guest is late to be up. One that was told to stop need not come up any more.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.ready_by.filter(|_| self.phase == Phase::Booting && self.stop.is_none() && !self.late)
    }

    /// Waits for something to do.
    fn wait(&self, machine: &Machine) -> SysResult<Woken> {
        let console = machine.parts.console.as_ref();
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.running.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        if let Some(notify) = &self.running.notify {
            fds.push(PollFd::from_borrowed_fd(notify.as_fd(), PollFlags::IN));
        }
        if let Some((fd, flags)) = machine.parts.out_of_memory.interest() {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        if let Some(console) = console {
            fds.extend(console.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        }
        if let Some(answer) = machine.parts.registration.interest() {
            fds.push(PollFd::from_borrowed_fd(answer, PollFlags::IN));
        }
        if let Some(events) = self.freezer.interest() {
            fds.push(PollFd::from_borrowed_fd(events, PollFlags::PRI));
        }
        let network = fds.len();
        fds.extend(machine.parts.network.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let control = fds.len();
        fds.extend(machine.control.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let looking =
            self.phase == Phase::Booting && matches!(machine.parts.contract.ready, ReadySignal::Evidence(_));
        let deadlines = [
            machine.control.has_work().then(Instant::now),
            machine.control.deadline(),
            looking.then(|| Instant::now() + LOOK),
            self.late_at(),
            self.stop.as_ref().and_then(|stop| stop.deadline),
            console.and_then(super::console::Console::deadline),
            machine.keeper.deadline(),
            machine.parts.resolv_conf.as_ref().and_then(HostResolvConf::deadline),
            machine.parts.out_of_memory.deadline(),
            machine.parts.network.deadline(),
            machine.parts.watchdog.as_ref().map(Watchdog::deadline),
        ];
        let timeout = deadlines.into_iter().flatten().min().map(until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(Woken {
                ended: fds.first().is_some_and(|leader| !leader.revents().is_empty()),
                network: fds.iter().skip(network).take(control - network).map(PollFd::revents).collect(),
                control: fds.iter().skip(control).map(PollFd::revents).collect(),
            }),
            Err(Errno::INTR) => Ok(Woken { ended: false, network: Vec::new(), control: Vec::new() }),
            Err(errno) => Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
        }
    }
}
