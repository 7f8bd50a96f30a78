//! OpenRC's state directory: a name in `started`, `failed`, `starting` or `inactive` is a service in that state.

use super::super::evidence::OPENRC_STATE;
use super::Answer;
use crate::sys::in_root::Root;

pub(super) fn service(guest: &Root, name: &str) -> Answer {
    let is = |state: &str| guest.symlink_metadata(format!("{OPENRC_STATE}/{state}/{name}")).is_ok();
    if is("started") {
        return Answer::Holds;
    }
    if is("failed") {
        return Answer::never("the service has failed");
    }
    for state in ["starting", "inactive", "scheduled", "stopping"] {
        if is(state) {
            return Answer::NotYet(format!("the service is {state}"));
        }
    }
    match guest.exists(format!("/etc/init.d/{name}")) {
        Ok(false) => Answer::never("there is no such service"),
        _ => Answer::not_yet("the service is stopped"),
    }
}

pub(super) fn level(guest: &Root, name: &str) -> Answer {
    const LONGEST: usize = 256;
    let now = guest.read(format!("{OPENRC_STATE}/softlevel"), LONGEST).unwrap_or_default();
    let now = String::from_utf8_lossy(&now).trim().to_owned();
    let is = |mark: &str| guest.exists(format!("{OPENRC_STATE}/{mark}")).unwrap_or(false);
    match (now == name, is("rc.starting") || is("rc.stopping")) {
        (true, false) => Answer::Holds,
        (true, true) => Answer::not_yet("OpenRC is entering the runlevel"),
        (false, _) if now.is_empty() => Answer::not_yet("OpenRC has entered no runlevel"),
        (false, _) => Answer::NotYet(format!("OpenRC is in runlevel {now}")),
    }
}
