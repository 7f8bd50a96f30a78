//! What is baked into a tree that each machine made of it should have of its own.

use super::{Finding, Level};
use crate::guest::machine_id::MachineIdState;
use crate::sys::in_root::{Root, absent_is_none};

/// Where inits keep what they stir into the kernel's random numbers.
const SEEDS: [&str; 4] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/misc/random-seed",
    "/var/lib/seedrng/seed.credit",
];

/// Most of a small file that is read.
const LIMIT: usize = 4096;

pub(super) fn look(root: &Root, machine_id: MachineIdState) -> Vec<Finding> {
    let mut findings = Vec::new();
    match machine_id {
        MachineIdState::Set(_) => findings.push(Finding::new(
            Level::Warning,
            "machine-id",
            "/etc/machine-id is set: all machines made of this tree have the same ID",
            "truncate -s 0 TREE/etc/machine-id; each machine makes its own at its first boot then",
        )),
        MachineIdState::Invalid => findings.push(Finding::new(
            Level::Warning,
            "machine-id",
            "/etc/machine-id is not valid (machine-id(5))",
            "truncate -s 0 TREE/etc/machine-id",
        )),
        _ => {}
    }
    let keys: Vec<String> = root
        .read_dir("/etc/ssh")
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.to_str())
        .filter(|name| name.starts_with("ssh_host_") && name.ends_with("_key"))
        .map(str::to_owned)
        .collect();
    if !keys.is_empty() {
        findings.push(Finding::new(
            Level::Warning,
            "ssh-host-keys",
            format!(
                "/etc/ssh has host keys ({}): whoever has this tree can pose as its machines",
                keys.len()
            ),
            "remove TREE/etc/ssh/ssh_host_*; have them made at the first boot (ssh-keygen -A)",
        ));
    }
    for seed in SEEDS {
        // An empty one is of no harm.
        if root.metadata(seed).is_ok_and(|metadata| metadata.is_file() && metadata.stat().st_size > 0) {
            findings.push(Finding::new(
                Level::Note,
                "random-seed",
                format!("{seed} is baked in: all machines start from the same one"),
                "remove it; a machine has the host's kernel's random numbers anyway",
            ));
        }
    }
    if let Ok(Some(name)) = absent_is_none(root.read("/etc/hostname", LIMIT)) {
        let name = String::from_utf8_lossy(&name);
        let name = name.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        if let Some(name) = name.filter(|name| *name != "localhost") {
            findings.push(Finding::new(
                Level::Note,
                "hostname",
                format!("/etc/hostname says {name:?}: the machine's own name is set over by it"),
                "remove TREE/etc/hostname to have machines called what they are called",
            ));
        }
    }
    findings.extend(resolv_conf(root));
    findings
}

fn resolv_conf(root: &Root) -> Option<Finding> {
    let link = root.read_link("/etc/resolv.conf").ok();
    let there = root.exists("/etc/resolv.conf").unwrap_or(false);
    match (link, there) {
        (Some(target), false) if target.to_string_lossy().contains("run/") => Some(Finding::new(
            Level::Note,
            "resolv-conf",
            format!(
                "/etc/resolv.conf is a link to {:?}, which a service makes at boot",
                target.to_string_lossy()
            ),
            "",
        )),
        (Some(target), false) => Some(Finding::new(
            Level::Warning,
            "resolv-conf",
            format!("/etc/resolv.conf is a link to {:?}, where there is nothing", target.to_string_lossy()),
            "remove TREE/etc/resolv.conf, or make it a file: names are not resolved otherwise",
        )),
        (None, false) => Some(Finding::new(
            Level::Note,
            "resolv-conf",
            "there is no /etc/resolv.conf: until one is made, names are not resolved",
            "",
        )),
        _ => None,
    }
}
