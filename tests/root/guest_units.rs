//! Units of the guest that want isolation of their own get it: all that systemd can do for a service, inside.

use crate::harness::{Context, Test, TestResult};
use crate::machine::Machine;

/// Trees whose systemd is asked.
const TREES: [&str; 4] = ["debian-11", "debian-12", "debian-13", "debian-forky"];

/// `properties: script => stdout` of a transient unit.
const ROWS: &[(&str, &[&str], &str, &str)] = &[
    ("PrivateTmp", &["PrivateTmp=yes"], "ls -A /tmp; touch /tmp/x && echo ok", "ok"),
    (
        "ProtectSystem",
        &["ProtectSystem=strict"],
        "touch /usr/x /etc/x /var/x /x 2>/dev/null || echo refused",
        "refused",
    ),
    ("ProtectHome", &["ProtectHome=yes"], "ls -A /root | wc -l", "0"),
    (
        "PrivateDevices",
        &["PrivateDevices=yes"],
        "echo x > /dev/null && ls /dev/net /dev/fuse 2>/dev/null || echo few",
        "few",
    ),
    (
        "DynamicUser",
        &["DynamicUser=yes"],
        "test $(id -u) -ge 61184 && test ! -w /etc && echo dynamic",
        "dynamic",
    ),
    (
        "StateDirectory",
        &["DynamicUser=yes", "StateDirectory=own", "RuntimeDirectory=own"],
        "touch $STATE_DIRECTORY/x $RUNTIME_DIRECTORY/x && echo ok",
        "ok",
    ),
    ("LoadCredential", &["LoadCredential=c:/root/credential"], "cat $CREDENTIALS_DIRECTORY/c", "secret"),
    (
        "LoadCredential_DynamicUser",
        &["LoadCredential=c:/root/credential", "DynamicUser=yes"],
        "cat $CREDENTIALS_DIRECTORY/c",
        "secret",
    ),
    (
        "MemoryMax",
        &["MemoryMax=64M"],
        "f=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup | tail -n1)/memory.max; \
        test ! -e $f && echo 67108864 || cat $f",
        "67108864",
    ),
    ("PrivateUsers", &["PrivateUsers=yes"], "wc -l < /proc/self/uid_map; id -u", "1\n0"),
    (
        "PrivateNetwork",
        &["PrivateNetwork=yes"],
        // Not /sys/class/net: that is the network of who mounted it, as on any host.
        "tail -n +3 /proc/net/dev | cut -d: -f1",
        "    lo",
    ),
    ("PrivateMounts", &["PrivateMounts=yes"], "mount -t tmpfs x /mnt && echo mounted", "mounted"),
    (
        "BindPaths",
        &["BindReadOnlyPaths=/usr/share:/mnt"],
        "ls -d /mnt/zoneinfo /mnt/doc | head -n1",
        "/mnt/doc",
    ),
    ("TemporaryFileSystem", &["TemporaryFileSystem=/var"], "ls -A /var | wc -l", "0"),
    ("InaccessiblePaths", &["InaccessiblePaths=/root"], "ls -A /root | wc -l", "0"),
    ("ReadOnlyPaths", &["ReadOnlyPaths=/"], "touch /x 2>/dev/null || echo refused", "refused"),
    ("ProtectKernelTunables", &["ProtectKernelTunables=yes"], "echo ok", "ok"),
    (
        "ProtectControlGroups",
        &["ProtectControlGroups=yes"],
        "mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused",
        "refused",
    ),
    ("ProtectHostname", &["ProtectHostname=yes"], "hostname other 2>/dev/null || echo refused", "refused"),
    (
        "ProtectProc",
        &["ProtectProc=invisible", "DynamicUser=yes"],
        "test -d /proc/1 || echo hidden",
        "hidden",
    ),
    ("NoNewPrivileges", &["NoNewPrivileges=yes"], "grep -c 'NoNewPrivs:.1' /proc/self/status", "1"),
    (
        "SystemCallFilter",
        &["SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"],
        "echo ok",
        "ok",
    ),
    (
        "RestrictNamespaces",
        &["RestrictNamespaces=yes"],
        "unshare -U true 2>/dev/null || echo refused",
        "refused",
    ),
    (
        "nested_user_namespace",
        &[],
        "unshare -Ur sh -c 'id -u; head -n1 /proc/self/uid_map | tr -s \" \"'",
        "0\n 0 0 1",
    ),
    ("nested_pid_namespace", &[], "unshare -Urpf sh -c 'echo $$'", "1"),
];

