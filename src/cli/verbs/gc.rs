//! `spinney gc`: removes what killed supervisors left behind.

use std::error::Error;

use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::host::Host;
use crate::supervisor;
use crate::sys::SysError;

/// Remove what killed machines left behind
#[derive(Debug, clap::Args)]
pub struct GcArguments {}

const HINT: &str = "run spinney gc again when what uses it is gone; spinney gc touches no machine that runs";

/// Why nothing was collected at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot look for leavings")]
struct CannotLook(#[source] SysError);

/// Why the leavings of one machine stay.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove what {machine} left")]
struct CannotRemove {
    machine: String,
    #[source]
    source: SysError,
}

/// Collects, tells what was removed, gives the exit status. One fault does not stop the rest.
pub fn gc() -> u8 {
    let output = Output::new(false);
    if !require_root("gc", "sudo spinney gc", output) {
        return EXIT_FAILURE;
    }
    let fail = |error: &dyn Error| {
        output.error(error, Some(HINT));
        EXIT_FAILURE
    };
    let collected = match Host::probe().and_then(|host| supervisor::gc::collect(&host.cgroup)) {
        Ok(collected) => collected,
        Err(error) => return fail(&CannotLook(error)),
    };
    if collected.removed.is_empty() && collected.failed.is_empty() {
        output.status("nothing was left behind");
    }
    for machine in &collected.removed {
        output.status(&format!("removed what {machine} left"));
    }
    let mut status = 0;
    for (machine, source) in collected.failed {
        status = fail(&CannotRemove { machine: machine.to_string(), source });
    }
    status
}
