//! A machine's cgroups in the unit whose main process its supervisor is (<https://systemd.io/CGROUP_DELEGATION>).
//!
//! With `Delegate=` what is below the unit's cgroup is ours, the cgroup itself is systemd's. So the supervisor is in one child
//! (`DelegateSubgroup=supervisor`; before systemd 254 it goes there by itself, since a cgroup that gives on controllers holds
//! no processes), and the machine's outer cgroup is another, which bears the machine's name: a unit may have several. Its own limits
//! are there, and those of the unit hold above it, in cgroup v1 too.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::cgroup::{CgroupError, Hierarchy, MachineCgroup};
use crate::host::{Controller, in_options, systemd};
use crate::sys::SysResult;
use crate::sys::attributes;
use crate::sys::files::{make_directory_at, read_at, write_at};

/// Where the supervisor is; the name that systemd-nspawn's unit has for it.
const SUPERVISOR: &str = "supervisor";

/// What is before a machine's name in that of its outer cgroup: no machine is called like the supervisor's.
const OUTER: &str = "machine-";

/// The outer cgroup of older versions, which knew of one machine in a unit.
pub(super) const ONLY_ONE: &str = "machine";

/// How systemd marks what it has handed over: the second is what it may set without being root of the host.
const MARKS: [&[u8]; 2] = [b"trusted.delegate", b"user.delegate"];

/// Where the outer cgroup of machine `name` is in a service or a scope of ours, as long as no drop-in says another slice.
pub(super) fn usual_places(name: &str) -> [PathBuf; 2] {
    [format!("spinney@{name}.service"), scope_name(name)]
        .map(|unit| Path::new("machine.slice").join(unit).join(outer(name)))
}

/// The name of a machine's scope, as systemd-machined calls those that it makes: with the name escaped (systemd.unit(5), "String
/// Escaping for Inclusion in Unit Names").
pub fn scope_name(machine: &str) -> String {
    let escape = |(at, byte): (usize, u8)| match byte {
        b'.' if at > 0 => ".".to_owned(),
        byte if byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_') => char::from(byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    let escaped: String = machine.bytes().enumerate().map(escape).collect();
    format!("machine-{escaped}.scope")
}

/// In a unit's cgroup: the outer one of machine `name`.
pub(super) fn outer(name: &str) -> PathBuf {
    format!("{OUTER}{name}").into()
}

/// Where we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// The cgroup of the unit that we run in, if it is one.
    pub unit: Option<PathBuf>,
    /// Our cgroups in v1 hierarchies: those of the unit, or what is above them where it has none.
    pub legacy: BTreeMap<Controller, PathBuf>,
}

/// Our own cgroups.
///
/// # Errors
/// When /proc cannot be read.
pub fn ours() -> SysResult<Ours> {
    let listed = read_at(CWD, "/proc/self/cgroup", 1 << 16)?;
    let listed = String::from_utf8_lossy(&listed);
    Ok(Ours { unit: unit_path(&listed), legacy: legacy_of(&listed) })
}

/// The cgroups in the v1 lines of a /proc/PID/cgroup, below the roots of their hierarchies. One that is outside of what we see of
/// its hierarchy (cgroup_namespaces(7)) does not count.
fn legacy_of(listed: &str) -> BTreeMap<Controller, PathBuf> {
    let fields = listed.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let inside =
        fields.filter(|(_, path)| !Path::new(path).components().any(|part| part == Component::ParentDir));
    let controllers = |(options, path): (_, &str)| {
        let path = PathBuf::from(path.trim_start_matches('/'));
        in_options(options).map(move |controller| (controller, path.clone())).collect::<Vec<_>>()
    };
    inside.flat_map(controllers).collect()
}

/// The cgroup of the innermost unit in the v2 line of a /proc/PID/cgroup (cgroups(7)).
fn unit_path(listed: &str) -> Option<PathBuf> {
    systemd::innermost_unit(listed.lines().find_map(|line| line.strip_prefix("0::"))?).map(PathBuf::from)
}

impl Hierarchy {
    /// Whether systemd has handed over what is below the cgroup `unit`.
    pub fn is_delegated(&self, unit: &Path) -> bool {
        let Ok(unit) = self.find(unit) else { return false };
        MARKS.iter().any(|mark| matches!(attributes::get(&unit, mark), Ok(Some(value)) if value == b"1"))
    }

    /// As [`Hierarchy::create`], below the cgroup of the unit that we, one thread, are in.
    ///
    /// # Errors
    /// When one cannot be made or handed over.
    pub fn create_in_unit(&self, unit: &Path, name: &str, owner: u32) -> Result<MachineCgroup, CgroupError> {
        let make = || {
            let parent = self.find(unit)?;
            leave(&parent)?;
            MachineCgroup::make(&parent, unit.join(outer(name)), owner)
        };
        make().map_err(|source| CgroupError::Make { name: unit.display().to_string(), source })
    }
}

/// Leaves the unit's own cgroup for the child that is the supervisor's, if we are in it.
fn leave(unit: &OwnedFd) -> SysResult<()> {
    let here = rustix::process::getpid().to_string();
    let inside = read_at(unit, "cgroup.procs", 1 << 16);
    match inside {
        Ok(text) if String::from_utf8_lossy(&text).lines().any(|pid| pid == here) => {
            write_at(make_directory_at(unit, SUPERVISOR, 0o755)?, "cgroup.procs", b"0")
        }
        // A cgroup of threads, which systemd makes none of.
        Err(error) if error.errno() != Errno::OPNOTSUPP => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let rows = [
            ("0::/machine.slice/spinney@web.service\n", Some("/machine.slice/spinney@web.service")),
            (
                "0::/machine.slice/spinney@web.service/supervisor\n",
                Some("/machine.slice/spinney@web.service"),
            ),
            (
                "4:memory:/user.slice\n0::/user.slice/user@0.service/app.slice/x.service\n",
                Some("/user.slice/user@0.service/app.slice/x.service"),
            ),
            ("0::/machine.slice/a.scope/supervisor/deep\n", Some("/machine.slice/a.scope")),
            ("0::/\n", None),
            ("0::/machine.slice/.service\n", None),
            ("4:memory:/machine.slice/spinney@web.service\n", None),
            ("", None),
        ];
        for (listed, expected) in rows {
            assert_eq!(unit_path(listed).as_deref(), expected.map(Path::new), "{listed:?}");
        }
    }

    #[test]
    fn cgroups_of_v1() {
        let listed = "12:pids:/machine.slice/a.service\n11:name=systemd:/machine.slice/a.service\n6:memory:/\n\
                      5:cpu,cpuacct:/machine.slice\n4:blkio:/../elsewhere\n3:freezer:/a\n0::/machine.slice/a.service\n";
        let expected = [
            (Controller::Pids, "machine.slice/a.service"),
            (Controller::Memory, ""),
            (Controller::Cpu, "machine.slice"),
            (Controller::Cpuacct, "machine.slice"),
        ];
        assert_eq!(legacy_of(listed), expected.map(|(controller, path)| (controller, path.into())).into());
    }

    #[test]
    fn scopes() {
        for (machine, scope) in [
            ("web", "machine-web.scope"),
            ("my-web.lab1", "machine-my\\x2dweb.lab1.scope"),
            (".x", "machine-\\x2ex.scope"),
        ] {
            assert_eq!(scope_name(machine), scope);
        }
    }
}
