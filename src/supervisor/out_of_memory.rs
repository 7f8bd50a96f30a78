//! Noticing that the kernel killed processes of the machine for want of memory.
//!
//! cgroup v2 raises POLLPRI on memory.events; v1 signals an eventfd, registered in cgroup.event_control, when memory runs out,
//! and the kill that follows is counted in memory.oom_control (Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control").

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags};

use crate::host::Controller;
use crate::runtime::cgroup::MachineCgroup;
use crate::runtime::controllers::Controllers;
use crate::sys::files::{open_at, read_at, write_at};
use crate::sys::{FdPath, SysError, SysResult};

/// What the kernel killed for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomEvidence {
    /// How many processes.
    pub killed: u64,
    /// The machine's limit, if it was that which was reached. Otherwise a limit within the guest, or the host's memory.
    pub limit: Option<u64>,
}

impl OomEvidence {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self.limit {
            Some(_) => "start it with a larger --memory-max=",
            None => "spinney top shows what machines use; --memory-max= limits one",
        }
    }

    /// The same while machine `name` runs.
    pub fn hint_while_running(&self, name: &str) -> String {
        match self.limit {
            Some(_) => format!("spinney set {name} --memory-max= gives it more"),
            None => self.hint().to_owned(),
        }
    }
}

/// `3 processes were killed at its memory limit of 64M`.
impl fmt::Display for OomEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.killed {
            1 => f.write_str("1 process was killed")?,
            killed => write!(f, "{killed} processes were killed")?,
        }
        match self.limit {
            Some(limit) => write!(f, " at its memory limit of {}", size(limit)),
            None => f.write_str(" for want of memory, below its own limit"),
        }
    }
}

/// Bytes in the largest binary unit that leaves at most one digit after the point.
fn size(bytes: u64) -> String {
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, "");
    for next in ["K", "M", "G", "T", "P"] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}{unit}", tenths / 10),
    }
}

/// The watch on one machine.
#[derive(Debug)]
pub(super) struct OutOfMemory {
    watch: Watch,
    /// Counted so far, and told of.
    killed: u64,
    told: u64,
    /// When that was told.
    told_at: Option<Instant>,
    /// Memory ran out, and the kill is to come: when to look for it, and for the last time.
    look_again: Option<(Instant, Instant)>,
}

#[derive(Debug)]
enum Watch {
    /// Nothing is counted.
    No,
    Unified {
        events: OwnedFd,
        cgroup: OwnedFd,
    },
    Legacy {
        eventfd: OwnedFd,
        control: OwnedFd,
        cgroup: OwnedFd,
    },
}

/// How often a kill is looked for after memory ran out, and for how long.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(2);

/// A guest whose processes die all the time is told of once in this.
const PAUSE: Duration = Duration::from_secs(1);

/// These files have a few lines.
const LIMIT: usize = 1024;

impl OutOfMemory {
    /// Begins to watch. A machine that cannot be watched runs without.
    pub(super) fn watch(cgroup: &MachineCgroup, controllers: &Controllers) -> Self {
        let watch = match controllers.get(Controller::Memory) {
            Some(cgroup) => legacy(cgroup),
            None => unified(cgroup.outer()),
        };
        Self { watch: watch.unwrap_or(Watch::No), killed: 0, told: 0, told_at: None, look_again: None }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.watch {
            Watch::No => None,
            Watch::Unified { events, .. } => Some((events.as_fd(), PollFlags::PRI)),
            Watch::Legacy { eventfd, .. } => Some((eventfd.as_fd(), PollFlags::IN)),
        }
    }

