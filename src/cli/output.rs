//! The only place that prints: status, warnings and errors to stderr, results to stdout.
//!
//! | file | what it owns |
//! |---|---|
//! | [`table`] | tables without borders |
//! | [`tree`] | processes by cgroup, drawn |
//! | [`words`] | times, spans and sizes as people read them |
//!
//! An error is one line, its causes joined by colons, and a `hint:` line with the next step. Colour is for terminals
//! alone, and not where `NO_COLOR` is set (<https://no-color.org>) or the terminal is a dumb one.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use rustix::io::Errno;
use serde::Serialize;

pub mod table;
pub mod tree;
pub mod words;

use crate::sys::in_words;
use table::{Look, Table};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// What the kernel says to who may not.
const REFUSALS: [Errno; 2] = [Errno::ACCESS, Errno::PERM];

/// Colours of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Green,
    /// Look at it.
    Yellow,
    /// It is broken.
    Red,
    /// Less important than the rest.
    Grey,
    /// A heading.
    Bold,
}

impl Colour {
    /// `text` in this colour (ECMA-48, SGR).
    pub fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "1;31",
            Self::Grey => "90",
            Self::Bold => "1",
        };
        format!("\x1b[{code}m{text}{RESET}")
    }
}

/// Where our own words go, and how they look.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    terminal: bool,
    colour: bool,
    colour_results: bool,
    quiet: bool,
    program: &'static str,
}

impl Output {
    /// Output as the environment asks for it; `quiet` leaves out the status lines.
    pub fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        Self {
            terminal,
            colour: terminal && colour,
            colour_results: colour && io::stdout().is_terminal(),
            quiet,
            program: "spinney",
        }
    }

    /// The same, of a program of another name.
    pub fn called(program: &'static str, quiet: bool) -> Self {
        Self { program, ..Self::new(quiet) }
    }

    /// The same, without status lines.
    pub fn quietly(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Whether status lines are left out.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Output that is the same wherever tests run.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { terminal: false, colour: false, colour_results: false, quiet: false, program: "spinney" }
    }

    /// One line about what is going on, unless we are to be quiet.
    pub fn status(&self, text: &str) {
        if !self.quiet {
            self.to_stderr(&format!("{}: {text}\n", self.program));
        }
    }

    /// Lines that another program would say so: nothing tells that they are ours. Unless we are to be quiet.
    pub fn says(&self, text: &str) {
        if !self.quiet {
            self.insists(text);
        }
    }

    /// The same, whatever we are to be.
    pub fn insists(&self, text: &str) {
        self.to_stderr(&format!("{text}\n"));
    }

    /// One line about what goes worse than asked.
    pub fn warning(&self, text: &str) {
        self.to_stderr(&format!("{}: {}: {text}\n", self.program, self.painted(YELLOW, "warning")));
    }

    /// Why we give up, with the next step when there is one.
    pub fn error(&self, error: &dyn Error, hint: Option<&str>) {
        self.failure(error, &[], hint);
    }

    /// The same, with the last lines of the guest's console, which must be safe to print.
    pub fn failure(&self, error: &dyn Error, console: &[String], hint: Option<&str>) {
        let others =
            (hint.is_none() && !super::is_root() && is_refused(error)).then_some("try again with sudo");
        self.to_stderr(&self.rendered(error, console, hint.or(others)));
    }

    /// A result, for people.
    pub fn text(&self, text: &str) {
        to_stdout(text.as_bytes());
    }

    /// A piece of a result that is made as it is printed. False when nobody reads it any more.
    pub fn stream(&self, bytes: &[u8]) -> bool {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
    }

    /// Whether results are coloured: stdout is a terminal, and the user has nothing against it.
    pub fn colours_results(&self) -> bool {
        self.colour_results
    }

    /// A result in rows, with its heading or without. On a terminal it is as wide as that at most, unless `full`.
    pub fn table(&self, table: &Table, heading: bool, full: bool) {
        let width = if full { None } else { terminal_width() };
        to_stdout(table.render(Look { heading, colour: self.colour_results, width }).as_bytes());
    }

    /// Whether results are in colours.
    pub fn has_colour(&self) -> bool {
        self.colour_results
    }

    /// A word of a result: in a colour where results are on a terminal.
    pub fn in_colour(&self, colour: Colour, text: &str) -> String {
        if self.colour_results { colour.paint(text) } else { text.to_owned() }
    }

    /// A result, for programs: one line of JSON when stdout is a pipe, indented on a terminal.
    pub fn json(&self, value: &impl Serialize) -> serde_json::Result<()> {
        let mut bytes = if io::stdout().is_terminal() {
            serde_json::to_vec_pretty(value)?
        } else {
            serde_json::to_vec(value)?
        };
        bytes.push(b'\n');
        to_stdout(&bytes);
        Ok(())
    }

    fn rendered(&self, error: &dyn Error, console: &[String], hint: Option<&str>) -> String {
        let mut text = format!("{}: {}: {}", self.program, self.painted(RED, "error"), in_words(error));
        text.push('\n');
        if !console.is_empty() {
            text.push_str("  last lines of its console:\n");
        }
        for line in console {
            let _ = writeln!(text, "  | {line}");
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "  {}: {hint}", self.painted(CYAN, "hint"));
        }
        text
    }

    /// Writes all at once, so that the lines of several processes do not mix. There is nobody left to tell when it
    /// fails. A terminal may be in raw mode, where a line ends with a carriage return of its own (termios(3), OPOST).
    fn to_stderr(self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = if self.terminal {
            stderr.write_all(text.replace('\n', "\r\n").as_bytes())
        } else {
            stderr.write_all(text.as_bytes())
        };
    }

    fn painted(&self, colour: &str, word: &str) -> String {
        if self.colour { format!("{colour}{word}{RESET}") } else { word.to_owned() }
    }
}

