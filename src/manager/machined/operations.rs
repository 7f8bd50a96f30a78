//! What can be done to machines, for all interfaces alike: who may, with which arguments, by whom.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use serde_json::Value;

use super::access::check;
use super::id_map::{HOST_IDS, IdMap, Ids, is_valid};
use super::known::Known;
use crate::machine::addresses;
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};
use crate::manager::worker::machine_work::whom;
use crate::manager::worker::task::{MachineWork, Program};
use crate::supervisor::machined_file::Class;
use crate::sys::network::is_shared_with;

/// One call: what it is about, and whose it is.
#[derive(Debug)]
pub struct Operation<'a> {
    /// What all objects share.
    pub context: &'a Context,
    /// Who asks.
    pub caller: Caller<'a>,
    /// The machine.
    pub name: &'a str,
}

/// A pty: its master, and the path of its slave in the machine.
pub type Pty = (OwnedFd, String);

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidArgument, text)
}

fn not_supported(text: impl Into<String>) -> Problem {
    Problem::new(Kind::NotSupported, text)
}

/// What the kernel takes (signal(7)).
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

impl Operation<'_> {
    /// Ends it now.
    ///
    /// # Errors
    /// As all of these: no such machine, the caller may not, the work has failed.
    pub async fn terminate(&self) -> Result<(), Problem> {
        self.allowed("terminate", &[]).await?;
        self.machine_of_its_own().await?;
        self.work(MachineWork::Terminate).await.map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// As [`Operation::terminate`]; an invalid argument.
    pub async fn kill(&self, whom_word: &str, signal: i32) -> Result<(), Problem> {
        self.allowed("kill", &[]).await?;
        self.known().await?;
        whom(whom_word)?;
        if !SIGNALS.contains(&signal) {
            return Err(invalid(format!("Invalid signal {signal}")));
        }
        self.machine_of_its_own().await?;
        self.work(MachineWork::Kill { whom: whom_word.to_owned(), signal }).await.map(drop)
    }

    /// Its addresses.
    ///
    /// # Errors
    /// [`Kind::NoPrivateNetworking`] where they are the host's.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, Problem> {
        self.allowed("addresses", &[]).await?;
        let known = self.known().await?;
        if known.is_host() {
            return Ok(addresses::of_host());
        }
        self.container(&known, "Requesting IP address data is only supported on container machines.")?;
        let leader = known.file().leader;
        if is_shared_with(leader) != Some(false) {
            let text = format!("Machine {} does not use private networking", self.name);
            return Err(Problem::new(Kind::NoPrivateNetworking, text));
        }
        Ok(addresses::of(leader))
    }

    /// How ssh(1) gets at it: address, and path of the key.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where nobody has said.
    pub async fn ssh_info(&self) -> Result<(String, String), Problem> {
        self.allowed("ssh-info", &[]).await?;
        let known = self.known().await?;
        let file = known.file();
        if file.ssh_address.is_empty() || file.ssh_private_key_path.is_empty() {
            return Err(Problem::new(Kind::NotFound, "Machine has no SSH address and key registered"));
        }
        Ok((file.ssh_address.clone(), file.ssh_private_key_path.clone()))
    }

    /// What it says it is (os-release(5)).
    ///
    /// # Errors
    /// [`Kind::NoOsRelease`] where it says nothing.
    pub async fn os_release(&self) -> Result<Vec<(String, String)>, Problem> {
        self.allowed("os-release", &[]).await?;
        let known = self.known().await?;
        if known.is_host() {
            let root = crate::sys::in_root::Root::open("/");
            let release = root.ok().and_then(|root| crate::guest::tree::os_release(&root).ok()?);
            let fields = release.unwrap_or_default();
            return Ok(fields.fields().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        }
        self.container(&known, "Requesting OS release data is only supported on container machines.")?;
        let (value, _) = self.work(MachineWork::OsRelease).await?;
        let fields = value.as_object().into_iter().flatten();
        Ok(fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
    }

    /// Where its IDs begin on the host.
    ///
    /// # Errors
    /// [`Kind::NotSupported`] where that is no single number.
    pub async fn uid_shift(&self) -> Result<u32, Problem> {
        self.allowed("uid-shift", &[]).await?;
        let known = self.known().await?;
        if known.is_host() {
            return Ok(0);
        }
        self.container(&known, "UID/GID shift may only be determined for container machines.")?;
        let complex = || {
            let name = self.name;
            not_supported(format!("Machine {name} uses a complex UID/GID mapping, cannot determine shift"))
        };
        let users = IdMap::of(known.file().leader, Ids::Users)?.shift().ok_or_else(complex)?;
        let groups = IdMap::of(known.file().leader, Ids::Groups)?.shift().ok_or_else(complex)?;
        if users == groups { Ok(users) } else { Err(complex()) }
    }

    /// What `id` of the machine is on the host.
    ///
    /// # Errors
    /// [`Kind::NoSuchUserMapping`], [`Kind::NoSuchGroupMapping`].
    pub async fn map_from(&self, ids: Ids, id: u32) -> Result<u32, Problem> {
        self.allowed("map", &[]).await?;
        if !is_valid(id) {
            return Err(invalid(format!("Invalid {} ID {id}", ids.word())));
        }
        let known = self.known().await?;
        self.container(&known, "Machine is not a container.")?;
        let map = IdMap::of(known.file().leader, ids)?;
        map.to_host(id).ok_or_else(|| {
            let text = format!("Machine '{}' has no matching {} mappings.", self.name, ids.word());
            Problem::new(ids.missing(), text)
        })
    }

    /// A pty of its own, with nothing on it.
    ///
    /// # Errors
    /// As [`Operation::terminate`].
    pub async fn open_pty(&self) -> Result<Pty, Problem> {
        self.allowed("open-pty", &[]).await?;
        self.enterable("Opening PTYs").await?;
        self.pty(MachineWork::OpenTerminal).await
    }

    /// A login prompt on a pty.
    ///
    /// # Errors
    /// As [`Operation::terminate`].
    pub async fn open_login(&self) -> Result<Pty, Problem> {
        self.allowed("login", &[]).await?;
        self.enterable("Opening logins").await?;
        self.pty(MachineWork::OpenSession { program: Program::Login }).await
    }

    /// A shell of `user`, or `path` with its arguments (its own name first), on a pty.
    ///
    /// # Errors
    /// As [`Operation::terminate`]; an invalid argument; no such user or program in the machine.
    pub async fn open_shell(
        &self,
        user: &str,
        path: &str,
        arguments: &[String],
        environment: &[String],
    ) -> Result<Pty, Problem> {
        let user = if user.is_empty() { "root" } else { user };
        if user.contains([':', '/', '\n', '\0']) || user.starts_with('-') {
            return Err(invalid(format!("Invalid user name {user:?}")));
        }
        if !path.is_empty() && !path.starts_with('/') {
            return Err(invalid(format!("Specified path '{path}' is not absolute")));
        }
        if let Some(variable) = environment.iter().find(|variable| !is_assignment(variable)) {
            return Err(invalid(format!("Invalid environment assignment {variable:?}")));
        }
        let shown = [path].into_iter().chain(arguments.iter().skip(1).map(String::as_str));
        let program = if path.is_empty() { String::new() } else { shown.collect::<Vec<_>>().join(" ") };
        self.allowed("shell", &[("user", user), ("program", &program)]).await?;
        self.enterable("Opening shells").await?;
        let command = match path {
            "" => Vec::new(),
            // What the program is called goes with how it is found.
            path => {
                [path.to_owned()].into_iter().chain(arguments.iter().skip(1).cloned()).collect::<Vec<_>>()
            }
        };
        let program = Program::Shell { user: user.to_owned(), command, environment: environment.to_vec() };
        self.pty(MachineWork::OpenSession { program }).await
    }

    /// Mounts a path of the host in it.
    ///
    /// # Errors
    /// As [`Operation::terminate`]; an invalid argument.
    pub async fn bind(
        &self,
        source: &str,
        destination: &str,
        read_only: bool,
        make_destination: bool,
    ) -> Result<(), Problem> {
        self.allowed("bind", &[("src", source), ("dest", destination)]).await?;
        let source = absolute("Source", source, NORMAL)?;
        let destination =
            if destination.is_empty() { source } else { absolute("Destination", destination, NORMAL)? };
        self.enterable("Bind mounting").await?;
        let (source, destination) = (source.to_owned(), destination.to_owned());
        let work = MachineWork::Bind { source, destination, read_only, make_destination };
        self.work(work).await.map(drop)
    }

    /// Copies files into it, or out of it. The one bit of `flags` is: replace.
    ///
    /// # Errors
    /// As [`Operation::terminate`]; an invalid argument.
    pub async fn copy(&self, into: bool, source: &str, destination: &str, flags: u64) -> Result<(), Problem> {
        self.allowed("copy", &[("src", source), ("dest", destination)]).await?;
        if flags > 1 {
            return Err(invalid("Invalid flags"));
        }
        let source = absolute("Source", source, "absolute")?;
        let destination =
            if destination.is_empty() { source } else { absolute("Destination", destination, "absolute")? };
        self.enterable("Copying files").await?;
        let (source, destination) = (source.to_owned(), destination.to_owned());
        let work = MachineWork::Copy { into, source, destination, replace: flags == 1 };
        self.work(work).await.map(drop)
    }

    /// Its root directory.
    ///
    /// # Errors
    /// As [`Operation::terminate`].
    pub async fn open_root(&self) -> Result<OwnedFd, Problem> {
        self.allowed("open-root", &[]).await?;
        self.enterable("Opening the root directory").await?;
        let (_, fd) = self.work(MachineWork::OpenRoot).await?;
        fd.ok_or_else(|| Problem::new(Kind::Failed, "no root directory came"))
    }

    async fn allowed(&self, method: &str, details: &[(&str, &str)]) -> Result<(), Problem> {
        check(self.context, &self.caller, method, self.name, details).await
    }

    async fn known(&self) -> Result<Known, Problem> {
        Known::find(self.context, self.name).await
    }

    /// The host is not ended, and not entered: it has its own ways in, with their own logs and limits.
    async fn machine_of_its_own(&self) -> Result<Known, Problem> {
        let known = self.known().await?;
        if known.is_host() {
            return Err(not_supported("This is not supported on the host itself."));
        }
        Ok(known)
    }

    async fn enterable(&self, what: &str) -> Result<(), Problem> {
        let known = self.machine_of_its_own().await?;
        self.container(&known, &format!("{what} is only supported on container machines."))
    }

    #[allow(clippy::unused_self, reason = "reads as one of the checks")]
    fn container(&self, known: &Known, text: &str) -> Result<(), Problem> {
        if known.file().class == Class::Container { Ok(()) } else { Err(not_supported(text)) }
    }

    async fn pty(&self, work: MachineWork) -> Result<Pty, Problem> {
        let (path, fd) = self.work(work).await?;
        let path = path.as_str().unwrap_or_default().to_owned();
        fd.map(|fd| (fd, path)).ok_or_else(|| Problem::new(Kind::Failed, "no pty came"))
    }

    async fn work(&self, work: MachineWork) -> Result<(Value, Option<OwnedFd>), Problem> {
        let done = self.context.work_on_machine(self.name, work).await?;
        Ok((done.value, done.fds.into_iter().next()))
    }
}

/// Whose `id` of the host is: the machine, and what it is there.
///
/// # Errors
/// [`Kind::NoSuchUserMapping`], [`Kind::NoSuchGroupMapping`].
pub async fn map_to(context: &Context, ids: Ids, id: u32) -> Result<(Known, u32), Problem> {
    if !is_valid(id) {
        return Err(invalid(format!("Invalid {} ID {id}", ids.word())));
    }
    if id < HOST_IDS {
        let word = if ids == Ids::Users { "User" } else { "Group" };
        let range = if ids == Ids::Users { "UID" } else { "GID" };
        return Err(Problem::new(ids.missing(), format!("{word} {id} belongs to host {range} range")));
    }
    for known in Known::all(context).await? {
        if known.is_host() || known.file().class != Class::Container {
            continue;
        }
        // One that has ended meanwhile has none.
        let Ok(map) = IdMap::of(known.file().leader, ids) else { continue };
        if let (false, Some(inside)) = (map.is_hosts(), map.to_machine(id)) {
            return Ok((known, inside));
        }
    }
    Err(Problem::new(ids.missing(), format!("No matching {} mapping for {id}.", ids.word())))
}

/// The machine that process `pid` is of.
///
/// # Errors
/// [`Kind::NoMachineForPid`].
pub async fn by_pid(context: &Context, pid: i32) -> Result<Known, Problem> {
    let none =
        || Problem::new(Kind::NoMachineForPid, format!("PID {pid} does not belong to any known machine"));
    if pid <= 0 {
        return Err(invalid(format!("Invalid PID {pid}")));
    }
    let read = |path: String| crate::sys::files::read_at(rustix::fs::CWD, path, 1 << 16);
    let cgroups = read(format!("/proc/{pid}/cgroup")).map_err(|_| none())?;
    let cgroups = String::from_utf8_lossy(&cgroups);
    let namespace = |pid: i32| rustix::fs::stat(format!("/proc/{pid}/ns/pid")).ok().map(|stat| stat.st_ino);
    let (its, ours) = (namespace(pid), namespace(1));
    let is_of = |known: &Known| {
        let file = known.file();
        if file.leader == pid || file.supervisor == pid && file.is_supervised() {
            return true;
        }
        match known {
            Known::Own(machine) => {
                let outer = Path::new(&machine.state.cgroup).parent().unwrap_or(Path::new("/none"));
                let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
                paths.into_iter().any(|path| Path::new(path).starts_with(outer))
            }
            Known::Registered(_) => its.is_some() && its != ours && namespace(file.leader) == its,
            Known::Host(_) => false,
        }
    };
    let all = Known::all(context).await?;
    all.into_iter().filter(|known| !known.is_host()).find(is_of).ok_or_else(none)
}

/// What paths of bind mounts must be.
const NORMAL: &str = "absolute and normalized";

/// An absolute path without `.`, `..` and doubled slashes. What is said is what systemd-machined says.
fn absolute<'a>(what: &str, path: &'a str, wanted: &str) -> Result<&'a str, Problem> {
    let normal =
        Path::new(path).components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
    let plain = !path.contains("//") && !path.split('/').any(|part| part == ".") && !path.contains('\0');
    match path.starts_with('/') && normal && plain {
        true => Ok(path),
        false => Err(invalid(format!("{what} path must be {wanted}."))),
    }
}

/// Whether it is `NAME=value` (environ(7)).
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(valid)
        && !value.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let table = [
            ("/", true),
            ("/a/b", true),
            ("/a/", true),
            ("", false),
            ("a", false),
            ("/a/../b", false),
            ("/a/./b", false),
            ("/a//b", false),
            ("/..", false),
            ("/a\0", false),
        ];
        for (path, good) in table {
            assert_eq!(absolute("Source", path, NORMAL).is_ok(), good, "{path:?}");
        }
    }

    #[test]
    fn assignments() {
        let table = [
            ("A=", true),
            ("A_1=b=c", true),
            ("", false),
            ("A", false),
            ("=b", false),
            ("1A=b", false),
            ("A B=c", false),
        ];
        for (text, good) in table {
            assert_eq!(is_assignment(text), good, "{text:?}");
        }
    }
}
