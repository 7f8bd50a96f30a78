//! Settings, trees and hosts, and what is planned for them.

mod process;

use super::super::describe::{describe, operation};
use super::*;
use crate::guest::network::NetworkFacts;
use crate::host::limits::Wholes;
use crate::host::{CgroupHierarchy, CgroupMode, KernelVersion, RESOURCES};
use crate::network::plan::NetworkPlan;
use crate::runtime::plan::{RootBase, UpperLayer, UserPlan};
use crate::settings::network::NetworkNamespace;
use crate::settings::{
    ALL_CAPABILITIES, Capability, Credential, CustomMount, LinkJournal, PivotRoot, ResourceLimit, Volatile,
};

fn settings(payload: Payload) -> MachineSettings {
    MachineSettings { tree: "/trees/demo".into(), payload, ..MachineSettings::built_in() }
}

fn boot() -> MachineSettings {
    settings(Payload::Boot { init: None, arguments: vec!["--show-status=0".into()] })
}

fn command() -> MachineSettings {
    settings(Payload::Command { argv: vec!["id".into(), "-u".into()], as_pid1: false })
}

fn root() -> UserPlan {
    UserPlan { uid: 0, gid: 0, groups: Vec::new(), name: "root".to_owned(), home: "/root".to_owned() }
}

fn tree() -> TreeView {
    TreeView {
        init: Some("/usr/lib/systemd/systemd".into()),
        machine_id: Some([0xab; 16]),
        user: root(),
        id_base: 0,
        links: vec![("bin".to_owned(), "usr/bin".into())],
        legacy_cgroups: false,
        zone: true,
        network: NetworkFacts::default(),
        root: RootView::default(),
    }
}

fn host() -> Host {
    Host {
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
        os_release: "ID=debian\nVERSION_ID=13\n".to_owned(),
        devices: Vec::new(),
        localtime: Some("/usr/share/zoneinfo/Europe/Berlin".to_owned()),
        machine_id: "cd".repeat(16),
    }
}

fn around() -> Surroundings {
    Surroundings {
        term: Some("xterm".to_owned()),
        ids: Some((524_288, 65536)),
        random: [Uuid([1; 16]), Uuid([2; 16])],
        journals: (true, false),
        listen_fds: 0,
        resolv_conf: None,
        bound_devices: Vec::new(),
        given_devices: Vec::new(),
        allowed_devices: Vec::new(),
        wholes: Wholes::default(),
        accounting: false,
        network: NetworkPlan::default(),
    }
}

fn planned(
    settings: &MachineSettings,
    tree: &TreeView,
    host: &Host,
    mut around: Surroundings,
) -> MachinePlan {
    if !settings.has_private_network() {
        around.network.namespace = Namespace::Host;
    }
    plan("demo".parse().unwrap(), settings, tree, host, around).unwrap()
}

/// The same on the host's network.
fn on_host(mut settings: MachineSettings) -> MachineSettings {
    settings.network.namespace = Some(NetworkNamespace::Host);
    settings
}

fn of(settings: &MachineSettings) -> MachinePlan {
    planned(settings, &tree(), &host(), around())
}

/// What is done to the root before the API file systems, or after them.
fn around_the_api(plan: &MachinePlan) -> (Vec<String>, Vec<String>) {
    let lines: Vec<String> = plan.mounts.iter().map(operation).collect();
    let api = lines.iter().position(|line| line.starts_with("mount tmpfs on /run ")).unwrap();
    let seal = lines.iter().position(|line| line == "remount /run/host (ro)").unwrap();
    (lines[..api].to_vec(), lines[seal + 1..].to_vec())
}

#[test]
fn namespaces_follow_the_options() {
    let all = ["user", "mount", "pid", "uts", "ipc", "network", "cgroup", "time"];
    let without = |missing: &[&str]| all.iter().copied().filter(|name| !missing.contains(name)).collect();
    let own_ids = || Surroundings { ids: None, ..around() };
    let table: [(&str, MachineSettings, Surroundings, Vec<&str>); 5] = [
        ("all by default", boot(), around(), all.to_vec()),
        ("the host's network", on_host(boot()), around(), without(&["network"])),
        ("the host's ids", boot(), own_ids(), without(&["user"])),
        ("the host's clock", MachineSettings { boot_clock: false, ..boot() }, around(), without(&["time"])),
        (
            "the least",
            MachineSettings { boot_clock: false, ..on_host(boot()) },
            own_ids(),
            without(&["user", "network", "time"]),
        ),
    ];
    for (name, settings, around, expected) in table {
        let plan = planned(&settings, &tree(), &host(), around);
        assert_eq!(describe(&plan)["namespaces"], serde_json::json!(expected), "{name}");
    }
}

