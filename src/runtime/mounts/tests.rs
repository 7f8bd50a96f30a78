//! Contexts and what is mounted for them, in order, as `--explain` prints it.

use std::path::PathBuf;

use super::super::describe::operation;
use super::*;
use crate::settings::Credential;

const BARE: MountContext<'static> = MountContext {
    private_network: true,
    private_users: true,
    nesting: false,
    knobs: &Knobs::USUAL,
    console: false,
    legacy_cgroups: false,
    devices: &[],
    given_devices: &[],
    boot_id: Uuid([0x11; 16]),
    uuid: Uuid([0x22; 16]),
    os_release: "ID=debian\n",
    credentials: &[],
    selinux_apifs_context: None,
    network_files: &[],
};

fn lines(context: &MountContext<'_>, custom: &[CustomMount]) -> Vec<String> {
    plan(context, custom).iter().map(operation).collect()
}

/// The lines of `longer` that `shorter` lacks, which otherwise is the same.
fn added(longer: &[String], shorter: &[String]) -> Vec<String> {
    let mut rest = shorter.iter().peekable();
    let added = longer.iter().filter(|line| rest.next_if_eq(line).is_none()).cloned().collect();
    assert_eq!(rest.next(), None, "missing or in another place");
    added
}

#[test]
fn the_api_file_systems_in_order() {
    assert_eq!(
        lines(&BARE, &[]),
        [
            "mount tmpfs on /run (nosuid,nodev,mode=0755,size=20%,nr_inodes=800k)",
            "mount tmpfs on /run/host (nosuid,nodev,noexec,mode=0755,size=4m,nr_inodes=1k)",
            "directory /run/host/inaccessible 0755",
            "empty file /run/host/inaccessible/reg 0000",
            "fifo /run/host/inaccessible/fifo 0000",
            "socket /run/host/inaccessible/sock 0000",
            "character device 0:0 /run/host/inaccessible/chr 0000",
            "directory /run/host/inaccessible/dir 0000",
            "file /run/host/container-manager 0444, 8 bytes",
            "file /run/host/container-uuid 0444, 37 bytes",
            "file /run/host/os-release 0444, 10 bytes",
            "file /run/host/proc-sys-kernel-random-boot-id 0444, 37 bytes",
            "fifo /run/host/proc-kmsg 0600",
            "notification socket /run/host/notify",
            "mount proc on /proc (nosuid,nodev,noexec)",
            "bind guest:/proc/sys on /proc/sys (ro,if it is there)",
            "bind guest:/proc/sys/net on /proc/sys/net (not ro,if it is there)",
            "bind guest:/run/host/proc-sys-kernel-random-boot-id on /proc/sys/kernel/random/boot_id \
             (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/proc-kmsg on /proc/kmsg (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/inaccessible/reg on /proc/kallsyms (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/inaccessible/reg on /proc/kcore (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/inaccessible/reg on /proc/keys (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/inaccessible/reg on /proc/sysrq-trigger \
             (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/run/host/inaccessible/reg on /proc/timer_list (ro,nosuid,nodev,noexec,if it is there)",
            "bind guest:/proc/acpi on /proc/acpi (ro,if it is there)",
            "bind guest:/proc/apm on /proc/apm (ro,if it is there)",
            "bind guest:/proc/asound on /proc/asound (ro,if it is there)",
            "bind guest:/proc/bus on /proc/bus (ro,if it is there)",
            "bind guest:/proc/fs on /proc/fs (ro,if it is there)",
            "bind guest:/proc/irq on /proc/irq (ro,if it is there)",
            "bind guest:/proc/scsi on /proc/scsi (ro,if it is there)",
            "sysfs on /sys, read-only: block bus class dev devices kernel",
            "mount cgroup2 on /sys/fs/cgroup (nosuid,nodev,noexec)",
            "devices on /dev: null zero full random urandom tty",
            "mount devpts on /dev/pts (nosuid,noexec,ptmxmode=0666,mode=0620,gid=5)",
            "mount tmpfs on /dev/shm (nosuid,nodev,mode=1777,size=10%,nr_inodes=400k)",
            "mount mqueue on /dev/mqueue (nosuid,nodev,noexec)",
            "symlink /dev/ptmx -> pts/ptmx",
            "symlink /dev/fd -> /proc/self/fd",
            "symlink /dev/stdin -> /proc/self/fd/0",
            "symlink /dev/stdout -> /proc/self/fd/1",
            "symlink /dev/stderr -> /proc/self/fd/2",
            "symlink /dev/core -> /proc/kcore",
            "mount tmpfs on /tmp (nosuid,nodev,mode=1777,size=10%,nr_inodes=400k)",
            "remount /run/host (ro)",
        ]
    );
}

