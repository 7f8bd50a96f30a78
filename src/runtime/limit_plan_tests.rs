use super::*;
use crate::settings::limits::keys::set_property;

fn limits(properties: &[&str]) -> Limits {
    let mut limits = Limits::default();
    for text in properties {
        set_property(&mut limits, text).unwrap();
    }
    limits
}

const V1: [(Controller, &str); 6] = [
    (Controller::Memory, "memory"),
    (Controller::Cpu, "cpu,cpuacct"),
    (Controller::Cpuacct, "cpu,cpuacct"),
    (Controller::Cpuset, "cpuset"),
    (Controller::Pids, "pids"),
    (Controller::Io, "blkio"),
];

fn host(mode: CgroupMode) -> CgroupHierarchy {
    let mount_point = match mode {
        CgroupMode::Unified => Some("/sys/fs/cgroup".into()),
        CgroupMode::Hybrid => Some("/sys/fs/cgroup/unified".into()),
        _ => None,
    };
    let legacy = match mode {
        CgroupMode::Unified => Vec::new(),
        _ => V1.map(|(controller, name)| (controller, PathBuf::from("/c").join(name))).into(),
    };
    CgroupHierarchy { mode, mount_point, legacy }
}

fn wholes(mode: CgroupMode) -> Wholes {
    let unified = match mode {
        CgroupMode::Unified => vec!["cpuset", "cpu", "io", "memory", "pids"],
        _ => vec!["hugetlb"],
    };
    Wholes {
        memory: 1 << 30,
        tasks: 32768,
        disks: vec![("/dev/vda".into(), (254, 0)), ("/srv".into(), (254, 16))],
        unified: unified.into_iter().map(str::to_owned).collect(),
    }
}

/// Each write in a line, and the warnings after them.
fn lines(plan: &LimitPlan) -> Vec<String> {
    let text = |prefix: &str, write: &Assignment| {
        let or = write.or.as_ref().map(|(file, text)| format!(" or {file}={text}")).unwrap_or_default();
        format!("{prefix}{}={}{or}", write.file, write.text)
    };
    let mut lines: Vec<String> = plan.unified.iter().map(|write| text("", write)).collect();
    for cgroup in &plan.legacy {
        let name = cgroup.hierarchy.file_name().unwrap().to_string_lossy();
        if cgroup.assignments.is_empty() {
            lines.push(format!("{name}:"));
        }
        lines.extend(cgroup.assignments.iter().map(|write| text(&format!("{name}:"), write)));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("! {warning}")));
    lines
}

fn planned(mode: CgroupMode, properties: &[&str], accounting: bool) -> Vec<String> {
    lines(&plan(&limits(properties), &host(mode), &wholes(mode), accounting))
}

const ALL: [&str; 15] = [
    "MemoryMax=64M",
    "MemoryHigh=5%",
    "MemorySwapMax=16M",
    "CPUQuota=150%",
    "CPUWeight=50",
    "AllowedCPUs=0-1",
    "AllowedMemoryNodes=0",
    "TasksMax=10%",
    "IOWeight=1200",
    "IODeviceWeight=/dev/vda 50",
    "IOReadBandwidthMax=/dev/vda 5M",
    "IOWriteBandwidthMax=/srv infinity",
    "IOReadIOPSMax=/dev/vda 100",
    "IOWriteIOPSMax=/dev/vda 200",
    "MemoryLow=1M",
];

#[test]
fn on_cgroup_v2() {
    let expected = [
        "memory.max=67108864",
        "memory.high=53687091",
        "memory.low=1048576",
        "memory.swap.max=16777216",
        "cpu.max=150000 100000",
        "cpu.weight=50",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "io.weight=default 1200 or io.bfq.weight=200",
        "io.weight=254:0 50 or io.bfq.weight=254:0 50",
        "io.max=254:0 rbps=5000000",
        "io.max=254:16 wbps=max",
        "io.max=254:0 riops=100",
        "io.max=254:0 wiops=200",
        "pids.max=3276",
    ];
    assert_eq!(planned(CgroupMode::Unified, &ALL, true), expected);
}

