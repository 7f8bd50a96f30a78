//! The terminal while a full-screen program has it, and how it was before: given back on every way out, a panic and a signal
//! among them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::Termios;

use super::keys::{Key, keys};
use crate::cli::output::Output;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::timeout::timeout;
use crate::sys::tty::{make_raw, set_attributes, window_size};
use crate::sys::{SysError, SysResult};

/// The other screen, without a cursor; lines that are too long end at the edge (console_codes(4), xterm's control sequences).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Signals that end us, and the one that says that the terminal has another size now.
const SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGWINCH];

/// The terminal, while it is ours.
#[derive(Debug)]
pub struct Screen {
    output: Output,
    before: Termios,
    signals: SignalFd,
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Keys, perhaps none: the time is over, or the size has changed.
    Keys(Vec<Key>),
    /// A signal to end, or nobody at the terminal any more.
    End,
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When stdin is none.
    pub fn take(output: Output) -> SysResult<Self> {
        SignalSet::of(&SIGNALS).block()?;
        let signals = SignalFd::open(&SignalSet::of(&SIGNALS))?;
        let before = make_raw(&stdin())?;
        let restored = before.clone();
        let earlier = panic::take_hook();
        // Where a panic aborts, nothing is dropped: this is the last that runs.
        panic::set_hook(Box::new(move |info| {
            output.text(LEAVE);
            let _ = set_attributes(&stdin(), &restored);
            earlier(info);
        }));
        output.text(ENTER);
        Ok(Self { output, before, signals })
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        let size = window_size(&io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Draws, all at once, so that nothing flickers.
    pub fn draw(&self, lines: &[String]) {
        let mut text = "\x1b[H".to_owned();
        for (at, line) in lines.iter().enumerate() {
            text += if at == 0 { "" } else { "\r\n" };
            text += line;
            text += "\x1b[0m\x1b[K";
        }
        self.output.text(&(text + "\x1b[J"));
    }

    /// Waits for keys, until `deadline` at most.
    ///
    /// # Errors
    /// When the kernel does not let us wait.
    pub fn wait(&self, deadline: Option<Instant>) -> SysResult<Input> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map(timeout);
        let stdin = stdin();
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", "the terminal", errno)),
        }
        while let Some(signal) = self.signals.read()? {
            if signal.signal != libc::SIGWINCH {
                return Ok(Input::End);
            }
        }
        if fds[0].revents().is_empty() {
            return Ok(Input::Keys(Vec::new()));
        }
        let mut buffer = [0; 256];
        Ok(match rustix::io::read(stdin, &mut buffer) {
            Ok(0) => Input::End,
            Ok(length) => Input::Keys(keys(&buffer[..length])),
            Err(Errno::INTR | Errno::AGAIN) => Input::Keys(Vec::new()),
            // The terminal is gone.
            Err(_) => Input::End,
        })
    }

    /// Gives the terminal back, stops as ^Z does, and takes it again when it is our turn.
    ///
    /// # Errors
    /// When the terminal is gone by then.
    pub fn suspend(&mut self) -> SysResult<()> {
        self.leave();
        let _ = kill_process(getpid(), Signal::TSTP);
        make_raw(&stdin())?;
        self.output.text(ENTER);
        Ok(())
    }

    fn leave(&self) {
        self.output.text(LEAVE);
        let _ = set_attributes(&stdin(), &self.before);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
        // While we panic it has run already, and may not be taken.
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}
