//! Facts of a host to findings. Pure: a host that we do not have is a row of a test.

use rustix::io::Errno;

use super::facts::{Facts, IMAGES};
use super::storage_checks::{images, leavings, room};
use super::{Finding, Verdict};
use crate::host::{CgroupMode, Host, KernelVersion, Survey};
use crate::settings::{Capability, capability_names};

/// Below this nothing starts; for this all is there (docs/kernel-features.md).
const MINIMUM: KernelVersion = KernelVersion { major: 5, minor: 14 };
const EPHEMERAL: KernelVersion = KernelVersion { major: 5, minor: 19 };

/// What no machine starts without.
const NEEDED: [Capability; 6] = [
    Capability::SYS_ADMIN,
    Capability::SETUID,
    Capability::SETGID,
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::KILL,
];

/// Controllers that limits want, by their names in v2 and in v1; the freezer of v2 is no controller.
const CONTROLLERS: [(&str, &str); 5] =
    [("cpu", "cpu"), ("cpuset", "cpuset"), ("io", "blkio"), ("memory", "memory"), ("pids", "pids")];

/// A systemd guest uses about ten inotify instances: below this a big one runs out of them.
const INOTIFY_INSTANCES: u64 = 64;
/// The kernel's default where there is little memory.
const INOTIFY_WATCHES: u64 = 8192;

/// Judges everything, in the order in which it is told.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let Facts { host, survey, .. } = facts;
    let mut findings = vec![kernel(host.kernel), privileges(host, survey)];
    findings.extend(cgroups(host, survey));
    findings.push(user_namespaces(survey, facts.own_namespace));
    findings.push(idmapped_mounts(survey, facts.idmap));
    findings.push(inotify(survey));
    findings.push(overlayfs(survey));
    findings.push(time_namespaces(host));
    findings.push(seccomp(survey));
    findings.push(devices(host));
    findings.push(children(survey));
    findings.push(images(survey.machines));
    findings.extend(survey.places.iter().map(room));
    findings.extend(settings(&facts.settings));
    findings.extend(leavings(&facts.leavings));
    findings
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

fn kernel(kernel: KernelVersion) -> Finding {
    let check = "kernel";
    if kernel < MINIMUM {
        return Finding::problem(
            check,
            format!("Linux {kernel} lacks what machines need"),
            format!("Linux {MINIMUM} or later has it"),
        );
    }
    if kernel < EPHEMERAL {
        return Finding::warning(
            check,
            format!(
                "Linux {kernel} has no overlays on idmapped mounts: --ephemeral and --volatile=overlay need --private-users=no"
            ),
            format!("Linux {EPHEMERAL} or later has them"),
        );
    }
    Finding::ok(check, format!("Linux {kernel}"))
}

fn privileges(host: &Host, survey: &Survey) -> Finding {
    let check = "privileges";
    if !survey.root {
        return Finding::warning(check, "not run as root: some checks are left out", "sudo spinney doctor");
    }
    let needed = NEEDED.iter().fold(0, |mask, capability| mask | capability.bit());
    let missing = capability_names(needed & !host.capabilities);
    if !missing.is_empty() {
        return Finding::problem(
            check,
            format!("root lacks {}: no machine starts", missing.join(", ")),
            "spinney wants to run on the host, or in a container with these capabilities",
        );
    }
    if host.capabilities & Capability::SYS_RESOURCE.bit() == 0 {
        return Finding::warning(
            check,
            "root lacks CAP_SYS_RESOURCE: resource limits of machines stay below our own",
            "give it to the container or unit that this runs in",
        );
    }
    Finding::ok(check, "root, with all that is needed")
}

fn cgroups(host: &Host, survey: &Survey) -> Vec<Finding> {
    let check = "cgroups";
    let mode = match host.cgroup.mode {
        CgroupMode::Missing => {
            return vec![Finding::problem(
                check,
                "this kernel has no cgroup v2, and no init of today boots without",
                "a kernel with CONFIG_CGROUPS has it",
            )];
        }
        CgroupMode::Legacy => Finding::warning(
            check,
            "cgroup v2 is mounted nowhere: machines get it, but what is in them cannot be listed from here",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
        ),
        CgroupMode::Hybrid => Finding::ok(check, "v2 beside v1 (hybrid): limits go to the v1 controllers"),
        CgroupMode::Unified => Finding::ok(check, "v2 alone"),
    };
    let missing: Vec<&str> = CONTROLLERS
        .iter()
        .filter(|(v2, v1)| !survey.controllers.contains(*v2) && !survey.legacy_controllers.contains(*v1))
        .map(|(v2, _)| *v2)
        .collect();
    let check = "controllers";
    let controllers = if missing.is_empty() {
        Finding::ok(check, "cpu, cpuset, io, memory, pids")
    } else {
        Finding::warning(
            check,
            format!("there is no {} controller: machines cannot be limited in that", missing.join(", ")),
            "see cgroup_disable= on the kernel's command line, and how the hierarchies are mounted",
        )
    };
    vec![mode, controllers]
}

