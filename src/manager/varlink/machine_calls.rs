//! Calls of `io.systemd.Machine` as data: parameters to what they mean. Pure.

use serde_json::Value;

use crate::manager::machined::registration::Registration;
use crate::varlink::{Call, Fault, Parameters};

/// Which machine is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// By its name.
    pub name: Option<String>,
    /// By a process of it.
    pub pid: Option<i32>,
    /// The caller's user may be asked for a password.
    pub interactive: bool,
}

/// Whether what takes a look into the machine is told too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metadata {
    /// It is not.
    #[default]
    No,
    /// It is, or the call fails.
    Yes,
    /// It is where it can be had.
    Graceful,
}

/// What is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A pty with nothing on it.
    Tty,
    /// A login prompt.
    Login,
    /// A shell or a program.
    Shell {
        /// Of the machine; root without.
        user: String,
        /// Of the program; nothing for the shell.
        path: String,
        /// Its arguments, its own name first.
        arguments: Vec<String>,
        /// `NAME=value`.
        environment: Vec<String>,
    },
}

/// A call.
#[derive(Debug)]
pub enum MachineCall {
    /// `Register`; whether a unit is to be made, and whether the user may be asked.
    Register(Box<Registration>, bool, bool),
    /// `Unregister`.
    Unregister(Lookup),
    /// `Terminate`.
    Terminate(Lookup),
    /// `Kill`: whom, signal.
    Kill(Lookup, String, i32),
    /// `List`.
    List(Lookup, Metadata),
    /// `Open`.
    Open(Lookup, Opened),
    /// `MapFrom`: a user, a group.
    MapFrom(Lookup, Option<u32>, Option<u32>),
    /// `MapTo`: a user, a group.
    MapTo(Option<u32>, Option<u32>),
    /// `BindMount`.
    BindMount {
        /// Where.
        machine: Lookup,
        /// On the host.
        source: String,
        /// In the machine.
        destination: String,
        /// Nothing can be written there.
        read_only: bool,
        /// The destination is made.
        mkdir: bool,
    },
    /// `CopyFrom`, `CopyTo`.
    Copy {
        /// Where.
        machine: Lookup,
        /// Which way.
        into: bool,
        /// On its side.
        source: String,
        /// On the other.
        destination: String,
        /// Over what is there.
        replace: bool,
    },
    /// `OpenRootDirectory`.
    OpenRootDirectory(Lookup),
}

/// Understands a call.
///
/// # Errors
/// When there is no such method, or an argument is missing, of another type, or unknown.
pub fn understand(call: &Call) -> Result<MachineCall, Fault> {
    let (_, method) = call.interface_and_name();
    let mut with = Parameters::new(call.parameters.clone());
    let understood = match method {
        "Register" => register(&mut with)?,
        "MapTo" => MachineCall::MapTo(with.number("uid")?, with.number("gid")?),
        "Unregister" | "Terminate" | "Kill" | "List" | "Open" | "MapFrom" | "BindMount" | "CopyFrom"
        | "CopyTo" | "OpenRootDirectory" => about_machine(method, &mut with)?,
        _ => return Err(Fault::method_not_found(&call.method)),
    };
    with.finish()?;
    Ok(understood)
}

fn about_machine(method: &str, with: &mut Parameters) -> Result<MachineCall, Fault> {
    let machine = lookup(with)?;
    Ok(match method {
        "Unregister" => MachineCall::Unregister(machine),
        "Terminate" => MachineCall::Terminate(machine),
        "Kill" => {
            let whom = with.text("whom")?.unwrap_or_default();
            if !["", "leader", "supervisor", "all"].contains(&whom.as_str()) {
                return Err(Fault::invalid_parameter("whom"));
            }
            MachineCall::Kill(machine, whom, needed(with.number::<i32>("signal")?, "signal")?)
        }
        "List" => {
            let metadata = metadata(with)?;
            MachineCall::List(machine, metadata)
        }
        "Open" => MachineCall::Open(machine, opened(with)?),
        "MapFrom" => MachineCall::MapFrom(machine, with.number("uid")?, with.number("gid")?),
        "BindMount" => MachineCall::BindMount {
            machine,
            source: needed(with.text("source")?, "source")?,
            destination: with.text("destination")?.unwrap_or_default(),
            read_only: with.flag("readOnly")?,
            mkdir: with.flag("mkdir")?,
        },
        "CopyFrom" | "CopyTo" => MachineCall::Copy {
            machine,
            into: method == "CopyTo",
            source: needed(with.text("source")?, "source")?,
            destination: with.text("destination")?.unwrap_or_default(),
            replace: with.flag("replace")?,
        },
        _ => MachineCall::OpenRootDirectory(machine),
    })
}

