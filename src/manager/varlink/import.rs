//! `io.systemd.Import`, as systemd-importd has it since version 257: what its methods do is in [`crate::manager::importd`].

use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::connection::Exchange;
use super::machine_calls::needed;
use super::{Answering, Last, Served, faults};
use crate::manager::importd::access::{PULL, allowed};
use crate::manager::importd::transfers::{Event, Order, Transfer};
use crate::manager::importd::wish::{CLASS, FORCE, KEEP_DOWNLOAD, Kind, READ_ONLY, Wish, is_asked};
use crate::manager::importd::{announce, start};
use crate::manager::problem::{Kind as ProblemKind, Problem};
use crate::transfer::told::Outcome;
use crate::varlink::service::object;
use crate::varlink::{Call, Fault, Interface, Parameters};

/// Where it is served.
pub const SOCKET: &str = "/run/systemd/io.systemd.Import";

/// The interface.
pub const SERVED: Served = Served { name: INTERFACE.name, description: || INTERFACE.description(), answer };

const INTERFACE: Interface = Interface {
    name: "io.systemd.Import",
    about: "Images that come from servers, as systemd-importd has it.",
    members: &[
        "type LogMessage(message: string, priority: int)",
        "# Tells of the transfers that run, a reply each. How far one is, is said from 0 to 1.
method ListTransfers(class: ?string) -> (
  id: int,
  type: string,
  remote: string,
  local: string,
  class: string,
  percent: float
)",
        "# Fetches an image: raw or tar. Its number is said, and with more what it says and how far it is, from 0 to 1, to its end.
method Pull(
  remote: string,
  local: ?string,
  type: string,
  class: string,
  verify: ?string,
  force: ?bool,
  readOnly: ?bool,
  keepDownload: ?bool,
  imageRoot: ?string,
  allowInteractiveAuthentication: ?bool
) -> (progress: ?float, log: ?LogMessage, id: ?int)",
        "error AlreadyInProgress(remote: string)",
        "error TransferCancelled()",
        "error TransferFailed()",
        "error NoTransfers()",
    ],
};

/// A call.
#[derive(Debug, PartialEq, Eq)]
enum ImportCall {
    ListTransfers(String),
    Pull(Wish, bool),
}

fn understand(call: &Call) -> Result<ImportCall, Fault> {
    let (_, method) = call.interface_and_name();
    let mut with = Parameters::new(call.parameters.clone());
    let understood = match method {
        "ListTransfers" => {
            let class = with.text("class")?.unwrap_or_default();
            is_asked(&class).map_err(|_| Fault::invalid_parameter("class"))?;
            ImportCall::ListTransfers(class)
        }
        "Pull" => pull_call(&mut with)?,
        _ => return Err(Fault::method_not_found(&call.method)),
    };
    with.finish()?;
    Ok(understood)
}

fn pull_call(with: &mut Parameters) -> Result<ImportCall, Fault> {
    let remote = needed(with.text("remote")?, "remote")?;
    let local = with.text("local")?.unwrap_or_default();
    let kind = match needed(with.text("type")?, "type")?.as_str() {
        "raw" => Kind::PullRaw,
        "tar" => Kind::PullTar,
        _ => return Err(Fault::invalid_parameter("type")),
    };
    let class = needed(with.text("class")?, "class")?;
    let verify = with.text("verify")?.unwrap_or_default();
    let mut flags = 0;
    for (name, bit) in [("force", FORCE), ("readOnly", READ_ONLY), ("keepDownload", KEEP_DOWNLOAD)] {
        flags |= if with.flag(name)? { bit } else { 0 };
    }
    if with.text("imageRoot")?.is_some_and(|root| root != crate::image::store::POOL) {
        // Whoever may pull, may not therefore write wherever he likes.
        return Err(Fault::invalid_parameter("imageRoot"));
    }
    let interactive = with.flag("allowInteractiveAuthentication")?;
    let wish = Wish::pull(kind, &remote, &local, &class, &verify, flags)
        .map_err(|problem| fault(problem, &remote))?;
    Ok(ImportCall::Pull(wish, interactive))
}

fn answer<'a>(exchange: &'a mut Exchange<'_>) -> Answering<'a> {
    Box::pin(perform(exchange))
}

async fn perform(exchange: &mut Exchange<'_>) -> Result<Last, Fault> {
    match understand(&exchange.call)? {
        ImportCall::ListTransfers(class) => list(exchange, &class).await,
        ImportCall::Pull(wish, interactive) => pull(exchange, &wish, interactive).await,
    }
}

