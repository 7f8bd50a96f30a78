//! `/run/systemd/machines/NAME`: what systemd-machined keeps of a machine, where no systemd-machined runs.
//!
//! `systemctl -M`, `journalctl -M`, `busctl -M` and sd-login(3) find a machine's leader there, by themselves: no daemon is asked.
//! The format is private to systemd, and has not changed since there is one but by fields that were added: assignments as in
//! os-release(5). A link `unit:UNIT` says whose a unit is.

mod directory;

use std::collections::BTreeMap;

use rustix::process::Pid;

use super::state::State;
use crate::guest::os_release::OsRelease;
use crate::host::systemd;
use crate::sys::process::{pidfd_id, pidfd_open, state_and_start_time};

pub use directory::{read, read_all, remove, remove_ours, sweep, sweep_unfinished};

/// Where they are.
pub const DIRECTORY: &str = "/run/systemd/machines";

/// Who made them: the field `SERVICE` of ours.
pub const SERVICE: &str = "spinney";

/// The kernel's unit of a process' start time, in microseconds (USER_HZ is 100 on all that we run on).
const TICK: u64 = 10_000;

/// What a machine is (sd_machine_get_class(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// It shares the host's kernel.
    #[default]
    Container,
    /// It has a kernel of its own.
    Vm,
    /// It is the host.
    Host,
}

impl Class {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Vm => "vm",
            Self::Host => "host",
        }
    }

    /// What `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Container, Self::Vm, Self::Host].into_iter().find(|class| class.as_str() == word)
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachinedFile {
    /// The machine's name.
    pub name: String,
    /// What it is.
    pub class: Class,
    /// Who made it.
    pub service: String,
    /// The unit that it is in.
    pub unit: String,
    /// Its cgroup below that of the unit.
    pub subgroup: String,
    /// Its tree, on the host.
    pub root: String,
    /// Its machine ID, 32 digits; nothing where it has none.
    pub id: String,
    /// Its PID 1.
    pub leader: i32,
    /// The inode of that one's pidfd (Linux 6.9); 0 where the kernel has none.
    pub leader_pidfd_id: u64,
    /// When that one was started, in clock ticks since the host's boot: a field of ours.
    pub leader_started: u64,
    /// Who watches it; 0 for nobody.
    pub supervisor: i32,
    /// As of the leader.
    pub supervisor_pidfd_id: u64,
    /// Whose it is.
    pub uid: u32,
    /// When it began, in microseconds since 1970.
    pub realtime: u64,
    /// The same, since the host's boot.
    pub monotonic: u64,
    /// Interfaces of the host that lead to it, by index.
    pub interfaces: Vec<i32>,
    /// Its address of AF_VSOCK.
    pub vsock_cid: Option<u32>,
    /// How ssh(1) gets at it.
    pub ssh_address: String,
    /// With which key.
    pub ssh_private_key_path: String,
    /// Where its own manager listens: a field of ours.
    pub control_address: String,
}

impl MachinedFile {
    /// Of a machine of ours.
    pub fn of(state: &State, interfaces: &[i32]) -> Self {
        Self {
            name: state.name.clone(),
            class: Class::Container,
            service: SERVICE.to_owned(),
            unit: unit_around(&state.cgroup).unwrap_or_default().to_owned(),
            subgroup: String::new(),
            root: state.tree.to_string_lossy().into_owned(),
            id: state.uuid.chars().filter(char::is_ascii_hexdigit).collect(),
            leader: state.leader,
            leader_pidfd_id: pidfd_id_of(state.leader),
            leader_started: state.leader_started,
            supervisor: state.supervisor,
            supervisor_pidfd_id: pidfd_id_of(state.supervisor),
            uid: 0,
            realtime: state.started_at,
            monotonic: state.leader_started.saturating_mul(TICK),
            interfaces: interfaces.to_vec(),
            ..Self::default()
        }
    }