/// What `acquireMetadata` says.
pub(super) fn metadata(with: &mut Parameters) -> Result<Metadata, Fault> {
    match with.text("acquireMetadata")?.as_deref() {
        None | Some("no") => Ok(Metadata::No),
        Some("yes") => Ok(Metadata::Yes),
        Some("graceful") => Ok(Metadata::Graceful),
        Some(_) => Err(Fault::invalid_parameter("acquireMetadata")),
    }
}

fn opened(with: &mut Parameters) -> Result<Opened, Fault> {
    let mode = needed(with.text("mode")?, "mode")?;
    let (user, path) = (with.text("user")?, with.text("path")?);
    let (arguments, environment) = (with.texts("args")?, with.texts("environment")?);
    let only = |given: bool, name: &str| if given { Err(Fault::invalid_parameter(name)) } else { Ok(()) };
    match mode.as_str() {
        "shell" => Ok(Opened::Shell {
            user: user.unwrap_or_default(),
            path: path.unwrap_or_default(),
            arguments: arguments.unwrap_or_default(),
            environment: environment.unwrap_or_default(),
        }),
        "tty" | "login" => {
            only(user.is_some(), "user")?;
            only(path.is_some(), "path")?;
            only(arguments.is_some(), "args")?;
            only(environment.is_some(), "environment")?;
            Ok(if mode == "tty" { Opened::Tty } else { Opened::Login })
        }
        _ => Err(Fault::invalid_parameter("mode")),
    }
}

fn lookup(with: &mut Parameters) -> Result<Lookup, Fault> {
    Ok(Lookup {
        name: with.text("name")?,
        pid: process(with, "pid")?,
        interactive: with.flag("allowInteractiveAuthentication")?,
    })
}

/// A process: `{"pid": ...}` with more that names it, or a bare number.
fn process(with: &mut Parameters, name: &str) -> Result<Option<i32>, Fault> {
    let wrong = || Fault::invalid_parameter(name);
    let number =
        |value: &Value| value.as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    match with.value(name) {
        None => Ok(None),
        Some(Value::Object(fields)) => fields.get("pid").and_then(number).map(Some).ok_or_else(wrong),
        Some(value) => number(&value).map(Some).ok_or_else(wrong),
    }
}

pub(super) fn needed<T>(value: Option<T>, name: &str) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::invalid_parameter(name))
}

fn register(with: &mut Parameters) -> Result<MachineCall, Fault> {
    let name = needed(with.text("name")?, "name")?;
    let id = match with.text("id")? {
        None => Vec::new(),
        Some(text) => id(&text).ok_or_else(|| Fault::invalid_parameter("id"))?,
    };
    let class = needed(with.text("class")?, "class")?;
    let leader = match process(with, "leaderProcessId")? {
        Some(pid) => Some(pid),
        None => process(with, "leader")?,
    };
    let supervisor = match process(with, "supervisorProcessId")? {
        Some(pid) => Some(pid),
        None => process(with, "supervisor")?,
    };
    // Those are of the other way to say it, and not needed then.
    drop((with.value("leader"), with.value("supervisor")));
    let interfaces = match with.value("ifIndices") {
        None => Vec::new(),
        Some(Value::Array(indices)) => {
            let indices =
                indices.iter().map(|index| index.as_i64().and_then(|index| i32::try_from(index).ok()));
            indices.collect::<Option<Vec<i32>>>().ok_or_else(|| Fault::invalid_parameter("ifIndices"))?
        }
        Some(_) => return Err(Fault::invalid_parameter("ifIndices")),
    };
    let registration = Registration {
        name,
        id,
        class,
        service: with.text("service")?.unwrap_or_default(),
        leader: leader.map_or(0, i32::unsigned_abs),
        leader_pidfd: None,
        supervisor: supervisor.map_or(0, i32::unsigned_abs),
        root: with.text("rootDirectory")?.unwrap_or_default(),
        interfaces,
        vsock_cid: with.number("vSockCid")?,
        ssh_address: with.text("sshAddress")?.unwrap_or_default(),
        ssh_private_key_path: with.text("sshPrivateKeyPath")?.unwrap_or_default(),
    };
    // Where a machine manager listens, which is asked by nobody here.
    drop(with.text("controlAddress")?);
    let allocate = with.flag("allocateUnit")?;
    let interactive = with.flag("allowInteractiveAuthentication")?;
    Ok(MachineCall::Register(Box::new(registration), allocate, interactive))
}