#[test]
fn on_hybrid_and_legacy_hosts() {
    let high =
        "! MemoryHigh= is a soft limit in cgroup v1, which counts only when the host is short of memory";
    let low = "! MemoryLow= is of cgroup v2 alone: this host has the controller memory in cgroup v1";
    let expected = [
        "memory:memory.limit_in_bytes=67108864",
        "memory:memory.soft_limit_in_bytes=53687091",
        "memory:memory.memsw.limit_in_bytes=83886080",
        "cpu,cpuacct:cpu.cfs_quota_us=150000",
        "cpu,cpuacct:cpu.shares=512",
        "cpuset:cpuset.cpus=0-1",
        "cpuset:cpuset.mems=0",
        "blkio:blkio.bfq.weight=200 or blkio.weight=1000",
        "blkio:blkio.bfq.weight_device=254:0 50",
        "blkio:blkio.throttle.read_bps_device=254:0 5000000",
        "blkio:blkio.throttle.write_bps_device=254:16 0",
        "blkio:blkio.throttle.read_iops_device=254:0 100",
        "blkio:blkio.throttle.write_iops_device=254:0 200",
        "pids:pids.max=3276",
        high,
        low,
    ];
    for mode in [CgroupMode::Hybrid, CgroupMode::Legacy] {
        assert_eq!(planned(mode, &ALL, false), expected, "{mode:?}");
    }
}

#[test]
fn accounting() {
    for (mode, accounting, expected) in [
        (CgroupMode::Unified, true, &[] as &[&str]),
        (CgroupMode::Hybrid, false, &[]),
        (CgroupMode::Hybrid, true, &["memory:", "pids:", "blkio:"]),
        (CgroupMode::Legacy, true, &["memory:", "pids:", "blkio:", "cpu,cpuacct:"]),
        (CgroupMode::Missing, false, &[]),
    ] {
        assert_eq!(planned(mode, &[], accounting), expected, "{mode:?}");
    }
    let limited = planned(CgroupMode::Hybrid, &["TasksMax=5"], true);
    assert_eq!(limited, ["memory:", "pids:pids.max=5", "blkio:"]);
}

#[test]
fn what_a_host_lacks() {
    for (mode, property, expected) in [
        (
            CgroupMode::Unified,
            "NetClass=1:1",
            "! this host has not mounted the cgroup v1 controller net_cls: NetClass= does nothing",
        ),
        (
            CgroupMode::Hybrid,
            "NetPriority=eth0:1",
            "! this host has not mounted the cgroup v1 controller net_prio: NetPriority= does nothing",
        ),
        (
            CgroupMode::Hybrid,
            "MemorySwapMax=1M",
            "! MemorySwapMax= needs MemoryMax= beside it in cgroup v1: this host has the controller memory in cgroup v1",
        ),
    ] {
        assert_eq!(planned(mode, &[property], false), [expected], "{property}");
    }
    let bare = Wholes { unified: Vec::new(), ..wholes(CgroupMode::Unified) };
    let plan = plan(&limits(&["MemoryMax=1M", "TasksMax=5"]), &host(CgroupMode::Unified), &bare, true);
    let expected = [
        "! this host has no controller memory: MemoryMax= does nothing",
        "! this host has no controller pids: TasksMax= does nothing",
    ];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn tags_where_v1_has_them() {
    let mut host = host(CgroupMode::Hybrid);
    host.legacy.push((Controller::NetCls, "/c/net_cls".into()));
    host.legacy.push((Controller::NetPrio, "/c/net_prio".into()));
    let limits = limits(&["NetClass=10:1", "NetPriority=eth0:5", "NetPriority=eth1:6"]);
    let expected = [
        "net_cls:net_cls.classid=0x100001",
        "net_prio:net_prio.ifpriomap=eth0 5",
        "net_prio:net_prio.ifpriomap=eth1 6",
    ];
    assert_eq!(lines(&plan(&limits, &host, &wholes(CgroupMode::Hybrid), false)), expected);
}

#[test]
fn no_limit_is_each_worlds_own_word() {
    let words = ["MemoryMax=infinity", "CPUQuota=infinity", "TasksMax=infinity", "MemorySwapMax=infinity"];
    assert_eq!(
        planned(CgroupMode::Unified, &words, false),
        ["memory.max=max", "memory.swap.max=max", "cpu.max=max 100000", "pids.max=max"]
    );
    assert_eq!(
        planned(CgroupMode::Hybrid, &words, false),
        [
            "memory:memory.limit_in_bytes=-1",
            "memory:memory.memsw.limit_in_bytes=-1",
            "cpu,cpuacct:cpu.cfs_quota_us=-1",
            "pids:pids.max=max"
        ]
    );
}
