//! What can be asked over the control socket: the interfaces, their tables of methods, and finding the one that is called.

mod attach_console;
mod describe;
mod kill;
mod pause;
mod ports;
mod power_off;
mod reboot;
mod resume;
mod set_console_size;
mod set_limits;
mod status;
mod storage;
mod subscribe;
mod subscribe_events;
mod terminate;

use std::os::fd::OwnedFd;

use serde_json::Map;

use super::super::Report;
use super::super::boot::Boot;
use super::super::machine::Machine;
use super::{Answer, ConnectionId, INTERFACE, Incoming};
use crate::varlink::{Fault, Interface, Parameters, Service};

/// The interface of systemd's machine managers.
pub(super) const MACHINE_INSTANCE: &str = "io.systemd.MachineInstance";

const SERVICE: Service = Service {
    vendor: "Spinney",
    product: "Spinney machine supervisor",
    version: env!("CARGO_PKG_VERSION"),
    url: "",
};

/// What a method is done to.
pub(in super::super) struct Context<'c, 'b, 'r> {
    pub(in super::super) boot: &'c mut Boot<'b>,
    pub(in super::super) machine: &'c mut Machine,
    pub(in super::super) report: &'c mut Report<'r>,
}

/// What a method was called with.
#[derive(Debug)]
pub(in super::super) struct Arguments {
    /// For [`super::Control::finish`], where the answer is [`Answer::Later`].
    pub(in super::super) from: ConnectionId,
    /// Take them all, then [`Parameters::finish`].
    pub(in super::super) parameters: Parameters,
    /// They are closed with this unless they are taken.
    #[allow(dead_code, reason = "no method takes any so far")]
    pub(in super::super) fds: Vec<OwnedFd>,
}

/// A method.
pub(in super::super) struct Method {
    pub(in super::super) name: &'static str,
    /// In the language of interface descriptions, with `#` comments before it.
    pub(in super::super) description: &'static str,
    /// It has more than one reply, and must be called so.
    pub(in super::super) streams: bool,
    pub(in super::super) perform: fn(&mut Context<'_, '_, '_>, Arguments) -> Result<Answer, Fault>,
}

/// An interface with its methods.
struct Served {
    /// Its members are the errors and types.
    interface: Interface,
    methods: &'static [&'static Method],
}

/// All interfaces but `org.varlink.service`, which [`Service`] answers.
static SERVED: [Served; 2] = [
    Served {
        interface: Interface {
            name: MACHINE_INSTANCE,
            about: "Controls the machine, as systemd's own machine managers have it since version 261.\n\
                    More is in org.spinney.Machine.",
            members: &storage::ERRORS,
        },
        methods: &[
            &terminate::METHOD,
            &power_off::METHOD,
            &reboot::METHOD,
            &pause::METHOD,
            &resume::METHOD,
            &status::METHOD,
            &subscribe_events::METHOD,
            &storage::ADD,
            &storage::REMOVE,
            &storage::REPLACE,
        ],
    },
    Served {
        interface: Interface {
            name: INTERFACE,
            about: "Controls a machine of Spinney: what io.systemd.MachineInstance lacks.",
            members: &["# It cannot be done: why, and the next step where one is known.
error Failed(message: string, hint: ?string)"],
        },
        methods: &[
            &describe::METHOD,
            &subscribe::METHOD,
            &kill::METHOD,
            &attach_console::METHOD,
            &set_console_size::METHOD,
            &set_limits::METHOD,
            &ports::LIST,
            &ports::PUBLISH,
            &ports::UNPUBLISH,
        ],
    },
];

impl Served {
    fn description(&self) -> String {
        let methods = self.methods.iter().map(|method| method.description);
        self.interface.with_members(methods.chain(self.interface.members.iter().copied()))
    }
}

/// Does what was asked for.
pub(in super::super) fn perform(
    context: &mut Context<'_, '_, '_>,
    incoming: &mut Incoming,
) -> Result<Answer, Fault> {
    let call = &mut incoming.call;
    let descriptions = SERVED.each_ref().map(|served| || served.description());
    let [first, second] = descriptions.each_ref().map(|description| description as &dyn Fn() -> String);
    let interfaces = [(SERVED[0].interface.name, first), (SERVED[1].interface.name, second)];
    if let Some(answered) = SERVICE.answer(call, &interfaces) {
        return answered.map(Answer::Results);
    }
    let (interface, name) = call.interface_and_name();
    let served = SERVED.iter().find(|served| served.interface.name == interface);
    let served = served.ok_or_else(|| Fault::interface_not_found(interface))?;
    let method = served.methods.iter().find(|method| method.name == name);
    let method = method.ok_or_else(|| Fault::method_not_found(&call.method))?;
    if method.streams && !call.more {
        return Err(Fault::expected_more());
    }
    let arguments = Arguments {
        from: incoming.from,
        parameters: Parameters::new(std::mem::take(&mut call.parameters)),
        fds: std::mem::take(&mut incoming.fds),
    };
    (method.perform)(context, arguments)
}

/// A fault in words: the message begins lower case, as in errors of the command line.
pub(in super::super) fn failed(message: impl Into<String>, hint: Option<&str>) -> Fault {
    let fault = Fault::new(format!("{INTERFACE}.Failed")).with("message", message.into());
    match hint {
        Some(hint) => fault.with("hint", hint),
        None => fault,
    }
}

/// Done, and nothing to say.
pub(in super::super) fn done() -> Answer {
    Answer::Results(Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::varlink::grammar::parse;

    #[test]
    fn descriptions_follow_the_grammar_and_describe_what_is_served() {
        for served in &SERVED {
            let text = served.description();
            let described = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let names: Vec<&str> = served.methods.iter().map(|method| method.name).collect();
            assert_eq!(described.interface, served.interface.name);
            assert_eq!(described.methods, names, "{text}");
            assert!(served.methods.iter().all(|method| method.description.starts_with("# ")), "{text}");
        }
    }

    /// What systemd 261 has, so that its clients find it.
    #[test]
    fn the_standard_interface_is_whole() {
        let described = parse(&SERVED[0].description()).expect("a description");
        let methods = "Terminate PowerOff Reboot Pause Resume Describe SubscribeEvents AddStorage RemoveStorage \
                       ReplaceStorage";
        assert_eq!(described.methods.join(" "), methods);
        let errors = "NotConnected NotSupported NoSuchStorage StorageExists StorageImmutable BadConfig \
                      ConfigNotSupported";
        assert_eq!(described.errors.join(" "), errors);
    }
}
