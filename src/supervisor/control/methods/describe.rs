//! All that is known of the machine.

use super::{Answer, Arguments, Context, Fault, Method};
use crate::varlink::service::object;

pub(super) const METHOD: Method = Method {
    name: "Describe",
    description: "# Says all that is known: the state file's content, and what the guest has said of itself since its boot (sd_notify(3)).
method Describe() -> (
  state: object,
  activeUnits: []string,
  hostname: ?string,
  machineId: ?string,
  signalsLevel: ?int,
  mainPid: ?int,
  exitStatus: ?int,
  shutdown: ?string,
  rebootParameter: ?string,
  errno: ?int,
  busError: ?string,
  watchdogInterval: ?int,
  watchdogAt: ?int
)",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    Ok(Answer::Results(snapshot(context)))
}

/// The results.
pub(super) fn snapshot(context: &Context<'_, '_, '_>) -> serde_json::Map<String, serde_json::Value> {
    let snapshot = context.boot.snapshot(context.machine);
    // It is written to the state file all the time.
    object(serde_json::to_value(snapshot).unwrap_or_default())
}
