//! The console of a running machine on our own terminal, or wherever our stdin and stdout go.
//!
//! The machine's supervisor hands out a socket that gives what the guest writes and takes keys; this loop is between it and the user.
//! A terminal is made raw while it lasts and is left as it was. What is typed goes to the guest byte for byte, except `^]` three
//! times within a second, which detaches. Where stdin is no terminal it is sent to its end, and output goes on after that.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use serde_json::json;

use super::terminate::ends_within;
use super::{Control, Error, MachineHandle};
use crate::supervisor::control::INTERFACE;
use crate::supervisor::hotkeys::Hotkeys;
use crate::supervisor::stream::Transfer;
use crate::supervisor::terminal::Terminal;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::timeout::until;
use crate::sys::{SysError, SysResult};

/// Taken by signalfd, or to have nothing of (the last three).
const SIGNALS: [i32; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGPIPE,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// What is on its way in either direction.
const CHUNK: usize = 4096;

/// Lines that are replayed where there is no window to fill.
const LINES: u16 = 24;

/// How long a machine's supervisor may take to end after it has closed the console.
const ENDING: Duration = Duration::from_secs(10);

/// How long the size of the window may take to be told.
const SIZE: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// The user pressed the keys, or we were told to end.
    ByUser,
    /// The machine is gone.
    MachineEnded,
    /// We did not read, and the supervisor cut us off.
    CutOff,
}

/// What the user wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Type nothing.
    pub read_only: bool,
    /// How many lines of what was there before to show; as many as the window has without.
    pub lines: Option<u16>,
}

/// The loop's state.
struct Session {
    terminal: Terminal,
    signals: SignalFd,
    control: Control,
    console: OwnedFd,
    hotkeys: Hotkeys,
    to_guest: Vec<u8>,
    to_user: Vec<u8>,
    input_open: bool,
    console_open: bool,
    last_shown: Option<u8>,
}

/// Connects us to the console of `machine` until one side has enough. `ready` is called when it is connected, before anything
/// is shown; it is told whether keys go to the machine.
///
/// # Errors
/// When it cannot be reached, has no console, or our own terminal fails.
pub fn attach(
    machine: &MachineHandle,
    options: Options,
    ready: impl FnOnce(bool),
) -> Result<Detached, Error> {
    let supervisor = machine.supervisor()?;
    let mut control = Control::connect(machine)?;
    let terminal = Terminal::open(rustix::stdio::stdin(), rustix::stdio::stdout())
        .map_err(Error::system("use our own standard input and output"))?;
    let lines = options.lines.or_else(|| terminal.window_size().map(|size| size.ws_row)).unwrap_or(LINES);
    let (_, fds) =
        control.call_with_fds(&format!("{INTERFACE}.AttachConsole"), json!({ "replayLines": lines }), &[])?;
    let console = fds.into_iter().next().ok_or_else(|| control.broken("a reply without an fd"))?;
    let signals = SignalSet::of(&SIGNALS);
    signals.block().map_err(Error::system("block signals"))?;
    let signals = SignalFd::open(&signals).map_err(Error::system("open a signalfd"))?;
    let mut session = Session {
        terminal,
        signals,
        control: Control::connect_within(machine, SIZE)?,
        console,
        hotkeys: Hotkeys::only_three(),
        to_guest: Vec::new(),
        to_user: Vec::new(),
        input_open: !options.read_only,
        console_open: true,
        last_shown: None,
    };
    drop(control);
    ready(session.input_open);
    let done = session.take_terminal().and_then(|()| session.run());
    session.leave();
    match done.map_err(Error::system("forward the console"))? {
        true => Ok(Detached::ByUser),
        false if ends_within(&supervisor, ENDING)? => Ok(Detached::MachineEnded),
        false => Ok(Detached::CutOff),
    }
}

impl Session {
    /// The loop; says whether it was the user who ended it.
    fn run(&mut self) -> SysResult<bool> {
        loop {
            self.wait()?;
            while let Some(signal) = self.signals.read()? {
                match signal.signal {
                    libc::SIGTERM | libc::SIGINT | libc::SIGHUP => return Ok(true),
                    libc::SIGWINCH => self.tell_size(),
                    libc::SIGCONT => self.take_terminal()?,
                    _ => {}
                }
            }
            if self.read_user() {
                return Ok(true);
            }
            self.write_guest();
            self.read_guest();
            if !self.write_user() {
                return Ok(true);
            }
            if !self.console_open && self.to_user.is_empty() {
                return Ok(false);
            }
        }
    }

