//! Mends the rules when somebody removes them: `nft flush ruleset`, a firewall that loads its own anew.
//!
//! Of all supervisors of a host one is the watcher and hears of changes; the others wait for its end, and then one of them takes
//! its place. So a change wakes one process, and nobody has to be asked who mends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::super::nft::socket::Changes;
use super::{apply, store};
use crate::network::service::{Links, Service};
use crate::sys::SysResult;
use crate::sys::files::{make_directories, open_at, read_all, try_lock, while_parents_vanish, write_all};
use crate::sys::process::pidfd_open;

/// The file that the watcher has locked, with its process id in it.
pub(super) const WATCHER: &str = "watcher";

/// A firewall that is loaded anew comes in several steps: they are waited for.
const SETTLE: Duration = Duration::from_millis(50);

/// How long a watcher may take to write down who it is.
const SOON: Duration = Duration::from_millis(20);

/// Somebody who keeps removing our rules is not fought: each time we wait twice as long, up to this.
const LONGEST: Duration = Duration::from_secs(60);

/// Watches, or waits to.
#[derive(Debug)]
pub struct Watch {
    name: String,
    role: Role,
    due: Option<Instant>,
    wait: Duration,
    mended: Option<Instant>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Role {
    /// Another supervisor watches, which this is a pidfd of.
    Waits(OwnedFd),
    /// It is us, by this lock.
    Watches { changes: Changes, _lock: OwnedFd },
    /// It is not known who watches: asked again when it is due.
    Asks,
}

impl Watch {
    /// Of the machine `name`, that rules were made for; `warnings` are what there was to tell of that.
    pub fn new(name: &str, now: Instant, warnings: Vec<String>) -> Self {
        let mut watch =
            Self { name: name.to_owned(), role: Role::Asks, due: None, wait: SETTLE, mended: None, warnings };
        watch.ask(now, false);
        watch
    }

    /// Watches if nobody does. `late`: something may have happened since somebody did.
    fn ask(&mut self, now: Instant, late: bool) {
        match find_role() {
            Ok(role) => {
                self.due = match role {
                    Role::Asks => Some(now + SOON),
                    Role::Watches { .. } if late => Some(now + self.wait),
                    _ => None,
                };
                self.role = role;
            }
            Err(error) => {
                self.warnings.push(format!("cannot watch the rules of networks: {error}"));
                self.role = Role::Asks;
                self.due = None;
            }
        }
    }

    fn mend(&mut self, now: Instant) {
        let again = self.mended.is_some_and(|then| now.duration_since(then) < LONGEST);
        self.wait = if again { (self.wait * 2).min(LONGEST) } else { SETTLE };
        match apply::repair() {
            Ok(Some(done)) => {
                self.mended = Some(now);
                self.warnings.push(done);
            }
            Ok(None) => self.wait = SETTLE,
            Err(error) => {
                self.mended = Some(now);
                self.warnings.push(crate::sys::in_words(&error));
            }
        }
    }
}

fn find_role() -> SysResult<Role> {
    let directory = while_parents_vanish(|| make_directories(&store::path()?, 0o700))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    let file = open_at(&directory, WATCHER, flags, Mode::from_raw_mode(0o600))?;
    if try_lock(&file)? {
        if !rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
            return Ok(Role::Asks);
        }
        let changes = Changes::follow().map_err(|error| match error {
            super::super::nft::NftError::Socket(error) => error,
            _ => crate::sys::SysError::new("socket", "AF_NETLINK", rustix::io::Errno::IO),
        })?;
        let _ = rustix::fs::ftruncate(&file, 0);
        write_all(&file, std::process::id().to_string().as_bytes())?;
        return Ok(Role::Watches { changes, _lock: file });
    }
    let text = read_all(&file, 16)?;
    let pid = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid).ok()) else { return Ok(Role::Asks) };
    // Still locked: the process that was opened is the one that wrote its number, or another that took its place since, which
    // will have written its own.
    match try_lock(&file)? || read_at_start(&file)? != text {
        true => Ok(Role::Asks),
        false => Ok(Role::Waits(pidfd)),
    }
}

fn read_at_start(file: &OwnedFd) -> SysResult<Vec<u8>> {
    let result = rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0));
    crate::sys::sys("lseek", result, || crate::sys::FdPath::of(file).to_string())?;
    read_all(file, 16)
}

impl Service for Watch {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.role {
            Role::Waits(pidfd) => vec![(pidfd.as_fd(), PollFlags::IN)],
            Role::Watches { changes, .. } => vec![(changes.as_fd(), PollFlags::IN)],
            Role::Asks => Vec::new(),
        }
    }

    fn on_ready(&mut self, now: Instant) {
        let due = self.due.is_some_and(|due| due <= now);
        match &self.role {
            Role::Asks => {
                if due {
                    self.ask(now, true);
                }
            }
            Role::Waits(pidfd) => {
                if crate::sys::process::ends_within(pidfd, Duration::ZERO).unwrap_or(true) {
                    self.ask(now, true);
                }
            }
            Role::Watches { changes, .. } => {
                if changes.any() {
                    self.due = self.due.or(Some(now + self.wait));
                }
                if due {
                    self.due = None;
                    self.mend(now);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn links_made(&mut self, _links: &Links<'_>) {
        match apply::links_made(&self.name) {
            Ok(warning) => self.warnings.extend(warning),
            Err(error) => self.warnings.push(crate::sys::in_words(&error)),
        }
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
