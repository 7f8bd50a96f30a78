//! `io.systemd.Machine`, as systemd-machined has it since version 257: what its methods do is in
//! [`crate::manager::machined::operations`].

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::connection::Exchange;
use super::machine_calls::{Lookup, MachineCall, Metadata, Opened, understand};
use super::process_id::ProcessId;
use super::{Answering, Last, Served, faults};
use crate::manager::machined::HOST;
use crate::manager::machined::id_map::{HOST_IDS, Ids};
use crate::manager::machined::known::Known;
use crate::manager::machined::operations::{Operation, by_pid, map_to};
use crate::manager::machined::registration::{Origin, register, unregister};
use crate::manager::problem::{Kind, Problem};
use crate::sys::process::pidfd_send_signal;
use crate::varlink::service::object;
use crate::varlink::{Fault, Interface};

/// Where it is served.
pub const SOCKET: &str = "/run/systemd/machine/io.systemd.Machine";

/// The interface.
pub const SERVED: Served = Served { name: INTERFACE.name, description: || INTERFACE.description(), answer };

const INTERFACE: Interface = Interface {
    name: "io.systemd.Machine",
    about: "Machines of this host, as systemd-machined has them.\n\
            A machine is named, or is that of a process. The user may be asked for a password where a call says so.",
    members: &[
        "type ProcessId(pid: int, pidfdId: ?int, bootId: ?string)",
        "type Timestamp(realtime: ?int, monotonic: ?int)",
        "type Address(ifindex: ?int, family: int, address: []int)",
        "# Takes up a machine of another program.
method Register(
  name: string,
  id: ?string,
  service: ?string,
  class: string,
  leader: ?int,
  leaderProcessId: ?ProcessId,
  supervisor: ?int,
  supervisorProcessId: ?ProcessId,
  rootDirectory: ?string,
  ifIndices: ?[]int,
  vSockCid: ?int,
  sshAddress: ?string,
  sshPrivateKeyPath: ?string,
  controlAddress: ?string,
  allocateUnit: ?bool,
  allowInteractiveAuthentication: ?bool
) -> ()",
        "# Takes it back.
method Unregister(name: ?string, pid: ?ProcessId, allowInteractiveAuthentication: ?bool) -> ()",
        "# Ends a machine now.
method Terminate(name: ?string, pid: ?ProcessId, allowInteractiveAuthentication: ?bool) -> ()",
        "# Sends a signal to the leader, the supervisor, or all processes of a machine.
method Kill(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  whom: ?string,
  signal: int
) -> ()",
        "# Tells of one machine, or of all, a reply each. What takes a look into it comes with acquireMetadata: no, yes, graceful.
method List(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  acquireMetadata: ?string
) -> (
  name: string,
  id: ?string,
  service: ?string,
  class: string,
  leader: ?ProcessId,
  supervisor: ?ProcessId,
  rootDirectory: ?string,
  unit: ?string,
  subgroup: ?string,
  timestamp: ?Timestamp,
  vSockCid: ?int,
  sshAddress: ?string,
  sshPrivateKeyPath: ?string,
  controlAddress: ?string,
  addresses: ?[]Address,
  OSRelease: ?[]string,
  UIDShift: ?int,
  UID: ?int
)",
        "# Opens a pty in a machine: with nothing on it (tty), a login prompt (login), or a shell or program (shell).
method Open(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  mode: string,
  user: ?string,
  path: ?string,
  args: ?[]string,
  environment: ?[]string
) -> (ptyFileDescriptor: int, ptyPath: string)",
        "# What IDs of a machine are on the host.
method MapFrom(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  uid: ?int,
  gid: ?int
) -> (uid: ?int, gid: ?int)",
        "# What IDs of the host are in a machine, and in which.
method MapTo(uid: ?int, gid: ?int) -> (uid: ?int, gid: ?int, machineName: ?string)",
        "# Mounts a path of the host in a machine.
method BindMount(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  source: string,
  destination: ?string,
  readOnly: ?bool,
  mkdir: ?bool
) -> ()",
        "# Copies files out of a machine.
method CopyFrom(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  source: string,
  destination: ?string,
  replace: ?bool
) -> ()",
        "# Copies files into a machine.
method CopyTo(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool,
  source: string,
  destination: ?string,
  replace: ?bool
) -> ()",
        "# Opens the root directory of a machine.
method OpenRootDirectory(
  name: ?string,
  pid: ?ProcessId,
  allowInteractiveAuthentication: ?bool
) -> (fileDescriptor: int)",
        "error NoSuchMachine()",
        "error MachineExists()",
        "error NoPrivateNetworking()",
        "error NoOSReleaseInformation()",
        "error NoUIDShift()",
        "error NotAvailable()",
        "error NotSupported()",
        "error NoIPC()",
        "error NoSuchUser()",
        "error NoSuchGroup()",
        "error UserInHostRange()",
        "error GroupInHostRange()",
        "error TooManyOperations()",
    ],
};

