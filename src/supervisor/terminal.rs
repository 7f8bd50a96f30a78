//! Our own stdin and stdout, as the user's side of the machine's console.
//!
//! If stdin is a terminal, it is put in raw mode while its keys go to the guest, and back as it was on every way out:
//! [`Terminal::restore`], drop, and panic (by [`Terminal::restore_on_panic`]). A terminal is touched only while we are in
//! its foreground: as a background job (`spinney run ... &`) its settings belong to somebody else, and reading it would
//! stop us. The supervisor keeps SIGTTIN and SIGTTOU blocked all the same, since between asking and doing the user may
//! press ^Z.

use std::os::fd::BorrowedFd;

use rustix::termios::{Termios, isatty};

use super::stream::{Direction, Stream};
use crate::sys::tty::{self, Winsize};
use crate::sys::{FdPath, SysResult, sys};

/// Colours off, cursor visible, lines wrap: what a guest that died in a full-screen program leaves wrong, and what no
/// termios holds (console_codes(4)).
const RESET: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?7h";

/// The user's side.
#[derive(Debug)]
pub struct Terminal {
    input: Stream,
    output: Stream,
    input_is_tty: bool,
    output_is_tty: bool,
    /// How the terminal was, while it is raw.
    saved: Option<Termios>,
}

impl Terminal {
    /// Takes our standard input and output. Neither need be a terminal.
    pub fn open(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> SysResult<Self> {
        Ok(Self {
            input: Stream::open(input, Direction::Input)?,
            output: Stream::open(output, Direction::Output)?,
            input_is_tty: isatty(input),
            output_is_tty: isatty(output),
            saved: None,
        })
    }

    /// What the user types.
    pub fn input(&self) -> &Stream {
        &self.input
    }

    /// What the user sees.
    pub fn output(&self) -> &Stream {
        &self.output
    }

    /// Whether stdin is a terminal.
    pub fn input_is_tty(&self) -> bool {
        self.input_is_tty
    }

    /// Whether stdout is a terminal.
    pub fn output_is_tty(&self) -> bool {
        self.output_is_tty
    }

    /// Whether input may be read now: always, unless it is our controlling terminal and we are in its background.
    pub fn is_foreground(&self) -> bool {
        !self.input_is_tty || !tty::is_background(&self.input)
    }

    /// Enters raw mode, if stdin is a terminal, we are in its foreground, and it is not raw by us yet. To be called again
    /// after SIGCONT.
    pub fn enter_raw_mode(&mut self) -> SysResult<()> {
        if !self.input_is_tty || !self.is_foreground() {
            return Ok(());
        }
        let before = tty::make_raw(&self.input)?;
        // After ^Z by somebody and `fg` the shell has made the terminal its own way: what we found first counts.
        self.saved.get_or_insert(before);
        Ok(())
    }

    /// Whether the terminal is in raw mode by us: then a newline alone does not go back to the start of a line.
    pub fn is_raw(&self) -> bool {
        self.saved.is_some()
    }

    /// Restores the terminal as it was before raw mode; may be called at any time, and often.
    pub fn restore(&mut self) -> SysResult<()> {
        match self.saved.take() {
            Some(saved) if self.is_foreground() => tty::set_attributes(&self.input, &saved),
            _ => Ok(()),
        }
    }

    /// Makes a panic restore the terminal before it prints its message: a release build aborts, and drops nothing. Needs
    /// raw mode; the hook stays for the life of the process.
    pub fn restore_on_panic(&self) -> SysResult<()> {
        let Some(saved) = self.saved.clone() else {
            return Ok(());
        };
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&self.input, 3);
        let input = sys("fcntl", duplicate, || format!("{}, F_DUPFD_CLOEXEC, 3", FdPath::of(&self.input)))?;
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The panic is what the user must hear of; a terminal that cannot be restored is gone.
            let _ = tty::set_attributes(&input, &saved);
            previous(panic);
        }));
        Ok(())
    }

    /// Undoes what a guest may have left on the screen, if stdout is a terminal.
    pub fn reset_screen(&self) {
        if self.output_is_tty {
            // Cosmetics: if the terminal takes nothing now, it stays as the guest left it.
            let _ = self.output.write(RESET);
        }
    }

    /// The size of the window, if there is one.
    pub fn window_size(&self) -> Option<Winsize> {
        let size = match (self.output_is_tty, self.input_is_tty) {
            (true, _) => tty::window_size(&self.output),
            (false, true) => tty::window_size(&self.input),
            (false, false) => return None,
        };
        // A serial line says 0x0: nobody knows.
        size.ok().filter(|size| size.ws_row > 0 && size.ws_col > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to tell; a caller that wants to know has called restore().
        let _ = self.restore();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::termios::LocalModes;

    use super::*;
    use crate::sys::tty::test_pty;

    fn is_canonical(tty: &impl AsFd) -> bool {
        tty::attributes(tty).expect("attributes").local_modes.contains(LocalModes::ICANON)
    }

    #[test]
    fn raw_mode_ends_with_restore_and_with_drop() {
        let (master, slave) = test_pty();
        let mut terminal = Terminal::open(slave.as_fd(), slave.as_fd()).expect("open");
        assert!(terminal.input_is_tty() && terminal.output_is_tty() && !terminal.is_raw());
        terminal.enter_raw_mode().expect("raw");
        assert!(terminal.is_raw() && !is_canonical(&master));
        terminal.restore().expect("restore");
        assert!(!terminal.is_raw() && is_canonical(&master));
        terminal.enter_raw_mode().expect("raw");
        terminal.enter_raw_mode().expect("raw again");
        drop(terminal);
        assert!(is_canonical(&master));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let mut terminal = Terminal::open(reader.as_fd(), writer.as_fd()).expect("open");
        terminal.enter_raw_mode().expect("nothing");
        terminal.reset_screen();
        assert!(terminal.is_foreground() && !terminal.is_raw());
        assert_eq!(terminal.window_size().map(|size| size.ws_row), None);
        drop((terminal, writer));
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(0));
    }

    #[test]
    fn sizes() {
        let (master, slave) = test_pty();
        let null = std::fs::File::open("/dev/null").expect("open");
        let both = Terminal::open(slave.as_fd(), slave.as_fd()).expect("open");
        assert_eq!(both.window_size().map(|size| size.ws_row), None, "0x0 is no size");
        tty::set_window_size(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("set");
        assert_eq!(both.window_size().map(|size| (size.ws_row, size.ws_col)), Some((24, 80)));
        let input = Terminal::open(slave.as_fd(), null.as_fd()).expect("open");
        assert_eq!(input.window_size().map(|size| size.ws_col), Some(80));
    }
}