/// 32 digits, with hyphens or without.
fn id(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok())
        .collect::<Option<_>>()?;
    (bytes.len() == 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::varlink::service::object;

    fn understood(method: &str, parameters: Value) -> String {
        let call = Call::new(&format!("io.systemd.Machine.{method}"), object(parameters));
        match understand(&call) {
            Ok(call) => format!("{call:?}"),
            Err(fault) => fault.parameters.values().next().map(Value::to_string).unwrap_or_default(),
        }
    }

    #[test]
    fn calls() {
        let a = r#"Lookup { name: Some("a"), pid: None, interactive: false }"#;
        let table = [
            ("Terminate", json!({"name": "a"}), format!("Terminate({a})")),
            (
                "Terminate",
                json!({"pid": {"pid": 7, "bootId": "x"}, "allowInteractiveAuthentication": true}),
                "Terminate(Lookup { name: None, pid: Some(7), interactive: true })".to_owned(),
            ),
            ("Terminate", json!({"pid": 0}), "\"pid\"".to_owned()),
            ("Terminate", json!({"pid": {}}), "\"pid\"".to_owned()),
            ("Terminate", json!({"name": 7}), "\"name\"".to_owned()),
            ("Terminate", json!({"name": "a", "x": 1}), "\"x\"".to_owned()),
            ("Kill", json!({"name": "a", "signal": 9}), format!("Kill({a}, \"\", 9)")),
            ("Kill", json!({"name": "a"}), "\"signal\"".to_owned()),
            ("Kill", json!({"name": "a", "signal": 9, "whom": "x"}), "\"whom\"".to_owned()),
            ("List", json!({"name": "a"}), format!("List({a}, No)")),
            ("List", json!({"name": "a", "acquireMetadata": "graceful"}), format!("List({a}, Graceful)")),
            ("List", json!({"acquireMetadata": "x"}), "\"acquireMetadata\"".to_owned()),
            ("Open", json!({"name": "a", "mode": "tty"}), format!("Open({a}, Tty)")),
            ("Open", json!({"name": "a", "mode": "tty", "user": "x"}), "\"user\"".to_owned()),
            ("Open", json!({"name": "a", "mode": "x"}), "\"mode\"".to_owned()),
            ("Open", json!({"name": "a"}), "\"mode\"".to_owned()),
            ("MapFrom", json!({"name": "a", "uid": 1}), format!("MapFrom({a}, Some(1), None)")),
            ("MapTo", json!({"gid": 1}), "MapTo(None, Some(1))".to_owned()),
            ("MapTo", json!({"gid": -1}), "\"gid\"".to_owned()),
            ("CopyTo", json!({"name": "a"}), "\"source\"".to_owned()),
            ("OpenRootDirectory", json!({"name": "a"}), format!("OpenRootDirectory({a})")),
            ("Nothing", json!({}), "\"io.systemd.Machine.Nothing\"".to_owned()),
            ("Register", json!({"name": "a"}), "\"class\"".to_owned()),
            ("Register", json!({"name": "a", "class": "vm", "id": "12"}), "\"id\"".to_owned()),
            ("Register", json!({"name": "a", "class": "vm", "ifIndices": ["x"]}), "\"ifIndices\"".to_owned()),
        ];
        for (method, parameters, expected) in table {
            assert_eq!(understood(method, parameters.clone()), expected, "{method} {parameters}");
        }
    }

    #[test]
    fn registrations() {
        let parameters = json!({
            "name": "a", "class": "vm", "id": "00112233-4455-6677-8899-aabbccddeeff", "service": "s", "leader": 7,
            "leaderProcessId": {"pid": 8}, "ifIndices": [1, 2], "vSockCid": 3, "sshAddress": "x", "allocateUnit": true,
        });
        let call = Call::new("io.systemd.Machine.Register", object(parameters));
        let Ok(MachineCall::Register(registration, true, false)) = understand(&call) else {
            panic!("not understood");
        };
        assert_eq!(registration.id.first().copied(), Some(0));
        assert_eq!((registration.id.len(), registration.leader, registration.vsock_cid), (16, 8, Some(3)));
        assert_eq!((registration.interfaces.as_slice(), registration.class.as_str()), (&[1, 2][..], "vm"));
    }
}
