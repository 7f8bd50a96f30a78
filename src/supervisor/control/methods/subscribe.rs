//! Events, in our own form, after a snapshot.

use super::super::subscription::{Form, Subscription};
use super::describe::snapshot;
use super::{Answer, Arguments, Context, Fault, Method};
use crate::varlink::service::object;

pub(super) const METHOD: Method = Method {
    name: "Subscribe",
    description: "# Tells events as they happen: all, or those of the names given. The first reply is what Describe says; with \"past\" the events
# follow that have happened since the machine's start, as far as they are remembered. \"time\" is in microseconds since 1970.
# The last event is \"ended\". Must be called with \"more\".
method Subscribe(events: ?[]string, past: ?bool) -> (
  time: ?int,
  event: ?string,
  data: ?object,
  state: ?object,
  activeUnits: ?[]string,
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
    streams: true,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let names = arguments.parameters.texts("events")?;
    let past = arguments.parameters.flag("past")?;
    arguments.parameters.finish()?;
    let subscription = Subscription::new(Form::Spinney, names);
    let mut first = vec![object(snapshot(context).into())];
    if past {
        first.extend(context.machine.control.past().filter_map(|happening| subscription.results(happening)));
    }
    Ok(Answer::Events(first, subscription))
}
