//! runit: stage 2 is a runsvdir as PID 1's child, which keeps a runsv for each service, which keeps `supervise/status`.

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::super::processes::Processes;
use super::Verdict;
use super::supervise::ServiceStatus;
use crate::sys::in_root::Root;

/// Where distributions have their services: runit itself and Debian, Void, Artix, runit of old.
pub(crate) const SERVICE_DIRECTORIES: [&str; 5] =
    ["/etc/service", "/run/runit/runsvdir/current", "/run/runit/service", "/var/service", "/service"];

pub(super) fn check(guest: &Root, processes: &Processes) -> Verdict {
    if !processes.children.iter().any(|child| child.name == "runsvdir") {
        return Verdict::NotYet("stage 2 has not started runsvdir");
    }
    let now = SystemTime::now();
    for directory in SERVICE_DIRECTORIES {
        let mut settled = true;
        let listed = guest.scan_dir(directory, |name| {
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                return ControlFlow::Continue(());
            };
            settled = is_settled(guest, &format!("{directory}/{name}"), now);
            if settled { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match listed {
            Err(_) => {}
            Ok(()) if settled => return Verdict::Ready,
            Ok(()) => return Verdict::NotYet("a service has not been started"),
        }
    }
    // Services elsewhere: runsvdir is all there is to see.
    Verdict::Ready
}

/// Whether runsv has done with the service what it will do at boot.
fn is_settled(guest: &Root, service: &str, now: SystemTime) -> bool {
    if !guest.metadata(service).is_ok_and(|metadata| metadata.is_dir()) {
        return true;
    }
    // Its own log service does not count. A file `down` keeps runsv from starting it (runsv(8)).
    guest.exists(format!("{service}/down")).unwrap_or(false)
        || guest
            .read(format!("{service}/supervise/status"), 64)
            .ok()
            .and_then(|bytes| ServiceStatus::parse(&bytes))
            .is_some_and(|status| status.is_settled(now))
}
