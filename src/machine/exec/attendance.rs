//! From the start of a command to its end: one poll loop that moves bytes, passes signals on and keeps the time.
//!
//! A signal to us is one to the command: those of the keyboard and of a hang-up go to its process group, as a terminal
//! sends them, SIGTERM too (a shell that dies of it leaves no child behind); SIGUSR1 and SIGUSR2 go to the command alone, since
//! they end whoever does not expect them. While nothing of it runs yet, we end ourselves.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::birth::{Born, birth};
use super::entry::{Entered, GO_ON};
use super::hand_out::HandOut;
use super::members::{kill_session, signal_command};
use super::plan::Request;
use super::pump::Pump;
use super::running::Running;
use super::signals::{Signals, ends};
use super::{Done, PTMX, TIMED_OUT, shell_status};
use crate::machine::Error;
use crate::runtime::channel::{Heard, Listener, Message, Stage};
use crate::settings::ConsoleMode;
use crate::supervisor::console::{Action, Console};
use crate::supervisor::hotkeys::Hotkey;
use crate::supervisor::terminal::Terminal;
use crate::sys::in_root::Metadata;
use crate::sys::process::{Ended, pidfd_open, pidfd_send_signal, wait_for_end};
use crate::sys::timeout::timeout;
use crate::sys::{SysError, SysResult, socket, tty};

/// How long the user's terminal is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether the terminal is ours again.
const LOOK: Duration = Duration::from_millis(500);

/// What a command needs of us.
#[derive(Debug)]
pub(super) struct Attendance<'a> {
    signals: Signals,
    pumps: Vec<Pump>,
    console: Option<Console>,
    hand_out: Option<HandOut<'a>>,
    program: String,
}

impl<'a> Attendance<'a> {
    /// Gets ready, before there is a command.
    ///
    /// # Errors
    /// When the terminal or the signals cannot be had.
    pub(super) fn begin(
        request: &Request,
        pumps: Vec<Pump>,
        hand_out: Option<HandOut<'a>>,
    ) -> Result<Self, Error> {
        let failed = || Error::system("take our signals and terminal");
        let signals = Signals::take().map_err(failed())?;
        let console = match request.terminal {
            None => None,
            Some(_) if hand_out.is_some() => None,
            Some(_) => {
                let terminal = Terminal::open(rustix::stdio::stdin(), rustix::stdio::stdout());
                Some(Console::new(ConsoleMode::Interactive, terminal.map_err(failed())?, None))
            }
        };
        let program = match &request.payload {
            super::Payload::Command(words) => words.first().map(|word| word.to_string_lossy().into_owned()),
            super::Payload::Shell(_) => Some("a login shell".to_owned()),
            super::Payload::Login => Some("a login prompt".to_owned()),
        };
        Ok(Self { signals, pumps, console, hand_out, program: program.unwrap_or_default() })
    }

