//! Pausing a machine: the freezer of cgroup v2 (cgroup.freeze, Linux 5.2), which every v2 hierarchy has, the one beside v1
//! controllers too.
//!
//! The kernel stops processes in its own time, so a change is asked for here and looked at when cgroup.events says that something
//! has changed (it raises POLLPRI).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::sys::SysResult;
use crate::sys::files::{open_at, write_at};

use super::control::ConnectionId;

/// Who asked, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Freezer {
    frozen: bool,
    change: Option<Change>,
}

/// A change under way.
#[derive(Debug)]
struct Change {
    to: bool,
    events: OwnedFd,
    waiting: Vec<ConnectionId>,
}

/// A change that is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Whether the machine is frozen now, and was not, or the other way round.
    pub(super) news: bool,
    pub(super) frozen: bool,
    /// Those who asked for it.
    pub(super) waiting: Vec<ConnectionId>,
}

impl Freezer {
    /// Whether the machine's processes are stopped.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether they are, or are about to be.
    pub(super) fn is_to_be_frozen(&self) -> bool {
        self.change.as_ref().map_or(self.frozen, |change| change.to)
    }

    /// Freezes or thaws `cgroup` and what is below it. Who waits is told by [`Freezer::look`]; who had waited for the opposite is
    /// given back.
    ///
    /// # Errors
    /// Where the kernel has no freezer.
    pub(super) fn ask(
        &mut self,
        cgroup: &OwnedFd,
        to: bool,
        from: Option<ConnectionId>,
    ) -> SysResult<Vec<ConnectionId>> {
        let mut outdone = Vec::new();
        match &mut self.change {
            Some(change) if change.to == to => change.waiting.extend(from),
            change => {
                let events = open_at(cgroup, "cgroup.events", OFlags::RDONLY, Mode::empty())?;
                write_at(cgroup, "cgroup.freeze", if to { b"1" } else { b"0" })?;
                let before = change.replace(Change { to, events, waiting: from.into_iter().collect() });
                outdone = before.map_or_else(Vec::new, |before| before.waiting);
            }
        }
        Ok(outdone)
    }

    /// What to poll for POLLPRI, while a change is under way.
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.change.as_ref().map(|change| change.events.as_fd())
    }

    /// Looks whether the change has come about.
    pub(super) fn look(&mut self) -> Option<Changed> {
        let change = self.change.as_ref()?;
        let mut text = [0; 256];
        let length = rustix::io::pread(&change.events, &mut text, 0).ok()?;
        let wanted = if change.to { "frozen 1" } else { "frozen 0" };
        if !String::from_utf8_lossy(&text[..length]).lines().any(|line| line == wanted) {
            return None;
        }
        let change = self.change.take()?;
        let news = std::mem::replace(&mut self.frozen, change.to) != change.to;
        Some(Changed { news, frozen: change.to, waiting: change.waiting })
    }
}
