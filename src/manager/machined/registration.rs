//! Machines that other programs register: what they say of them, checked, becomes a file.
//!
//! systemd-machined has systemd make a scope for a machine that is *created*. Without systemd there is nobody to make one: the
//! leader stays in the cgroup that it is in, as that of a machine that is *registered* does.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::process::Pid;
use zbus::OwnedVariant;

use super::access::check;
use super::known::Known;
use super::ownership::is_owned_by;
use crate::host::systemd;
use crate::manager::announcer;
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};
use crate::manager::registered::Registered;
use crate::settings::MachineName;
use crate::supervisor::machined_file::{Class, MachinedFile, SERVICE, pidfd_id_of};
use crate::sys::files::read_at;
use crate::sys::process::{pidfd_id, pidfd_open, start_time};

/// More interfaces than that are no machine's.
const MOST_INTERFACES: usize = 64;

/// What a program says of a machine.
#[derive(Debug, Default)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// Its machine ID, 16 bytes or none.
    pub id: Vec<u8>,
    /// Who made it.
    pub service: String,
    /// `container`, `vm`; nothing for a container.
    pub class: String,
    /// Its PID 1: a pid, 0 for the caller.
    pub leader: u32,
    /// The same as a pidfd, which is believed first.
    pub leader_pidfd: Option<OwnedFd>,
    /// Its supervisor; 0 for the caller.
    pub supervisor: u32,
    /// The same as a pidfd, where the caller has named it by more than its number.
    pub supervisor_pidfd: Option<OwnedFd>,
    /// Its tree.
    pub root: String,
    /// Interfaces of the host that lead to it.
    pub interfaces: Vec<i32>,
    /// Its address of AF_VSOCK.
    pub vsock_cid: Option<u32>,
    /// How ssh(1) gets at it.
    pub ssh_address: String,
    /// With which key.
    pub ssh_private_key_path: String,
    /// Where its own manager listens (`io.systemd.MachineInstance`, systemd 261).
    pub control_address: String,
}

/// Who calls, as far as the kernel vouches for it.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidArgument, text)
}

/// Takes `registration` up. `created` is for a caller that wants a scope for it.
///
/// # Errors
/// When it makes no sense, the name is taken, or the caller may not.
pub async fn register(
    context: &Context,
    caller: &Caller<'_>,
    origin: Origin,
    registration: Registration,
    created: bool,
) -> Result<(), Problem> {
    let method = if created { "create" } else { "register" };
    let name = registration.name.clone();
    let class = registration.class.clone();
    check(context, caller, method, &name, &[("name", &name), ("class", &class)]).await?;
    let exists = || Problem::new(Kind::MachineExists, format!("Machine '{name}' already exists"));
    if Known::find(context, &name).await.is_ok() {
        return Err(exists());
    }
    let machine = Registered::of(file(registration, origin)?)?;
    let (machine, dead) = context.registered().add(machine)?;
    announcer::registered(context, &machine, dead.is_some()).await;
    Ok(())
}

/// Takes a machine of another program back.
///
/// # Errors
/// When there is none, it is one of ours, or the caller may not.
pub async fn unregister(context: &Context, caller: &Caller<'_>, name: &str) -> Result<(), Problem> {
    check(context, caller, "unregister", name, &[]).await?;
    match Known::find(context, name).await? {
        Known::Registered(_) => {}
        Known::Own(_) | Known::Host(_) => {
            return Err(Problem::new(Kind::NotSupported, "It is there as long as it runs."));
        }
    }
    if context.registered().remove(name).is_some() {
        announcer::unregistered(context, name).await;
    }
    Ok(())
}

