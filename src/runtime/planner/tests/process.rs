//! The process of PID 1: what it runs, and what it has of this host's capabilities and limits.

use std::path::Path;

use super::*;

#[test]
fn payloads() {
    let init = "/usr/lib/systemd/systemd";
    let as_pid1 = settings(Payload::Command { argv: vec!["id".into()], as_pid1: true });
    let table = [
        ("boot", boot(), ProcessKind::Init, vec![init, "--show-status=0"], "/", ConsoleMode::ReadOnly),
        ("command", command(), ProcessKind::CommandBelowStub, vec!["id", "-u"], "/root", ConsoleMode::Pipe),
        ("as PID 1", as_pid1, ProcessKind::Command, vec!["id"], "/root", ConsoleMode::Pipe),
        (
            "elsewhere",
            MachineSettings { chdir: Some("/srv".into()), console: Some(ConsoleMode::Passive), ..command() },
            ProcessKind::CommandBelowStub,
            vec!["id", "-u"],
            "/srv",
            ConsoleMode::Passive,
        ),
    ];
    for (name, settings, kind, argv, directory, console) in table {
        let plan = of(&settings);
        let argv: Vec<Vec<u8>> = argv.into_iter().map(|argument| argument.as_bytes().to_vec()).collect();
        assert_eq!((plan.process.kind, plan.process.argv), (kind, argv), "{name}");
        assert_eq!(
            (plan.process.directory.as_path(), plan.console),
            (Path::new(directory), console),
            "{name}"
        );
    }
}

#[test]
fn a_command_of_a_user() {
    let user =
        UserPlan { uid: 1000, gid: 100, groups: vec![27], name: "alice".into(), home: "/home/alice".into() };
    let plan = planned(&command(), &TreeView { user: user.clone(), ..tree() }, &host(), around());
    assert_eq!((plan.process.user, plan.process.directory), (user, "/home/alice".into()));
    assert_eq!(plan.process.capabilities.effective, 0);
}

#[test]
fn the_environment_comes_from_settings_tree_and_host() {
    let credentials = vec![Credential { id: "a".to_owned(), value: b"b".to_vec() }];
    let settings = MachineSettings {
        console: Some(ConsoleMode::Interactive),
        environment: vec![("LANG".into(), "de_DE.UTF-8".into())],
        credentials,
        ..command()
    };
    let plan = planned(&settings, &tree(), &host(), Surroundings { listen_fds: 2, ..around() });
    let variables: Vec<String> = plan
        .process
        .environment
        .iter()
        .map(|variable| String::from_utf8_lossy(variable).into_owned())
        .collect();
    assert_eq!(
        variables,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "container=spinney",
            "container_uuid=abababab-abab-abab-abab-abababababab",
            "TERM=xterm",
            "HOME=/root",
            "USER=root",
            "LOGNAME=root",
            "NOTIFY_SOCKET=/run/host/notify",
            "CREDENTIALS_DIRECTORY=/run/host/credentials",
            "LISTEN_FDS=2",
            "LISTEN_PID=2",
            "container_host_id=debian",
            "container_host_version_id=13",
            "LANG=de_DE.UTF-8",
        ]
    );
}

#[test]
fn identities() {
    let given = Uuid([9; 16]);
    let named = MachineSettings { uuid: Some(given), hostname: Some("web".to_owned()), ..boot() };
    let nameless = TreeView { machine_id: None, ..tree() };
    assert_eq!((of(&boot()).uuid, of(&boot()).hostname.as_str()), (Uuid([0xab; 16]), "demo"));
    assert_eq!((of(&named).uuid, of(&named).hostname.as_str()), (Uuid([0xab; 16]), "web"));
    assert_eq!(planned(&named, &nameless, &host(), around()).uuid, given);
    assert_eq!(planned(&boot(), &nameless, &host(), around()).uuid, Uuid([1; 16]));
    let shifted = planned(&boot(), &TreeView { id_base: 131_072, ..tree() }, &host(), around());
    assert_eq!(shifted.ids, Some(IdMap { base: 524_288, size: 65536, tree_base: 131_072 }));
}

/// RLIMIT_NOFILE and RLIMIT_MEMLOCK of the plan.
fn two_limits(plan: &MachinePlan) -> [(u64, u64); 2] {
    [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK].map(|resource| {
        let limits: Vec<_> = plan.process.rlimits.iter().filter(|limit| limit.resource == resource).collect();
        assert_eq!(limits.len(), 1, "{limits:?}");
        (limits[0].soft, limits[0].hard)
    })
}

