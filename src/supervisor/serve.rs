//! The life of a machine after its first leader has started: boot after boot, until it is over.

use std::time::{Duration, Instant};

use super::boot::Boot;
use super::error::Error;
use super::fault;
use super::start::Machine;
use super::verdict::Verdict;
use super::{Event, Outcome, Report, Request};

/// How long the user's side may take the console's last output.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the machine until it is over, then gives everything back.
pub(super) fn serve(
    mut machine: Machine,
    request: &Request,
    report: &mut Report<'_>,
) -> Result<Outcome, Error> {
    let mut boots = 0;
    let mut since = request.started;
    let (result, stopping) = loop {
        boots += 1;
        let mut boot = match Boot::begin(&mut machine, request, since, boots, report) {
            Ok(boot) => boot,
            Err(error) => break (Err(error), None),
        };
        let ended = boot.run(&mut machine, report);
        fault::point("ended");
        let verdict = ended.map(|ended| boot.judge(&machine, ended));
        match verdict {
            Ok(Verdict::Reboot) => {
                since = Instant::now();
                report(&Event::Rebooting { name: machine.parts.plan.name.as_str() });
                if let Err(source) = machine.parts.cgroup.renew() {
                    break (Err(Error::System { action: "make the machine's cgroup anew", source }), None);
                }
                let mounts = machine.claimed.mount_points();
                if let Err(source) =
                    crate::runtime::root::make_writable_again(&machine.parts.plan.root, mounts)
                {
                    break (Err(Error::System { action: "make the root writable again", source }), None);
                }
            }
            Ok(Verdict::End(result)) => break (result, boot.stop.map(|stop| stop.since.elapsed())),
            Err(error) => break (Err(error), None),
        }
    };
    finish(machine, request, result, stopping, report)
}

/// Leaves terminal and host as they were.
fn finish(
    machine: Machine,
    request: &Request,
    result: Result<Outcome, Error>,
    stopping: Option<Duration>,
    report: &mut Report<'_>,
) -> Result<Outcome, Error> {
    let Machine { claimed, parts } = machine;
    let name = parts.plan.name.clone();
    if let Some(console) = parts.console {
        // Whatever the console says at the very end, the machine's own result is what counts.
        let _ = console.finish(PATIENCE);
    }
    drop((parts.user_namespace, parts.cgroup, parts.legacy_cgroup, parts.scratch, parts.tree));
    if request.background {
        super::archive::keep_or_warn(request, claimed.directory(), result.as_ref().copied(), report);
    }
    let faults = claimed.release();
    if result.is_ok() {
        report(&Event::Ended { name: name.as_str(), after: stopping });
    }
    match (result, faults.is_empty()) {
        (Err(error), _) => {
            for fault in faults {
                report(&Event::Warning(&format!("left behind: {fault}")));
            }
            Err(error)
        }
        (Ok(_), false) => Err(Error::Teardown { name: name.to_string(), faults }),
        (Ok(outcome), true) => Ok(outcome),
    }
}
