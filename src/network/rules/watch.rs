//! Mends the rules when somebody removes them: `nft flush ruleset`, a firewall that loads its own anew. Follows the host's interfaces:
//! packets of machines go by those that come later, too.
//!
//! Of all supervisors of a host one is the watcher and hears of changes; the others wait for its end, and then one of them takes
//! its place. So a change wakes one process, and nobody has to be asked who mends. It waits for nobody: where somebody else is at the
//! rules it comes back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::super::link::forwarding::changes::ForwardingChanges;
use super::super::nft::NftError;
use super::super::nft::socket::{Changes, Heard};
use super::kernel::is_ours;
use super::pace::{Backoff, LONGEST, Pace, SETTLE};
use super::{RulesError, apply, repair, store};
use crate::network::service::{Links, Service};
use crate::sys::SysResult;
use crate::sys::files::{open_at, read_all, try_lock, write_all};
use crate::sys::process::pidfd_open;

/// The file that the watcher has locked, with its process id in it.
pub(super) const WATCHER: &str = "watcher";

/// How long a watcher may take to write down who it is, and anybody to change rules.
const SOON: Duration = Duration::from_millis(20);

/// Watches, or waits to.
#[derive(Debug)]
pub struct Watch {
    name: String,
    role: Role,
    /// When the role is asked for again.
    asks: Option<Instant>,
    rules: Pace,
    backoff: Backoff,
    /// Ports of the host's loopback lead nowhere until the rules are mended.
    shut: bool,
    host: Pace,
    /// When what goes with new links is done again.
    links: Option<Instant>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Role {
    /// Another supervisor watches, which this is a pidfd of.
    Waits(OwnedFd),
    /// It is us, by this lock.
    Watches { rules: Changes, host: ForwardingChanges, _lock: OwnedFd },
    /// It is not known who watches.
    Asks,
}

impl Watch {
    /// Of the machine `name`, that rules were made for; `warnings` are what there was to tell of that.
    pub fn new(name: &str, now: Instant, warnings: Vec<String>) -> Self {
        let mut watch = Self::idle(name, warnings);
        watch.ask(now, false);
        watch
    }

    /// Of a machine that there can be no rules for.
    pub fn idle(name: &str, warnings: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Asks,
            asks: None,
            rules: Pace::default(),
            backoff: Backoff::default(),
            shut: false,
            host: Pace::default(),
            links: None,
            warnings,
        }
    }

    /// Watches if nobody does. `late`: something may have happened since somebody did.
    fn ask(&mut self, now: Instant, late: bool) {
        self.asks = None;
        match find_role() {
            Ok(role) => {
                match role {
                    Role::Asks => self.asks = Some(now + SOON),
                    Role::Watches { .. } if late => {
                        self.rules.look_at(now + SETTLE);
                        self.host.look_at(now + SETTLE);
                    }
                    _ => {}
                }
                self.role = role;
            }
            Err(error) => {
                self.warnings.push(format!("cannot watch the rules of networks: {error}"));
                self.role = Role::Asks;
                // Somebody has to: what there is too few of now may be there later.
                self.asks = Some(now + LONGEST);
            }
        }
    }

    /// Hears what has changed.
    fn listen(&mut self, now: Instant) {
        let wakes = self.rules.wakes(now);
        let Role::Watches { rules, host, .. } = &self.role else { return };
        if self.rules.listens() {
            match rules.heard(is_ours) {
                Heard::Nothing if wakes => self.rules.silence(),
                Heard::Nothing => {}
                Heard::Elements => self.rules.noise(now),
                Heard::Rules => {
                    let wait = self.backoff.wait(now);
                    self.rules.look_at(now + wait);
                    if wait > SETTLE && !self.shut {
                        self.shut = repair::loopback(false).is_ok();
                    }
                }
            }
        }
        if self.host.listens() && host.any() {
            self.host.look_at(now + SETTLE);
        }
    }

    /// Looks at what is due.
    fn look(&mut self, now: Instant) {
        let Role::Watches { rules, .. } = &self.role else { return };
        if self.rules.looks(now) {
            // What was said until now is looked at now.
            let _ = rules.any();
            let mended = repair::repair();
            if matches!(mended, Ok(Some(_))) {
                self.backoff.mended(now);
            }
            if self.shut && mended.is_ok() {
                self.shut = repair::loopback(true).is_err();
            }
            match mended {
                Ok(done) => self.warnings.extend(done),
                Err(error) => self.failed(&error, now, |watch| &mut watch.rules),
            }
            let ended = Instant::now();
            self.rules.looked(ended, ended.duration_since(now));
        }
        let Role::Watches { host, .. } = &self.role else { return };
        if self.host.looks(now) {
            let began = Instant::now();
            let _ = host.any();
            if let Err(error) = repair::follow_host() {
                self.failed(&error, now, |watch| &mut watch.host);
            }
            self.host.looked(Instant::now(), began.elapsed());
        }
    }

    /// Another look follows: in a moment where somebody else was at it.
    fn failed(&mut self, error: &RulesError, now: Instant, pace: impl Fn(&mut Self) -> &mut Pace) {
        let then = match error.is_busy() {
            true => SOON,
            false => {
                self.warnings.push(crate::sys::in_words(error));
                LONGEST
            }
        };
        pace(self).look_at(now + then);
    }

    fn renew_links(&mut self, now: Instant) {
        self.links = None;
        match apply::links_made(&self.name) {
            Ok(warning) => self.warnings.extend(warning),
            Err(error) if error.is_busy() => self.links = Some(now + SOON),
            Err(error) => self.warnings.push(crate::sys::in_words(&error)),
        }
    }
}

fn find_role() -> SysResult<Role> {
    let (_, directory) = store::directory()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    let file = open_at(&directory, WATCHER, flags, Mode::from_raw_mode(0o600))?;
    if try_lock(&file)? {
        if !rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
            return Ok(Role::Asks);
        }
        let rules = Changes::follow().map_err(|error| match error {
            NftError::Socket(error) => error,
            _ => crate::sys::SysError::new("socket", "AF_NETLINK", rustix::io::Errno::IO),
        })?;
        let host = ForwardingChanges::follow()?;
        let _ = rustix::fs::ftruncate(&file, 0);
        write_all(&file, std::process::id().to_string().as_bytes())?;
        return Ok(Role::Watches { rules, host, _lock: file });
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
            Role::Watches { rules, host, .. } => {
                let rules = self.rules.listens().then(|| rules.as_fd());
                let host = self.host.listens().then(|| host.as_fd());
                rules.into_iter().chain(host).map(|fd| (fd, PollFlags::IN)).collect()
            }
            Role::Asks => Vec::new(),
        }
    }

    fn on_ready(&mut self, now: Instant) {
        if self.links.is_some_and(|due| due <= now) {
            self.renew_links(now);
        }
        match &self.role {
            Role::Asks => {
                if self.asks.is_some_and(|due| due <= now) {
                    self.ask(now, true);
                }
            }
            Role::Waits(pidfd) => {
                if crate::sys::process::ends_within(pidfd, Duration::ZERO).unwrap_or(true) {
                    self.ask(now, true);
                }
            }
            Role::Watches { .. } => {
                self.listen(now);
                self.look(now);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.asks, self.links, self.rules.deadline(), self.host.deadline()].into_iter().flatten().min()
    }

    fn links_made(&mut self, _links: &Links<'_>) {
        self.renew_links(Instant::now());
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}
