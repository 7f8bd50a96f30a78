//! A plan in words, for `--explain`: JSON that people can read too. Contents of files, which may be secret, are left out.

use serde_json::{Value, json};

use crate::settings::capability_names;

use super::limit_plan::Assignment;
use super::plan::{
    BindSource, MachinePlan, MountOperation, NodeKind, ProcessKind, ProcessPlan, RootBase, UpperLayer,
};

/// The plan as JSON.
pub fn describe(plan: &MachinePlan) -> Value {
    json!({
        "name": plan.name.as_str(),
        "hostname": plan.hostname,
        "uuid": plan.uuid.to_string(),
        "console": format!("{:?}", plan.console).to_lowercase(),
        "namespaces": namespaces(plan),
        "network": crate::network::describe::describe(&plan.network),
        "cgroups": if plan.legacy_cgroups { "v1, name=systemd" } else { "v2" },
        "devices": plan.devices.as_ref().map(|rules| rules.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "limits": limits(plan),
        "ids": plan.ids.map(|ids| json!({
            "host-base": ids.base,
            "tree-base": ids.tree_base,
            "size": ids.size,
        })),
        "root": {
            "from": match plan.root.base {
                RootBase::Tree => "tree",
                RootBase::Overlay(UpperLayer::Disk) => "overlay, upper layer on disk",
                RootBase::Overlay(UpperLayer::Memory) => "overlay, upper layer in memory",
                RootBase::Overlay(UpperLayer::Image) => "overlay, upper layer of the image",
                RootBase::Tmpfs => "tmpfs",
            },
            "layers": plan.root.layers.iter().map(|layer| layer.to_string_lossy()).collect::<Vec<_>>(),
            "read-only": plan.root.read_only,
            "pivot-root": plan.root.pivot.as_ref().map(|pivot| pivot.new.to_string_lossy()),
        },
        "mounts": plan.mounts.iter().map(operation).collect::<Vec<_>>(),
        "process": process(&plan.process),
        "warnings": plan.warnings,
    })
}

/// What is written into cgroups, a line each.
fn limits(plan: &MachinePlan) -> Vec<String> {
    let line = |place: &str, limit: &Assignment| {
        let or = limit.or.as_ref().map(|(file, text)| format!(", or {file} = {text}")).unwrap_or_default();
        format!("{place}{} = {}{or}", limit.file, limit.text)
    };
    let legacy = plan.limits.legacy.iter().flat_map(|cgroup| {
        let place = format!("v1, {}: ", cgroup.controller.legacy_name());
        cgroup.assignments.iter().map(move |limit| line(&place, limit))
    });
    plan.limits.unified.iter().map(|limit| line("v2: ", limit)).chain(legacy).collect()
}

fn namespaces(plan: &MachinePlan) -> Vec<&'static str> {
    use crate::sys::process::Namespaces;
    let table = [
        (Namespaces::NEWNS, "mount"),
        (Namespaces::NEWPID, "pid"),
        (Namespaces::NEWUTS, "uts"),
        (Namespaces::NEWIPC, "ipc"),
        (Namespaces::NEWNET, "network"),
        (Namespaces::NEWCGROUP, "cgroup"),
    ];
    let user = plan.ids.is_some().then_some("user");
    let time = plan.boot_clock.then_some("time");
    let others = table.into_iter().filter(|(flag, _)| plan.namespaces.contains(*flag)).map(|(_, name)| name);
    user.into_iter().chain(others).chain(time).collect()
}

