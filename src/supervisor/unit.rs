//! The unit of the service manager that we are the main process of: its cgroup, in which the machine's go, and its watchdog,
//! which wants to hear that our loop still turns.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::Controller;
use crate::runtime::cgroup::{Hierarchy, MachineCgroup};
use crate::runtime::unit_cgroup::{self, Ours};
use crate::sys::environment::take_variable;

use super::claimed::Claimed;
use super::error::Error;
use super::registration::scope::Scope;
use super::resources::Resource;
use super::{Event, KeepUnit, Report, Request, printable};

/// A unit that the machine is to be in.
#[derive(Debug)]
pub(super) struct Unit {
    /// Its cgroup.
    path: PathBuf,
    /// Its cgroups in v1 hierarchies.
    pub(super) legacy: BTreeMap<Controller, PathBuf>,
}

impl Unit {
    /// Whether it is the system manager's, and not of one for a user (`user@1000.service`): machined knows a machine of such a one
    /// by that manager's own unit, and would stop it.
    pub(super) fn is_the_systems(&self) -> bool {
        !self.path.iter().any(|part| part.as_encoded_bytes().starts_with(b"user@"))
    }
}

/// Makes the cgroups of machine `name`, the inner one for `owner`: in `unit`, or where machines without one are.
pub(super) fn make_cgroup(
    claimed: &Claimed,
    hierarchy: &Hierarchy,
    unit: Option<Unit>,
    name: &str,
    owner: u32,
) -> Result<MachineCgroup, Error> {
    let cgroup = match unit {
        Some(Unit { path, .. }) => {
            claimed.note(&Resource::CgroupInUnit { name: name.to_owned(), unit: path.clone() })?;
            hierarchy.create_in_unit(&path, name, owner)?
        }
        None => {
            claimed.note(&Resource::Cgroup(name.to_owned()))?;
            hierarchy.create(name, owner)?
        }
    };
    Ok(cgroup)
}

/// The unit that we are to keep, or that was made for us alone. What systemd has not handed over it goes on arranging, and another
/// service's processes may be in it: there no machine can be.
pub(super) fn find(
    request: &Request,
    hierarchy: &Hierarchy,
    report: &mut Report<'_>,
) -> Result<Option<Unit>, Error> {
    // A login session or a job of CI is somebody's unit too, but not made for us.
    if request.keep_unit == KeepUnit::IfOurs && (request.background || !is_main_process()) {
        return Ok(None);
    }
    let Ours { unit, legacy } = unit_cgroup::ours().map_err(Error::system("look for our unit"))?;
    let is_delegated = unit.as_ref().is_some_and(|unit| hierarchy.is_delegated(unit));
    let not_delegated = |path: &Path| {
        let unit = path.file_name().unwrap_or_default();
        Error::NotDelegated { unit: printable::line(unit.as_encoded_bytes()) }
    };
    match (request.keep_unit, unit) {
        (_, Some(path)) if is_delegated => Ok(Some(Unit { path, legacy })),
        (KeepUnit::IfOurs, _) | (KeepUnit::IfDelegated, None) => Ok(None),
        (KeepUnit::IfDelegated, Some(path)) => {
            report(&Event::Warning(&format!("--keep-unit has no effect: {}", not_delegated(&path))));
            Ok(None)
        }
        (KeepUnit::Always, None) => Err(Error::NoUnit),
        (KeepUnit::Always, Some(path)) => Err(not_delegated(&path)),
    }
}

/// The scope that was made for the machine, once we are in it. Without one the machine has a cgroup of its own.
pub(super) fn in_scope(
    request: &Request,
    scope: Result<Scope, String>,
    hierarchy: &Hierarchy,
    report: &mut Report<'_>,
) -> Result<Option<Unit>, Error> {
    match scope.and_then(|scope| scope.finish(request)) {
        Ok(false) => Ok(None),
        Ok(true) => {
            let Ours { unit, legacy } = unit_cgroup::ours().map_err(Error::system("look for our scope"))?;
            Ok(unit.filter(|unit| hierarchy.is_delegated(unit)).map(|path| Unit { path, legacy }))
        }
        Err(why) => {
            report(&Event::Warning(&format!(
                "the machine is in no scope of systemd's, and machinectl does not know it: {why}"
            )));
            Ok(None)
        }
    }
}

