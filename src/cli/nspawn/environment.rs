//! systemd-nspawn's environment variables (systemd's ENVIRONMENT.md).

use std::ffi::OsString;

use crate::cli::refusal::Refusal;
use crate::settings::assignment::Assignment;
use crate::settings::{ApiFileSystems, Knobs, keys, parse_boolean};

/// systemd's default value of `container`.
const CONTAINER: &str = "systemd-nspawn";

/// syslog(3): what is said at the level of a program's course.
const INFO: u8 = 6;

/// What the environment asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// What of it is no setting.
    pub(super) knobs: Knobs,
    /// Settings.
    pub(super) assignments: Vec<Assignment>,
    /// Nothing but errors is to be said.
    pub(super) quiet: bool,
}

/// Reads `variable`s.
///
/// # Errors
/// For one that makes no sense, or is for what cannot be had.
pub(super) fn asked(variable: impl Fn(&str) -> Option<OsString>) -> Result<Asked, Refusal> {
    let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
    let boolean = |name: &'static str| {
        text(name)
            .map(|value| {
                parse_boolean(&value).map_err(|_| {
                    Refusal::error(
                        format!("bad value for ${name}: {value:?} is neither yes nor no"),
                        "0 or 1",
                    )
                })
            })
            .transpose()
    };
    let mut knobs = Knobs { container: CONTAINER.into(), ..Knobs::USUAL };
    if let Some(name) = text("SYSTEMD_NSPAWN_CONTAINER_SERVICE") {
        knobs.container = name.into();
    }
    knobs.api_file_systems = match text("SYSTEMD_NSPAWN_API_VFS_WRITABLE").as_deref() {
        Some("network") => ApiFileSystems::Network,
        _ if boolean("SYSTEMD_NSPAWN_API_VFS_WRITABLE")? == Some(true) => ApiFileSystems::Writable,
        _ => ApiFileSystems::Protected,
    };
    knobs.tmpfs_tmp = boolean("SYSTEMD_NSPAWN_TMPFS_TMP")?.unwrap_or(true);
    knobs.lock = boolean("SYSTEMD_NSPAWN_LOCK")?.unwrap_or(true);
    knobs.system_call_filter = boolean("SYSTEMD_SECCOMP")?.unwrap_or(true);
    // The older name of the two, which systemd itself knew until version 258.
    let unified = match boolean("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY")? {
        None => boolean("UNIFIED_CGROUP_HIERARCHY")?,
        given => given,
    };
    knobs.legacy_cgroups = unified.map(|unified| !unified);
    // Trees without one boot here anyway.
    boolean("SYSTEMD_NSPAWN_CHECK_OS_RELEASE")?;
    if boolean("SYSTEMD_NSPAWN_USE_CGNS")? == Some(false) {
        return Err(Refusal::error(
            "SYSTEMD_NSPAWN_USE_CGNS=0 is not supported",
            "a container without a cgroup namespace would see the host's cgroups",
        ));
    }
    for name in [
        "SYSTEMD_NSPAWN_SHARE_NS_IPC",
        "SYSTEMD_NSPAWN_SHARE_NS_PID",
        "SYSTEMD_NSPAWN_SHARE_NS_UTS",
        "SYSTEMD_NSPAWN_SHARE_SYSTEM",
    ] {
        if boolean(name)? == Some(true) {
            return Err(Refusal::error(
                format!("{name}=1 is not supported"),
                "namespaces are not shared with the host",
            ));
        }
    }
    let mut assignments = Vec::new();
    // What else stands in it is ignored by systemd-nspawn too.
    if let Ok(Some(suppress)) = boolean("SYSTEMD_SUPPRESS_SYNC")
        && let Some(key) = keys::known("execution.suppress-sync")
    {
        let word = if suppress { "yes" } else { "no" };
        assignments.push(Assignment::of_option(key, "SYSTEMD_SUPPRESS_SYNC=", word));
    }
    let quiet =
        text("SYSTEMD_LOG_LEVEL").and_then(|level| log_level(&level)).is_some_and(|level| level < INFO);
    Ok(Asked { knobs, assignments, quiet })
}

