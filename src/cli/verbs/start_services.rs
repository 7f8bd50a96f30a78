//! `spinney start` where machines are services: systemd starts them, and tells when they are up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::manager::systemd::{self, Job, service_of};
use crate::settings::MachineName;
use crate::supervisor::archive;
use crate::supervisor::background::Failure;

/// Starts `names`, and tells `report` of each: what went wrong, or nothing.
///
/// # Errors
/// Where systemd cannot be reached.
pub(super) fn start(
    names: &[MachineName],
    output: Output,
    mut report: impl FnMut(&MachineName, Option<Failure>),
) -> Result<(), systemd::Error> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    systemd::start(names, |name, job| {
        let failure = match job {
            Ok(Job::Done) => {
                output.status(&format!("{name} is ready, as {}", service_of(name)));
                None
            }
            Ok(Job::Failed(result)) => {
                Some(last_failure(name, began).unwrap_or_else(|| unexplained(name, &result)))
            }
            Err(error) => Some(Failure::new(&error, Some(error.hint().to_owned()), EXIT_FAILURE)),
        };
        report(name, failure);
    })
}

/// What the machine's supervisor has noted of the run that `began` then.
fn last_failure(name: &MachineName, began: Duration) -> Option<Failure> {
    let last = archive::last_run(name).ok().flatten()?;
    let ours = u128::from(last.ended_at) >= began.as_micros();
    last.failure.filter(|_| ours)
}

fn unexplained(name: &MachineName, result: &str) -> Failure {
    let unit = service_of(name);
    let why = match result {
        "failed" => String::new(),
        other => format!(" ({other})"),
    };
    let error = Message::new(format!("{unit} did not start{why}"));
    Failure::new(&error, Some(format!("journalctl -u {unit} says why")), EXIT_FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_job() {
        let name = "web".parse().unwrap();
        for (result, message) in [
            ("failed", "spinney@web.service did not start"),
            ("timeout", "spinney@web.service did not start (timeout)"),
        ] {
            let failure = unexplained(&name, result);
            assert_eq!(failure.message, message);
            assert_eq!(failure.hint.as_deref(), Some("journalctl -u spinney@web.service says why"));
        }
    }
}