/// Whether systemd has executed us itself (SYSTEMD_EXEC_PID, systemd.exec(5), systemd 248).
fn is_main_process() -> bool {
    let said = std::env::var("SYSTEMD_EXEC_PID").ok().and_then(|pid| pid.parse().ok());
    said == Some(std::process::id())
}

/// The watchdog of our unit (`WatchdogSec=`, sd_watchdog_enabled(3)).
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Duration,
    due: Cell<Instant>,
}

impl Watchdog {
    /// Takes what our environment says of one; `None` without, or where it is another process that is watched.
    pub(super) fn from_environment() -> Option<Self> {
        let (interval, pid) = (take_variable("WATCHDOG_USEC")?, take_variable("WATCHDOG_PID"));
        let number = |text: &std::ffi::OsString| text.to_str()?.parse::<u64>().ok();
        Self::new(number(&interval)?, pid.as_ref().map(number), std::process::id(), Instant::now())
    }

    /// Half of the interval, as sd_watchdog_enabled(3) recommends.
    fn new(microseconds: u64, pid: Option<Option<u64>>, ours: u32, now: Instant) -> Option<Self> {
        let watched = pid.is_none_or(|pid| pid == Some(ours.into()));
        let every = Duration::from_micros(microseconds / 2);
        (watched && microseconds > 0).then(|| Self { every, due: Cell::new(now) })
    }

    /// When it is to be told again.
    pub(super) fn deadline(&self) -> Instant {
        self.due.get()
    }

    /// Whether it is to be told now; then the next time is a while after `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let due = now >= self.due.get();
        if due {
            self.due.set(now + self.every);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_units_are() {
        for (path, is_the_systems) in [
            ("/machine.slice/spinney@web.service", true),
            ("/machine.slice/machine-web.scope", true),
            ("/user.slice/user-1000.slice/session-2.scope", true),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", false),
            ("/user.slice/user-0.slice/user@0.service", false),
            ("/machine.slice/of-user@1000.service", true),
        ] {
            let unit = Unit { path: path.into(), legacy: BTreeMap::new() };
            assert_eq!(unit.is_the_systems(), is_the_systems, "{path}");
        }
    }

    #[test]
    fn watchdogs() {
        let now = Instant::now();
        // WATCHDOG_USEC=, WATCHDOG_PID= => how often
        type Row = (&'static str, u64, Option<Option<u64>>, Option<Duration>);
        let table: [Row; 5] = [
            ("ours", 180_000_000, Some(Some(7)), Some(Duration::from_secs(90))),
            ("whosever", 1_000_000, None, Some(Duration::from_millis(500))),
            ("another's", 1_000_000, Some(Some(8)), None),
            ("garbage", 1_000_000, Some(None), None),
            ("none", 0, None, None),
        ];
        for (name, interval, pid, expected) in table {
            let watchdog = Watchdog::new(interval, pid, 7, now);
            assert_eq!(watchdog.as_ref().map(|watchdog| watchdog.every), expected, "{name}");
        }
    }

    #[test]
    fn a_watchdog_is_told_at_once_and_then_in_time() {
        let now = Instant::now();
        let watchdog = Watchdog::new(1_000_000, None, 7, now).expect("a watchdog");
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        let said: Vec<_> = [0, 499, 500, 700, 1200].map(|time| watchdog.is_due(at(time))).into();
        assert_eq!(said, [true, false, true, false, true]);
        assert_eq!(watchdog.deadline(), at(1700));
    }
}
