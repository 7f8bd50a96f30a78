//! The environment of PID 1 (Container Interface; systemd-nspawn(1)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::settings::Uuid;

use super::mounts::{CREDENTIALS, NOTIFY_SOCKET};
use super::plan::UserPlan;

/// PATH of a payload, as systemd-nspawn gives it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fields of the host's os-release that a guest is told of, as `container_host_…` (Container Interface).
const HOST_FIELDS: [(&str, &str); 4] = [
    ("ID", "container_host_id"),
    ("VERSION_ID", "container_host_version_id"),
    ("BUILD_ID", "container_host_build_id"),
    ("VARIANT_ID", "container_host_variant_id"),
];

/// What the environment depends on.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentContext<'a> {
    /// An init boots.
    pub boot: bool,
    /// What it is run by.
    pub container: &'a str,
    /// The payload has a terminal; its type is the TERM of ours.
    pub terminal: Option<&'a str>,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// There are credentials.
    pub credentials: bool,
    /// The host's os-release.
    pub host_os_release: &'a str,
    /// Number of sockets that are passed on (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The payload is the only child of our stub init, and so PID 2.
    pub below_stub: bool,
    /// Who the payload runs as.
    pub user: &'a UserPlan,
    /// The user's own variables, which win.
    pub own: &'a [(OsString, OsString)],
}

/// `NAME=value`, one each, in a stable order.
pub fn plan(context: &EnvironmentContext<'_>) -> Vec<Vec<u8>> {
    let mut variables: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(24);
    let mut set = |name: &str, value: &str| {
        variables.retain(|(known, _)| known != name.as_bytes());
        variables.push((name.into(), value.into()));
    };
    set("PATH", DEFAULT_PATH);
    set("container", context.container);
    set("container_uuid", &context.uuid.to_string());
    set("TERM", context.terminal.unwrap_or("dumb"));
    set("HOME", &context.user.home);
    set("USER", &context.user.name);
    set("LOGNAME", &context.user.name);
    set("NOTIFY_SOCKET", NOTIFY_SOCKET);
    if context.credentials {
        set("CREDENTIALS_DIRECTORY", CREDENTIALS);
    }
    if !context.boot {
        set("LANG", "C.UTF-8");
    }
    if context.listen_fds > 0 {
        set("LISTEN_FDS", &context.listen_fds.to_string());
        set("LISTEN_PID", if context.below_stub { "2" } else { "1" });
    }
    let os = crate::guest::os_release::OsRelease::parse(context.host_os_release);
    for (field, variable) in HOST_FIELDS {
        if let Some(value) = os.get(field) {
            set(variable, value);
        }
    }
    for (name, value) in context.own {
        variables.retain(|(known, _)| known != name.as_bytes());
        variables.push((name.as_bytes().into(), value.as_bytes().into()));
    }
    variables.into_iter().map(|(name, value)| [name, vec![b'='], value].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(boot: bool, own: &[(OsString, OsString)]) -> Vec<String> {
        let user = UserPlan {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            name: "root".to_owned(),
            home: "/root".to_owned(),
        };
        let context = EnvironmentContext {
            boot,
            container: "spinney",
            terminal: Some("xterm"),
            uuid: Uuid([0x11; 16]),
            credentials: false,
            host_os_release: "ID=debian\nVERSION_ID=\"12\"\n",
            listen_fds: 0,
            below_stub: false,
            user: &user,
            own,
        };
        plan(&context).into_iter().map(|variable| String::from_utf8(variable).unwrap()).collect()
    }

    #[test]
    fn an_init_is_told_where_it_is() {
        assert_eq!(
            environment(true, &[]),
            [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "container=spinney",
                "container_uuid=11111111-1111-1111-1111-111111111111",
                "TERM=xterm",
                "HOME=/root",
                "USER=root",
                "LOGNAME=root",
                "NOTIFY_SOCKET=/run/host/notify",
                "container_host_id=debian",
                "container_host_version_id=12",
            ]
        );
    }

    #[test]
    fn the_users_variables_win() {
        let own = [("TERM".into(), "vt220".into()), ("A".into(), "b=c".into())];
        let variables = environment(false, &own);
        assert!(variables.contains(&"LANG=C.UTF-8".to_owned()));
        assert_eq!(variables.iter().filter(|variable| variable.starts_with("TERM=")).count(), 1);
        assert_eq!(&variables[variables.len() - 2..], ["TERM=vt220", "A=b=c"]);
    }
}
