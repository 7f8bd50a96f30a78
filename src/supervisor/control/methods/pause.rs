//! Stops all processes of the machine from running.

use super::{Answer, Arguments, Context, Fault, Method};

pub(super) const METHOD: Method = Method {
    name: "Pause",
    description: "# Stops all processes of the machine from running. The reply comes when that is so.
method Pause() -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    context.boot.set_paused(true, Some(arguments.from), context.machine)
}