/// A log level by its name or number (syslog(3)).
fn log_level(text: &str) -> Option<u8> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let named = NAMES.iter().position(|name| *name == text).and_then(|level| u8::try_from(level).ok());
    named.or_else(|| text.parse().ok().filter(|level| *level < 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_of(variables: &[(&str, &str)]) -> Result<Asked, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        asked(variable).map_err(|refusal| match refusal {
            Refusal::Display(text) => text,
            Refusal::Error { message, .. } => message.to_string(),
        })
    }

    #[test]
    fn variables() {
        let usual = Knobs { container: CONTAINER.into(), ..Knobs::USUAL };
        type Row<'a> = (&'a [(&'a str, &'a str)], Result<Knobs, &'a str>);
        let rows: &[Row<'_>] = &[
            (&[], Ok(usual.clone())),
            (
                &[("SYSTEMD_NSPAWN_CONTAINER_SERVICE", "lxc")],
                Ok(Knobs { container: "lxc".into(), ..usual.clone() }),
            ),
            (
                &[("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")],
                Ok(Knobs { api_file_systems: ApiFileSystems::Writable, ..usual.clone() }),
            ),
            (
                &[("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")],
                Ok(Knobs { api_file_systems: ApiFileSystems::Network, ..usual.clone() }),
            ),
            (&[("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "no")], Ok(usual.clone())),
            (
                &[("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "x")],
                Err("bad value for $SYSTEMD_NSPAWN_API_VFS_WRITABLE: \"x\" is neither yes nor no"),
            ),
            (&[("SYSTEMD_NSPAWN_TMPFS_TMP", "0")], Ok(Knobs { tmpfs_tmp: false, ..usual.clone() })),
            (&[("SYSTEMD_NSPAWN_LOCK", "0")], Ok(Knobs { lock: false, ..usual.clone() })),
            (&[("SYSTEMD_SECCOMP", "0")], Ok(Knobs { system_call_filter: false, ..usual.clone() })),
            (
                &[("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1"), ("UNIFIED_CGROUP_HIERARCHY", "0")],
                Ok(Knobs { legacy_cgroups: Some(false), ..usual.clone() }),
            ),
            (&[("UNIFIED_CGROUP_HIERARCHY", "0")], Ok(Knobs { legacy_cgroups: Some(true), ..usual.clone() })),
            (
                &[("SYSTEMD_NSPAWN_CHECK_OS_RELEASE", "0"), ("SYSTEMD_NSPAWN_USE_CGNS", "1")],
                Ok(usual.clone()),
            ),
            (&[("SYSTEMD_NSPAWN_USE_CGNS", "0")], Err("SYSTEMD_NSPAWN_USE_CGNS=0 is not supported")),
            (
                &[("SYSTEMD_NSPAWN_SHARE_NS_IPC", "yes")],
                Err("SYSTEMD_NSPAWN_SHARE_NS_IPC=1 is not supported"),
            ),
            (&[("SYSTEMD_NSPAWN_SHARE_NS_IPC", "no")], Ok(usual.clone())),
        ];
        for (variables, expected) in rows {
            let knobs = asked_of(variables).map(|asked| asked.knobs);
            assert_eq!(knobs.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
        }
        let suppressed = asked_of(&[("SYSTEMD_SUPPRESS_SYNC", "1")]).unwrap().assignments;
        assert_eq!((suppressed[0].key.name, suppressed[0].value()), ("suppress-sync", Some("yes".as_ref())));
        assert!(asked_of(&[("SYSTEMD_SUPPRESS_SYNC", "x")]).unwrap().assignments.is_empty());
    }

    #[test]
    fn log_levels() {
        for (text, quiet) in
            [("err", true), ("notice", true), ("5", true), ("info", false), ("debug", false), ("x", false)]
        {
            assert_eq!(asked_of(&[("SYSTEMD_LOG_LEVEL", text)]).unwrap().quiet, quiet, "{text}");
        }
    }
}
