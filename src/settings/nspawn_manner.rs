//! How systemd-nspawn puts settings together: its own defaults, then a .nspawn file and the command line, of which one wins
//! by kinds of settings and not by single ones (systemd-nspawn(1), `--settings=`). Our own files have no say.

use super::SettingsMode;
use super::assignment::{Assignment, Change, Source};
use super::keys::{self, Key};

/// What holds when nobody says anything.
const DEFAULTS: &[(&str, &str)] = &[
    ("execution.boot", "no"),
    ("execution.process-two", "no"),
    // It has no time namespaces.
    ("execution.boot-clock", "no"),
    ("users.private-users", "no"),
    ("network.private-network", "no"),
];

/// Whose manner of putting settings together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Ours.
    #[default]
    Spinney,
    /// systemd-nspawn's.
    Nspawn,
}

/// The layers, lowest first, of a `.nspawn` file's settings and a command line's.
pub(super) fn layers(
    on_terminal: bool,
    file: Vec<Assignment>,
    command_line: Vec<Assignment>,
    mode: SettingsMode,
) -> Vec<Vec<Assignment>> {
    let (mut lower, higher) = match mode {
        SettingsMode::Override => (command_line, file),
        SettingsMode::Yes | SettingsMode::No | SettingsMode::Trusted => (file, command_line),
    };
    lower.retain(|assignment| {
        let kind = kind_of(assignment.key);
        kind.is_none() || !higher.iter().any(|winner| kind_of(winner.key) == kind)
    });
    vec![defaults(on_terminal), lower, higher]
}

fn defaults(on_terminal: bool) -> Vec<Assignment> {
    let console = ("console.mode", if on_terminal { "interactive" } else { "read-only" });
    let given = DEFAULTS.iter().chain([&console]);
    given
        .filter_map(|(path, value)| {
            let key = keys::known(path)?;
            Some(Assignment::new(key, Change::Give((*value).into()), Source::BuiltIn))
        })
        .collect()
}

/// What kind of settings one is of, for which whoever wins says all. `None` for those that are told apart within a kind.
fn kind_of(key: &Key) -> Option<(&'static str, &'static str)> {
    Some(match (key.table, key.name) {
        ("execution", "boot" | "parameters" | "process-two") => ("execution", "boot"),
        ("files", "bind" | "bind-ro" | "inaccessible" | "tmpfs" | "overlay" | "overlay-ro") => {
            ("files", "mounts")
        }
        ("network", "port") => ("network", "port"),
        ("network", _) => ("network", "network"),
        ("security", "capability" | "drop-capability" | "ambient-capability") => ("security", "capability"),
        ("resources", "rlimit") => return None,
        (table, name) => (table, name),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::nspawn_layer;

    /// `--key=value` of a command line, and lines of a file, by mode: what is in force beside the defaults.
    fn in_force(mode: SettingsMode, line: &[&str], file: &str) -> Vec<String> {
        let (file, _) =
            nspawn_layer::layer(&Path::new("/etc/systemd/nspawn/a.nspawn").into(), file, true).unwrap();
        let given = line.iter().map(|word| {
            let (name, value) = word.split_once('=').unwrap();
            Assignment::of_option(keys::of_option(name).unwrap(), "--x=", value)
        });
        let mut layers = layers(false, file, given.collect(), mode);
        assert_eq!(layers.len(), 3);
        layers.remove(0);
        let text = |assignment: Assignment| {
            format!("{}={}", assignment.key.name, assignment.value().unwrap_or_default().to_string_lossy())
        };
        layers.into_iter().flatten().map(text).collect()
    }

    #[test]
    fn who_wins_says_all_of_a_kind() {
        use SettingsMode::{Override, Yes};
        let rows: &[(SettingsMode, &[&str], &str, &[&str])] = &[
            (Yes, &[], "[Files]\nBind=/a", &["bind=/a"]),
            (Yes, &["--bind=/b"], "[Files]\nBindReadOnly=/a\nTemporaryFileSystem=/t", &["bind=/b"]),
            (Override, &["--bind=/b"], "[Files]\nBindReadOnly=/a", &["bind-ro=/a"]),
            (Override, &["--bind=/b"], "[Exec]\nBoot=yes", &["bind=/b", "boot=yes"]),
            (Yes, &["--boot=yes"], "[Exec]\nParameters=a b\nProcessTwo=yes", &["boot=yes"]),
            (Yes, &["--setenv=A=1"], "[Exec]\nEnvironment=B=2", &["setenv=A=1"]),
            (Yes, &["--network-veth=yes"], "[Network]\nPort=80\nZone=lab", &["port=80", "network-veth=yes"]),
            (
                Yes,
                &["--rlimit=CPU=1"],
                "[Exec]\nLimitNOFILE=5\nHostname=h",
                &["rlimit=NOFILE=5", "hostname=h", "rlimit=CPU=1"],
            ),
            (Yes, &["--capability=CAP_BPF"], "[Exec]\nDropCapability=CAP_CHOWN", &["capability=CAP_BPF"]),
        ];
        for (mode, line, file, expected) in rows {
            assert_eq!(in_force(*mode, line, file), *expected, "{line:?} {file:?}");
        }
    }

    #[test]
    fn defaults_are_settings() {
        assert_eq!(defaults(true).len(), DEFAULTS.len() + 1);
    }
}
