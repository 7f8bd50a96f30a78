//! What runs, and how its process is set up.

use std::ffi::OsString;
use std::path::PathBuf;

/// What becomes PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The tree's init.
    Boot {
        /// The init's path in the tree; found by us when `None`.
        init: Option<PathBuf>,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// A command.
    Command {
        /// Program and arguments, never empty.
        argv: Vec<OsString>,
        /// Run it as PID 1 itself, without our reaping init.
        as_pid1: bool,
    },
}

/// How our stdin and stdout meet the guest's console (systemd-nspawn(1), `--console=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// A pty, forwarded both ways.
    Interactive,
    /// A pty, only its output forwarded.
    ReadOnly,
    /// A pty that is left alone (its output goes to the console log).
    Passive,
    /// Our own stdin, stdout and stderr are the payload's.
    Pipe,
}

/// A signal by number, 1 to 64 (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(pub i32);

/// One `--rlimit=` (setrlimit(2)). `u64::MAX` is infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A set of CPU numbers, sorted, without doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet(pub Vec<u32>);

/// An execution domain (personality(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// The machine's own.
    Native,
    /// 32-bit on a 64-bit kernel (PER_LINUX32).
    Linux32,
}
