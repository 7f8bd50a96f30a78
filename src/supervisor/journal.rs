//! The journal of resources: what a machine has of the host's, written down before it is made.
//!
//! A line of JSON each, in `resources` of the machine's directory. Whoever finds the directory unlocked undoes the lines
//! backwards; undoing what was never made, or is undone already, does nothing.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys::files::{open_at, read_at, replace_at, write_all};
use crate::sys::{SysError, SysResult};

use super::registry::MachineDirectory;
use super::resources::Resource;

/// The journal of one machine.
#[derive(Debug)]
pub struct Journal {
    file: OwnedFd,
    /// All that it says, should the file be removed.
    noted: RefCell<Vec<Resource>>,
}

/// A journal of this many bytes is not one of ours: a machine has a handful of resources.
const LIMIT: usize = 1 << 20;

/// Its name in the machine's directory.
pub const NAME: &str = "resources";

impl Journal {
    /// Opens the journal of the machine whose directory this is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &MachineDirectory) -> SysResult<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
        let file = open_at(directory.fd(), NAME, flags, Mode::from_raw_mode(0o600))?;
        Ok(Self { file, noted: RefCell::default() })
    }

    /// Writes it once more, in `directory`, where it was removed.
    ///
    /// # Errors
    /// When /run is full.
    pub fn restore(&mut self, directory: &MachineDirectory) -> SysResult<()> {
        let text = self.noted.borrow().iter().map(line).collect::<SysResult<Vec<_>>>()?.concat();
        replace_at(directory.fd(), NAME, &text, 0o600)?;
        self.file = Self::open(directory)?.file;
        Ok(())
    }

    /// What it says, in the order of making.
    pub fn resources(&self) -> Vec<Resource> {
        self.noted.borrow().clone()
    }

    /// Writes `resource` down; it may be made afterwards.
    ///
    /// # Errors
    /// When /run is full: then it must not be made.
    pub fn note(&self, resource: &Resource) -> SysResult<()> {
        let line = line(resource)?;
        let before = rustix::fs::fstat(&self.file).map(|stat| stat.st_size.unsigned_abs());
        if let Err(error) = write_all(&self.file, &line) {
            // Half a line would be one with the next, and neither be understood.
            let _ = before.and_then(|length| rustix::fs::ftruncate(&self.file, length));
            return Err(error);
        }
        self.noted.borrow_mut().push(resource.clone());
        Ok(())
    }
}

fn line(resource: &Resource) -> SysResult<Vec<u8>> {
    let mut line = serde_json::to_vec(resource)
        .map_err(|_| SysError::new("write", "a resource as JSON", Errno::INVAL))?;
    line.push(b'\n');
    Ok(line)
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// What is there to be undone, in the order of making.
    pub resources: Vec<Resource>,
    /// Lines that say nothing to us: another version knows more kinds of resources.
    pub unknown: Vec<String>,
}

/// What the journal of `directory` holds. A last line that was cut off by a kill was not acted upon and does not count.
///
/// # Errors
/// When it cannot be read.
pub fn read(directory: &MachineDirectory) -> SysResult<Written> {
    match read_at(directory.fd(), NAME, LIMIT) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.errno() == Errno::NOENT => Ok(Written::default()),
        Err(error) => Err(error),
    }
}

fn parse(text: &[u8]) -> Written {
    let mut written = Written::default();
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(resource) => written.resources.push(resource),
            Err(_) => written.unknown.push(String::from_utf8_lossy(line).into_owned()),
        }
    }
    written
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