#[test]
fn the_root_follows_the_options() {
    let table = [
        ("the tree", boot(), RootBase::Tree, false),
        ("read-only", MachineSettings { read_only: true, ..boot() }, RootBase::Tree, true),
        (
            "ephemeral",
            MachineSettings { ephemeral: true, ..boot() },
            RootBase::Overlay(UpperLayer::Disk),
            false,
        ),
        ("volatile", MachineSettings { volatile: Volatile::Yes, ..boot() }, RootBase::Tmpfs, false),
        ("volatile state", MachineSettings { volatile: Volatile::State, ..boot() }, RootBase::Tree, true),
        (
            "volatile state on a layer",
            MachineSettings { volatile: Volatile::State, ephemeral: true, ..boot() },
            RootBase::Overlay(UpperLayer::Disk),
            false,
        ),
        (
            "volatile overlay",
            MachineSettings { volatile: Volatile::Overlay, ephemeral: true, ..boot() },
            RootBase::Overlay(UpperLayer::Memory),
            false,
        ),
    ];
    for (name, settings, base, read_only) in table {
        let plan = of(&settings);
        assert_eq!((plan.root.base, plan.root.read_only), (base, read_only), "{name}");
    }
    let pivot = PivotRoot { new: "/os".into(), old: Some("/sysroot".into()) };
    assert_eq!(of(&MachineSettings { pivot_root: Some(pivot.clone()), ..boot() }).root.pivot, Some(pivot));
}

#[test]
fn the_tree_is_made_ready_before_the_api_file_systems() {
    const ZONE: &str = "symlink /etc/localtime -> ../usr/share/zoneinfo/Europe/Berlin";
    let table: [(&str, MachineSettings, &[&str]); 6] = [
        ("a boot", boot(), &[ZONE]),
        ("a read-only tree", MachineSettings { read_only: true, ..boot() }, &[]),
        ("the host's network", on_host(boot()), &["file /etc/resolv.conf 0644, 3 bytes", ZONE]),
        (
            "the host's network, read-only",
            MachineSettings { read_only: true, ..on_host(boot()) },
            &["bind host:/etc/resolv.conf on /etc/resolv.conf (ro,if it is there)"],
        ),
        (
            "volatile",
            MachineSettings { volatile: Volatile::Yes, ..boot() },
            &[
                "bind tree:/usr on /usr (ro,recursive)",
                "symlink /bin -> usr/bin",
                "directory /etc 0755",
                "directory /var 0755",
                "directory /root 0700",
                ZONE,
            ],
        ),
        (
            "volatile state",
            MachineSettings { volatile: Volatile::State, ..boot() },
            &["mount tmpfs on /var (nosuid,nodev,mode=0755)"],
        ),
    ];
    for (name, settings, expected) in table {
        let around = Surroundings { resolv_conf: Some(b"abc".to_vec()), ..around() };
        let plan = planned(&settings, &tree(), &host(), around);
        assert_eq!(
            around_the_api(&plan),
            (expected.iter().map(|line| (*line).to_owned()).collect(), vec![]),
            "{name}"
        );
    }
}

#[test]
fn a_zone_that_the_tree_lacks_is_left_out() {
    let table = [
        (TreeView { zone: false, ..tree() }, host()),
        (tree(), Host { localtime: None, ..host() }),
        (tree(), Host { localtime: Some("/etc/my-zone".to_owned()), ..host() }),
    ];
    for (tree, host) in table {
        let plan = planned(&boot(), &tree, &host, around());
        assert_eq!(around_the_api(&plan).0, [""; 0], "{:?}", host.localtime);
    }
}