fn answer<'a>(exchange: &'a mut Exchange<'_>) -> Answering<'a> {
    Box::pin(perform(exchange))
}

async fn perform(exchange: &mut Exchange<'_>) -> Result<Last, Fault> {
    let nothing = |()| Last::default();
    match understand(&exchange.call)? {
        MachineCall::Register { mut registration, leader, supervisor, allocate, interactive } => {
            if let Some((process, field)) = leader {
                registration.leader_pidfd =
                    Some(process.pin().ok_or_else(|| Fault::invalid_parameter(field))?);
            }
            if let Some((process, field)) = supervisor {
                registration.supervisor = process.pid.unsigned_abs();
                registration.supervisor_pidfd =
                    Some(process.pin().ok_or_else(|| Fault::invalid_parameter(field))?);
            }
            let origin = Origin { pid: exchange.peer.pid.unsigned_abs(), uid: exchange.peer.uid };
            let caller = exchange.peer.caller(interactive);
            let done = register(&exchange.context, &caller, origin, *registration, allocate).await;
            done.map(nothing).map_err(fault)
        }
        MachineCall::Unregister(machine) => {
            let name = name(exchange, &machine).await?;
            let caller = exchange.peer.caller(machine.interactive);
            unregister(&exchange.context, &caller, &name).await.map(nothing).map_err(fault)
        }
        MachineCall::List(machine, metadata) => list(exchange, machine, metadata).await,
        MachineCall::MapTo(uid, gid) => map_ids_to(exchange, uid, gid).await,
        MachineCall::Terminate(machine) => {
            let name = name(exchange, &machine).await?;
            on(exchange, &machine, &name).terminate().await.map(nothing).map_err(fault)
        }
        MachineCall::Kill(machine, whom, signal) => {
            let name = name(exchange, &machine).await?;
            on(exchange, &machine, &name).kill(&whom, signal).await.map(nothing).map_err(fault)
        }
        MachineCall::Open(machine, what) => {
            let name = name(exchange, &machine).await?;
            open(&on(exchange, &machine, &name), what).await
        }
        MachineCall::MapFrom(machine, uid, gid) => {
            let name = name(exchange, &machine).await?;
            let on = on(exchange, &machine, &name);
            let mut parameters = Map::new();
            for (field, ids, id) in [("uid", Ids::Users, uid), ("gid", Ids::Groups, gid)] {
                if let Some(id) = id {
                    parameters.insert(field.to_owned(), on.map_from(ids, id).await.map_err(fault)?.into());
                }
            }
            Ok(Last { parameters, fds: Vec::new() })
        }
        MachineCall::BindMount { machine, source, destination, read_only, mkdir } => {
            let name = name(exchange, &machine).await?;
            let on = on(exchange, &machine, &name);
            on.bind(&source, &destination, read_only, mkdir).await.map(nothing).map_err(fault)
        }
        MachineCall::Copy { machine, into, source, destination, replace } => {
            let name = name(exchange, &machine).await?;
            let on = on(exchange, &machine, &name);
            on.copy(into, &source, &destination, u64::from(replace)).await.map(nothing).map_err(fault)
        }
        MachineCall::OpenRootDirectory(machine) => {
            let name = name(exchange, &machine).await?;
            let root = on(exchange, &machine, &name).open_root().await.map_err(fault)?;
            Ok(Last { parameters: object(json!({ "fileDescriptor": 0 })), fds: vec![root] })
        }
    }
}

fn on<'a>(exchange: &'a Exchange<'_>, machine: &Lookup, name: &'a str) -> Operation<'a> {
    Operation { context: &exchange.context, caller: exchange.peer.caller(machine.interactive), name }
}