/// Columns of the terminal that results go to, if one does.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// A reader that has seen enough (`| head`) is no failure of ours.
fn to_stdout(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Whether the kernel said no to who we are, somewhere below `error`.
fn is_refused(error: &dyn Error) -> bool {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.into_iter().any(|error| {
        let by_call = error.downcast_ref::<Errno>().is_some_and(|errno| REFUSALS.contains(errno));
        let io = error.downcast_ref::<io::Error>();
        by_call || io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SysError;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start web")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("open(\"/x\")")]
    struct Inner(#[source] io::Error);

    #[test]
    fn what_root_might_do() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot look into it")]
        struct Looking(#[source] SysError);
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Clearing(#[from] SysError);
        let call = |errno| Looking(SysError::new("openat", "x", errno));
        for (error, expected) in [
            (&call(Errno::ACCESS) as &dyn Error, true),
            (&Clearing(SysError::new("openat", "x", Errno::PERM)), true),
            (&SysError::new("openat", "x", Errno::PERM), true),
            (&call(Errno::PERM), true),
            (&call(Errno::NOENT), false),
            (&Outer(Inner(io::ErrorKind::PermissionDenied.into())), true),
            (&Outer(Inner(io::ErrorKind::NotFound.into())), false),
        ] {
            assert_eq!(is_refused(error), expected, "{error:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        let error = Outer(Inner(io::Error::other("gone")));
        let plain = Output::plain();
        assert_eq!(
            plain.rendered(&error, &[], None),
            "spinney: error: cannot start web: open(\"/x\"): gone\n"
        );
        assert_eq!(
            plain.rendered(&error, &[], Some("make it")),
            "spinney: error: cannot start web: open(\"/x\"): gone\n  hint: make it\n"
        );
        let console = ["[FAILED] a".to_owned(), "b".to_owned()];
        assert_eq!(
            plain.rendered(&io::Error::other("web died"), &console, Some("look")),
            "spinney: error: web died\n  last lines of its console:\n  | [FAILED] a\n  | b\n  hint: look\n"
        );
        let colour =
            Output { terminal: true, colour: true, colour_results: false, quiet: false, program: "spinney" };
        assert!(colour.rendered(&error, &[], None).starts_with("spinney: \x1b[1;31merror\x1b[0m: cannot"));
    }
}
