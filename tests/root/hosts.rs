//! Hosts that are not as ours is, as far as a mount namespace can show one.

use std::path::Path;
use std::process::Command;

use crate::command::run;
use crate::harness::{Context, Row, Test, TestResult, program};
use crate::host_state::HostState;
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let single: [Row; 3] = [
        ("legacy_cgroups", legacy_cgroups),
        ("legacy_cgroups_after_a_kill", legacy_cgroups_after_a_kill),
        ("read_only_sysfs", read_only_sysfs),
    ];
    single.map(|(name, test)| Test::new(format!("hosts::{name}"), test)).into()
}

/// A shell line that takes all of cgroup2 out of sight, as on a host that mounts none.
pub const UNMOUNT_CGROUP2: &str =
    "for at in $(grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5 | sort -r); do umount $at; done";

/// The program, once `script` has changed the mounts of a namespace of its own.
pub fn after_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation=private",
        "/bin/sh",
        "-ec",
        &format!("{script}\nexec \"$@\""),
        "sh",
    ]);
    command.arg(program()).stdin(std::process::Stdio::null()).env_remove("NOTIFY_SOCKET");
    command
}

fn start(context: &Context, tree: &Path, script: &str) -> Machine {
    let name = context.machine_name();
    let mut command = after_mounts(script);
    command.args(["run", "-x", "-M", &name, "--console=read-only", "--notify-ready"]).arg(tree);
    Machine::spawn(context, &name, command)
}

/// Keeps the mount options of this host's cgroup2: they belong to the hierarchy, so that whoever mounts it elsewhere
/// changes them for all.
struct CgroupOptions(Option<String>);

impl CgroupOptions {
    fn keep() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        Self(line.and_then(|line| line.split(' ').next_back()).map(str::to_owned))
    }
}

impl Drop for CgroupOptions {
    fn drop(&mut self) {
        let Some(options) = &self.0 else { return };
        let script = format!("mount -t cgroup2 -o {options} cgroup2 /mnt");
        let restored = run(Command::new("unshare").args(["--mount", "/bin/sh", "-ec", &script]));
        assert_eq!(restored.status, 0, "{restored:#?}");
    }
}

fn legacy_cgroups(context: &Context) -> TestResult {
    let _options = CgroupOptions::keep();
    for tree in ["debian-forky", "debian-11", "busybox"] {
        let mut machine = start(context, &context.tree(tree)?, UNMOUNT_CGROUP2);
        machine.ready()?;
        assert_eq!(
            machine.says("grep ' /sys/fs/cgroup ' /proc/mounts | cut -d' ' -f3")?,
            "cgroup2",
            "{tree}"
        );
        assert_eq!(machine.says("grep ^0: /proc/1/cgroup | cut -d/ -f1")?, "0::", "{tree}");
        if machine.state()?.init.starts_with("systemd") {
            assert_eq!(machine.says("systemctl is-system-running")?, "running", "{tree}");
        }
        machine.stop()?;
    }
    Ok(())
}

/// The hierarchy is there although it is mounted nowhere: what a killed supervisor made in it must go all the same.
fn legacy_cgroups_after_a_kill(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let before = HostState::look(&context.prefix);
    let options = CgroupOptions::keep();
    let mut machine = start(context, &tree, UNMOUNT_CGROUP2);
    machine.ready()?;
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    let collected = run(after_mounts(UNMOUNT_CGROUP2).arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    drop(options);
    let left = before.changes(&context.prefix);
    assert!(left.is_empty(), "{}", left.join("\n"));
    Ok(())
}

/// As in a container, which many a CI job is.
fn read_only_sysfs(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let mut machine = start(context, &tree, "mount -o remount,bind,ro /sys");
    machine.ready()?;
    assert_eq!(machine.says("systemctl is-system-running")?, "running");
    machine.stop()?;
    Ok(())
}
