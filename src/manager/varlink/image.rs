//! `io.systemd.MachineImage`, as systemd-machined has it since version 257: what its methods do is in
//! [`crate::manager::machined::images`].

use serde_json::{Map, Value, json};

use super::connection::Exchange;
use super::machine_calls::{Metadata, metadata, needed, that};
use super::{Answering, Last, Served, faults};
use crate::image::{ImageName, Store};
use crate::manager::importd::wish::CLASS;
use crate::manager::machined::image_operations::{ImageOperation, clean_pool, limit_pool};
use crate::manager::machined::images::{Facts, all, find};
use crate::manager::problem::{Kind, Problem};
use crate::varlink::service::object;
use crate::varlink::{Call, Fault, Interface, Parameters};

/// Another name of the socket of `io.systemd.Machine`, where this is served too.
pub const ALIAS: &str = "io.systemd.MachineImage";

/// The interface.
pub const SERVED: Served = Served { name: INTERFACE.name, description: || INTERFACE.description(), answer };

const INTERFACE: Interface = Interface {
    name: "io.systemd.MachineImage",
    about: "Images of machines, as systemd-machined has them.\n\
            Times are in microseconds since 1970, sizes in bytes; what nobody knows is left out.",
    members: &[
        "# Tells of one image, or of all, a reply each. What takes a look into it comes with acquireMetadata: no, yes, graceful.
method List(
  name: ?string,
  allowInteractiveAuthentication: ?bool,
  acquireMetadata: ?string
) -> (
  name: string,
  path: ?string,
  type: string,
  class: string,
  readOnly: bool,
  creationTimestamp: ?int,
  modificationTimestamp: ?int,
  usage: ?int,
  usageExclusive: ?int,
  limit: ?int,
  limitExclusive: ?int,
  hostname: ?string,
  machineId: ?string,
  machineInfo: ?[]string,
  OSRelease: ?[]string
)",
        "# Gives an image another name, marks it read-only or writable, limits it.
method Update(
  name: string,
  allowInteractiveAuthentication: ?bool,
  newName: ?string,
  readOnly: ?bool,
  limit: ?int
) -> ()",
        "# Makes another image of the state of one.
method Clone(name: string, allowInteractiveAuthentication: ?bool, newName: string, readOnly: ?bool) -> ()",
        "# Removes an image.
method Remove(name: string, allowInteractiveAuthentication: ?bool) -> ()",
        "# How much images may take together.
method SetPoolLimit(limit: int, allowInteractiveAuthentication: ?bool) -> ()",
        "# Removes what is hidden beside images (hidden), or all images too (all), a reply each.
method CleanPool(mode: string, allowInteractiveAuthentication: ?bool) -> (name: string, usageExclusive: ?int)",
        "error NoSuchImage()",
        "error TooManyOperations()",
        "error NotSupported()",
    ],
};

/// A call.
#[derive(Debug, PartialEq, Eq)]
enum ImageCall {
    List(Option<String>, Metadata),
    Update { name: String, rename: Option<String>, read_only: Option<bool>, limit: Option<u64> },
    Clone { name: String, to: String, read_only: bool },
    Remove(String),
    SetPoolLimit(u64),
    CleanPool(String),
}

/// Understands a call, and says whether the caller's user may be asked for a password.
fn understand(call: &Call) -> Result<(ImageCall, bool), Fault> {
    let (_, method) = call.interface_and_name();
    let mut with = Parameters::new(call.parameters.clone());
    let name = |with: &mut Parameters| needed(that(with, "name", could_be_an_image)?, "name");
    let new_name = |with: &mut Parameters| that(with, "newName", |name| name.parse::<ImageName>().is_ok());
    let understood = match method {
        "List" => ImageCall::List(that(&mut with, "name", could_be_an_image)?, metadata(&mut with)?),
        "Update" => ImageCall::Update {
            name: name(&mut with)?,
            rename: new_name(&mut with)?,
            read_only: match with.value("readOnly") {
                None => None,
                Some(value) => Some(value.as_bool().ok_or_else(|| Fault::invalid_parameter("readOnly"))?),
            },
            limit: with.number("limit")?,
        },
        "Clone" => ImageCall::Clone {
            name: name(&mut with)?,
            to: needed(new_name(&mut with)?, "newName")?,
            read_only: with.flag("readOnly")?,
        },
        "Remove" => ImageCall::Remove(name(&mut with)?),
        "SetPoolLimit" => ImageCall::SetPoolLimit(needed(with.number("limit")?, "limit")?),
        "CleanPool" => {
            let is_mode = |mode: &str| ["hidden", "all"].contains(&mode);
            ImageCall::CleanPool(needed(that(&mut with, "mode", is_mode)?, "mode")?)
        }
        _ => return Err(Fault::method_not_found(&call.method)),
    };
    let interactive = with.flag("allowInteractiveAuthentication")?;
    with.finish()?;
    Ok((understood, interactive))
}

