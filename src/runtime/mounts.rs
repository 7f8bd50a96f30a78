//! Which file systems a guest gets, and what is hidden in them: the Container Interface
//! (<https://systemd.io/CONTAINER_INTERFACE>) and what systemd-nspawn makes of it; `custom` has those that the user asks for.

mod custom;

use std::path::Path;

use custom::user;

use crate::settings::{ApiFileSystems, BindIds, CustomMount, Knobs, Uuid};
use crate::sys::mount::MountAttributes as Attributes;

use super::legacy_cgroup;
use super::plan::{BindSource, DeviceNode, MountOperation as Op, NodeKind, Replace};

/// The directory of the host's messages to the guest.
pub const RUN_HOST: &str = "/run/host";

/// The guest's notification socket, where NOTIFY_SOCKET points (sd_notify(3)).
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// Where credentials are, as CREDENTIALS_DIRECTORY says (Container Interface).
pub const CREDENTIALS: &str = "/run/host/credentials";

/// Nodes that masks are bound from, where systemd looks for its own (`/run/systemd/inaccessible`, Container Interface).
pub const INACCESSIBLE: &str = "/run/host/inaccessible";

/// Where `--nesting` keeps proc and sysfs unmasked.
const NESTING: &str = "/run/host/nesting";

/// What the mounts depend on, beyond the user's own list.
#[derive(Debug, Clone, Copy)]
pub struct MountContext<'a> {
    /// The machine has its own network namespace.
    pub private_network: bool,
    /// The machine has its own user namespace.
    pub private_users: bool,
    /// Keep proc and sysfs unmasked somewhere.
    pub nesting: bool,
    /// What is unusual.
    pub knobs: &'a Knobs,
    /// The guest's init boots: it gets /run, /tmp and the rest; a command does too, so that both see the same machine.
    pub console: bool,
    /// The guest's init knows no cgroup v2.
    pub legacy_cgroups: bool,
    /// Names of optional device nodes that the host has.
    pub devices: &'a [&'static str],
    /// Devices of the host that the machine is given besides.
    pub given_devices: &'a [DeviceNode],
    /// Random, the guest's boot ID.
    pub boot_id: Uuid,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// The host's os-release.
    pub os_release: &'a str,
    /// Credentials for the guest.
    pub credentials: &'a [crate::settings::Credential],
    /// SELinux label of the API file systems.
    pub selinux_apifs_context: Option<&'a str>,
    /// What the guest finds about its network in /run.
    pub network_files: &'a [Op],
}

/// Device nodes that every guest gets.
const DEVICES: [DeviceNode; 6] = [
    DeviceNode::usual("null", (1, 3)),
    DeviceNode::usual("zero", (1, 5)),
    DeviceNode::usual("full", (1, 7)),
    DeviceNode::usual("random", (1, 8)),
    DeviceNode::usual("urandom", (1, 9)),
    DeviceNode::usual("tty", (5, 0)),
];

/// Device nodes that a guest gets if the host has them.
const OPTIONAL_DEVICES: [DeviceNode; 2] =
    [DeviceNode::usual("fuse", (10, 229)), DeviceNode::usual("net/tun", (10, 200))];

/// Files of /proc that show or steer the host's kernel: not for guests.
const MASKED: [&str; 5] =
    ["/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list"];

