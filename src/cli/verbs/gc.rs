//! `spinney gc`: removes what killed supervisors left behind.

use std::error::Error;

use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::host::Host;
use crate::settings::MachineName;
use crate::supervisor::gc::{ClearError, Collected, collect};
use crate::sys::{SysError, in_words};

const EXAMPLES: &str = "\
Examples:
  spinney gc           remove what is left of machines whose supervisors were killed";

/// Remove what killed machines left behind
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct GcArguments {
    /// Tell only of what could not be removed
    #[arg(short, long)]
    quiet: bool,

    /// Print what was removed, and what could not be, as JSON
    #[arg(long)]
    json: bool,
}

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
    source: ClearError,
}

/// What a collection did, for programs.
#[derive(Debug, Serialize)]
struct Told<'a> {
    removed: Vec<&'a str>,
    failed: Vec<Failed<'a>>,
}

#[derive(Debug, Serialize)]
struct Failed<'a> {
    machine: &'a str,
    error: String,
}

impl<'a> Told<'a> {
    fn of(collected: &'a Collected) -> Self {
        let failed = |(machine, error): &'a (MachineName, ClearError)| Failed {
            machine: machine.as_str(),
            error: in_words(error),
        };
        Self {
            removed: collected.removed.iter().map(MachineName::as_str).collect(),
            failed: collected.failed.iter().map(failed).collect(),
        }
    }
}

/// Collects, tells what was removed, gives the exit status. One fault does not stop the rest.
pub fn gc(arguments: &GcArguments) -> u8 {
    let output = Output::new(arguments.json || arguments.quiet);
    if !require_root("gc", "sudo spinney gc", output) {
        return EXIT_FAILURE;
    }
    let fail = |error: &dyn Error, hint: Option<String>| {
        output.error(error, Some(hint.as_deref().unwrap_or(HINT)));
        EXIT_FAILURE
    };
    let collected = match Host::probe().and_then(|host| collect(&host.cgroup)) {
        Ok(collected) => collected,
        Err(error) => return fail(&CannotLook(error), None),
    };
    if arguments.json
        && let Err(error) = output.json(&Told::of(&collected))
    {
        return fail(&error, None);
    }
    if collected.removed.is_empty() && collected.failed.is_empty() {
        output.status("nothing was left behind");
    }
    for machine in &collected.removed {
        output.status(&format!("removed what {machine} left"));
    }
    let mut status = 0;
    for (machine, source) in collected.failed {
        let hint = source.hint();
        status = fail(&CannotRemove { machine: machine.to_string(), source }, hint);
    }
    status
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn for_programs() {
        let name = |name: &str| name.parse::<MachineName>().unwrap();
        let busy = SysError::new("rmdir", "\"/x\"", Errno::BUSY);
        let collected = Collected { removed: vec![name("a")], failed: vec![(name("b"), busy.into())] };
        let told = serde_json::to_value(Told::of(&collected)).unwrap();
        let error = "rmdir(\"/x\"): Device or resource busy (os error 16)";
        assert_eq!(
            told,
            serde_json::json!({ "removed": ["a"], "failed": [{ "machine": "b", "error": error }] })
        );
    }
}