/// What is written of it.
fn file(registration: Registration, origin: Origin) -> Result<MachinedFile, Problem> {
    let of_caller = |pid: u32| if pid == 0 { origin.pid } else { pid };
    if registration.name.parse::<MachineName>().is_err() {
        return Err(invalid("Invalid machine name"));
    }
    let class = match registration.class.as_str() {
        "" => Class::Container,
        word => match Class::parse(word) {
            Some(class @ (Class::Container | Class::Vm)) => class,
            _ => return Err(invalid("Invalid machine class parameter")),
        },
    };
    if !matches!(registration.id.len(), 0 | 16) {
        return Err(invalid("Invalid machine ID parameter"));
    }
    if !registration.root.is_empty() && !registration.root.starts_with('/') {
        return Err(invalid("Root directory must be empty or an absolute path"));
    }
    if registration.interfaces.len() > MOST_INTERFACES
        || registration.interfaces.iter().any(|index| *index <= 0)
    {
        return Err(invalid("Invalid network interface index"));
    }
    let long = [
        &registration.service,
        &registration.root,
        &registration.ssh_address,
        &registration.ssh_private_key_path,
        &registration.control_address,
    ];
    if long.iter().any(|text| text.len() > 4096 || text.contains(char::is_control)) {
        return Err(invalid("Invalid text parameter"));
    }
    if registration.service == SERVICE {
        return Err(invalid("Machines of Spinney's register themselves"));
    }
    let (leader, pidfd) = leader(registration.leader_pidfd, of_caller(registration.leader))?;
    let started = start_time(leader).map_err(|_| invalid("Invalid leader PID"))?;
    if origin.uid != 0 && !is_owned_by(leader, origin.uid) {
        return Err(Problem::new(Kind::AccessDenied, "Only root may register machines of others"));
    }
    // Who registers itself has nobody who watches it.
    let supervisor = i32::try_from(of_caller(registration.supervisor)).unwrap_or(0);
    if origin.uid != 0 && registration.supervisor != 0 && !is_owned_by(supervisor, origin.uid) {
        return Err(Problem::new(
            Kind::AccessDenied,
            "Only root may have processes of others watch machines",
        ));
    }
    let supervisor = if supervisor == leader { 0 } else { supervisor };
    let cgroup = read_at(CWD, format!("/proc/{leader}/cgroup"), 1 << 16).unwrap_or_default();
    let cgroup = String::from_utf8_lossy(&cgroup);
    let zeros = registration.id.iter().all(|byte| *byte == 0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(MachinedFile {
        class,
        service: registration.service,
        unit: systemd::systems_unit_of_process(&cgroup).unwrap_or_default().to_owned(),
        root: registration.root,
        id: if zeros {
            String::new()
        } else {
            registration.id.iter().map(|byte| format!("{byte:02x}")).collect()
        },
        leader,
        leader_pidfd_id: pidfd_id(&pidfd).unwrap_or(0),
        leader_started: started,
        supervisor,
        // Another's number by now is nobody's here.
        supervisor_pidfd_id: match &registration.supervisor_pidfd {
            Some(pidfd) if supervisor != 0 => pidfd_id(pidfd).unwrap_or(0),
            _ => pidfd_id_of(supervisor),
        },
        uid: origin.uid,
        realtime: u64::try_from(now.as_micros()).unwrap_or(0),
        monotonic: monotonic(),
        interfaces: registration.interfaces,
        vsock_cid: registration.vsock_cid,
        ssh_address: registration.ssh_address,
        ssh_private_key_path: registration.ssh_private_key_path,
        control_address: registration.control_address,
        name: registration.name,
        subgroup: String::new(),
    })
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000)
}

/// The leader's pid and pidfd.
fn leader(pidfd: Option<OwnedFd>, pid: u32) -> Result<(i32, OwnedFd), Problem> {
    let wrong = || invalid("Invalid leader PID");
    match pidfd {
        Some(pidfd) => {
            let pid = pid_of(&pidfd).ok_or_else(wrong)?;
            Ok((pid, pidfd))
        }
        None => {
            // PID 1 is the host's.
            let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1).ok_or_else(wrong)?;
            let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid).ok()).ok_or_else(wrong)?;
            Ok((pid, pidfd))
        }
    }
}

/// The pid that a pidfd stands for (/proc/self/fdinfo, proc_pid_fdinfo(5)).
fn pid_of(pidfd: &impl AsFd) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd());
    let text = read_at(CWD, path, 4096).ok()?;
    let text = String::from_utf8_lossy(&text);
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 1).then_some(pid)
}