    /// Reads the text of a file; `None` for one that names no machine or no leader.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<&str, String> = text.lines().filter_map(assignment).collect();
        let text = |field: &str| fields.get(field).cloned().unwrap_or_default();
        let number = |field: &str| text(field).parse::<u64>().ok();
        let pid = |field: &str| text(field).parse().ok().filter(|pid| *pid > 0);
        let interfaces = text("NETIF");
        Some(Self {
            name: fields.get("NAME").filter(|name| !name.is_empty())?.clone(),
            class: Class::parse(&text("CLASS")).unwrap_or_default(),
            service: text("SERVICE"),
            unit: text("SCOPE"),
            subgroup: text("SUBGROUP"),
            root: text("ROOT"),
            id: text("ID").chars().filter(char::is_ascii_hexdigit).collect(),
            leader: pid("LEADER")?,
            leader_pidfd_id: number("LEADER_PIDFDID").unwrap_or(0),
            leader_started: number("LEADER_STARTED").unwrap_or(0),
            supervisor: pid("SUPERVISOR").unwrap_or(0),
            supervisor_pidfd_id: number("SUPERVISOR_PIDFDID").unwrap_or(0),
            uid: number("UID").and_then(|uid| uid.try_into().ok()).unwrap_or(0),
            realtime: number("REALTIME").unwrap_or(0),
            monotonic: number("MONOTONIC").unwrap_or(0),
            interfaces: interfaces.split(' ').filter_map(|index| index.parse().ok()).collect(),
            vsock_cid: number("VSOCK_CID").and_then(|cid| cid.try_into().ok()),
            ssh_address: text("SSH_ADDRESS"),
            ssh_private_key_path: text("SSH_PRIVATE_KEY_PATH"),
            control_address: text("CONTROL_ADDRESS"),
        })
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = "# This is private data of systemd's tools. Do not parse.\n".to_owned();
        let mut put = |field: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("{field}={}\n", quoted(value)));
            }
        };
        let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let pid = |pid: i32| number(u64::from(pid.unsigned_abs()));
        put("NAME", &self.name);
        put("UID", &self.uid.to_string());
        put("SCOPE", &self.unit);
        put("SUBGROUP", &self.subgroup);
        put("SERVICE", &self.service);
        put("ROOT", &self.root);
        put("ID", &self.id);
        put("LEADER", &pid(self.leader));
        put("LEADER_PIDFDID", &number(self.leader_pidfd_id));
        put("LEADER_STARTED", &number(self.leader_started));
        put("SUPERVISOR", &pid(self.supervisor));
        put("SUPERVISOR_PIDFDID", &number(self.supervisor_pidfd_id));
        put("CLASS", self.class.as_str());
        put("REALTIME", &number(self.realtime));
        put("MONOTONIC", &number(self.monotonic));
        let interfaces: Vec<String> = self.interfaces.iter().map(ToString::to_string).collect();
        put("NETIF", &interfaces.join(" "));
        put("VSOCK_CID", &self.vsock_cid.map(|cid| cid.to_string()).unwrap_or_default());
        put("SSH_ADDRESS", &self.ssh_address);
        put("SSH_PRIVATE_KEY_PATH", &self.ssh_private_key_path);
        put("CONTROL_ADDRESS", &self.control_address);
        text
    }

    /// Whether the leader that it names lives.
    pub fn is_alive(&self) -> bool {
        let Some(started) = started_at(self.leader) else { return false };
        match (self.leader_started, self.leader_pidfd_id) {
            (0, 0) => true,
            (0, id) => pidfd_id_of(self.leader) == id,
            (known, _) => known == started,
        }
    }

    /// Whether the supervisor that it names lives.
    pub fn is_supervised(&self) -> bool {
        let same =
            || self.supervisor_pidfd_id == 0 || pidfd_id_of(self.supervisor) == self.supervisor_pidfd_id;
        started_at(self.supervisor).is_some() && same()
    }
}

/// When a process that lives was started, in clock ticks since the host's boot; one that is dead and not buried does not.
fn started_at(pid: i32) -> Option<u64> {
    let (state, started) = state_and_start_time(pid).ok()?;
    (!matches!(state, 'Z' | 'X')).then_some(started)
}