    /// When [`OutOfMemory::look`] is due without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_again.map(|(next, _)| next)
    }

    /// Takes note of an event, if there was one, and of kills; says whether there are new ones to tell of. At the end of the
    /// machine, `last`, all of them are.
    pub(super) fn look(&mut self, now: Instant, last: bool) -> SysResult<bool> {
        let counter = match &self.watch {
            Watch::No => return Ok(false),
            Watch::Unified { events, .. } => events,
            Watch::Legacy { eventfd, control, .. } => {
                if rustix::io::read(eventfd, &mut [0; 8]).is_ok() {
                    self.look_again = Some((now + LOOK, now + PATIENCE));
                }
                control
            }
        };
        // At each turn: of v2 this rearms POLLPRI, of v1 it finds what the host killed without telling.
        let killed = count(counter)?;
        if self.look_again.is_some_and(|(next, _)| now < next) && !last {
            return Ok(false);
        }
        self.killed = killed;
        let news = self.killed > self.told;
        let early = self.told_at.map(|at| at + PAUSE).filter(|next| now < *next);
        self.look_again = match (news, early, self.look_again) {
            (true, Some(next), _) if !last => Some((next, next)),
            (false, _, Some((_, end))) if now < end => Some((now + LOOK, end)),
            _ => None,
        };
        if news && self.look_again.is_none() {
            self.told = self.killed;
            self.told_at = Some(now);
            return Ok(true);
        }
        Ok(false)
    }

    /// What was killed so far.
    pub(super) fn killed(&self) -> u64 {
        self.killed
    }

    /// What was killed so far, and where; `None` for nothing.
    pub(super) fn evidence(&self) -> Option<OomEvidence> {
        (self.killed > 0).then(|| OomEvidence { killed: self.killed, limit: self.limit_that_was_reached() })
    }

    fn limit_that_was_reached(&self) -> Option<u64> {
        let number = |cgroup, file| {
            let text = read_at(cgroup, file, LIMIT).ok()?;
            String::from_utf8_lossy(&text).trim().parse::<u64>().ok()
        };
        match &self.watch {
            Watch::No => None,
            Watch::Unified { cgroup, .. } => {
                // Since Linux 5.2; the machine's own limit, not one below it.
                let local = read_at(cgroup, "memory.events.local", LIMIT).ok()?;
                field(&local, "oom").filter(|times| *times > 0)?;
                number(cgroup, "memory.max")
            }
            Watch::Legacy { cgroup, .. } => {
                number(cgroup, "memory.failcnt").filter(|times| *times > 0)?;
                number(cgroup, "memory.limit_in_bytes")
            }
        }
    }
}

/// The kills that memory.events or memory.oom_control tells of: in v2 those in all cgroups below too, since guests have limits
/// of their own.
fn count(counter: &OwnedFd) -> SysResult<u64> {
    let mut buffer = [0; LIMIT];
    let length = rustix::io::pread(counter, &mut buffer, 0)
        .map_err(|errno| SysError::new("pread", FdPath::of(counter).to_string(), errno))?;
    Ok(field(&buffer[..length], "oom_kill").unwrap_or(0))
}

fn open(cgroup: &OwnedFd, file: &str) -> SysResult<OwnedFd> {
    open_at(cgroup, file, OFlags::RDONLY, Mode::empty())
}

fn again(cgroup: &OwnedFd) -> SysResult<OwnedFd> {
    cgroup.try_clone().map_err(|_| SysError::new("fcntl", "F_DUPFD_CLOEXEC", rustix::io::Errno::MFILE))
}

fn unified(cgroup: &OwnedFd) -> SysResult<Watch> {
    Ok(Watch::Unified { events: open(cgroup, "memory.events")?, cgroup: again(cgroup)? })
}

fn legacy(cgroup: &OwnedFd) -> SysResult<Watch> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| SysError::new("eventfd2", "0, EFD_CLOEXEC|EFD_NONBLOCK", errno))?;
    let control = open(cgroup, "memory.oom_control")?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    write_at(cgroup, "cgroup.event_control", line.as_bytes())?;
    Ok(Watch::Legacy { eventfd: event, control, cgroup: again(cgroup)? })
}

/// The number behind `name` in lines of a name and a number.
fn field(text: &[u8], name: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        let v2 = b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        let v1 = b"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        for (text, name, expected) in [
            (&v2[..], "oom_kill", Some(2)),
            (v2, "oom", Some(3)),
            (v1, "oom_kill", Some(7)),
            (v1, "oom", None),
            (b"", "oom", None),
        ] {
            assert_eq!(field(text, name), expected, "{name}");
        }
    }

    #[test]
    fn in_words() {
        for (killed, limit, expected) in [
            (1, Some(64 << 20), "1 process was killed at its memory limit of 64M"),
            (3, Some((1 << 30) + (1 << 29)), "3 processes were killed at its memory limit of 1.5G"),
            (2, None, "2 processes were killed for want of memory, below its own limit"),
        ] {
            assert_eq!(OomEvidence { killed, limit }.to_string(), expected);
        }
        assert_eq!(size(4096), "4K");
        assert_eq!(size(1), "1");
    }
}
