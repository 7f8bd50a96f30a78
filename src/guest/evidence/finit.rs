//! finit keeps its conditions as files; `hook/sys/up` holds when all that the runlevel has is started.

use super::utmp::last_runlevel;
use super::{Verdict, read_text};
use crate::sys::in_root::Root;

pub(super) fn check(guest: &Root) -> Verdict {
    // A condition is a link to a file that counts reconfigurations: the link itself is the sign.
    let holds = |condition: &str| guest.symlink_metadata(format!("/run/finit/cond/{condition}")).is_ok();
    if holds("hook/sys/up") {
        return Verdict::Ready;
    }
    // finit before 4.2 has no such conditions, but records the runlevel when it is through with bootstrap.
    if !holds("hook")
        && read_text(guest, "/run/utmp").is_some()
        && matches!(last_runlevel(guest), Some('1'..='9'))
    {
        return Verdict::Ready;
    }
    Verdict::NotYet("finit has not started the services of its runlevel")
}
