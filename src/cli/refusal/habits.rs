//! What those type who come from other programs, and how it is said here: commands and options of machinectl(1), importctl(1),
//! systemd-nspawn(1), docker(1) and the tools of LXC that `spinney` does not have.

const NSPAWN: &str = "systemd-nspawn has it; spinney nspawn --help says what is taken of its options";
const RUNNER: &str = "machines are containers here; systemd-vmspawn(1) runs virtual ones";
const HERE: &str = "spinney works on the host it runs on: ssh HOST spinney ...";

/// Options, and what their hint is.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
            "--background",
            "--bind-user",
            "--bind-user-group",
            "--bind-user-shell",
            "--cleanup",
            "--forward-journal",
            "--image-policy",
            "--no-pager",
            "--oci-bundle",
            "--private-users-delegate",
            "--private-users-ownership",
            "--restrict-address-families",
            "--template",
        ],
        NSPAWN,
    ),
    (&["--host", "-H"], HERE),
    (&["--machine", "-M"], "machines are operands here: spinney VERB NAME"),
    (
        &["--user"],
        "all machines are root's; -u USER of exec and USER@NAME of shell say who a command runs as",
    ),
    (&["--runner", "-V"], RUNNER),
    (&["-j"], "--json"),
    (&["--format"], "--json for programs; what a file is, its bytes say, and export takes --format="),
    (&["--keep-download"], "downloads are not kept; --keep-partial of pull keeps those that break off"),
];

/// Commands, and what their hint is.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["set-limit"], "disks of images have no limit here; spinney set changes limits of machines that run"),
    (&["edit"], "its settings are /etc/spinney/machines/NAME.toml, or /etc/systemd/nspawn/NAME.nspawn"),
    (&["cat"], "spinney explain NAME shows all settings, and where each came from"),
    (&["bind-volume", "unbind-volume"], RUNNER),
    (&["ps"], "spinney list"),
    (&["create", "launch"], "spinney clone makes a machine from an image, spinney run -d starts one at once"),
    (&["boot"], "spinney run TREE, or spinney start NAME"),
    (&["delete", "destroy", "rmi"], "spinney remove"),
    (&["console"], "spinney attach"),
    (&["cp"], "spinney copy-to NAME SRC [DST], or copy-from"),
    (&["stats"], "spinney top"),
    (&["info"], "spinney status"),
    (&["unfreeze"], "spinney resume"),
    (&["load"], "spinney import"),
    (&["save"], "spinney export"),
    (&["history"], "spinney snapshot --list NAME"),
    (&["version"], "spinney --version"),
];

/// The hint for an option that no verb, or not this one, has.
pub(super) fn option(option: &str) -> Option<&'static str> {
    of(OPTIONS, option)
}

/// The hint for a command that there is not.
pub(super) fn command(command: &str) -> Option<&'static str> {
    of(COMMANDS, command)
}

fn of(table: &[(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verb that came after its hint would be unknown for ever to who types it.
    #[test]
    fn there_is_no_such_command() {
        let definitions = crate::cli::arguments::definitions();
        for word in COMMANDS.iter().flat_map(|(words, _)| *words) {
            assert!(definitions.find_subcommand(word).is_none(), "{word}");
        }
    }
}
