//! Forwards between the user ([`Terminal`]) and the guest's console (the master of a pty), for a poll loop to drive.
//!
//! No fd of it ever waits, and each direction holds at most 4 KiB: a user who reads slowly slows the guest's
//! console down, a guest that does not read makes the user's keys wait. What the guest writes goes into the console log
//! first, so that the log lacks nothing whatever becomes of the user's side.
//!
//! **The slave is held open** (`guest`), never read or written. Without that, each time the guest's last process closes its
//! console, the master reports a hang-up until somebody opens the console again, and poll reports it without end. With
//! it there is no hang-up, and the guest closes and reopens its console (and vhangup(2)s it, as getty does) as it likes.
//!
//! **Bytes are passed as they are**, into a pipe or file as well: lines end in CR LF there, since the guest's terminal
//! settings say so. The stream is a terminal's, with its cursor movements and its bare CRs; taking out some of them gives
//! neither a clean text nor a faithful record (`tr -d '\r'` does it where wanted, `--console=pipe` has no terminal in
//! between at all). systemd-nspawn does the same.
//!
//! | file | what it owns |
//! |---|---|
//! | `guest` | the guest's end, and the slave that is held |
//! | `ending` | what is still passed on when a guest, or the machine, is at its end |
//!
//! # The loop
//!
//! Poll (not epoll, which refuses regular files) on [`Console::interest`], with a timeout at [`Console::deadline`]; then
//! call [`Console::on_ready`], whichever of the fds was ready: it tries all it has to do. On SIGWINCH call
//! [`Console::resize`], on SIGCONT [`Console::resume`]. SIGTTIN, SIGTTOU and SIGPIPE are to be blocked or ignored.

mod ending;
mod guest;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use guest::Guest;

use super::attached::Attached;
use super::buffer::Buffer;
use super::console_log::ConsoleLog;
use super::hotkeys::{Hotkey, Hotkeys};
use super::replay::last_screen;
use super::stream::Transfer;
use super::terminal::Terminal;
use crate::settings::ConsoleMode;
use crate::sys::tty::Winsize;
use crate::sys::{SysError, SysResult};

/// A guest that has read none of its full buffer for so long is taken to hang: then keys are read all the same, so that
/// the hotkeys work, and are lost beyond that.
const STALL: Duration = Duration::from_secs(1);

/// How long the user's side is waited for when a guest that rebooted gets its new console.
const REPLACE_PATIENCE: Duration = Duration::from_millis(100);