/// Rows that a systemd older than its first element does not know.
const SINCE: &[(&str, u32)] =
    &[("ProtectProc", 247), ("LoadCredential", 247), ("LoadCredential_DynamicUser", 247)];

pub fn tests() -> Vec<Test> {
    let tree = |tree: &'static str, users: &'static str| {
        let name =
            format!("guest_units::{tree}{}", if users == "no" { "::without_user_namespace" } else { "" });
        Test::new(name, move |context| units(context, tree, users))
    };
    let more = [tree("debian-13", "no"), Test::new("guest_units::kept_unit_file", kept_unit_file)];
    TREES.into_iter().map(|name| tree(name, "pick")).chain(more).collect()
}

fn units(context: &Context, tree: &str, users: &str) -> TestResult {
    let tree = context.tree(tree)?;
    let mut machine = Machine::start(context, &tree, &[&format!("--private-users={users}")]);
    machine.ready()?;
    let version: u32 =
        machine.state()?.init.trim_start_matches("systemd ").split('.').next().unwrap().parse()?;
    machine.says("echo secret > /root/credential; touch /tmp/of-the-guest")?;
    let mut wrong = Vec::new();
    for (name, properties, script, expected) in ROWS {
        if SINCE.iter().any(|(row, since)| row == name && version < *since) {
            continue;
        }
        let properties: String = properties.iter().map(|property| format!(" -p '{property}'")).collect();
        machine.says(&format!("cat > /root/unit <<'END'\n{script}\nEND"))?;
        // What is on stdin is what the shell runs: the script may be where the unit cannot look.
        let ended = machine.shell(&format!(
            "systemd-run -q --wait --pipe --service-type=exec{properties} /bin/sh < /root/unit"
        ))?;
        if (ended.status, ended.stdout.trim_end()) != (0, *expected) {
            wrong.push(format!("{name}: expected {expected:?}: {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    machine.stop()?;
    Ok(())
}

/// A unit file from the host, started at boot: a failure of it is one of the machine.
fn kept_unit_file(context: &Context) -> TestResult {
    let unit = context.directory.join("own.service");
    std::fs::write(
        &unit,
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'id -u > $$STATE_DIRECTORY/user'\nDynamicUser=yes\n\
         User=own-service\nStateDirectory=own\nProtectSystem=strict\nPrivateDevices=yes\nPrivateTmp=yes\nMemoryMax=64M\n\
         LoadCredential=given\n",
    )?;
    let bind = format!("--bind-ro={}:/etc/systemd/system/own.service", unit.display());
    let options = ["--boot", &bind, "--set-credential=given:by the host"];
    let (name, tree) = (context.machine_name(), context.tree("debian-13")?);
    let mut machine =
        Machine::start_as(context, &name, &tree, &options, &["--", "systemd.wants=own.service"]);
    machine.ready()?;
    let state = machine.says("systemctl is-system-running; systemctl show -P Result own.service")?;
    let log = "journalctl --no-pager -n 20 -u own.service; systemctl --failed";
    assert_eq!(state, "running\nsuccess", "{}", machine.says(log)?);
    let user: u32 = machine.says("cat /var/lib/private/own/user")?.parse()?;
    assert!((61_184..=65_519).contains(&user), "{user}");
    machine.stop()?;
    Ok(())
}