#[test]
fn resource_limits_are_an_inits_as_far_as_we_may() {
    const MIB: u64 = 1 << 20;
    let may_not = ALL_CAPABILITIES & !Capability::SYS_RESOURCE.bit();
    let mut hard_limits = [u64::MAX; RESOURCES];
    hard_limits[libc::RLIMIT_NOFILE as usize] = 4096;
    hard_limits[libc::RLIMIT_MEMLOCK as usize] = MIB;
    let own = |resource, soft, hard| MachineSettings {
        rlimits: vec![ResourceLimit { resource, soft, hard }],
        ..boot()
    };
    let table = [
        ("all capabilities", boot(), host(), [(1024, 524_288), (8 * MIB, 8 * MIB)], None),
        ("few files", boot(), Host { nr_open: 2048, ..host() }, [(1024, 2048), (8 * MIB, 8 * MIB)], None),
        (
            "low limits that can be raised",
            boot(),
            Host { hard_limits, ..host() },
            [(1024, 524_288), (8 * MIB, 8 * MIB)],
            None,
        ),
        (
            "low limits that cannot",
            boot(),
            Host { hard_limits, capabilities: may_not, ..host() },
            [(1024, 4096), (MIB, MIB)],
            Some("this process lacks CAP_SYS_RESOURCE: RLIMIT_NOFILE, RLIMIT_MEMLOCK stay at our own limit"),
        ),
        (
            "high limits, nothing to raise",
            boot(),
            Host { capabilities: may_not, ..host() },
            [(1024, 524_288), (8 * MIB, 8 * MIB)],
            None,
        ),
        (
            "the user's own, which fits",
            own(libc::RLIMIT_NOFILE, 10, 20),
            Host { hard_limits, capabilities: may_not, ..host() },
            [(10, 20), (MIB, MIB)],
            Some("this process lacks CAP_SYS_RESOURCE: RLIMIT_MEMLOCK stays at our own limit"),
        ),
    ];
    for (name, settings, host, limits, warning) in table {
        let plan = planned(&settings, &tree(), &host, around());
        assert_eq!(two_limits(&plan), limits, "{name}");
        assert_eq!(plan.warnings, warning.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn there_is_one_warning_about_what_our_process_lacks() {
    let may_not = ALL_CAPABILITIES & !Capability::SYS_RESOURCE.bit();
    let weak = Host { capabilities: may_not, hard_limits: [4096; RESOURCES], ..host() };
    let shared = || Surroundings { ids: None, ..around() };
    for (name, around) in [("user namespace", around()), ("the host's ids", shared())] {
        let warnings = planned(&boot(), &tree(), &weak, around).warnings;
        let about = warnings.iter().filter(|warning| warning.contains("CAP_SYS_RESOURCE")).count();
        assert_eq!((about, warnings.len()), (1, 1), "{name}: {warnings:?}");
    }
    let rich_limits = Host { capabilities: may_not, ..host() };
    assert_eq!(
        planned(&boot(), &tree(), &rich_limits, shared()).warnings,
        ["this process lacks CAP_SYS_RESOURCE: the machine does not have it either"]
    );
    assert_eq!(planned(&boot(), &tree(), &rich_limits, around()).warnings, [""; 0]);
}

#[test]
fn clocks_of_the_machines_own_need_kernel_and_capability() {
    let old = Host { time_namespaces: false, ..host() };
    let no_time = Host { capabilities: ALL_CAPABILITIES & !Capability::SYS_TIME.bit(), ..host() };
    let shared = || Surroundings { ids: None, ..around() };
    let table = [
        ("all there", host(), around(), true),
        ("an old kernel", old.clone(), around(), false),
        ("no capability, but a user namespace", no_time.clone(), around(), true),
        ("no capability", no_time, shared(), false),
    ];
    for (name, host, around, boot_clock) in table {
        let plan = planned(&boot(), &tree(), &host, around);
        assert_eq!((plan.boot_clock, plan.warnings.is_empty()), (boot_clock, boot_clock), "{name}");
    }
    let unasked = planned(&MachineSettings { boot_clock: false, ..boot() }, &tree(), &old, around());
    assert_eq!((unasked.boot_clock, unasked.warnings.len()), (false, 0));
}