#[test]
fn the_journal_is_linked_after_everything_else() {
    let id = "ab".repeat(16);
    let bind = format!("bind host:/var/log/journal/{id} on /var/log/journal/{id} (nosuid,nodev,idmap)");
    let own = Host { machine_id: id.clone(), ..host() };
    let has_journal = || Surroundings { journals: (true, true), ..around() };
    let table = [
        ("there is none", boot(), host(), around(), vec![]),
        ("there is one", boot(), host(), has_journal(), vec![bind]),
        ("it is the host's", boot(), own, has_journal(), vec![]),
        ("thrown away", MachineSettings { ephemeral: true, ..boot() }, host(), has_journal(), vec![]),
        (
            "in the guest",
            MachineSettings { link_journal: LinkJournal::Guest, ..boot() },
            host(),
            around(),
            vec![format!("directory /var/log/journal/{id} 0755")],
        ),
    ];
    for (name, settings, host, around, expected) in table {
        assert_eq!(around_the_api(&planned(&settings, &tree(), &host, around)).1, expected, "{name}");
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let table = [
        (
            MachineSettings { selinux_context: Some("x".to_owned()), ..boot() },
            tree(),
            "--selinux-context= needs SELinux, which is off on this host",
        ),
        (
            MachineSettings { selinux_apifs_context: Some("x".to_owned()), ..boot() },
            tree(),
            "--selinux-apifs-context= needs SELinux, which is off on this host",
        ),
        (boot(), TreeView { init: None, ..tree() }, "the tree has no init to boot"),
        (
            MachineSettings { link_journal: LinkJournal::Host, ..boot() },
            TreeView { machine_id: None, ..tree() },
            "--link-journal= needs a machine ID in the tree, and its /etc/machine-id has none",
        ),
    ];
    for (settings, tree, expected) in table {
        let error = plan("demo".parse().unwrap(), &settings, &tree, &host(), around()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn devices_are_filtered_where_the_ids_are_the_hosts() {
    use super::super::device_filter::{DeviceKind, DeviceRule, READ};
    let disk = DeviceRule { kind: DeviceKind::Block, major: Some(8), minor: Some(1), access: READ };
    let around = |ids| Surroundings { ids, bound_devices: vec![disk], ..around() };
    let host = Host { devices: vec!["fuse"], ..host() };
    assert_eq!(planned(&boot(), &tree(), &host, around(Some((524_288, 65536)))).devices, None);
    let rules = planned(&boot(), &tree(), &host, around(None)).devices.unwrap();
    assert_eq!(
        rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "char 1:3 rwm",
            "char 1:5 rwm",
            "char 1:7 rwm",
            "char 1:8 rwm",
            "char 1:9 rwm",
            "char 5:0 rwm",
            "char 10:229 rwm",
            "char 5:2 rwm",
            "char 136:* rw",
            "block 8:1 r",
        ]
    );
}

#[test]
fn given_devices_are_made_and_others_closed() {
    use super::super::device_filter::{DeviceKind, DeviceRule, READ};
    use super::super::plan::DeviceNode;
    let given = DeviceNode {
        block: true,
        mode: 0o660,
        host: Some("/dev/loop3".into()),
        access: READ,
        ..DeviceNode::usual("disk/a", (7, 3))
    };
    let again = DeviceNode { access: READ, ..DeviceNode::usual("null", (1, 3)) };
    let around = Surroundings {
        given_devices: vec![given, again],
        allowed_devices: vec![DeviceRule {
            kind: DeviceKind::Character,
            major: Some(4),
            minor: None,
            access: READ,
        }],
        ..around()
    };
    let plan = planned(&boot(), &tree(), &host(), around);
    let rules: Vec<String> = plan.devices.iter().flatten().map(ToString::to_string).collect();
    let expected = [
        "char 1:5 rwm",
        "char 1:7 rwm",
        "char 1:8 rwm",
        "char 1:9 rwm",
        "char 5:0 rwm",
        "block 7:3 r",
        "char 1:3 r",
        "char 5:2 rwm",
        "char 136:* rw",
        "char 4:* r",
    ];
    assert_eq!(rules, expected);
    let devices = plan.mounts.iter().map(super::super::describe::operation);
    let devices: Vec<String> = devices.filter(|line| line.starts_with("devices")).collect();
    assert_eq!(devices, ["devices on /dev: zero full random urandom tty disk/a null"]);
}

#[test]
fn a_machine_of_machines_makes_any_node() {
    let rules = |nesting, ids| -> Vec<String> {
        let around = Surroundings { ids, ..around() };
        let plan = planned(&MachineSettings { nesting, ..boot() }, &tree(), &host(), around);
        plan.devices.iter().flatten().map(ToString::to_string).collect()
    };
    let more = rules(true, None).split_off(rules(false, None).len());
    assert_eq!(more, ["char *:* m", "block *:* m"]);
    // In a user namespace nobody makes any.
    assert_eq!(rules(true, Some((524_288, 65536))), [""; 0]);
}

#[test]
fn the_users_mounts_are_among_the_operations() {
    let mounts = vec![CustomMount::Tmpfs { target: "/run/x".into(), options: String::new() }];
    let plan = of(&MachineSettings { mounts, nesting: true, ..boot() });
    let lines: Vec<String> = plan.mounts.iter().map(operation).collect();
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("mount tmpfs on /run ") < at("mount tmpfs on /run/x "));
    assert!(at("mount proc on /run/host/nesting/proc") < at("remount /run/host"));
}
