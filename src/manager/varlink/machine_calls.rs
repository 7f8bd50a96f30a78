//! Calls of `io.systemd.Machine` as data: parameters to what they mean. Pure.

use serde_json::Value;

use super::process_id::ProcessId;
use crate::manager::machined::HOST;
use crate::manager::machined::registration::Registration;
use crate::settings::MachineName;
use crate::supervisor::machined_file::Class;
use crate::varlink::{Call, Fault, Parameters};

/// Signals are 1 to this (signal(7)).
const SIGNALS: i32 = 64;

/// What machines have as addresses of AF_VSOCK: lower ones have a meaning, and the last is any (vsock(7)).
const REGULAR_CIDS: std::ops::Range<u32> = 3..u32::MAX;

/// Which machine is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// By its name.
    pub name: Option<String>,
    /// By a process of it.
    pub pid: Option<ProcessId>,
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
    /// `Register`.
    Register {
        /// What is said of the machine, but for its processes.
        registration: Box<Registration>,
        /// That one, and the parameter that names it; `None` for the caller.
        leader: Option<(ProcessId, &'static str)>,
        /// Who watches it, likewise.
        supervisor: Option<(ProcessId, &'static str)>,
        /// A unit is to be made.
        allocate: bool,
        /// The caller's user may be asked for a password.
        interactive: bool,
    },
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
            let signal = with.number::<i32>("signal")?.filter(|signal| (1..=SIGNALS).contains(signal));
            MachineCall::Kill(machine, whom, needed(signal, "signal")?)
        }
        "List" => {
            let metadata = metadata(with)?;
            MachineCall::List(machine, metadata)
        }
        "Open" => MachineCall::Open(machine, opened(with)?),
        "MapFrom" => MachineCall::MapFrom(machine, with.number("uid")?, with.number("gid")?),
        "BindMount" => MachineCall::BindMount {
            machine,
            source: needed(path(with, "source")?, "source")?,
            destination: path(with, "destination")?.unwrap_or_default(),
            read_only: with.flag("readOnly")?,
            mkdir: with.flag("mkdir")?,
        },
        "CopyFrom" | "CopyTo" => MachineCall::Copy {
            machine,
            into: method == "CopyTo",
            source: needed(path(with, "source")?, "source")?,
            destination: path(with, "destination")?.unwrap_or_default(),
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
    let (user, path) = (with.text("user")?, path(with, "path")?);
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
    let is_name = |name: &str| name == HOST || name.parse::<MachineName>().is_ok();
    Ok(Lookup {
        name: that(with, "name", is_name)?,
        pid: process(with, "pid")?,
        interactive: with.flag("allowInteractiveAuthentication")?,
    })
}

fn process(with: &mut Parameters, name: &str) -> Result<Option<ProcessId>, Fault> {
    let parsed = |value: Value| ProcessId::parse(&value).ok_or_else(|| Fault::invalid_parameter(name));
    with.value(name).map(parsed).transpose()
}

/// A text of which `holds` holds. The parameter is named where it does not, as sd-varlink does it.
pub(super) fn that(
    with: &mut Parameters,
    name: &str,
    holds: impl FnOnce(&str) -> bool,
) -> Result<Option<String>, Fault> {
    match with.text(name)? {
        Some(text) if !holds(&text) => Err(Fault::invalid_parameter(name)),
        text => Ok(text),
    }
}

/// An absolute path.
fn path(with: &mut Parameters, name: &str) -> Result<Option<String>, Fault> {
    that(with, name, |path| path.starts_with('/'))
}

/// A line.
fn line(with: &mut Parameters, name: &str) -> Result<String, Fault> {
    Ok(that(with, name, |text| !text.contains(char::is_control))?.unwrap_or_default())
}

pub(super) fn needed<T>(value: Option<T>, name: &str) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::invalid_parameter(name))
}

fn register(with: &mut Parameters) -> Result<MachineCall, Fault> {
    let name = needed(that(with, "name", |name| name.parse::<MachineName>().is_ok())?, "name")?;
    let id = match with.text("id")? {
        None => Vec::new(),
        Some(text) => id(&text).ok_or_else(|| Fault::invalid_parameter("id"))?,
    };
    let is_guest = |class: &str| matches!(Class::parse(class), Some(Class::Container | Class::Vm));
    let class = needed(that(with, "class", is_guest)?, "class")?;
    let leader = either(with, "leaderProcessId", "leader")?;
    if let Some((ProcessId { pid: 1, .. }, field)) = leader {
        // That is the host's own.
        return Err(Fault::invalid_parameter(field));
    }
    let supervisor = either(with, "supervisorProcessId", "supervisor")?;
    let interfaces = match with.value("ifIndices") {
        None => Vec::new(),
        Some(Value::Array(indices)) => {
            let index = |index: &Value| i32::try_from(index.as_i64()?).ok().filter(|index| *index > 0);
            let indices = indices.iter().map(index).collect::<Option<Vec<i32>>>();
            indices.ok_or_else(|| Fault::invalid_parameter("ifIndices"))?
        }
        Some(_) => return Err(Fault::invalid_parameter("ifIndices")),
    };
    let vsock_cid = with.number::<u32>("vSockCid")?;
    if vsock_cid.is_some_and(|cid| !REGULAR_CIDS.contains(&cid)) {
        return Err(Fault::invalid_parameter("vSockCid"));
    }
    let registration = Registration {
        name,
        id,
        class,
        service: line(with, "service")?,
        leader: 0,
        leader_pidfd: None,
        supervisor: 0,
        supervisor_pidfd: None,
        root: path(with, "rootDirectory")?.unwrap_or_default(),
        interfaces,
        vsock_cid,
        ssh_address: line(with, "sshAddress")?,
        ssh_private_key_path: path(with, "sshPrivateKeyPath")?.unwrap_or_default(),
        control_address: line(with, "controlAddress")?,
    };
    Ok(MachineCall::Register {
        registration: Box::new(registration),
        leader,
        supervisor,
        allocate: with.flag("allocateUnit")?,
        interactive: with.flag("allowInteractiveAuthentication")?,
    })
}

/// A process by the `new` way to say it, or else by the `old` one, and which it was.
fn either(
    with: &mut Parameters,
    new: &'static str,
    old: &'static str,
) -> Result<Option<(ProcessId, &'static str)>, Fault> {
    let (by_new, by_old) = (process(with, new)?, process(with, old)?);
    // Zero is the caller, as nothing is.
    let named = |process: Option<ProcessId>| process.filter(|process| process.pid > 0);
    Ok(named(by_new).map(|process| (process, new)).or(named(by_old).map(|process| (process, old))))
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
#[path = "machine_calls_tests.rs"]
mod tests;
