//! Readiness of inits that do not say it: found in the running guest, not waited for by the clock.
//!
//! The supervisor calls [`Evidence::check`] when something changes in [`Evidence::watch_paths`], or every few
//! milliseconds while the guest boots. A check reads a few small files through the guest's root, and the names and states
//! of PID 1's children. All of it is the guest's word: a hostile one may claim to be up, which harms nobody else.

use super::processes::Processes;
use crate::sys::in_root::{Root, absent_is_none};

mod finit;
mod inittab;
mod openrc;
mod runit;
mod supervise;
mod sysvinit;
mod utmp;

pub(crate) use openrc::STATE as OPENRC_STATE;
pub(crate) use runit::SERVICE_DIRECTORIES as RUNIT_SERVICES;

pub use inittab::{Action, Entry, Inittab};
pub use supervise::{ServiceState, ServiceStatus};
pub use utmp::{Record, RecordKind, last_logged_runlevel, last_runlevel};

/// Most of a file that is read as evidence.
const MAX_FILE: usize = 256 << 10;

/// Which traces tell that a guest is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// sysvinit: its boot scripts have ended and the runlevel is reached.
    Sysvinit,
    /// Busybox init: its sysinit and wait entries have ended.
    Busybox,
    /// OpenRC, whoever is PID 1: its last runlevel is reached.
    Openrc,
    /// runit: stage 2 runs, and every service has been tried.
    Runit,
    /// finit: its "system up" condition holds.
    Finit,
    /// A runlevel of normal operation is recorded in utmp.
    Utmp,
}

/// What a look at the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The guest is up.
    Ready,
    /// It is not, for this reason.
    NotYet(&'static str),
}

impl Evidence {
    /// Looks once at the guest with the root `guest`. What cannot be read is evidence that is not there yet.
    pub fn check(self, guest: &Root, processes: &Processes) -> Verdict {
        match self {
            Self::Sysvinit => sysvinit::check_sysvinit(guest, processes),
            Self::Busybox => sysvinit::check_busybox(guest, processes),
            Self::Openrc => openrc::check(guest),
            Self::Runit => runit::check(guest, processes),
            Self::Finit => finit::check(guest),
            Self::Utmp => match last_runlevel(guest) {
                Some('1'..='5') => Verdict::Ready,
                _ => Verdict::NotYet("no runlevel is recorded in /run/utmp"),
            },
        }
    }

    /// Directories of the guest whose changes are worth a check at once. They may come to be only while it boots.
    pub fn watch_paths(self) -> &'static [&'static str] {
        match self {
            Self::Sysvinit | Self::Busybox | Self::Utmp => &["/run"],
            Self::Openrc => &["/run/openrc", "/run"],
            Self::Runit => &["/run/runit/supervise", "/run"],
            Self::Finit => &["/run/finit/cond/hook/sys", "/run/finit/cond", "/run"],
        }
    }
}

/// A small file of the guest, as text; `None` if it is not there or is no regular file.
fn read_text(guest: &Root, path: &str) -> Option<String> {
    let contents = absent_is_none(guest.read(path, MAX_FILE)).ok()??;
    Some(String::from_utf8_lossy(&contents).into_owned())
}

#[cfg(test)]
mod tests;
