//! Changes limits of the machine.

use serde_json::{Map, json};

use super::{Answer, Arguments, Context, Fault, Method, failed};
use crate::settings::Limits;
use crate::sys::in_words;

pub(super) const METHOD: Method = Method {
    name: "SetLimits",
    description: "# Changes limits of the running machine, by the names of options (\"memory-max\"), and gives all that hold then.
# Warnings tell of limits that this host does not have. After an error those before it are changed.
method SetLimits(limits: [string][]string) -> (limits: [string][]string, warnings: []string)",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let limits = arguments.parameters.value("limits").ok_or_else(|| Fault::invalid_parameter("limits"))?;
    arguments.parameters.finish()?;
    let changes: Limits = serde_json::from_value(limits).map_err(|error| failed(error.to_string(), None))?;
    let changed = context.machine.change_limits(&changes);
    context.boot.write_state(context.machine, context.report);
    let warnings = changed.map_err(|error| failed(in_words(&error), error.hint()))?;
    let mut results = Map::new();
    results.insert("limits".to_owned(), json!(context.machine.parts.limits));
    results.insert("warnings".to_owned(), json!(warnings));
    Ok(Answer::Results(results))
}
