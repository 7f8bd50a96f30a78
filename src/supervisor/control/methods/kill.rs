//! Signals to processes of the machine.

use rustix::io::Errno;

use super::{Answer, Arguments, Context, Fault, Method, done, failed};
use crate::runtime::cgroup_signal::signal_all;
use crate::sys::process::pidfd_send_signal;
use crate::sys::signal::LAST;

pub(super) const METHOD: Method = Method {
    name: "Kill",
    description: "# Sends a signal to PID 1 of the machine (\"leader\") or to all of its processes (\"all\", the default).
method Kill(whom: ?string, signal: int) -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let whom = arguments.parameters.text("whom")?;
    let signal = arguments.parameters.number::<i32>("signal")?;
    arguments.parameters.finish()?;
    let signal = signal.filter(|signal| (1..=LAST).contains(signal));
    let signal = signal.ok_or_else(|| Fault::invalid_parameter("signal"))?;
    let sent = match whom.as_deref() {
        Some("leader") => pidfd_send_signal(&context.boot.running.pidfd, signal),
        None | Some("all") => signal_all(context.machine.parts.cgroup.outer(), signal).map(drop),
        Some(_) => return Err(Fault::invalid_parameter("whom")),
    };
    match sent {
        // It has just ended: what a signal to it would be for.
        Err(error) if error.errno() == Errno::SRCH => Ok(done()),
        Err(error) => Err(failed(format!("the signal cannot be sent: {error}"), None)),
        Ok(()) => Ok(done()),
    }
}
