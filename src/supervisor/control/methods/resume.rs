//! Lets the processes of a paused machine run again.

use super::{Answer, Arguments, Context, Fault, Method};

pub(super) const METHOD: Method = Method {
    name: "Resume",
    description: "# Lets the processes of a paused machine run again. The reply comes when that is so.
method Resume() -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    context.boot.set_paused(false, Some(arguments.from), context.machine)
}