/// Whether there may be an image of that name: one of ours, the host, or a hidden one that systemd keeps.
fn could_be_an_image(name: &str) -> bool {
    name.parse::<ImageName>().is_ok()
        || (name.starts_with('.')
            && !name.contains('/')
            && !name.contains(char::is_control)
            && !matches!(name, "." | ".."))
}

fn answer<'a>(exchange: &'a mut Exchange<'_>) -> Answering<'a> {
    Box::pin(perform(exchange))
}

async fn perform(exchange: &mut Exchange<'_>) -> Result<Last, Fault> {
    let (call, interactive) = understand(&exchange.call)?;
    match call {
        ImageCall::List(name, metadata) => return list(exchange, interactive, name, metadata).await,
        ImageCall::Update { name, rename, read_only, limit } => {
            let on = on(exchange, interactive, &name);
            // The name last: until then it is the one that the caller knows.
            if let Some(limit) = limit {
                on.set_limit(limit).await.map_err(fault)?;
            }
            if let Some(read_only) = read_only {
                on.mark_read_only(read_only).await.map_err(fault)?;
            }
            if let Some(to) = rename {
                on.rename(&to).await.map_err(fault)?;
            }
        }
        ImageCall::Clone { name, to, read_only } => {
            on(exchange, interactive, &name).clone_to(&to, read_only).await.map_err(fault)?;
        }
        ImageCall::Remove(name) => on(exchange, interactive, &name).remove().await.map_err(fault)?,
        ImageCall::SetPoolLimit(limit) => {
            let caller = exchange.peer.caller(interactive);
            limit_pool(&exchange.context, &caller, limit).await.map_err(fault)?;
        }
        ImageCall::CleanPool(mode) => {
            if !exchange.call.more {
                return Err(Fault::expected_more());
            }
            let caller = exchange.peer.caller(interactive);
            let removed = clean_pool(&exchange.context, &caller, &mode).await.map_err(fault)?;
            let row = |(name, bytes): (String, u64)| {
                let bytes = Some(bytes).filter(|bytes| *bytes != u64::MAX);
                without_nulls(json!({ "name": name, "usageExclusive": bytes }))
            };
            return each(exchange, removed.into_iter().map(row)).await;
        }
    }
    Ok(Last::default())
}

fn on<'a>(exchange: &'a Exchange<'_>, interactive: bool, name: &'a str) -> ImageOperation<'a> {
    ImageOperation { context: &exchange.context, caller: exchange.peer.caller(interactive), name }
}

async fn list(
    exchange: &mut Exchange<'_>,
    interactive: bool,
    name: Option<String>,
    metadata: Metadata,
) -> Result<Last, Fault> {
    let facts = match &name {
        Some(name) => {
            let store = Store::system();
            let found = find(&store, name).map_err(fault)?;
            vec![Facts::of(&store, &found).ok_or_else(|| fault(Problem::no_image(name)))?]
        }
        None if !exchange.call.more => return Err(Fault::expected_more()),
        None => all().map_err(fault)?,
    };
    let mut rows = Vec::new();
    for facts in facts {
        rows.push(described(exchange, interactive, facts, metadata).await?);
    }
    each(exchange, rows.into_iter()).await
}

/// A reply for each; where there is none, systemd-machined says that there is no image.
async fn each(
    exchange: &mut Exchange<'_>,
    rows: impl Iterator<Item = Map<String, Value>>,
) -> Result<Last, Fault> {
    let mut last = Map::new();
    for row in rows {
        let before = std::mem::replace(&mut last, row);
        if !before.is_empty() && !exchange.reply(before).await {
            break;
        }
    }
    if last.is_empty() { Err(error("NoSuchImage")) } else { Ok(Last { parameters: last, fds: Vec::new() }) }
}