/// Whether systemd-machined keeps these files itself.
pub fn are_machineds() -> bool {
    /// Where distributions have it.
    const MACHINED: [&str; 2] = ["/usr/lib/systemd/systemd-machined", "/lib/systemd/systemd-machined"];
    systemd::is_pid1() && MACHINED.iter().any(|path| rustix::fs::stat(*path).is_ok())
}

/// The unit whose cgroup holds the outer one of a machine of ours, whose own is `payload`. The outer one bears the machine's name, which
/// may be a unit's too.
fn unit_around(payload: &str) -> Option<&str> {
    let outer = payload.rsplit_once('/')?.0;
    systemd::innermost_unit_name(outer.rsplit_once('/')?.0)
}

/// The inode of a pidfd of `pid`, which no other process has since the host's boot (Linux 6.9); 0 where there is none.
pub fn pidfd_id_of(pid: i32) -> u64 {
    Pid::from_raw(pid).and_then(|pid| pidfd_open(pid).ok()).and_then(|fd| pidfd_id(&fd)).unwrap_or(0)
}

/// A field and its value. systemd quotes where it must, and of what is not quoted all belongs to the value.
fn assignment(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.split_once('=')?;
    let value = match value.starts_with(['"', '\'']) {
        true => OsRelease::parse(line).get(name)?.to_owned(),
        false => value.to_owned(),
    };
    Some((name, value))
}

/// As in a shell's double quotes, where that is needed.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,%=".contains(c) || !c.is_ascii();
    if value.chars().all(plain) {
        return value.to_owned();
    }
    let mut text = String::from('"');
    // A value is one line.
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> MachinedFile {
        MachinedFile {
            name: "web".to_owned(),
            class: Class::Vm,
            service: "systemd-nspawn".to_owned(),
            unit: "machine-web.scope".to_owned(),
            subgroup: "payload".to_owned(),
            root: "/var/lib/machines/a \"b\" $c".to_owned(),
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            leader: 7,
            leader_pidfd_id: 8,
            leader_started: 9,
            supervisor: 10,
            supervisor_pidfd_id: 11,
            uid: 1000,
            realtime: 12,
            monotonic: 13,
            interfaces: vec![2, 3],
            vsock_cid: Some(4),
            ssh_address: "vsock/4".to_owned(),
            ssh_private_key_path: "/run/k".to_owned(),
            control_address: "/run/c".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let least = MachinedFile { name: "x".to_owned(), leader: 1, ..MachinedFile::default() };
        for file in [full(), least] {
            assert_eq!(MachinedFile::parse(&file.text()), Some(file));
        }
    }

    #[test]
    fn files_of_systemd() {
        let text = "# This is private data. Do not parse.\nNAME=deb\nSCOPE=machine-deb.scope\nSERVICE=systemd-nspawn\n\
                    ROOT=/t\nID=c0ffee00c0ffee00c0ffee00c0ffee00\nLEADER=41\nCLASS=container\nREALTIME=5\nMONOTONIC=6\nNETIF=3 4\n";
        let file = MachinedFile::parse(text).unwrap();
        assert_eq!((file.name.as_str(), file.unit.as_str(), file.leader), ("deb", "machine-deb.scope", 41));
        assert_eq!(
            (file.class, file.interfaces.as_slice(), file.realtime),
            (Class::Container, &[3, 4][..], 5)
        );
        let none = [
            "",
            "NAME=x\n",
            "LEADER=1\n",
            "NAME=x\nLEADER=-1\n",
            "NAME=x\nLEADER=abc\n",
            "NAME=\nLEADER=1\n",
        ];
        for text in none {
            assert_eq!(MachinedFile::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn units() {
        let table = [
            ("/machine.slice/spinney@web.service/machine-web/payload", Some("spinney@web.service")),
            (
                "/machine.slice/machine-a.service.scope/machine-a.service/payload",
                Some("machine-a.service.scope"),
            ),
            ("/spinney/db.service/payload", None),
            ("/payload", None),
            ("/", None),
            ("", None),
        ];
        for (cgroup, unit) in table {
            assert_eq!(unit_around(cgroup), unit, "{cgroup}");
        }
    }
}
