//! systemd as this host's service manager: whether it is there, and which of its units a cgroup belongs to.
//!
//! The one place that knows either. What a unit of ours is called is the manager's (`manager/systemd.rs`).

use std::path::Path;

use rustix::fs::{CWD, FileType};

use crate::sys::files::read_at;

/// What only systemd's PID 1 makes, says sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// The name of our PID 1, as the kernel knows it.
const FIRST: &str = "/proc/1/comm";

/// Whether systemd is this host's PID 1.
///
/// The directory of sd_booted(3) alone does not tell: in containers people make it by hand, to have systemctl or a package's scripts
/// go on. Nor does the name alone: who has been given an empty /run cannot reach that systemd. PID 1 is called `systemd` whatever link
/// it was executed by, as it names itself.
pub fn is_pid1() -> bool {
    says_so(Path::new(BOOTED), Path::new(FIRST))
}

fn says_so(booted: &Path, first: &Path) -> bool {
    rustix::fs::lstat(booted).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        && read_at(CWD, first, 64).is_ok_and(|name| name.trim_ascii() == b"systemd")
}

/// The cgroup of the innermost unit that the cgroup `path` is in, or is: a part of `path`, from its beginning. A slice holds units, and
/// is nobody's own.
pub fn innermost_unit(path: &str) -> Option<&str> {
    let mut rest = path;
    loop {
        let (above, last) = rest.rsplit_once('/').unwrap_or(("", rest));
        if is_unit(last) {
            return Some(rest);
        }
        if above.is_empty() {
            return None;
        }
        rest = above;
    }
}

/// The name of that unit.
pub fn innermost_unit_name(path: &str) -> Option<&str> {
    innermost_unit(path)?.rsplit('/').next()
}

/// The name of the innermost unit that a process is in whose /proc/PID/cgroup (cgroups(7)) is `listed`: in v2, or in the hierarchy
/// that systemd has to itself where it keeps its books in v1.
pub fn unit_of_process(listed: &str) -> Option<&str> {
    cgroups_of_systemd(listed).find_map(innermost_unit_name)
}

/// The name of the system manager's own unit that such a process is in: the outermost one. Whom a cgroup is delegated to calls those
/// below it what he likes, other units' names too. `None` for who is in a user's manager (`user@1000.service`), which is in a unit with
/// all that is that user's.
pub fn systems_unit_of_process(listed: &str) -> Option<&str> {
    let unit = cgroups_of_systemd(listed).find_map(|path| {
        path.split('/')
            .find(|part| !part.is_empty() && !part.ends_with(".slice"))
            .filter(|part| is_unit(part))
    })?;
    (!unit.starts_with("user@")).then_some(unit)
}

fn cgroups_of_systemd(listed: &str) -> impl Iterator<Item = &str> {
    let systemds = |(of, path): (&str, _)| (of.is_empty() || of == "name=systemd").then_some(path);
    let lines = listed.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    lines.filter_map(systemds)
}

fn is_unit(part: &str) -> bool {
    let kind = part.rsplit_once('.').filter(|(name, _)| !name.is_empty()).map(|(_, kind)| kind);
    // init.scope is that of a guest's PID 1 at times, which is no unit of the host's.
    matches!(kind, Some("service" | "scope")) && part != "init.scope"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_pid_1() {
        let directory = tempfile::tempdir().unwrap();
        let (booted, file, first) =
            (directory.path().join("system"), directory.path().join("file"), directory.path().join("comm"));
        let absent = directory.path().join("absent");
        std::fs::create_dir(&booted).unwrap();
        std::fs::write(&file, "").unwrap();
        // what is at /run/systemd/system, what PID 1 is called => the answer
        let table = [
            ("a host of systemd's", &booted, Some("systemd\n"), true),
            ("a directory made by hand", &booted, Some("docker-init\n"), false),
            ("a name that begins so", &booted, Some("systemd-shim\n"), false),
            ("a /run of our own", &absent, Some("systemd\n"), false),
            ("no directory", &file, Some("systemd\n"), false),
            ("no /proc", &booted, None, false),
        ];
        for (name, booted, comm, expected) in table {
            let _ = std::fs::remove_file(&first);
            if let Some(comm) = comm {
                std::fs::write(&first, comm).unwrap();
            }
            assert_eq!(says_so(booted, &first), expected, "{name}");
        }
    }

    #[test]
    fn innermost_units() {
        let table = [
            ("/machine.slice/spinney@web.service", Some("/machine.slice/spinney@web.service")),
            ("/machine.slice/spinney@web.service/supervisor", Some("/machine.slice/spinney@web.service")),
            ("/machine.slice/spinney@web.service/web/payload", Some("/machine.slice/spinney@web.service")),
            ("/machine.slice/machine-web.scope", Some("/machine.slice/machine-web.scope")),
            ("/machine.slice/machine-web.scope/init.scope", Some("/machine.slice/machine-web.scope")),
            (
                "/user.slice/user@0.service/app.slice/run-r1.scope/x",
                Some("/user.slice/user@0.service/app.slice/run-r1.scope"),
            ),
            ("a.scope/x", Some("a.scope")),
            ("/spinney/web/payload", None),
            ("/machine.slice/.service", None),
            ("/init.scope", None),
            ("/service", None),
            ("/", None),
            ("", None),
        ];
        for (path, unit) in table {
            assert_eq!(innermost_unit(path), unit, "{path}");
        }
        assert_eq!(innermost_unit_name("/a.slice/b.service/c"), Some("b.service"));
        assert_eq!(innermost_unit_name("/a.slice"), None);
    }

    #[test]
    fn nobody_is_in_a_unit_by_the_name_of_a_cgroup_of_his_own() {
        for (listed, unit) in [
            ("0::/machine.slice/machine-web.scope\n", Some("machine-web.scope")),
            (
                "0::/machine.slice/a-b.slice/machine-web.scope/payload/ssh.service\n",
                Some("machine-web.scope"),
            ),
            ("0::/user.slice/user-7.slice/session-2.scope\n", Some("session-2.scope")),
            ("0::/user.slice/user-7.slice/user@7.service/x/ssh.service\n", None),
            ("0::/user.slice/user-7.slice/user@7.service\n", None),
            ("1:name=systemd:/system.slice/ci.service/ssh.service\n0::/\n", Some("ci.service")),
            ("0::/x/ssh.service\n", None),
            ("0::/../ssh.service\n", None),
            ("3:cpu:/ssh.service\n0::/\n", None),
        ] {
            assert_eq!(systems_unit_of_process(listed), unit, "{listed}");
        }
    }

    #[test]
    fn units_of_processes() {
        for (listed, unit) in [
            ("0::/system.slice/spinney@web.service/supervisor\n", Some("spinney@web.service")),
            (
                "3:cpu:/x.service\n1:name=systemd:/user.slice/user-0.slice/session-2.scope\n0::/\n",
                Some("session-2.scope"),
            ),
            ("3:cpu:/x.service\n0::/\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of_process(listed), unit, "{listed}");
        }
    }
}