async fn list(exchange: &mut Exchange<'_>, class: &str) -> Result<Last, Fault> {
    if !exchange.call.more {
        return Err(Fault::expected_more());
    }
    announce(&exchange.context).await.map_err(faults::common)?;
    let mut transfers = exchange.context.transfers().all();
    if !is_asked(class).unwrap_or(false) {
        transfers.clear();
    }
    let Some(last) = transfers.pop() else { return Err(error("NoTransfers")) };
    for transfer in transfers {
        if !exchange.reply(described(&transfer)).await {
            break;
        }
    }
    Ok(Last { parameters: described(&last), fds: Vec::new() })
}

fn described(transfer: &Transfer) -> Map<String, Value> {
    object(json!({
        "id": transfer.id(),
        "type": transfer.kind().replace('-', "_"),
        "remote": transfer.remote(),
        "local": transfer.local(),
        "class": CLASS,
        "percent": transfer.progress(),
    }))
}

async fn pull(exchange: &mut Exchange<'_>, wish: &Wish, interactive: bool) -> Result<Last, Fault> {
    let caller = exchange.peer.caller(interactive);
    allowed(&exchange.context, &caller, PULL).await.map_err(faults::common)?;
    let started = start(&exchange.context, &Order::from(wish), None).await;
    let transfer = started.map_err(|problem| fault(problem, &wish.remote))?;
    // Before anything of it is told.
    let mut events = transfer.events();
    let id = object(json!({ "id": transfer.id() }));
    if !exchange.call.more {
        return Ok(Last { parameters: id, fds: Vec::new() });
    }
    let mut reading = exchange.reply(id).await;
    // A client that does not read stops nothing: it is only told no more.
    while reading {
        let told = match events.recv().await {
            Ok(Event::Line(priority, message)) => {
                json!({ "log": { "message": message, "priority": priority } })
            }
            Ok(Event::Progress(progress)) => json!({ "progress": progress }),
            Ok(Event::Over(Outcome::Done)) => return Ok(Last::default()),
            Ok(Event::Over(Outcome::Cancelled)) => return Err(error("TransferCancelled")),
            Ok(Event::Over(Outcome::Failed)) | Err(RecvError::Closed) => return Err(error("TransferFailed")),
            Err(RecvError::Lagged(_)) => continue,
        };
        reading = exchange.reply(object(told)).await;
    }
    Ok(Last::default())
}

fn error(name: &str) -> Fault {
    Fault::new(format!("{}.{name}", INTERFACE.name))
}

/// A problem with `remote` under the names of this interface.
fn fault(problem: Problem, remote: &str) -> Fault {
    match problem.kind {
        ProblemKind::Busy => error("AlreadyInProgress").with("remote", remote),
        _ => faults::common(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_one() {
        let members = crate::varlink::grammar::parse(&INTERFACE.description()).expect("a description");
        assert_eq!(members.interface, "io.systemd.Import");
        assert_eq!(members.methods, ["ListTransfers", "Pull"]);
        assert_eq!(
            members.errors,
            ["AlreadyInProgress", "TransferCancelled", "TransferFailed", "NoTransfers"]
        );
    }

    #[test]
    fn calls() {
        let table = [
            ("ListTransfers", json!({}), "ListTransfers(\"\")"),
            ("ListTransfers", json!({"class": "x"}), "\"class\""),
            (
                "Pull",
                json!({"remote": "http://a/b", "local": "c", "type": "tar", "class": "machine", "force": true}),
                "pull-tar --quiet --force --verify=signature -- http://a/b c",
            ),
            (
                "Pull",
                json!({"remote": "http://a/b", "local": "c", "type": "oci", "class": "machine"}),
                "\"type\"",
            ),
            ("Pull", json!({"remote": "http://a/b", "type": "tar"}), "\"class\""),
            (
                "Pull",
                json!({"remote": "ftp://a/b", "local": "c", "type": "tar", "class": "machine"}),
                "\"URL ftp://a/b is invalid\"",
            ),
            (
                "Pull",
                json!({"remote": "http://a/b", "local": "c", "type": "tar", "class": "machine", "imageRoot": "/etc"}),
                "\"imageRoot\"",
            ),
            ("Push", json!({}), "\"io.systemd.Import.Push\""),
        ];
        for (method, parameters, expected) in table {
            let call = Call::new(&format!("{}.{method}", INTERFACE.name), object(parameters.clone()));
            let said = match understand(&call) {
                Ok(ImportCall::Pull(wish, _)) => wish.arguments().join(" "),
                Ok(call) => format!("{call:?}"),
                Err(fault) => fault.parameters.values().next().map(Value::to_string).unwrap_or_default(),
            };
            assert_eq!(said, expected, "{method} {parameters}");
        }
    }
}