/// Directories of /proc that a guest may read.
const READ_ONLY: [&str; 7] =
    ["/proc/acpi", "/proc/apm", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi"];

/// Directories of sysfs that a guest with its own network may read.
const SYSFS_PARTS: &[&str] = &["block", "bus", "class", "dev", "devices", "kernel"];

/// The API file systems, then the user's mounts.
///
/// The order matters: /run/host holds the masks that /proc needs, and the user's mounts may lie on any of these.
pub fn plan(context: &MountContext<'_>, custom: &[CustomMount]) -> Vec<Op> {
    let mut operations = Vec::with_capacity(64);
    run(context, &mut operations);
    proc(context, &mut operations);
    sys(context, &mut operations);
    dev(context, &mut operations);
    // systemd mounts a tmpfs there anyway; other inits would leave a guest's temporary files in the tree.
    if context.knobs.tmpfs_tmp {
        operations.push(tmpfs(
            "/tmp",
            "1777",
            "10%",
            "400k",
            Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
        ));
    }
    if context.nesting {
        nesting(&mut operations);
    }
    operations.extend_from_slice(context.network_files);
    operations.extend(custom.iter().flat_map(user));
    operations.push(Op::Seal { target: RUN_HOST.into(), attributes: Attributes::MOUNT_ATTR_RDONLY });
    if let Some(label) = context.selinux_apifs_context {
        label_api_file_systems(&mut operations, label);
    }
    operations
}

/// Gives the file systems that are made for the guest an SELinux label (mount(8), `context=`).
fn label_api_file_systems(operations: &mut [Op], label: &str) {
    for operation in operations {
        if let Op::Mount { kind: "tmpfs" | "devpts" | "mqueue", options, .. } = operation {
            options.push(("context".to_owned(), Some(label.to_owned())));
        }
    }
}

fn tmpfs(target: &str, mode: &str, size: &str, inodes: &str, attributes: Attributes) -> Op {
    let option = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    Op::Mount {
        kind: "tmpfs",
        target: target.into(),
        options: vec![option("mode", mode), option("size", size), option("nr_inodes", inodes)],
        attributes,
    }
}

fn file(path: String, contents: impl Into<Vec<u8>>) -> Op {
    Op::File { path: path.into(), mode: 0o444, contents: contents.into(), replace: Replace::Required }
}

fn bind_in_guest(source: &str, target: &str, set: Attributes, clear: Attributes) -> Op {
    Op::Bind {
        source: BindSource::Guest(source.into()),
        target: target.into(),
        recursive: false,
        attributes: set,
        clear,
        ids: BindIds::NoIdmap,
        if_target_exists: true,
    }
}

fn boot_id_file() -> String {
    format!("{RUN_HOST}/proc-sys-kernel-random-boot-id")
}

fn boot_id_contents(id: Uuid) -> String {
    format!("{id}\n")
}

/// Gives the next boot an id of its own, as each boot of a kernel has: journals and clocks are told apart by it.
pub fn renew_boot_id(operations: &mut [Op], id: Uuid) {
    let file = boot_id_file();
    for operation in operations {
        if let Op::File { path, contents, .. } = operation
            && path.as_os_str() == file.as_str()
        {
            *contents = boot_id_contents(id).into_bytes();
        }
    }
}

/// /run and /run/host: what the Container Interface and systemd-nspawn(1) put there.
fn run(context: &MountContext<'_>, operations: &mut Vec<Op>) {
    let nosuid_nodev = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV;
    operations.push(tmpfs("/run", "0755", "20%", "800k", nosuid_nodev));
    // A mount of its own, so that it can be made read-only at the end without a bind of /run on itself.
    operations.push(tmpfs(RUN_HOST, "0755", "4m", "1k", nosuid_nodev | Attributes::MOUNT_ATTR_NOEXEC));
    operations.push(Op::Directory { path: format!("{RUN_HOST}/inaccessible").into(), mode: 0o755 });
    for (name, kind) in [
        ("reg", NodeKind::Regular),
        ("fifo", NodeKind::Fifo),
        ("sock", NodeKind::Socket),
        ("chr", NodeKind::CharacterZero),
    ] {
        operations.push(Op::Node { path: format!("{RUN_HOST}/inaccessible/{name}").into(), kind, mode: 0 });
    }
    operations.push(Op::Directory { path: format!("{RUN_HOST}/inaccessible/dir").into(), mode: 0 });
    operations.push(file(format!("{RUN_HOST}/container-manager"), format!("{}\n", context.knobs.container)));
    operations.push(file(format!("{RUN_HOST}/container-uuid"), format!("{}\n", context.uuid)));
    operations.push(file(format!("{RUN_HOST}/os-release"), context.os_release));
    operations.push(file(boot_id_file(), boot_id_contents(context.boot_id)));
    operations.push(Op::Node {
        path: format!("{RUN_HOST}/proc-kmsg").into(),
        kind: NodeKind::Fifo,
        mode: 0o600,
    });
    operations.push(Op::NotifySocket { path: NOTIFY_SOCKET.into() });
    if !context.credentials.is_empty() {
        // ramfs: never swapped out (systemd-nspawn(1), Credentials).
        let secret = nosuid_nodev | Attributes::MOUNT_ATTR_NOEXEC;
        operations.push(Op::Mount {
            kind: "ramfs",
            target: CREDENTIALS.into(),
            options: vec![("mode".to_owned(), Some("0700".to_owned()))],
            attributes: secret,
        });
        for credential in context.credentials {
            operations.push(Op::File {
                path: format!("{CREDENTIALS}/{}", credential.id).into(),
                mode: 0o400,
                contents: credential.value.clone(),
                replace: Replace::Required,
            });
        }
        operations.push(Op::Seal {
            target: CREDENTIALS.into(),
            attributes: secret | Attributes::MOUNT_ATTR_RDONLY,
        });
    }
}

/// /proc and what is hidden or fixed in it.
fn proc(context: &MountContext<'_>, operations: &mut Vec<Op>) {
    let flags = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC;
    let read_only = Attributes::MOUNT_ATTR_RDONLY;
    let nothing = Attributes::empty();
    operations.push(Op::Mount {
        kind: "proc",
        target: "/proc".into(),
        options: Vec::new(),
        attributes: flags,
    });
    let api = context.knobs.api_file_systems;
    let protected = api != ApiFileSystems::Writable;
    if protected {
        operations.push(bind_in_guest("/proc/sys", "/proc/sys", read_only, nothing));
    }
    if protected && (context.private_network || api == ApiFileSystems::Network) {
        // Its knobs are the machine's own.
        operations.push(bind_in_guest("/proc/sys/net", "/proc/sys/net", nothing, read_only));
    }
    let from_run_host = |name: &str, target: &str| {
        bind_in_guest(&format!("{RUN_HOST}/{name}"), target, read_only | flags, nothing)
    };
    operations.push(from_run_host("proc-sys-kernel-random-boot-id", "/proc/sys/kernel/random/boot_id"));
    operations.push(from_run_host("proc-kmsg", "/proc/kmsg"));
    if !protected {
        return;
    }
    for target in MASKED {
        operations.push(from_run_host("inaccessible/reg", target));
    }
    for path in READ_ONLY {
        operations.push(bind_in_guest(path, path, read_only, nothing));
    }
}

/// /sys: a read-only /sys is the sign of a container to systemd-udevd (Container Interface).
fn sys(context: &MountContext<'_>, operations: &mut Vec<Op>) {
    let flags = Attributes::MOUNT_ATTR_NOSUID
        | Attributes::MOUNT_ATTR_NODEV
        | Attributes::MOUNT_ATTR_NOEXEC
        | Attributes::MOUNT_ATTR_RDONLY;
    if context.knobs.api_file_systems == ApiFileSystems::Writable {
        operations.push(Op::Mount {
            kind: "sysfs",
            target: "/sys".into(),
            options: Vec::new(),
            attributes: flags - Attributes::MOUNT_ATTR_RDONLY,
        });
    } else if context.private_network {
        operations.push(Op::Sysfs { target: "/sys".into(), parts: SYSFS_PARTS });
    } else {
        // A sysfs belongs to a network namespace, and the host's is not the guest's to mount: the host's own, bound.
        operations.push(Op::Bind {
            source: BindSource::Host("/sys".into()),
            target: "/sys".into(),
            recursive: false,
            attributes: flags,
            clear: Attributes::empty(),
            ids: BindIds::NoIdmap,
            if_target_exists: false,
        });
    }
    if context.legacy_cgroups {
        operations.push(tmpfs("/sys/fs/cgroup", "0755", "4m", "1k", flags - Attributes::MOUNT_ATTR_RDONLY));
        operations.push(Op::Mount {
            kind: "cgroup",
            target: Path::new("/sys/fs/cgroup").join(legacy_cgroup::NAME),
            options: vec![
                ("none".to_owned(), None),
                ("name".to_owned(), Some(legacy_cgroup::NAME.to_owned())),
            ],
            attributes: flags - Attributes::MOUNT_ATTR_RDONLY,
        });
        return;
    }
    operations.push(Op::Mount {
        kind: "cgroup2",
        target: "/sys/fs/cgroup".into(),
        options: Vec::new(),
        attributes: flags - Attributes::MOUNT_ATTR_RDONLY,
    });
}

/// /dev: the nodes everyone has, a devpts of the machine's own, shared memory and message queues.
fn dev(context: &MountContext<'_>, operations: &mut Vec<Op>) {
    let mut nodes = DEVICES.to_vec();
    nodes.extend(OPTIONAL_DEVICES.into_iter().filter(|node| context.devices.contains(&&*node.name)));
    nodes.retain(|usual| !context.given_devices.iter().any(|given| given.name == usual.name));
    nodes.extend_from_slice(context.given_devices);
    operations.push(Op::Devices { target: "/dev".into(), nodes });
    let nosuid_noexec = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    let option = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let pts = vec![option("ptmxmode", "0666"), option("mode", "0620"), option("gid", "5")];
    operations.push(Op::Mount {
        kind: "devpts",
        target: "/dev/pts".into(),
        options: pts,
        attributes: nosuid_noexec,
    });
    operations.push(tmpfs(
        "/dev/shm",
        "1777",
        "10%",
        "400k",
        Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
    ));
    operations.push(Op::Mount {
        kind: "mqueue",
        target: "/dev/mqueue".into(),
        options: Vec::new(),
        attributes: nosuid_noexec | Attributes::MOUNT_ATTR_NODEV,
    });
    for (path, target) in [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
    ] {
        operations.push(Op::Symlink { path: path.into(), target: target.into(), replace: false });
    }
    if context.console {
        // The console is the first pty of the devpts just mounted; the leader opens it before anyone else can.
        operations.push(Op::Symlink { path: "/dev/console".into(), target: "pts/0".into(), replace: false });
    }
}

/// Fully visible instances of proc and sysfs: without one the kernel lets no nested user namespace mount its own
/// (mount_too_revealing() in fs/namespace.c).
fn nesting(operations: &mut Vec<Op>) {
    let flags = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC;
    for kind in ["proc", "sysfs"] {
        let target = Path::new(NESTING).join(kind);
        operations.push(Op::Mount { kind, target, options: Vec::new(), attributes: flags });
    }
}

#[cfg(test)]
mod tests;
