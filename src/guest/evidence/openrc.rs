//! OpenRC keeps its state in /run/openrc, whoever is PID 1: `softlevel` names the runlevel, and a directory `rc.starting`
//! is there while openrc starts services.

use super::{Verdict, read_text};
use crate::sys::in_root::Root;

/// Its state since 0.13. Where it was before, on disk, that of the last boot would be found.
pub(crate) const STATE: &str = "/run/openrc";

/// Runlevels on the way up or down. Any other is one that a person chose to boot into, usually `default`.
const PASSING: [&str; 7] = ["sysinit", "boot", "nonetwork", "shutdown", "reboot", "off", ""];

pub(super) fn check(guest: &Root) -> Verdict {
    if !there(guest, STATE) {
        return Verdict::NotYet("OpenRC has not begun");
    }
    // The runlevel is read before the marks: openrc makes a mark before it enters a runlevel.
    let level = read_text(guest, &format!("{STATE}/softlevel")).unwrap_or_default();
    if PASSING.contains(&level.trim()) {
        return Verdict::NotYet("OpenRC has not entered its default runlevel");
    }
    for mark in ["rc.starting", "rc.stopping"] {
        if there(guest, &format!("{STATE}/{mark}")) {
            return Verdict::NotYet("OpenRC is starting services");
        }
    }
    Verdict::Ready
}

fn there(guest: &Root, path: &str) -> bool {
    guest.exists(path).unwrap_or(false)
}
