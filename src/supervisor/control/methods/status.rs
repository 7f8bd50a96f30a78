//! How the machine is, in two words: what `io.systemd.MachineInstance` wants to know.

use serde_json::json;

use super::super::super::state::Phase;
use super::{Answer, Arguments, Context, Fault, Method};
use crate::varlink::service::object;

pub(super) const METHOD: Method = Method {
    name: "Describe",
    description: "# Says how the machine is: starting, running, stopping or paused.
method Describe() -> (running: bool, status: string)",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    let (running, status) = match (context.boot.is_paused(), context.boot.phase) {
        (true, _) => (false, "paused"),
        (false, Phase::Booting) => (true, "starting"),
        (false, Phase::Ready) => (true, "running"),
        (false, Phase::Stopping) => (true, "stopping"),
    };
    Ok(Answer::Results(object(json!({ "running": running, "status": status }))))
}