/// The name of the machine that is meant.
async fn name(exchange: &Exchange<'_>, machine: &Lookup) -> Result<String, Fault> {
    let by_pid = match &machine.pid {
        // Zero is for who asks about the machine that it is in.
        Some(ProcessId { pid: 0, .. }) => Some(of_process(exchange, exchange.peer.pid).await?),
        Some(process) => {
            let gone = || Fault::invalid_parameter("pid");
            let pidfd = process.pin().ok_or_else(gone)?;
            let machine = of_process(exchange, process.pid).await?;
            // If it is there still, its number was no other process' meanwhile.
            pidfd_send_signal(&pidfd, 0).map_err(|_| gone())?;
            Some(machine)
        }
        None => None,
    };
    match (&machine.name, by_pid) {
        (Some(name), Some(of_process)) if *name != of_process => Err(error("NoSuchMachine")),
        (Some(name), _) => Ok(name.clone()),
        (None, Some(of_process)) => Ok(of_process),
        (None, None) => Err(Fault::invalid_parameter("name")),
    }
}

async fn of_process(exchange: &Exchange<'_>, pid: i32) -> Result<String, Fault> {
    Ok(by_pid(&exchange.context, pid).await.map_err(fault)?.file().name.clone())
}

async fn open(on: &Operation<'_>, what: Opened) -> Result<Last, Fault> {
    let opened = match what {
        Opened::Tty => on.open_pty().await,
        Opened::Login => on.open_login().await,
        Opened::Shell { user, path, arguments, environment } => {
            on.open_shell(&user, &path, &arguments, &environment).await
        }
    };
    let (pty, path) = opened.map_err(fault)?;
    Ok(Last { parameters: object(json!({ "ptyFileDescriptor": 0, "ptyPath": path })), fds: vec![pty] })
}