fn user_namespaces(survey: &Survey, tried: Option<Result<(), Errno>>) -> Finding {
    let check = "user-namespaces";
    let shared = "machines share root's inotify budget, and a dozen systemds exhaust it";
    let switch = if survey.max_user_namespaces == Some(0) {
        return Finding::problem(
            check,
            "user.max_user_namespaces is 0: only machines with --private-users=no start",
            "sysctl user.max_user_namespaces=10000",
        );
    } else if survey.unprivileged_clone == Some(0) {
        Some("kernel.unprivileged_userns_clone=1")
    } else if survey.apparmor_restriction == Some(1) {
        Some("kernel.apparmor_restrict_unprivileged_userns=0")
    } else {
        None
    };
    match (tried, switch) {
        (Some(Ok(())), _) => Finding::ok(check, "each machine makes its own"),
        (_, Some(switch)) => {
            Finding::warning(check, format!("only root may make them: {shared}"), format!("sysctl {switch}"))
        }
        (Some(Err(errno)), None) => Finding::warning(
            check,
            format!("a machine cannot make its own ({errno}): {shared}"),
            "a security module may forbid it",
        ),
        (None, None) => Finding::ok(check, "allowed"),
    }
}

fn idmapped_mounts(survey: &Survey, tried: Option<Result<(), Errno>>) -> Finding {
    let check = "idmapped-mounts";
    let place = survey.places.iter().find(|place| place.path == std::path::Path::new(IMAGES));
    let (existing, kind) = place
        .map_or((IMAGES.to_owned(), "unknown"), |place| (place.existing.display().to_string(), &*place.kind));
    match tried {
        None => Finding::ok(check, format!("not tried; {existing} is on {kind}")),
        Some(Ok(())) => Finding::ok(check, format!("{existing} ({kind}) can be mapped")),
        Some(Err(errno)) => Finding::warning(
            check,
            format!("ids of {existing} ({kind}) cannot be mapped: {errno}"),
            "keep trees on ext4, xfs or btrfs, or run them with --private-users=no",
        ),
    }
}

fn inotify(survey: &Survey) -> Finding {
    let check = "inotify";
    let (Some(instances), Some(watches)) = (survey.inotify_instances, survey.inotify_watches) else {
        return Finding::warning(
            check,
            "this kernel has no inotify",
            "a kernel with CONFIG_INOTIFY_USER has it",
        );
    };
    let low = |name: &str, value: u64, wanted: u64| {
        Finding::warning(
            check,
            format!("fs.inotify.{name} is {value}: a machine may run out of them"),
            format!("sysctl fs.inotify.{name}={wanted}"),
        )
    };
    if instances < INOTIFY_INSTANCES {
        low("max_user_instances", instances, 128)
    } else if watches < INOTIFY_WATCHES {
        low("max_user_watches", watches, 65536)
    } else {
        Finding::ok(check, format!("{instances} instances and {watches} watches for each machine"))
    }
}

fn overlayfs(survey: &Survey) -> Finding {
    let check = "overlayfs";
    if survey.file_systems.contains("overlay") {
        return Finding::ok(check, "there");
    }
    Finding::warning(check, "not loaded: --ephemeral needs it, and loads it if it can", "modprobe overlay")
}

fn time_namespaces(host: &Host) -> Finding {
    let check = "time-namespaces";
    if host.time_namespaces {
        return Finding::ok(check, "there: a machine's uptime is its own");
    }
    Finding::warning(
        check,
        "not there: a machine shows the host's uptime",
        "a kernel with CONFIG_TIME_NS has them, unless user.max_time_namespaces is 0",
    )
}

fn seccomp(survey: &Survey) -> Finding {
    if survey.seccomp {
        return Finding::ok("seccomp", "there");
    }
    Finding::problem(
        "seccomp",
        "this kernel does not filter system calls",
        "a kernel with CONFIG_SECCOMP_FILTER does; --system-call-filter= cannot be had without",
    )
}

fn devices(host: &Host) -> Finding {
    let missing: Vec<&str> =
        ["fuse", "net/tun"].into_iter().filter(|device| !host.devices.contains(device)).collect();
    if missing.is_empty() {
        return Finding::ok("devices", "/dev/fuse and /dev/net/tun are there for machines");
    }
    let modules: Vec<&str> =
        missing.iter().map(|device| device.rsplit('/').next().unwrap_or(device)).collect();
    Finding::warning(
        "devices",
        format!("machines have no /dev/{}", missing.join(", no /dev/")),
        format!("modprobe {}", modules.join(" && modprobe ")),
    )
}

fn children(survey: &Survey) -> Finding {
    let check = "readiness";
    if survey.children {
        return Finding::ok(check, "inits that do not say when they are up can be watched");
    }
    Finding::warning(
        check,
        "/proc does not tell the children of a process: only systemd guests are seen to be ready",
        "a kernel with CONFIG_PROC_CHILDREN tells them",
    )
}

fn settings(faults: &[String]) -> Vec<Finding> {
    let check = "settings";
    if faults.is_empty() {
        return vec![Finding::ok(check, "all files below /etc/spinney can be read")];
    }
    let hint = "spinney explain NAME shows what a machine's settings come to";
    faults.iter().map(|fault| Finding::problem(check, fault.as_str(), hint)).collect()
}

#[cfg(test)]
#[path = "host_checks_tests.rs"]
mod tests;