    fn wait(&self) -> SysResult<()> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.wants_input() {
            fds.push(PollFd::new(self.terminal.input(), PollFlags::IN));
        }
        if !self.to_user.is_empty() {
            fds.push(PollFd::new(self.terminal.output(), PollFlags::OUT));
        }
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.console_open && self.to_user.is_empty());
        flags.set(PollFlags::OUT, !self.to_guest.is_empty());
        if !flags.is_empty() {
            fds.push(PollFd::new(&self.console, flags));
        }
        let timeout = self.hotkeys.deadline().map(until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
        }
    }

    /// Keys wait while the guest takes none; a terminal's are read all the same, so that it can be left.
    fn wants_input(&self) -> bool {
        let room = self.to_guest.len() < CHUNK || self.terminal.input_is_tty();
        self.input_open && room && self.terminal.is_foreground()
    }

    /// Passes keys on; says whether they ask to leave.
    fn read_user(&mut self) -> bool {
        let (now, to_guest) = (Instant::now(), &mut self.to_guest);
        let full = to_guest.len() >= CHUNK;
        // Beyond that they are lost, as on any terminal that nobody reads.
        let mut pass = |byte| {
            if !full {
                to_guest.push(byte);
            }
        };
        self.hotkeys.expire(now, &mut pass);
        if !self.input_open || !self.terminal.is_foreground() || (full && !self.terminal.input_is_tty()) {
            return false;
        }
        let mut chunk = [0; CHUNK];
        match self.terminal.input().read(&mut chunk) {
            Transfer::Bytes(length) if self.terminal.input_is_tty() => {
                self.hotkeys.feed(&chunk[..length], now, pass).is_some()
            }
            Transfer::Bytes(length) => {
                self.to_guest.extend_from_slice(&chunk[..length]);
                false
            }
            Transfer::Later => false,
            // Put in the background meanwhile: SIGTTIN is blocked, so it is EIO.
            Transfer::End(Some(Errno::IO)) if !self.terminal.is_foreground() => false,
            Transfer::End(_) => {
                self.input_open = false;
                self.hotkeys.release(pass);
                // A terminal that hung up has nobody behind it.
                self.terminal.input_is_tty()
            }
        }
    }

    fn write_guest(&mut self) {
        while !self.to_guest.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::io::retry_on_intr(|| rustix::net::send(&self.console, &self.to_guest, flags)) {
                Ok(sent) => drop(self.to_guest.drain(..sent.min(self.to_guest.len()))),
                Err(Errno::AGAIN) => return,
                // What the machine still said is read first.
                Err(_) => self.to_guest.clear(),
            }
        }
        if !self.input_open {
            // It may be closed already, which is as good.
            let _ = rustix::net::shutdown(&self.console, Shutdown::Write);
        }
    }

    fn read_guest(&mut self) {
        if !self.to_user.is_empty() || !self.console_open {
            return;
        }
        let mut chunk = [0; CHUNK];
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.console, &mut chunk, RecvFlags::DONTWAIT))
        {
            Ok((length, _)) if length > 0 => self.to_user.extend_from_slice(&chunk[..length]),
            Err(Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.console_open = false,
        }
    }

    /// Shows what came; says whether anybody sees it.
    fn write_user(&mut self) -> bool {
        while !self.to_user.is_empty() {
            match self.terminal.output().write(&self.to_user) {
                Transfer::Bytes(length) => {
                    self.last_shown = self.to_user.get(length.saturating_sub(1)).copied();
                    self.to_user.drain(..length.min(self.to_user.len()));
                }
                Transfer::Later => break,
                Transfer::End(_) => return false,
            }
        }
        true
    }

    /// Makes the terminal raw, where its keys go to the guest, and tells the guest its size.
    fn take_terminal(&mut self) -> SysResult<()> {
        if self.input_open {
            self.terminal.enter_raw_mode()?;
        }
        self.tell_size();
        Ok(())
    }

    fn tell_size(&mut self) {
        if let Some(size) = self.terminal.window_size().filter(|_| self.input_open) {
            let size = json!({ "rows": size.ws_row, "columns": size.ws_col });
            // A supervisor that does not answer passes nothing on either, which is plain to see.
            let _ = self.control.call(&format!("{INTERFACE}.SetConsoleSize"), size);
        }
    }

    /// Leaves the terminal as it was, on a line of its own.
    fn leave(&mut self) {
        if self.terminal.output_is_tty() {
            self.terminal.reset_screen();
            if self.last_shown.is_some_and(|last| last != b'\n') {
                // If it takes nothing now, it does not.
                let _ = self.terminal.output().write(b"\r\n");
            }
        }
        // Nobody is left to tell.
        let _ = self.terminal.restore();
    }
}
