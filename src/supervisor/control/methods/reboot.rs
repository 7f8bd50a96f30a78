//! Has the guest reboot, in the way of its init.

use super::super::super::stop::Goal;
use super::{Answer, Arguments, Context, Fault, Method, done, failed};

pub(super) const METHOD: Method = Method {
    name: "Reboot",
    description: "# Asks the machine to reboot, in the way of its init. It keeps its name, its supervisor and its throw-away layer.
method Reboot() -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    if context.boot.stop.as_ref().is_some_and(|stop| stop.goal == Goal::PowerOff) {
        return Err(failed("it is powering off", None));
    }
    context.boot.begin_stop(Goal::Reboot, context.machine, context.report);
    Ok(done())
}
