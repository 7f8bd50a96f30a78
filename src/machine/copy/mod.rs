//! Files in and out of running machines.
//!
//! Two processes and one stream of tar between them: one side is ours, on the host; the other is a child that has joined the
//! machine as its root and knows no path but the guest's. Which of them packs and which unpacks is the only difference
//! between the two directions. IDs map themselves: each side reads and writes them in its own user namespace.
//!
//! | file | what it owns |
//! |---|---|
//! | [`sources`] | what is copied: opened once, named for the stream |
//! | [`destination`] | where it goes, by the rules of cp(1) |
//! | [`transfer`] | the two processes |

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::handle::MachineHandle;
use crate::archive::{Counts, Notes};

pub mod destination;
pub mod sources;
mod transfer;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host into the machine.
    In,
    /// From the machine to the host.
    Out,
}

/// What is to be copied.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// The machine.
    pub machine: &'a MachineHandle,
    /// Which way.
    pub direction: Direction,
    /// What: absolute paths on their side, trailing slashes kept; `-` alone is a tar stream on stdin.
    pub sources: Vec<PathBuf>,
    /// Where to: an absolute path on the other side; `-` is a tar stream on stdout. `None` is the path of the source.
    pub destination: Option<PathBuf>,
    /// How.
    pub options: CopyOptions,
}

/// How it is to be copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Replace files that exist.
    pub replace: bool,
    /// Keep set-id bits and file capabilities of what comes out of the machine.
    pub keep_privileges: bool,
    /// Stay out of other file systems below the source.
    pub one_file_system: bool,
    /// Whose the copies are; those of the source otherwise.
    pub owner: Option<(u32, u32)>,
    /// How long nothing may move; `None` for ever.
    pub patience: Option<Duration>,
}

/// What was copied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Copied {
    /// How much.
    pub counts: Counts,
    /// What was left out, and what failed.
    pub notes: Notes,
}

/// Copies. `moved` hears of bytes as they go. While it runs SIGINT, SIGTERM and SIGHUP end it in good order.
///
/// # Errors
/// [`Error::Copy`] with what was copied before it failed; files are whole or not there.
pub fn copy(request: &CopyRequest<'_>, moved: &mut dyn FnMut(u64)) -> Result<Copied, Error> {
    transfer::transfer(request, moved)
}

/// Whether `path` stands for stdin or stdout.
pub fn is_stream(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}