async fn map_ids_to(exchange: &Exchange<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<Last, Fault> {
    let mut parameters = Map::new();
    let mut machine: Option<String> = None;
    let rows = [
        ("uid", Ids::Users, uid, "UserInHostRange", "NoSuchUser"),
        ("gid", Ids::Groups, gid, "GroupInHostRange", "NoSuchGroup"),
    ];
    for (field, ids, id, in_host_range, missing) in rows {
        let Some(id) = id else { continue };
        if id < HOST_IDS {
            return Err(error(in_host_range));
        }
        let (known, inside) = map_to(&exchange.context, ids, id).await.map_err(fault)?;
        let name = &known.file().name;
        if machine.as_ref().is_some_and(|machine| machine != name) {
            // A user of one machine and a group of another.
            return Err(error(missing));
        }
        machine = Some(name.clone());
        parameters.insert(field.to_owned(), inside.into());
    }
    parameters
        .insert("machineName".to_owned(), machine.ok_or_else(|| Fault::invalid_parameter("uid"))?.into());
    Ok(Last { parameters, fds: Vec::new() })
}

async fn list(exchange: &mut Exchange<'_>, machine: Lookup, metadata: Metadata) -> Result<Last, Fault> {
    if machine.name.is_some() || machine.pid.is_some() {
        let name = name(exchange, &machine).await?;
        let known = Known::find(&exchange.context, &name).await.map_err(fault)?;
        let parameters = described(exchange, &known, &machine, metadata).await?;
        return Ok(Last { parameters, fds: Vec::new() });
    }
    if !exchange.call.more {
        return Err(Fault::expected_more());
    }
    let mut last = Map::new();
    for known in Known::all(&exchange.context).await.map_err(fault)? {
        let next = match described(exchange, &known, &machine, metadata).await {
            // It has ended meanwhile.
            Err(fault) if fault.name == NO_SUCH_MACHINE => continue,
            next => next?,
        };
        let before = std::mem::replace(&mut last, next);
        if !before.is_empty() && !exchange.reply(before).await {
            break;
        }
    }
    Ok(Last { parameters: last, fds: Vec::new() })
}

/// What there is to tell of a machine.
async fn described(
    exchange: &Exchange<'_>,
    known: &Known,
    machine: &Lookup,
    metadata: Metadata,
) -> Result<Map<String, Value>, Fault> {
    let file = known.file();
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    let process = |pid: i32, id: u64| match (pid, id) {
        (0, _) => Value::Null,
        (pid, 0) => json!({ "pid": pid }),
        (pid, id) => json!({ "pid": pid, "pidfdId": id }),
    };
    let timestamp = match (file.realtime, file.monotonic) {
        (0, _) => Value::Null,
        (realtime, monotonic) => json!({ "realtime": realtime, "monotonic": monotonic }),
    };
    let mut parameters = object(json!({
        "name": file.name,
        "id": text(&file.id),
        "service": text(&file.service),
        "class": file.class.as_str(),
        "leader": process(file.leader, file.leader_pidfd_id),
        "supervisor": process(file.supervisor, file.supervisor_pidfd_id),
        "rootDirectory": text(&file.root),
        "unit": text(&file.unit),
        "subgroup": text(&file.subgroup),
        "timestamp": timestamp,
        "vSockCid": file.vsock_cid,
        "sshAddress": text(&file.ssh_address),
        "sshPrivateKeyPath": text(&file.ssh_private_key_path),
        "controlAddress": text(&file.control_address),
        "UID": file.uid,
    }));
    if metadata != Metadata::No {
        let on = on(exchange, machine, &file.name);
        let mut put = |field: &str, value: Result<Value, Problem>| match value {
            Ok(value) => {
                parameters.insert(field.to_owned(), value);
                Ok(())
            }
            // Of a machine that has none there is none to tell.
            Err(problem)
                if matches!(
                    problem.kind,
                    Kind::NoPrivateNetworking | Kind::NoOsRelease | Kind::NotSupported
                ) =>
            {
                Ok(())
            }
            Err(_) if metadata == Metadata::Graceful => Ok(()),
            Err(problem) => Err(fault(problem)),
        };
        put("addresses", on.addresses().await.map(|list| list.into_iter().map(address).collect()))?;
        let fields = |fields: Vec<(String, String)>| {
            fields.into_iter().map(|(name, value)| Value::from(format!("{name}={value}"))).collect()
        };
        put("OSRelease", on.os_release().await.map(fields))?;
        if file.name != HOST {
            put("UIDShift", on.uid_shift().await.map(Value::from))?;
        }
    }
    parameters.retain(|_, value| !value.is_null());
    Ok(parameters)
}

fn address(address: IpAddr) -> Value {
    match address {
        IpAddr::V4(address) => json!({ "family": libc::AF_INET, "address": address.octets() }),
        IpAddr::V6(address) => json!({ "family": libc::AF_INET6, "address": address.octets() }),
    }
}

const NO_SUCH_MACHINE: &str = "io.systemd.Machine.NoSuchMachine";

fn error(name: &str) -> Fault {
    Fault::new(format!("{}.{name}", INTERFACE.name))
}

/// A problem under the names of this interface.
fn fault(problem: Problem) -> Fault {
    match problem.kind {
        Kind::NoSuchMachine | Kind::NoMachineForPid => error("NoSuchMachine"),
        Kind::MachineExists => error("MachineExists"),
        Kind::NoPrivateNetworking => error("NoPrivateNetworking"),
        Kind::NoOsRelease => error("NoOSReleaseInformation"),
        Kind::NoSuchUserMapping => error("NoSuchUser"),
        Kind::NoSuchGroupMapping => error("NoSuchGroup"),
        Kind::NotSupported => error("NotSupported"),
        Kind::NotFound | Kind::Busy => error("NotAvailable"),
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
        assert_eq!(members.interface, "io.systemd.Machine");
        let methods = [
            "Register",
            "Unregister",
            "Terminate",
            "Kill",
            "List",
            "Open",
            "MapFrom",
            "MapTo",
            "BindMount",
            "CopyFrom",
            "CopyTo",
            "OpenRootDirectory",
        ];
        assert_eq!(members.methods, methods);
        assert_eq!(members.errors.len(), 13);
    }

    #[test]
    fn names_of_errors() {
        let table = [
            (Kind::NoSuchMachine, "io.systemd.Machine.NoSuchMachine"),
            (Kind::NoOsRelease, "io.systemd.Machine.NoOSReleaseInformation"),
            (Kind::TooMany, "io.systemd.Machine.TooManyOperations"),
            (Kind::AccessDenied, "org.varlink.service.PermissionDenied"),
            (Kind::AuthorizationRequired, "io.systemd.InteractiveAuthenticationRequired"),
            (Kind::InvalidArgument, "org.varlink.service.InvalidParameter"),
            (Kind::Failed, "io.systemd.System"),
        ];
        for (kind, name) in table {
            assert_eq!(fault(Problem::new(kind, "x")).name, name, "{kind:?}");
        }
    }
}
