//! Ports of the host that lead to the machine, and what of the host's is offered in it.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::super::super::ports::Change;
use super::{Answer, Arguments, Context, Fault, Method, failed};
use crate::network::ports::PortsError;
use crate::settings::ValueError;
use crate::sys::in_words;
use crate::varlink::Parameters;
use crate::varlink::service::object;

pub(super) const LIST: Method = Method {
    name: "ListPorts",
    description: "# Says which ports of the host lead to the machine, as --port= has them (\"tcp:8080:80\"), what of the host's is offered in it,
# as --offer= has it (\"tcp:5432:5432\"), and which processes serve both.
method ListPorts() -> (ports: []string, offers: []string, processes: []int)",
    streams: false,
    perform: list,
};

pub(super) const PUBLISH: Method = Method {
    name: "Publish",
    description: "# Has ports of the host lead to the machine, and offers things of the host's in it: all that is named, or nothing. They hold until
# the machine is off, over reboots too. Gives all that there are then.
method Publish(ports: ?[]string, offers: ?[]string) -> (ports: []string, offers: []string, processes: []int)",
    streams: false,
    perform: publish,
};

pub(super) const UNPUBLISH: Method = Method {
    name: "Unpublish",
    description: "# Takes ports and offers away again. Of a port the host's side counts, of an offer the machine's. Gives what they were.
method Unpublish(ports: ?[]string, offers: ?[]string) -> (ports: []string, offers: []string)",
    streams: false,
    perform: unpublish,
};

fn list(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    arguments.parameters.finish()?;
    Ok(Answer::Results(all(context)))
}

fn publish(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    let change = change(arguments.parameters)?;
    context.boot.publish(change, context.machine, context.report).map_err(|error| refused(&error))?;
    Ok(Answer::Results(all(context)))
}

fn unpublish(context: &mut Context<'_, '_, '_>, arguments: Arguments) -> Result<Answer, Fault> {
    let change = change(arguments.parameters)?;
    let done = context.boot.unpublish(&change, context.machine, context.report);
    let done = done.map_err(|error| refused(&error))?;
    Ok(Answer::Results(object(json!({ "ports": texts(&done.ports), "offers": texts(&done.offers) }))))
}

fn all(context: &Context<'_, '_, '_>) -> Map<String, Value> {
    let ports = context.machine.parts.network.ports.as_ref();
    let (mappings, offers, processes) =
        ports.map(|ports| (ports.mappings(), ports.offers(), ports.proxies())).unwrap_or_default();
    object(json!({ "ports": texts(&mappings), "offers": texts(&offers), "processes": processes }))
}

fn texts(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn change(mut parameters: Parameters) -> Result<Change, Fault> {
    let (ports, offers) = (parameters.texts("ports")?, parameters.texts("offers")?);
    parameters.finish()?;
    Ok(Change { ports: parse(ports)?, offers: parse(offers)? })
}

fn parse<T: FromStr<Err = ValueError>>(texts: Option<Vec<String>>) -> Result<Vec<T>, Fault> {
    let parsed = texts.unwrap_or_default().into_iter().map(|text| text.parse());
    parsed.collect::<Result<_, ValueError>>().map_err(|error| failed(error.to_string(), Some(error.hint())))
}

fn refused(error: &PortsError) -> Fault {
    failed(in_words(error), error.hint().as_deref())
}