    /// Waits for the command's end; gives its exit status.
    ///
    /// # Errors
    /// When there was no command.
    pub(super) fn run(mut self, entered: Entered, request: &Request) -> Result<Done, Error> {
        let started = Instant::now();
        let born =
            birth(&self.signals, &entered, request.timeout.and_then(|timeout| started.checked_add(timeout)))?;
        let (pid, pidfd) = match born {
            Born::Command(pid) => {
                (pid, pidfd_open(pid).map_err(Error::system("open the command's process"))?)
            }
            Born::Interrupted(signal) => {
                return Ok(Done { status: shell_status(Ended::Signaled(signal)), told_by: Some(signal) });
            }
            Born::TooLate => {
                return Ok(Done { status: TIMED_OUT, told_by: None });
            }
        };
        let mut running = Running::new(pid, pidfd, entered.channel, started, request.timeout);
        let waited = self.attend(&mut running, request);
        if waited.is_err() {
            kill_session(running.pid);
        }
        if let Some(channel) = running.channel.take() {
            self.hear_the_rest(&mut running, &channel);
        }
        self.begun(&running);
        if let Some(console) = self.console.take() {
            // What the command has come to is what counts.
            let _ = console.finish(PATIENCE);
        }
        let (signals, told_by) = (&self.signals, Cell::new(running.told_by));
        let is_told_to_end = || {
            let signal = signals.read().ok().flatten().filter(|signal| ends(*signal));
            told_by.set(signal.or(told_by.get()));
            signal.is_some()
        };
        self.pumps.iter_mut().for_each(|pump| pump.drain(is_told_to_end));
        running.told_by = told_by.get();
        running.is_over();
        let ended = wait_for_end(running.pid).map_err(Error::system("wait for the command"))?;
        // Whoever called us may have something else to do.
        drop(self.signals);
        waited.map_err(Error::system("wait for the command"))?;
        match (running.trouble, running.told_by) {
            (Some(trouble), None) => Err(trouble),
            // Its user has had enough, whatever it was.
            (Some(_), Some(signal)) => {
                Ok(Done { status: shell_status(Ended::Signaled(signal)), told_by: Some(signal) })
            }
            (None, _) if running.timed_out => Ok(Done { status: TIMED_OUT, told_by: running.told_by }),
            (None, _) => Ok(Done { status: shell_status(ended), told_by: running.told_by }),
        }
    }

    /// The loop. Comes back when the command has ended; it is not reaped yet.
    fn attend(&mut self, running: &mut Running, request: &Request) -> SysResult<()> {
        loop {
            if self.wait(running)? {
                return Ok(());
            }
            if let Some(channel) = running.channel.take() {
                self.hear(running, channel)?;
            }
            while let Some(signal) = self.signals.read()? {
                self.signalled(signal, running);
            }
            for pump in &mut self.pumps {
                pump.turn();
            }
            let actions = self.console.as_mut().map(|console| console.on_ready(Instant::now()));
            for action in actions.into_iter().flatten() {
                self.act(&action, running);
            }
            if self.hand_out.as_mut().is_some_and(HandOut::is_hung_up) {
                running.line_is_dead();
            }
            running.keep_time(request.kill_after);
        }
    }

