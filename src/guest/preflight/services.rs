//! What a tree starts that cannot work in a machine, or makes its boot long.

use std::path::Path;

use super::{Finding, Level};
use crate::guest::init::{DetectedInit, Init};
use crate::sys::in_root::{Root, absent_is_none};

/// Units that fail in containers of any kind, and why, unless they ask systemd whether they are in one.
const FAILING: [(&str, &str); 11] = [
    ("auditd.service", "the kernel's audit is the host's"),
    ("kdump.service", "the kernel is the host's"),
    ("kdump-tools.service", "the kernel is the host's"),
    ("multipathd.service", "devices are the host's"),
    ("mdmonitor.service", "devices are the host's"),
    ("lvm2-monitor.service", "devices are the host's"),
    ("smartd.service", "devices are the host's"),
    ("smartmontools.service", "devices are the host's"),
    ("irqbalance.service", "interrupts are the host's"),
    ("thermald.service", "the processor is the host's"),
    ("ipmievd.service", "devices are the host's"),
];

/// Units that wait for a network to be configured, which a machine without one never is.
const WAITING: [&str; 2] = ["systemd-networkd-wait-online.service", "NetworkManager-wait-online.service"];

/// Most of a file that is read.
const LIMIT: usize = 64 << 10;

pub(super) fn look(root: &Root, init: Option<&DetectedInit>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if init.is_some_and(|init| init.kind == Init::Systemd) {
        let enabled = enabled_units(root);
        let fails = |unit: &str| enabled.iter().any(|name| name == unit) && !is_skipped(root, unit);
        for (unit, why) in FAILING.iter().filter(|(unit, _)| fails(unit)) {
            findings.push(Finding::new(
                Level::Note,
                "failing-unit",
                format!("{unit} is enabled and does not work in a machine: {why}"),
                &format!("systemctl --root=TREE disable {unit}"),
            ));
        }
        for unit in WAITING.iter().filter(|unit| enabled.iter().any(|name| name == *unit)) {
            findings.push(Finding::new(
                Level::Note,
                "waiting-unit",
                format!("{unit} is enabled: without a network the boot waits for two minutes"),
                &format!("systemctl --root=TREE disable {unit}"),
            ));
        }
        if init.is_some_and(DetectedInit::needs_legacy_cgroups) {
            findings.push(Finding::new(
                Level::Note,
                "cgroup-v1",
                "its systemd is too old for cgroup v2: the machine gets a hierarchy of v1 of its own",
                "",
            ));
        }
    }
    findings.extend(fstab(root));
    if root.exists("/.autorelabel").unwrap_or(false) {
        findings.push(Finding::new(
            Level::Warning,
            "autorelabel",
            "/.autorelabel has SELinux label all files at the first boot, and reboot",
            "remove TREE/.autorelabel",
        ));
    }
    findings.extend(root_password(root));
    findings
}

/// The names in all `*.wants` directories of the administrator's.
fn enabled_units(root: &Root) -> Vec<String> {
    let system = Path::new("/etc/systemd/system");
    let names = |path: &Path| -> Vec<String> {
        let list = root.read_dir(path).unwrap_or_default();
        list.into_iter().filter_map(|name| name.into_string().ok()).collect()
    };
    let wants =
        names(system).into_iter().filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
    wants.flat_map(|directory| names(&system.join(directory))).collect()
}

/// Whether systemd leaves the unit out in containers (systemd.unit(5), ConditionVirtualization=).
fn is_skipped(root: &Root, unit: &str) -> bool {
    ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"].iter().any(|directory| {
        let text = root.read(Path::new(directory).join(unit), LIMIT).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|line| {
            let condition =
                line.strip_prefix("ConditionVirtualization=").map(|value| value.trim_start_matches('|'));
            matches!(condition.map(str::trim), Some("!container" | "no" | "false" | "vm" | "!yes" | "0"))
        })
    })
}

/// File systems on devices that the machine will not have.
fn fstab(root: &Root) -> Option<Finding> {
    let text = absent_is_none(root.read("/etc/fstab", LIMIT)).ok()??;
    let text = String::from_utf8_lossy(&text);
    let mut points = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().filter(|_| !line.trim_start().starts_with('#'));
        let (device, point, _, options) = (words.next()?, words.next()?, words.next()?, words.next());
        let on_device = ["/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="]
            .iter()
            .any(|start| device.starts_with(start));
        let optional = options.is_some_and(|options| {
            options.split(',').any(|option| matches!(option, "noauto" | "nofail" | "x-systemd.automount"))
        });
        (on_device && !optional && point != "/").then(|| point.to_owned())
    });
    let first = points.next()?;
    let more = points.count();
    let points = if more == 0 { first } else { format!("{first} and {more} more") };
    Some(Finding::new(
        Level::Warning,
        "fstab",
        format!("/etc/fstab mounts {points} from devices that the machine does not have"),
        "take these lines out, or give them the option nofail",
    ))
}

fn root_password(root: &Root) -> Option<Finding> {
    let text = absent_is_none(root.read("/etc/shadow", LIMIT)).ok()??;
    let text = String::from_utf8_lossy(&text);
    let password = text.lines().find_map(|line| line.strip_prefix("root:")?.split(':').next())?;
    match password {
        "" => Some(Finding::new(
            Level::Warning,
            "empty-password",
            "root has an empty password: whoever reaches a login prompt is root",
            "passwd --root TREE root, or passwd --root TREE --lock root",
        )),
        _ if password.starts_with(['*', '!']) => Some(Finding::new(
            Level::Note,
            "locked-root",
            "root has no password: nobody can log in on the console as root",
            "spinney shell NAME needs none",
        )),
        _ => None,
    }
}
