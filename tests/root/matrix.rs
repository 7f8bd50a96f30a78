//! Every init that we know boots, runs a command, reboots in place and powers off by its own means.

use std::time::Duration;

use crate::harness::{Context, Test, TestResult};
use crate::machine::Machine;

/// How long a guest may take to power off after it was ready.
const POWER_OFF: Duration = Duration::from_secs(20);

/// A tree, and how its init calls itself to us.
pub const TREES: [(&str, &str); 9] = [
    ("debian-11", "systemd 247"),
    ("debian-12", "systemd 252"),
    ("debian-13", "systemd 257"),
    ("debian-forky", "systemd 26"),
    ("debian-13-sysvinit", "sysvinit"),
    ("debian-13-openrc", "sysvinit with OpenRC"),
    ("debian-13-runit", "runit"),
    ("debian-13-finit", "finit"),
    ("busybox", "busybox"),
];

pub fn tests() -> Vec<Test> {
    let row = |(tree, init): (&'static str, &'static str), users: &'static str| {
        let name = format!("matrix::{tree}{}", if users == "no" { "::without_user_namespace" } else { "" });
        Test::new(name, move |context| life(context, tree, init, users))
    };
    ["pick", "no"].into_iter().flat_map(|users| TREES.map(|tree| row(tree, users))).collect()
}

fn life(context: &Context, tree: &str, init: &str, users: &str) -> TestResult {
    let tree = context.tree(tree)?;
    let mut machine = Machine::start(context, &tree, &[&format!("--private-users={users}")]);
    machine.ready()?;
    let first = machine.state()?;
    assert_eq!((first.boots, first.name.as_str()), (1, machine.name.as_str()));
    assert!(first.init.to_lowercase().starts_with(&init.to_lowercase()), "{:?}", first.init);
    assert_eq!(first.id_base == 0, users == "no");
    is_right_inside(&machine, first.id_base)?;
    machine.says("echo kept > /root/mark")?;

    // It may be killed with all else before it has ended.
    machine.shell("reboot")?;
    machine.ready().map_err(|error| format!("reboot: {error}"))?;
    let second = machine.state()?;
    assert_eq!((second.boots, second.id_base, second.supervisor), (2, first.id_base, first.supervisor));
    assert_ne!(second.leader, first.leader);
    assert_eq!(machine.says("cat /root/mark")?, "kept");
    is_right_inside(&machine, first.id_base)?;

    let took = machine.stop()?;
    assert!(took < POWER_OFF, "powered off only after {took:?}");
    assert!(!tree.join("root/mark").exists(), "the tree itself was written");
    Ok(())
}

/// Who we are in it, where it is, and whether all its units are well.
fn is_right_inside(machine: &Machine, id_base: u32) -> TestResult {
    assert_eq!(machine.says("id -u")?, "0");
    // finit calls itself so, where its tree has no /etc/hostname, whatever the kernel says.
    let hostname = if machine.state()?.init.starts_with("finit") { "noname" } else { &machine.name };
    assert_eq!(machine.says("cat /proc/sys/kernel/hostname")?, hostname);
    let map = machine.says("cat /proc/self/uid_map")?;
    let map: Vec<&str> = map.split_whitespace().collect();
    let size = if id_base == 0 { "4294967295" } else { "65536" };
    assert_eq!(map, ["0", &id_base.to_string(), size]);
    if machine.state()?.init.starts_with("systemd") {
        assert_eq!(machine.says("systemctl is-system-running; systemctl --failed --no-legend")?, "running");
    }
    Ok(())
}