    /// Waits for something to do; says whether the command has ended.
    fn wait(&self, running: &Running) -> SysResult<bool> {
        let mut polled = vec![
            PollFd::from_borrowed_fd(running.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        if let Some(channel) = &running.channel {
            polled.push(PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN));
        }
        let pumps = self.pumps.iter().filter_map(Pump::interest);
        polled.extend(pumps.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        if let Some(console) = &self.console {
            polled.extend(console.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        }
        let line = self.hand_out.as_ref().and_then(HandOut::interest);
        polled.extend(line.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty())));
        let now = Instant::now();
        let deadlines = [
            running.deadline(),
            self.console.as_ref().and_then(Console::deadline),
            self.pumps.iter().any(Pump::must_wait).then(|| now + LOOK),
        ];
        let left = deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        match poll(&mut polled, left.map(timeout).as_ref()) {
            Ok(_) => Ok(polled.first().is_some_and(|command| !command.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(SysError::new("poll", format!("{} fds", polled.len()), errno)),
        }
    }

    /// Hears what there is to hear, without waiting.
    fn hear(&mut self, running: &mut Running, channel: Listener) -> SysResult<()> {
        let mut polled = [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)];
        if poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0) {
            running.channel = Some(channel);
            return Ok(());
        }
        match channel.hear()? {
            Heard::Message(Message::Console, Some(master)) => match self.take_terminal(master) {
                Ok(()) => {
                    // If it has died, we hear of that next.
                    let _ = socket::send(&channel, GO_ON, &[]);
                    running.channel = Some(channel);
                }
                Err(error) => {
                    running.trouble = Some(error);
                    kill_session(running.pid);
                }
            },
            Heard::Message(..) | Heard::Leader(_) => running.channel = Some(channel),
            Heard::Failed(stage, text, errno) => self.failed(running, stage, text, errno),
            Heard::End => self.begun(running),
        }
        Ok(())
    }

    /// The command is one now, or has been one: its terminal can be given away.
    fn begun(&mut self, running: &Running) {
        if let (Some(hand_out), None) = (&mut self.hand_out, &running.trouble) {
            hand_out.hand_out();
        }
    }

    /// After its end: why there was no command, if there was none.
    fn hear_the_rest(&self, running: &mut Running, channel: &Listener) {
        loop {
            match channel.hear() {
                Ok(Heard::Failed(stage, text, errno)) => return self.failed(running, stage, text, errno),
                Ok(Heard::Message(..) | Heard::Leader(_)) => {}
                Ok(Heard::End) | Err(_) => return,
            }
        }
    }

    fn failed(&self, running: &mut Running, stage: Stage, text: String, errno: Option<i32>) {
        let missing = matches!(errno, Some(libc::ENOENT | libc::ENOTDIR));
        running.trouble.get_or_insert(match stage {
            Stage::Exec if missing => Error::CommandNotFound { command: self.program.clone() },
            Stage::Exec => Error::CommandNotExecutable {
                command: self.program.clone(),
                source: std::io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO)),
            },
            _ => Error::Inside { text },
        });
    }

    /// The guest's pty becomes our terminal's other side. What the guest hands out is looked at first: its devpts may be
    /// anything by now.
    fn take_terminal(&mut self, master: OwnedFd) -> Result<(), Error> {
        let is_ptmx = Metadata::of(&master).is_ok_and(|metadata| {
            metadata.kind() == FileType::CharacterDevice && metadata.stat().st_rdev == PTMX
        });
        if !is_ptmx || tty::slave_number(&master).is_err() {
            return Err(Error::Inside { text: "what it has at /dev/pts/ptmx is no terminal".to_owned() });
        }
        if let Some(hand_out) = &mut self.hand_out {
            hand_out.keep(master);
            return Ok(());
        }
        let Some(console) = &mut self.console else { return Ok(()) };
        match console.replace_master(master) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Terminal { source: Box::new(error) }),
        }
    }

    fn signalled(&mut self, signal: i32, running: &mut Running) {
        if ends(signal) {
            running.told_to_end(signal);
        }
        match signal {
            libc::SIGWINCH => {
                // Without a size it goes on with the one it has.
                let _ = self.console.as_ref().map(Console::resize);
            }
            libc::SIGCONT => {
                let _ = self.console.as_mut().map(Console::resume);
            }
            libc::SIGUSR1 | libc::SIGUSR2 => {
                let _ = pidfd_send_signal(&running.pidfd, signal);
            }
            libc::SIGHUP if self.console.is_some() => self.hang_up(running),
            _ => signal_command(running.pid, signal),
        }
    }

    fn act(&mut self, action: &Action, running: &mut Running) {
        match action {
            Action::Hotkey(Hotkey::Kill) | Action::OutputClosed(_) => self.hang_up(running),
            Action::InputClosed
                if self.console.as_ref().is_some_and(|console| console.terminal().input_is_tty()) =>
            {
                self.hang_up(running);
            }
            _ => {}
        }
    }

    /// Takes the terminal from the command, as when a line goes dead.
    fn hang_up(&mut self, running: &mut Running) {
        if let Some(console) = self.console.take() {
            let _ = console.finish(Duration::ZERO);
            running.line_is_dead();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signal::SignalSet;

    /// A command that could not be started leaves signals as they were: ^C ends who waits to try again.
    #[test]
    fn signals_are_as_they_were() {
        let blocked = || SignalSet::empty().block().unwrap();
        let before = format!("{:?}", blocked());
        let attendance = Attendance::begin(&Request::command(vec!["true".into()]), Vec::new(), None).unwrap();
        assert_ne!(format!("{:?}", blocked()), before);
        drop(attendance);
        assert_eq!(format!("{:?}", blocked()), before);
    }
}
