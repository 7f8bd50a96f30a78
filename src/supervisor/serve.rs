//! The life of a machine after its first leader has started: boot after boot, until it is over.

use std::time::{Duration, Instant};

use super::boot::Boot;
use super::error::Error;
use super::fault;
use super::guest_logs::GuestLogs;
use super::machine::Machine;
use super::machine_event::{EndReason, MachineEvent};
use super::verdict::Verdict;
use super::{Event, Outcome, Report, Request};
use crate::runtime::mounts::renew_boot_id;
use crate::settings::Uuid;
use crate::sys::in_words;

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
    let mut reason = EndReason::Failed;
    let mut logs: Option<GuestLogs> = None;
    let (result, stopping) = loop {
        boots += 1;
        let mut boot = match Boot::begin(&mut machine, request, since, boots, report) {
            Ok(boot) => boot,
            Err(error) => break (Err(error), None),
        };
        if request.background {
            logs = Some(GuestLogs::hold(&boot.running, &machine.parts.plan, logs.as_ref()));
        }
        let ended = boot.run(&mut machine, report);
        // What the guest wrote last may be why it died: it is in the log before anyone looks there. A fault comes again when
        // the console is finished.
        if let Some(console) = &mut machine.parts.console {
            let _ = console.drain(PATIENCE);
        }
        boot.look_for_kills(true, &mut machine, report);
        if let Err(error) = machine.parts.network.end_boot() {
            report(&Event::Warning(&in_words(&error)));
        }
        fault::point("ended");
        reason = ended.as_ref().map_or(EndReason::Failed, |ended| boot.end_reason(&machine, *ended));
        let verdict = ended.map(|ended| boot.judge(&machine, ended));
        match verdict {
            Ok(Verdict::Reboot) => {
                since = Instant::now();
                report(&Event::Rebooting { name: machine.parts.plan.name.as_str() });
                // Without one the next boot has the last one's again, and does not fail.
                if let Ok(id) = Uuid::random() {
                    renew_boot_id(&mut machine.parts.plan.mounts, id);
                }
                machine
                    .control
                    .publish(MachineEvent::Rebooting { parameter: boot.said.reboot_parameter.clone() });
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
    let result = result.map_err(|error| machine.for_want_of_memory(error));
    let last = match &result {
        Ok(outcome) => MachineEvent::Ended { exit_status: outcome.exit_status, reason, error: None },
        Err(error) => {
            MachineEvent::Ended { exit_status: error.exit_status(), reason, error: Some(error.to_string()) }
        }
    };
    finish(machine, request, logs.as_ref(), result, stopping, last, report)
}

/// Leaves terminal and host as they were.
fn finish(
    machine: Machine,
    request: &Request,
    logs: Option<&GuestLogs>,
    result: Result<Outcome, Error>,
    stopping: Option<Duration>,
    last: MachineEvent,
    report: &mut Report<'_>,
) -> Result<Outcome, Error> {
    let Machine { claimed, parts, mut control, keeper } = machine;
    let name = parts.plan.name.clone();
    if let Some(console) = parts.console {
        // Whatever the console says at the very end, the machine's own result is what counts.
        let _ = console.finish(PATIENCE);
    }
    drop(keeper);
    // Nothing is bound and nobody served any more; a proxy is in our mount namespace, which is to go.
    parts.network.note_use(&name, request.started);
    drop(parts.network);
    drop((parts.user_namespace, parts.cgroup, parts.legacy_cgroup, parts.scratch, parts.tree));
    if let Some(logs) = logs {
        let kept = super::archive::open(claimed.directory().name()).and_then(|archive| logs.keep(&archive));
        if let Err(error) = kept {
            report(&Event::Warning(&format!("what the guest has logged is not kept: {error}")));
        }
    }
    if request.background {
        super::archive::keep_or_warn(request, claimed.directory(), result.as_ref().copied(), report);
    }
    let mut registration = parts.registration;
    registration.stop();
    // A command is waited for; a machine that booted has taken its time.
    let faults = claimed.release(parts.init.is_none() && !request.background);
    // A child of ours has the locks of what was released, for a moment.
    registration.end();
    control.publish(last);
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