/// What the `Ex` methods are given: properties and their values, of which the last of a name counts.
///
/// # Errors
/// When a property is unknown, or of another type.
pub fn from_properties(name: &str, properties: Vec<(String, OwnedVariant)>) -> Result<Registration, Problem> {
    let mut registration = Registration { name: name.to_owned(), ..Registration::default() };
    let wrong = |property: &str| invalid(format!("Property {property} has a wrong type"));
    let mut pidfd_id_wanted = 0;
    for (property, value) in properties {
        let error = wrong(&property);
        match property.as_str() {
            "Id" => registration.id = value.try_into().map_err(|_| error)?,
            "Service" => registration.service = value.try_into().map_err(|_| error)?,
            "Class" => registration.class = value.try_into().map_err(|_| error)?,
            "LeaderPID" => registration.leader = value.try_into().map_err(|_| error)?,
            "LeaderPIDFDID" => pidfd_id_wanted = value.try_into().map_err(|_| error)?,
            "LeaderPIDFD" => {
                let fd = zbus::Fd::try_from(value).and_then(OwnedFd::try_from);
                registration.leader_pidfd = Some(fd.map_err(|_| error)?);
            }
            "RootDirectory" => registration.root = value.try_into().map_err(|_| error)?,
            "NetworkInterfaces" => registration.interfaces = value.try_into().map_err(|_| error)?,
            "VSockCID" => registration.vsock_cid = Some(value.try_into().map_err(|_| error)?),
            "SSHAddress" => registration.ssh_address = value.try_into().map_err(|_| error)?,
            "SSHPrivateKeyPath" => registration.ssh_private_key_path = value.try_into().map_err(|_| error)?,
            _ => return Err(invalid(format!("Unknown property {property:?}"))),
        }
    }
    registration.leader_pidfd = leader_of(registration.leader_pidfd, registration.leader, pidfd_id_wanted)?;
    Ok(registration)
}

/// The leader that a pidfd, or a pid with the inode of its pidfd, stands for; a bare pid may be another's by now. Zeros are nothing.
/// `None` is the caller.
fn leader_of(pidfd: Option<OwnedFd>, pid: u32, id: u64) -> Result<Option<OwnedFd>, Problem> {
    // Kernels before 6.9 have none.
    let is_other = |pidfd: &OwnedFd| id > 0 && pidfd_id(pidfd).is_some_and(|its| its != id);
    match pidfd {
        Some(pidfd) => {
            let (its, pidfd) = leader(Some(pidfd), 0)?;
            if pid > 0 && u32::try_from(its).ok() != Some(pid) {
                return Err(invalid("LeaderPID and LeaderPIDFD refer to different processes"));
            }
            if is_other(&pidfd) {
                return Err(invalid("LeaderPIDFDID does not match the inode number of LeaderPIDFD"));
            }
            Ok(Some(pidfd))
        }
        None if pid > 0 && id > 0 => {
            let (_, pidfd) = leader(None, pid)?;
            if is_other(&pidfd) {
                return Err(invalid("The leader is another process by now"));
            }
            Ok(Some(pidfd))
        }
        None if pid > 0 || id > 0 => Err(invalid(
            "Both LeaderPID and LeaderPIDFDID must be specified to identify the leader process by PIDFDID",
        )),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_a_leader() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        let pidfd = || pidfd_open(Pid::from_child(&child)).unwrap();
        // On a kernel without them any will do.
        let (id, wrong) = (pidfd_id(pidfd()).unwrap_or(7), pidfd_id(pidfd()).map(|id| id + 1));
        let table = [
            (true, 0, 0, Ok(true)),
            (true, pid, 0, Ok(true)),
            (true, pid, id, Ok(true)),
            (true, pid + 1, 0, Err("LeaderPID and LeaderPIDFD refer to different processes")),
            (false, pid, id, Ok(true)),
            (false, pid, 0, Err("Both LeaderPID and LeaderPIDFDID must be specified")),
            (false, 0, id, Err("Both LeaderPID and LeaderPIDFDID must be specified")),
            (false, 1, id, Err("Invalid leader PID")),
            (false, 0, 0, Ok(false)),
        ];
        let wrong = wrong.into_iter().flat_map(|id| {
            [
                (true, 0, id, Err("LeaderPIDFDID does not match")),
                (false, pid, id, Err("The leader is another process by now")),
            ]
        });
        for (with_pidfd, pid, id, expected) in table.into_iter().chain(wrong) {
            let given = leader_of(with_pidfd.then(pidfd), pid, id).map(|leader| leader.is_some());
            match (given, expected) {
                (Ok(given), expected) => assert_eq!(Ok(given), expected, "{with_pidfd} {pid} {id}"),
                (Err(problem), Err(begins)) => assert!(problem.text.starts_with(begins), "{}", problem.text),
                (Err(problem), Ok(_)) => panic!("{with_pidfd} {pid} {id}: {}", problem.text),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