async fn described(
    exchange: &Exchange<'_>,
    interactive: bool,
    facts: Facts,
    metadata: Metadata,
) -> Result<Map<String, Value>, Fault> {
    let time = |time: u64| Some(time).filter(|time| *time != 0);
    let size = |size: u64| Some(size).filter(|size| *size != u64::MAX);
    let mut told = without_nulls(json!({
        "name": facts.name,
        "path": facts.path,
        "type": facts.kind,
        "class": CLASS,
        "readOnly": facts.read_only,
        "creationTimestamp": time(facts.created),
        "modificationTimestamp": time(facts.modified),
        "usage": size(facts.usage),
        "usageExclusive": size(facts.usage),
        "limit": size(facts.limit),
        "limitExclusive": size(facts.limit),
    }));
    if metadata == Metadata::No {
        return Ok(told);
    }
    let look = on(exchange, interactive, &facts.name).look("get_metadata").await;
    let look = match look {
        Err(_) if metadata == Metadata::Graceful => return Ok(told),
        look => look.map_err(fault)?,
    };
    let fields = |name: &str| -> Option<Value> {
        let fields = look.get(name)?.as_object().filter(|fields| !fields.is_empty())?;
        let lines = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
        Some(lines.collect::<Vec<_>>().into())
    };
    let text = |name: &str| look.get(name)?.as_str().filter(|text| !text.is_empty());
    told.extend(without_nulls(json!({
        "hostname": text("hostname"),
        "machineId": text("machine_id"),
        "machineInfo": fields("machine_info"),
        "OSRelease": fields("os_release"),
    })));
    Ok(told)
}

fn without_nulls(value: Value) -> Map<String, Value> {
    let mut parameters = object(value);
    parameters.retain(|_, value| !value.is_null());
    parameters
}

fn error(name: &str) -> Fault {
    Fault::new(format!("{}.{name}", INTERFACE.name))
}

/// A problem under the names of this interface.
fn fault(problem: Problem) -> Fault {
    match problem.kind {
        Kind::NoSuchImage => error("NoSuchImage"),
        Kind::NotSupported => error("NotSupported"),
        Kind::TooMany => error("TooManyOperations"),
        _ => faults::common(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_one() {
        let members = crate::varlink::grammar::parse(&INTERFACE.description()).expect("a description");
        assert_eq!(members.interface, "io.systemd.MachineImage");
        assert_eq!(members.methods, ["List", "Update", "Clone", "Remove", "SetPoolLimit", "CleanPool"]);
        assert_eq!(members.errors.len(), 3);
    }

    #[test]
    fn calls() {
        let refused = |name: &str| Err(Fault::invalid_parameter(name));
        let a = || "a".to_owned();
        let table = [
            ("Remove", json!({"name": "a"}), Ok((ImageCall::Remove(a()), false))),
            ("Remove", json!({}), refused("name")),
            ("Remove", json!({"name": 7}), refused("name")),
            ("Remove", json!({"name": "../etc"}), refused("name")),
            ("Remove", json!({"name": ".."}), refused("name")),
            ("Remove", json!({"name": ""}), refused("name")),
            ("List", json!({"name": "a/b"}), refused("name")),
            (
                "List",
                json!({"name": ".raw-x", "acquireMetadata": "graceful"}),
                Ok((ImageCall::List(Some(".raw-x".to_owned()), Metadata::Graceful), false)),
            ),
            ("Clone", json!({"name": "a", "newName": ".b"}), refused("newName")),
            ("Update", json!({"name": "a", "newName": "b/c"}), refused("newName")),
            ("Remove", json!({"name": "a", "x": 1}), refused("x")),
            ("List", json!({}), Ok((ImageCall::List(None, Metadata::No), false))),
            ("List", json!({"acquireMetadata": "x"}), refused("acquireMetadata")),
            (
                "Clone",
                json!({"name": "a", "newName": "b", "allowInteractiveAuthentication": true}),
                Ok((ImageCall::Clone { name: a(), to: "b".to_owned(), read_only: false }, true)),
            ),
            ("Clone", json!({"name": "a"}), refused("newName")),
            (
                "Update",
                json!({"name": "a", "readOnly": false}),
                Ok((
                    ImageCall::Update { name: a(), rename: None, read_only: Some(false), limit: None },
                    false,
                )),
            ),
            ("Update", json!({"name": "a", "readOnly": "x"}), refused("readOnly")),
            ("Update", json!({"name": "a", "limit": -1}), refused("limit")),
            ("SetPoolLimit", json!({"limit": 1}), Ok((ImageCall::SetPoolLimit(1), false))),
            ("CleanPool", json!({}), refused("mode")),
            ("CleanPool", json!({"mode": "some"}), refused("mode")),
            ("CleanPool", json!({"mode": "hidden"}), Ok((ImageCall::CleanPool("hidden".to_owned()), false))),
        ];
        for (method, parameters, expected) in table {
            let call = Call::new(&format!("{}.{method}", INTERFACE.name), object(parameters.clone()));
            assert_eq!(understand(&call), expected, "{method} {parameters}");
        }
    }
}
