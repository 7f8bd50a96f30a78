//! The machine's console for one more.

use serde_json::json;

use super::{Answer, Arguments, Context, Fault, Method, failed};
use crate::sys::stream_socket::stream_pair;
use crate::varlink::service::object;

pub(super) const METHOD: Method = Method {
    name: "AttachConsole",
    description: "# Connects to the console: the reply has the index of an fd, a stream socket that gives what the guest writes and takes keys.
# \"replayLines\" is how much of what was there before comes first; terminal queries in it are left out. Who does not read loses
# output, and the connection in the end. Closing the fd detaches.
method AttachConsole(replayLines: ?int) -> (fileDescriptor: int)",
    streams: false,
    perform,
};

/// More lines than screens have.
const MAX_LINES: usize = 1000;

fn perform(context: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let lines = arguments.parameters.number::<usize>("replayLines")?.unwrap_or(0).min(MAX_LINES);
    arguments.parameters.finish()?;
    let Some(console) = &mut context.machine.parts.console else {
        return Err(failed(
            "it has no console",
            Some("it runs with --console=pipe: its stdin and stdout are those of spinney run"),
        ));
    };
    let (ours, theirs) = stream_pair().map_err(|error| failed(error.to_string(), None))?;
    if !console.attach(ours, lines) {
        return Err(failed("too many are attached to its console", None));
    }
    Ok(Answer::WithFds(object(json!({ "fileDescriptor": 0 })), vec![theirs]))
}
