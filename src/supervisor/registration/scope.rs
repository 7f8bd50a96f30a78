//! The scope of a machine that nobody has made a unit for: systemd's name for its cgroups, which so are nobody else's, outlive the
//! session that it was started from, and can be limited and stopped by systemctl.
//!
//! It holds the supervisor too, and goes when that and the guest have ended.

use std::time::Duration;

use super::bus;
use super::errand::{Answer, Errand};
use crate::host::systemd;
use crate::runtime::unit_cgroup::scope_name;
use crate::supervisor::{KeepUnit, Register, Request};
use crate::sys::in_words;

/// systemd makes one in some milliseconds. A machine does not wait longer than this.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A scope that is being made.
#[derive(Debug)]
pub(in crate::supervisor) struct Scope(Errand);

/// Begins to make the scope of machine `name`, if it is to have one: a machine that boots, or whoever asks for it, on a host of
/// systemd's, in no unit of its own.
pub(in crate::supervisor) fn begin(
    request: &Request,
    name: &str,
    boots: bool,
) -> Option<Result<Scope, String>> {
    let wanted = match request.register {
        Register::No => false,
        Register::Auto => boots && systemd::is_pid1(),
        Register::Yes => true,
    };
    (wanted && request.keep_unit == KeepUnit::IfOurs).then(|| {
        let (scope, description) = (scope_name(name), format!("Machine {name}"));
        let (slice, supervisor) = (request.slice.clone(), rustix::process::getpid());
        Errand::begin(move || bus::make_scope(&scope, &slice, &description, supervisor))
            .map(Scope)
            .map_err(|error| in_words(&error))
    })
}

impl Scope {
    /// Waits until we are in it; otherwise why not. On a host without a system bus that is no news, unless it was asked for.
    pub(in crate::supervisor) fn finish(self, request: &Request) -> Result<bool, String> {
        match self.0.wait(PATIENCE) {
            Answer::Done => Ok(true),
            Answer::Absent(_) if request.register != Register::Yes => Ok(false),
            Answer::Absent(why) | Answer::Failed(why) => Err(why),
        }
    }
}
