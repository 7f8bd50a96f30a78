//! Has the guest power off, in the way of its init.

use super::super::super::stop::Goal;
use super::{Answer, Arguments, Context, Fault, Method, done};

pub(super) const METHOD: Method = Method {
    name: "PowerOff",
    description: "# Asks the machine to power off, in the way of its init. The reply does not wait for its end, which an event tells.
method PowerOff() -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    context.boot.begin_stop(Goal::PowerOff, context.machine, context.report);
    Ok(done())
}
