//! Ends the machine at once.

use super::{Answer, Arguments, Context, Fault, Method, done};

pub(super) const METHOD: Method = Method {
    name: "Terminate",
    description: "# Ends the machine at once, without asking it.
method Terminate() -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    context.boot.kill(context.machine, context.report);
    Ok(done())
}