#[test]
fn what_a_context_adds() {
    let secret = [Credential { id: "passwd.hashed-password.root".to_owned(), value: b"secret".to_vec() }];
    let table: [(&str, MountContext<'_>, &[&str]); 4] = [
        ("console", MountContext { console: true, ..BARE }, &["symlink /dev/console -> pts/0"]),
        (
            "nesting",
            MountContext { nesting: true, ..BARE },
            &[
                "mount proc on /run/host/nesting/proc (nosuid,nodev,noexec)",
                "mount sysfs on /run/host/nesting/sysfs (nosuid,nodev,noexec)",
            ],
        ),
        (
            "credentials",
            MountContext { credentials: &secret, ..BARE },
            &[
                "mount ramfs on /run/host/credentials (nosuid,nodev,noexec,mode=0700)",
                "file /run/host/credentials/passwd.hashed-password.root 0400, 6 bytes",
                "remount /run/host/credentials (ro,nosuid,nodev,noexec)",
            ],
        ),
        ("own ids", MountContext { private_users: false, ..BARE }, &[]),
    ];
    let bare = lines(&BARE, &[]);
    for (name, context, expected) in table {
        assert_eq!(added(&lines(&context, &[]), &bare), expected, "{name}");
    }
}

#[test]
fn devices_are_those_of_the_host() {
    for (devices, expected) in [
        (&["fuse"][..], "devices on /dev: null zero full random urandom tty fuse"),
        (&["fuse", "net/tun"], "devices on /dev: null zero full random urandom tty fuse net/tun"),
        (&["kvm"], "devices on /dev: null zero full random urandom tty"),
    ] {
        let lines = lines(&MountContext { devices, ..BARE }, &[]);
        assert!(lines.iter().any(|line| line == expected), "{devices:?}: {lines:#?}");
    }
}

#[test]
fn the_hosts_network_has_its_sysfs_and_its_knobs_fixed() {
    let lines = lines(&MountContext { private_network: false, ..BARE }, &[]);
    let about = |word: &str| -> Vec<&str> {
        lines.iter().map(String::as_str).filter(|line| line.contains(word)).collect()
    };
    assert_eq!(about("/proc/sys/net"), [""; 0]);
    assert_eq!(
        about(" on /sys"),
        [
            "bind host:/sys on /sys (ro,nosuid,nodev,noexec)",
            "mount cgroup2 on /sys/fs/cgroup (nosuid,nodev,noexec)"
        ]
    );
}

#[test]
fn an_old_init_gets_a_named_v1_hierarchy() {
    let lines = lines(&MountContext { legacy_cgroups: true, ..BARE }, &[]);
    let cgroups: Vec<&String> = lines.iter().filter(|line| line.contains("/sys/fs/cgroup")).collect();
    assert_eq!(
        cgroups,
        [
            "mount tmpfs on /sys/fs/cgroup (nosuid,nodev,noexec,mode=0755,size=4m,nr_inodes=1k)",
            "mount cgroup on /sys/fs/cgroup/systemd (nosuid,nodev,noexec,none,name=systemd)",
        ]
    );
}

#[test]
fn selinux_labels_what_is_made_for_the_guest() {
    let label = "system_u:object_r:container_file_t:s0";
    let lines = lines(&MountContext { selinux_apifs_context: Some(label), ..BARE }, &[]);
    let labelled: Vec<&str> = lines
        .iter()
        .filter(|line| line.contains(label))
        .filter_map(|line| line.split_once(" (").map(|(what, _)| what))
        .collect();
    assert_eq!(
        labelled,
        [
            "mount tmpfs on /run",
            "mount tmpfs on /run/host",
            "mount devpts on /dev/pts",
            "mount tmpfs on /dev/shm",
            "mount mqueue on /dev/mqueue",
            "mount tmpfs on /tmp",
        ]
    );
}

#[test]
fn the_users_mounts_come_last_but_for_the_seal() {
    let bind = |source: Option<&str>, source_in_guest, read_only, recursive, ids| CustomMount::Bind {
        source: source.map(PathBuf::from),
        source_in_guest,
        target: "/mnt".into(),
        read_only,
        recursive,
        ids,
    };
    let tmpfs = |options: &str| CustomMount::Tmpfs { target: "/mnt".into(), options: options.to_owned() };
    let overlay = |upper| CustomMount::Overlay {
        lower: vec![("/a".into(), false), ("/b".into(), true)],
        upper,
        target: "/mnt".into(),
    };
    let table = [
        (bind(Some("/src"), false, false, true, BindIds::NoIdmap), "bind host:/src on /mnt (recursive)"),
        (bind(Some("/src"), false, true, false, BindIds::Idmap), "bind host:/src on /mnt (ro,idmap)"),
        (bind(Some("/src"), true, false, true, BindIds::NoIdmap), "bind tree:/src on /mnt (recursive)"),
        (
            bind(None, false, false, false, BindIds::RootIdmap),
            "bind a temporary directory on /mnt (rootidmap)",
        ),
        (tmpfs(""), "mount tmpfs on /mnt (nosuid,nodev,mode=0755)"),
        (tmpfs("mode=1777,size=1m"), "mount tmpfs on /mnt (nosuid,nodev,mode=1777,size=1m)"),
        (tmpfs("ro,noexec,suid,dev,,huge"), "mount tmpfs on /mnt (ro,noexec,mode=0755,huge)"),
        (tmpfs("ro,rw"), "mount tmpfs on /mnt (nosuid,nodev,mode=0755)"),
        (overlay(None), "overlay of 2 layers on /mnt, read-only"),
        (overlay(Some(None)), "overlay of 2 layers on /mnt, writable"),
        (CustomMount::Inaccessible { target: "/mnt".into() }, "bind nothing on /mnt (ro,if it is there)"),
    ];
    let bare = lines(&BARE, &[]);
    for (mount, expected) in table {
        let lines = lines(&BARE, std::slice::from_ref(&mount));
        assert_eq!(added(&lines, &bare), [expected], "{mount:?}");
        assert_eq!(lines.iter().rev().nth(1).map(String::as_str), Some(expected), "{mount:?}");
    }
}

#[test]
fn what_hangs_on_something_comes_after_it() {
    let context = MountContext { console: true, nesting: true, private_network: false, ..BARE };
    let operations = plan(&context, &[CustomMount::Inaccessible { target: "/proc/cpuinfo".into() }]);
    let made = |wanted: &Path| {
        operations.iter().position(|operation| match operation {
            Op::Mount { target, .. } | Op::Devices { target, .. } => target == wanted,
            Op::Directory { path, .. } | Op::Node { path, .. } | Op::File { path, .. } => path == wanted,
            _ => false,
        })
    };
    for (index, operation) in operations.iter().enumerate() {
        if let Op::Bind { source: BindSource::Guest(source), .. } = operation
            && source.starts_with(RUN_HOST)
        {
            assert!(made(source).is_some_and(|made| made < index), "{operation:?}");
        }
    }
    let seal = operations.iter().position(|operation| matches!(operation, Op::Seal { .. }));
    assert_eq!(seal, Some(operations.len() - 1));
}