/// One operation, in a line.
pub(super) fn operation(operation: &MountOperation) -> String {
    match operation {
        MountOperation::Directory { path, mode } => format!("directory {} {mode:04o}", path.display()),
        MountOperation::Symlink { path, target, .. } => {
            format!("symlink {} -> {}", path.display(), target.display())
        }
        MountOperation::File { path, mode, contents, .. } => {
            format!("file {} {mode:04o}, {} bytes", path.display(), contents.len())
        }
        MountOperation::Node { path, kind, mode } => {
            let kind = match kind {
                NodeKind::Regular => "empty file",
                NodeKind::Fifo => "fifo",
                NodeKind::Socket => "socket",
                NodeKind::CharacterZero => "character device 0:0",
            };
            format!("{kind} {} {mode:04o}", path.display())
        }
        MountOperation::Remove { path } => format!("remove {}", path.display()),
        MountOperation::Mount { kind, target, options, attributes } => {
            let options: Vec<String> = options
                .iter()
                .map(|(key, value)| value.as_ref().map_or(key.clone(), |value| format!("{key}={value}")))
                .collect();
            format!("mount {kind} on {} ({})", target.display(), join(&flags(*attributes), &options))
        }
        MountOperation::Devices { target, nodes } => {
            let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
            format!("devices on {}: {}", target.display(), names.join(" "))
        }
        MountOperation::Sysfs { target, parts } => {
            format!("sysfs on {}, read-only: {}", target.display(), parts.join(" "))
        }
        MountOperation::Bind { source, target, recursive, attributes, clear, ids, if_target_exists } => {
            let source = match source {
                BindSource::Host(path) => format!("host:{}", path.display()),
                BindSource::Guest(path) => format!("guest:{}", path.display()),
                BindSource::Tree(path) => format!("tree:{}", path.display()),
                BindSource::Image(_) => "a part of the image".to_owned(),
                BindSource::Temporary => "a temporary directory".to_owned(),
                BindSource::Inaccessible => "nothing".to_owned(),
            };
            let mut words = flags(*attributes);
            words.extend(flags(*clear).into_iter().map(|flag| format!("not {flag}")));
            if *recursive {
                words.push("recursive".to_owned());
            }
            if *ids != crate::settings::BindIds::NoIdmap {
                words.push(format!("{ids:?}").to_lowercase());
            }
            if *if_target_exists {
                words.push("if it is there".to_owned());
            }
            format!("bind {source} on {} ({})", target.display(), words.join(","))
        }
        MountOperation::Overlay { lower, upper, target } => {
            let writable = if upper.is_some() { "writable" } else { "read-only" };
            format!("overlay of {} layers on {}, {writable}", lower.len(), target.display())
        }
        MountOperation::NotifySocket { path } => format!("notification socket {}", path.display()),
        MountOperation::Seal { target, attributes } => {
            format!("remount {} ({})", target.display(), flags(*attributes).join(","))
        }
    }
}

fn join(flags: &[String], options: &[String]) -> String {
    flags.iter().chain(options).map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Flags by the names of mount(8).
fn flags(attributes: crate::sys::mount::MountAttributes) -> Vec<String> {
    use crate::sys::mount::MountAttributes;
    [
        (MountAttributes::MOUNT_ATTR_RDONLY, "ro"),
        (MountAttributes::MOUNT_ATTR_NOSUID, "nosuid"),
        (MountAttributes::MOUNT_ATTR_NODEV, "nodev"),
        (MountAttributes::MOUNT_ATTR_NOEXEC, "noexec"),
    ]
    .into_iter()
    .filter(|(flag, _)| attributes.contains(*flag))
    .map(|(_, name)| name.to_owned())
    .collect()
}

fn process(process: &ProcessPlan) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let limit = |value: u64| if value == u64::MAX { "infinity".to_owned() } else { value.to_string() };
    json!({
        "pid-1": match process.kind {
            ProcessKind::Init => "the tree's init",
            ProcessKind::Command => "the command",
            ProcessKind::CommandBelowStub => "a reaping init of ours, the command below it",
        },
        "argv": process.argv.iter().map(text).collect::<Vec<_>>(),
        "environment": process.environment.iter().map(text).collect::<Vec<_>>(),
        "directory": process.directory.to_string_lossy(),
        "user": { "uid": process.user.uid, "gid": process.user.gid, "groups": process.user.groups },
        "capabilities": {
            "bounding": capability_names(process.capabilities.bounding),
            "ambient": capability_names(process.capabilities.ambient),
        },
        "no-new-privileges": process.no_new_privileges,
        "seccomp-instructions": process.seccomp.len(),
        "rlimits": process.rlimits.iter().map(|own| {
            format!("{}={}:{}", own.name(), limit(own.soft), limit(own.hard))
        }).collect::<Vec<_>>(),
        "oom-score-adjust": process.oom_score_adjust,
        "cpu-affinity": process.cpu_affinity,
        "personality": process.personality,
        "selinux-context": process.selinux_context,
    })
}
