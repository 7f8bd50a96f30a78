use super::*;
use crate::host::{CgroupHierarchy, IdOwners, Permissions, Place, RESOURCES};
use crate::machine::doctor::facts::Leavings;
use crate::settings::ALL_CAPABILITIES;

/// A host on which all is well.
fn facts() -> Facts {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let place = |path: &str| Place {
        path: path.into(),
        existing: path.into(),
        kind: "ext4".to_owned(),
        free: 50 << 30,
        size: 100 << 30,
        free_inodes: 900,
        inodes: 1000,
        read_only: false,
    };
    Facts {
        host: Host {
            kernel: KernelVersion { major: 6, minor: 12 },
            cgroup: CgroupHierarchy {
                mode: CgroupMode::Unified,
                mount_point: Some("/sys/fs/cgroup".into()),
                legacy: Vec::new(),
            },
            capabilities: ALL_CAPABILITIES,
            bounding: ALL_CAPABILITIES,
            time_namespaces: true,
            selinux: false,
            nr_open: 1 << 20,
            hard_limits: [u64::MAX; RESOURCES],
            os_release: String::new(),
            devices: vec!["fuse", "net/tun"],
            localtime: None,
            machine_id: String::new(),
        },
        survey: Survey {
            root: true,
            file_systems: names(&["ext4", "overlay"]),
            controllers: names(&["cpu", "cpuset", "io", "memory", "pids"]),
            legacy_controllers: names(&[]),
            unprivileged_clone: Some(1),
            max_user_namespaces: Some(10000),
            apparmor_restriction: None,
            inotify_instances: Some(128),
            inotify_watches: Some(65536),
            pid_max: Some(4 << 20),
            pty_max: Some(4096),
            seccomp: true,
            children: true,
            places: vec![place(IMAGES), place("/var/lib/spinney"), place("/run")],
            machines: Some(Permissions { uid: 0, mode: 0o700 }),
        },
        owners: IdOwners::default(),
        own_namespace: Some(Ok(())),
        idmap: Some(Ok(())),
        leavings: Leavings::default(),
        settings: Vec::new(),
    }
}

#[test]
fn all_is_well() {
    let findings = judge(&facts());
    assert_eq!(worst(&findings), Verdict::Ok, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.hint.is_none()), "{findings:#?}");
}

/// A change, the check that sees it, how bad it is, and a part of what it says or advises.
type Row = (fn(&mut Facts), &'static str, Verdict, &'static str);

