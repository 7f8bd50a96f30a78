//! Events, in the form of `io.systemd.MachineInstance`.

use serde_json::json;

use super::super::subscription::{Form, Subscription};
use super::{Answer, Arguments, Context, Fault, Method};
use crate::varlink::service::object;

pub(super) const METHOD: Method = Method {
    name: "SubscribeEvents",
    description: "# Tells events as they happen: all, or those of the names given. A first one called \"READY\" says that it has begun, as
# systemd-vmspawn does it. Must be called with \"more\".
method SubscribeEvents(filter: ?[]string) -> (event: string, data: ?object)",
    streams: true,
    perform,
};

fn perform(_: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let names = arguments.parameters.texts("filter")?;
    arguments.parameters.finish()?;
    let begun = object(json!({ "event": "READY" }));
    Ok(Answer::Events(vec![begun], Subscription::new(Form::MachineInstance, names)))
}