/// Why the console cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The pty's slave or its settings.
    #[error("cannot set up the machine's console")]
    Pty(#[source] SysError),
    /// The user's terminal.
    #[error("cannot set up the terminal")]
    Terminal(#[source] SysError),
    /// Waiting for the last output.
    #[error("cannot wait for the console")]
    Poll(#[source] SysError),
}

/// What the loop should know of.
#[derive(Debug)]
pub enum Action {
    /// The user asks for something.
    Hotkey(Hotkey),
    /// No more input will come: end of a file, a terminal that hung up. The machine goes on without.
    InputClosed,
    /// Nobody sees the output any more (EPIPE and the like). The machine goes on, its output into the log alone.
    OutputClosed(Option<Errno>),
    /// The log cannot be written, as with a full disk. Said once; there is no log from here on.
    LogFailed(SysError),
}

/// The machine's console.
#[derive(Debug)]
pub struct Console {
    terminal: Terminal,
    log: Option<ConsoleLog>,
    guest: Option<Guest>,
    hotkeys: Hotkeys,
    input_open: bool,
    output_open: bool,
    to_guest: Buffer,
    to_user: Buffer,
    /// Others that see what the user sees, and may type.
    attached: Attached,
    /// What one of them said; the next boot's console has it too.
    attached_size: Option<Winsize>,
    /// Since when `to_guest` has been full.
    full_since: Option<Instant>,
    /// The end of a piped input is still to be told to the guest.
    end_owed: bool,
    /// The last byte that the user saw.
    last_shown: Option<u8>,
    restores_on_panic: bool,
}

impl Console {
    /// A console without a guest yet. [`ConsoleMode::Pipe`] has no pty, hence no console: it is taken as
    /// [`ConsoleMode::Passive`].
    pub fn new(mode: ConsoleMode, terminal: Terminal, log: Option<ConsoleLog>) -> Self {
        Self {
            terminal,
            log,
            guest: None,
            hotkeys: Hotkeys::default(),
            input_open: mode == ConsoleMode::Interactive,
            output_open: matches!(mode, ConsoleMode::Interactive | ConsoleMode::ReadOnly),
            to_guest: Buffer::new(),
            to_user: Buffer::new(),
            attached: Attached::default(),
            attached_size: None,
            full_since: None,
            end_owed: false,
            last_shown: None,
            restores_on_panic: false,
        }
    }

    /// Forwards from and to `master`, unlocked, of a pty in the guest's devpts: at the start, and for each reboot in
    /// place. What the one before still had to say is passed on first; keys that it did not take are dropped.
    ///
    /// With the first one, an interactive terminal becomes raw: errors before that find it in order.
    pub fn replace_master(&mut self, master: OwnedFd) -> Result<Vec<Action>, ConsoleError> {
        let actions = self.drain(REPLACE_PATIENCE)?;
        self.guest = Some(Guest::new(master).map_err(ConsoleError::Pty)?);
        self.to_guest.clear();
        self.full_since = None;
        self.end_owed = false;
        self.resume()?;
        if let Some(size) = self.attached_size {
            self.set_size(size).map_err(ConsoleError::Pty)?;
        }
        Ok(actions)
    }

    /// Attaches one more, over a stream socket that does not wait; so many of the last lines come first. Says whether there was
    /// room for it.
    pub fn attach(&mut self, socket: OwnedFd, lines: usize) -> bool {
        let log = self.log.as_ref().filter(|_| lines > 0).and_then(|log| log.tail().ok());
        self.attached.add(socket, last_screen(&log.unwrap_or_default(), lines))
    }

    /// Gives the guest's console a size, for one that is attached.
    pub fn set_size(&mut self, size: Winsize) -> SysResult<()> {
        self.attached_size = Some(size);
        self.guest.as_ref().map_or(Ok(()), |guest| guest.set_size(size))
    }

    /// The user's side.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Writes the log in `directory` from now on, where its file was removed.
    pub fn restore_log(&mut self, directory: OwnedFd) -> SysResult<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.restore(directory))
    }

    /// The console log, while it works.
    pub fn log(&self) -> Option<&ConsoleLog> {
        self.log.as_ref()
    }

    /// What to poll for now; to be asked anew each time. An fd that we want nothing of is left out, since poll would
    /// report its hang-up unasked.
    pub fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let input = (self.wants_input(Instant::now()), PollFlags::IN, self.terminal.input().as_fd());
        let output = (!self.to_user.is_empty(), PollFlags::OUT, self.terminal.output().as_fd());
        let guest = self
            .guest
            .as_ref()
            .and_then(|guest| guest.interest(self.to_user.has_room(), !self.to_guest.is_empty()));
        let users =
            [input, output].into_iter().filter(|(wanted, ..)| *wanted).map(|(_, flags, fd)| (fd, flags));
        let takes_keys = self.guest.is_some() && self.to_guest.has_room();
        let attached = self.attached.interest(takes_keys);
        users.chain(guest).chain(attached)
    }

    /// When [`on_ready`](Self::on_ready) must be called even if no fd is ready.
    pub fn deadline(&self) -> Option<Instant> {
        let stall = self.stall_end().filter(|_| self.terminal.input_is_tty() && self.takes_keys());
        // Once it is over, the terminal is polled.
        let stall = stall.filter(|end| Instant::now() < *end);
        let hung_up = self.guest.as_ref().and_then(Guest::hung_up_until);
        [self.hotkeys.deadline(), stall, hung_up, self.attached.deadline()].into_iter().flatten().min()
    }

    /// Passes on whatever can be passed on, once in each direction, without waiting.
    pub fn on_ready(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(guest) = &mut self.guest {
            guest.expire(now);
        }
        self.hotkeys.expire(now, |byte| self.to_guest.push(byte));
        self.read_user(now, &mut actions);
        if self.guest.is_some() {
            self.attached.turn(&mut self.to_guest, now);
        }
        self.write_guest(now);
        self.read_guest(now, &mut actions);
        self.write_user(&mut actions);
        actions
    }

    /// Gives the guest's console the size of our window; for SIGWINCH.
    pub fn resize(&self) -> SysResult<()> {
        match (&self.guest, self.terminal.window_size()) {
            (Some(guest), Some(size)) if self.output_open => guest.set_size(size),
            _ => Ok(()),
        }
    }

    /// Takes the terminal again after we were stopped and continued; for SIGCONT.
    pub fn resume(&mut self) -> Result<(), ConsoleError> {
        self.take_terminal().map_err(ConsoleError::Terminal)?;
        self.resize().map_err(ConsoleError::Pty)
    }

    /// Whether to read keys. A full buffer forbids it, until the guest has hung for a while; then a person at a terminal
    /// must be able to kill the machine, while a piped file can wait for ever.
    fn wants_input(&self, now: Instant) -> bool {
        let stalled = || self.terminal.input_is_tty() && self.stall_end().is_some_and(|end| now >= end);
        self.takes_keys() && (self.to_guest.has_room() || stalled())
    }

    fn takes_keys(&self) -> bool {
        self.input_open && self.guest.is_some() && self.terminal.is_foreground()
    }

    fn stall_end(&self) -> Option<Instant> {
        self.full_since.map(|since| since + STALL)
    }

    /// Makes the user's terminal raw if its keys are the guest's. As a job that the shell put into the foreground without
    /// stopping it before, we learn of that from nothing: so this is asked again with each turn.
    fn take_terminal(&mut self) -> SysResult<()> {
        if self.input_open && self.guest.is_some() {
            self.terminal.enter_raw_mode()?;
            if self.terminal.is_raw() && !self.restores_on_panic {
                self.terminal.restore_on_panic()?;
                self.restores_on_panic = true;
            }
        }
        Ok(())
    }

    fn read_user(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.wants_input(now) {
            return;
        }
        if !self.terminal.is_raw() && self.take_terminal().is_err() {
            self.input_open = false;
            actions.push(Action::InputClosed);
            return;
        }
        let mut chunk = [0; Buffer::BYTES];
        let room =
            if self.to_guest.has_room() { self.to_guest.room() - Buffer::RESERVE } else { chunk.len() };
        match self.terminal.input().read(&mut chunk[..room]) {
            Transfer::Bytes(length) => {
                let to_guest = &mut self.to_guest;
                let hotkey = self.hotkeys.feed(&chunk[..length], now, |byte| to_guest.push(byte));
                actions.extend(hotkey.map(Action::Hotkey));
                if !self.to_guest.has_room() {
                    self.full_since.get_or_insert(now);
                }
            }
            Transfer::Later => {}
            // Put in the background between asking and reading: SIGTTIN is blocked, so it is EIO.
            Transfer::End(Some(Errno::IO)) if !self.terminal.is_foreground() => {}
            Transfer::End(_) => {
                self.input_open = false;
                self.hotkeys.release(|byte| self.to_guest.push(byte));
                self.end_owed = !self.terminal.input_is_tty();
                actions.push(Action::InputClosed);
            }
        }
    }

    fn write_guest(&mut self, now: Instant) {
        let Some(guest) = self.guest.as_mut().filter(|guest| guest.hung_up_until().is_none()) else {
            return;
        };
        if self.end_owed
            && let Some(end) = guest.end_of_file()
        {
            self.to_guest.push(end);
        }
        self.end_owed = false;
        while !self.to_guest.is_empty() {
            match guest.write(self.to_guest.filled(), now) {
                0 => break,
                length => {
                    self.to_guest.consume(length);
                    self.full_since = None;
                }
            }
        }
    }

    /// Returns how much was read.
    fn read_guest(&mut self, now: Instant, actions: &mut Vec<Action>) -> usize {
        let Some(guest) = self.guest.as_mut().filter(|guest| guest.hung_up_until().is_none()) else {
            return 0;
        };
        if !self.to_user.has_room() {
            return 0;
        }
        let space = self.to_user.space();
        let length = guest.read(space, now);
        if length == 0 {
            return 0;
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(&space[..length])
        {
            self.log = None;
            actions.push(Action::LogFailed(error));
        }
        self.attached.show(&space[..length], now);
        if self.output_open {
            self.to_user.added(length);
        }
        length
    }

    fn write_user(&mut self, actions: &mut Vec<Action>) {
        while !self.to_user.is_empty() {
            match self.terminal.output().write(self.to_user.filled()) {
                Transfer::Bytes(length) => {
                    self.last_shown = self.to_user.filled()[..length].last().copied();
                    self.to_user.consume(length);
                }
                Transfer::Later => break,
                Transfer::End(errno) => {
                    self.output_open = false;
                    self.to_user.clear();
                    actions.push(Action::OutputClosed(errno));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