#[test]
fn what_is_wrong_is_seen() {
    use Verdict::{Ok as Fine, Problem, Warning};
    let rows: &[Row] = &[
        (
            |facts| facts.host.kernel = KernelVersion { major: 5, minor: 10 },
            "kernel",
            Problem,
            "Linux 5.10 lacks",
        ),
        (|facts| facts.host.kernel = KernelVersion { major: 5, minor: 15 }, "kernel", Warning, "5.19"),
        (|facts| facts.survey.root = false, "privileges", Warning, "sudo spinney doctor"),
        (
            |facts| facts.host.capabilities &= !Capability::SYS_ADMIN.bit(),
            "privileges",
            Problem,
            "root lacks CAP_SYS_ADMIN:",
        ),
        (
            |facts| facts.host.capabilities &= !Capability::SYS_RESOURCE.bit(),
            "privileges",
            Warning,
            "CAP_SYS_RESOURCE",
        ),
        (|facts| facts.host.cgroup.mode = CgroupMode::Missing, "cgroups", Problem, "no cgroup v2"),
        (|facts| facts.host.cgroup.mode = CgroupMode::Legacy, "cgroups", Warning, "mount -t cgroup2"),
        (|facts| facts.host.cgroup.mode = CgroupMode::Hybrid, "cgroups", Fine, "hybrid"),
        (
            |facts| {
                facts.survey.controllers.clear();
                facts.survey.legacy_controllers = ["blkio".to_owned(), "cpu".to_owned()].into();
            },
            "controllers",
            Warning,
            "no cpuset, memory, pids controller",
        ),
        (
            |facts| facts.survey.max_user_namespaces = Some(0),
            "user-namespaces",
            Problem,
            "sysctl user.max_user_namespaces=",
        ),
        (
            |facts| {
                facts.survey.unprivileged_clone = Some(0);
                facts.own_namespace = Some(Err(Errno::PERM));
            },
            "user-namespaces",
            Warning,
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        // Spinney's own profile may let it.
        (|facts| facts.survey.apparmor_restriction = Some(1), "user-namespaces", Fine, "each machine"),
        (
            |facts| {
                facts.survey.apparmor_restriction = Some(1);
                facts.own_namespace = None;
            },
            "user-namespaces",
            Warning,
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (|facts| facts.own_namespace = Some(Err(Errno::PERM)), "user-namespaces", Warning, "security module"),
        (
            |facts| facts.idmap = Some(Err(Errno::INVAL)),
            "idmapped-mounts",
            Warning,
            "(ext4) cannot be mapped",
        ),
        (|facts| facts.idmap = None, "idmapped-mounts", Fine, "not tried"),
        (|facts| facts.survey.inotify_instances = Some(8), "inotify", Warning, "max_user_instances=128"),
        (|facts| facts.survey.inotify_watches = Some(100), "inotify", Warning, "max_user_watches=65536"),
        (|facts| facts.survey.inotify_watches = None, "inotify", Warning, "CONFIG_INOTIFY_USER"),
        (|facts| facts.survey.file_systems.clear(), "overlayfs", Warning, "modprobe overlay"),
        (|facts| facts.host.time_namespaces = false, "time-namespaces", Warning, "the host's uptime"),
        (|facts| facts.survey.seccomp = false, "seccomp", Problem, "CONFIG_SECCOMP_FILTER"),
        (|facts| facts.host.devices = vec!["fuse"], "devices", Warning, "modprobe tun"),
        (|facts| facts.host.devices.clear(), "devices", Warning, "no /dev/fuse, no /dev/net/tun"),
        (|facts| facts.survey.children = false, "readiness", Warning, "CONFIG_PROC_CHILDREN"),
        (|facts| facts.survey.machines = None, "images", Fine, "not there yet"),
        (
            |facts| facts.survey.machines = Some(Permissions { uid: 0, mode: 0o755 }),
            "images",
            Warning,
            "has mode 0755",
        ),
        (
            |facts| facts.survey.machines = Some(Permissions { uid: 0, mode: 0o777 }),
            "images",
            Problem,
            "chmod 0700",
        ),
        (
            |facts| facts.survey.machines = Some(Permissions { uid: 7, mode: 0o700 }),
            "images",
            Problem,
            "owner 7",
        ),
        (
            |facts| facts.survey.places[1].free = 500 << 20,
            "room",
            Warning,
            "/var/lib/spinney (ext4) has 500 MiB",
        ),
        (|facts| facts.survey.places[1].free = 5 << 20, "room", Problem, "has 5 MiB left"),
        (|facts| facts.survey.places[0].read_only = true, "room", Problem, "mount -o remount,rw"),
        (|facts| facts.survey.places[0].free_inodes = 9, "room", Warning, "9 inodes left"),
        (
            |facts| facts.leavings.records = (0..7).map(|number| format!("m{number}")).collect(),
            "leavings",
            Warning,
            "m0, m1, m2, m3, m4 and 2 more",
        ),
        (
            |facts| facts.settings = vec!["/etc/spinney/machines/web.toml:3: unknown key".to_owned()],
            "settings",
            Problem,
            "web.toml:3",
        ),
        (|facts| facts.leavings.records = vec!["web".to_owned()], "leavings", Warning, "spinney gc"),
        (|facts| facts.leavings.scratch = vec!["web".to_owned()], "scratch", Warning, "rm -r"),
        (|facts| facts.leavings.cgroups = vec!["web".to_owned()], "stray-cgroups", Warning, "web"),
        (|facts| facts.leavings.locks = vec!["524288".to_owned()], "id-locks", Warning, "524288"),
        (|facts| facts.leavings.unreadable = vec!["web".to_owned()], "records", Warning, "another version"),
        (|facts| facts.leavings.overlaps = vec!["web".to_owned()], "ids", Warning, "--private-users=pick"),
    ];
    for (change, check, verdict, part) in rows {
        let mut facts = facts();
        change(&mut facts);
        let findings = judge(&facts);
        let text = |finding: &&Finding| {
            format!("{}\n{}", finding.text, finding.hint.as_deref().unwrap_or_default()).contains(part)
        };
        let found = findings.iter().filter(|finding| finding.check == *check).find(text);
        assert_eq!(found.map(|finding| finding.verdict), Some(*verdict), "{check} {part}: {findings:#?}");
        assert_eq!(worst(&findings), *verdict, "{check} {part}");
        // Whatever is not as it should be comes with a next step.
        assert!(findings.iter().all(|finding| (finding.verdict == Fine) == finding.hint.is_none()));
    }
}
