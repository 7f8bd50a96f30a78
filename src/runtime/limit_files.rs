//! Which file of v2 and of v1 each limit is, and what its text is there.

use crate::host::Controller;
use crate::host::limits::Wholes;
use crate::settings::Limits;
use crate::settings::limits::DeviceAmount;
use crate::settings::limits::amount::Amount;

use super::limit_plan::{disk_numbers, number};

/// A file and its text, and the same for kernels that are built otherwise.
pub(super) type Write = (&'static str, String, Option<(&'static str, String)>);

/// A limit in both worlds.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) unified: Option<Write>,
    pub(super) legacy: Option<Write>,
    /// What is to be known of it in v1: a verb phrase.
    pub(super) caveat: Option<&'static str>,
}

/// A limit that was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) property: &'static str,
    pub(super) controller: Controller,
    pub(super) form: Form,
}

/// The period in which a quota of CPU time is spent, in microseconds: the kernel's own default (cgroup-v2.rst, cpu.max).
const PERIOD: u64 = 100_000;

/// What nobody has limited has this weight (cgroup-v2.rst), which v1 calls 1024 shares (sched-bwc.rst) and BFQ 100.
const USUAL_WEIGHT: u64 = 100;

/// All limits of `limits`, each in both forms.
pub(super) fn wanted(limits: &Limits, wholes: &Wholes) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    memory(limits, wholes, &mut wanted);
    cpu(limits, &mut wanted);
    io(limits, wholes, &mut wanted);
    if let Some(tasks) = limits.tasks_max {
        let text = number(tasks, wholes.tasks, "max");
        wanted.push(same("TasksMax", Controller::Pids, "pids.max", text));
    }
    if let Some(class) = limits.network_class {
        let form = Form { legacy: plain("net_cls.classid", class.to_string()), ..Form::default() };
        wanted.push(Wanted { property: "NetClass", controller: Controller::NetCls, form });
    }
    for priority in &limits.network_priority {
        let text = format!("{} {}", priority.interface, priority.priority);
        let form = Form { legacy: plain("net_prio.ifpriomap", text), ..Form::default() };
        wanted.push(Wanted { property: "NetPriority", controller: Controller::NetPrio, form });
    }
    wanted
}

fn plain(file: &'static str, text: String) -> Option<Write> {
    Some((file, text, None))
}

/// A file of the same name and text in v1 and v2.
fn same(property: &'static str, controller: Controller, file: &'static str, text: String) -> Wanted {
    let form = Form { unified: plain(file, text.clone()), legacy: plain(file, text), caveat: None };
    Wanted { property, controller, form }
}

fn memory(limits: &Limits, wholes: &Wholes, wanted: &mut Vec<Wanted>) {
    let mut push = |property, form| wanted.push(Wanted { property, controller: Controller::Memory, form });
    let unified = |file, amount| plain(file, number(amount, wholes.memory, "max"));
    let legacy = |file, amount| plain(file, number(amount, wholes.memory, "-1"));
    if let Some(max) = limits.memory_max {
        let form = Form {
            unified: unified("memory.max", max),
            legacy: legacy("memory.limit_in_bytes", max),
            caveat: None,
        };
        push("MemoryMax", form);
    }
    if let Some(high) = limits.memory_high {
        let form = Form {
            unified: unified("memory.high", high),
            legacy: legacy("memory.soft_limit_in_bytes", high),
            caveat: Some("is a soft limit in cgroup v1, which counts only when the host is short of memory"),
        };
        push("MemoryHigh", form);
    }
    for (property, file, amount) in
        [("MemoryLow", "memory.low", limits.memory_low), ("MemoryMin", "memory.min", limits.memory_min)]
    {
        if let Some(amount) = amount {
            push(property, Form { unified: unified(file, amount), ..Form::default() });
        }
    }
    if let Some(swap) = limits.memory_swap_max {
        // v1 limits memory and swap together, and never below memory alone.
        let memory = limits.memory_max.and_then(|max| max.of(wholes.memory));
        let both = match (memory, swap.of(wholes.memory)) {
            (Some(memory), Some(swap)) => Some(memory.saturating_add(swap).to_string()),
            (_, None) => Some("-1".to_owned()),
            (None, Some(_)) => None,
        };
        let caveat = both.is_none().then_some("needs MemoryMax= beside it in cgroup v1");
        let form = Form {
            unified: unified("memory.swap.max", swap),
            legacy: both.and_then(|text| plain("memory.memsw.limit_in_bytes", text)),
            caveat,
        };
        push("MemorySwapMax", form);
    }
}

fn cpu(limits: &Limits, wanted: &mut Vec<Wanted>) {
    let mut push = |property, form| wanted.push(Wanted { property, controller: Controller::Cpu, form });
    if let Some(quota) = limits.cpu_quota {
        let form = Form {
            unified: plain("cpu.max", format!("{} {PERIOD}", number(quota, PERIOD, "max"))),
            legacy: plain("cpu.cfs_quota_us", number(quota, PERIOD, "-1")),
            caveat: None,
        };
        push("CPUQuota", form);
    }
    if let Some(weight) = limits.cpu_weight {
        /// sched-design-CFS.rst; below 2 the kernel rounds up, above it cuts off (MAX_SHARES in kernel/sched).
        const USUAL_SHARES: u64 = 1024;
        const MOST_SHARES: u64 = 1 << 18;
        let shares = (weight * USUAL_SHARES / USUAL_WEIGHT).clamp(2, MOST_SHARES);
        let form = Form {
            unified: plain("cpu.weight", weight.to_string()),
            legacy: plain("cpu.shares", shares.to_string()),
            caveat: None,
        };
        push("CPUWeight", form);
    }
    for (property, file, set) in [
        ("AllowedCPUs", "cpuset.cpus", &limits.allowed_cpus),
        ("AllowedMemoryNodes", "cpuset.mems", &limits.allowed_memory_nodes),
    ] {
        if let Some(set) = set {
            wanted.push(same(property, Controller::Cpuset, file, set.to_string()));
        }
    }
}

/// BFQ's weights end at 1000, with the same usual one (systemd scales them so too).
fn bfq_weight(weight: u64) -> u64 {
    if weight <= USUAL_WEIGHT { weight } else { USUAL_WEIGHT + (weight - USUAL_WEIGHT) / 11 }
}

fn io(limits: &Limits, wholes: &Wholes, wanted: &mut Vec<Wanted>) {
    let mut push = |property, form| wanted.push(Wanted { property, controller: Controller::Io, form });
    if let Some(weight) = limits.io_weight {
        let bfq = bfq_weight(weight);
        // CFQ's, on kernels before 5.0 (blkio-controller.rst): 10 to 1000, 500 being usual.
        let cfq = (weight * 5).clamp(10, 1000);
        let form = Form {
            unified: Some((
                "io.weight",
                format!("default {weight}"),
                Some(("io.bfq.weight", bfq.to_string())),
            )),
            legacy: Some(("blkio.bfq.weight", bfq.to_string(), Some(("blkio.weight", cfq.to_string())))),
            caveat: None,
        };
        push("IOWeight", form);
    }
    let numbers =
        |limit: &DeviceAmount| disk_numbers(limit, wholes).map(|(major, minor)| format!("{major}:{minor}"));
    for limit in &limits.io_device_weight {
        let (Some(disk), Amount::Absolute(weight)) = (numbers(limit), limit.amount) else { continue };
        let bfq = format!("{disk} {}", bfq_weight(weight));
        let form = Form {
            unified: Some(("io.weight", format!("{disk} {weight}"), Some(("io.bfq.weight", bfq.clone())))),
            legacy: plain("blkio.bfq.weight_device", bfq),
            caveat: None,
        };
        push("IODeviceWeight", form);
    }
    for (property, limits, key, file) in [
        ("IOReadBandwidthMax", &limits.io_read_bandwidth_max, "rbps", "blkio.throttle.read_bps_device"),
        ("IOWriteBandwidthMax", &limits.io_write_bandwidth_max, "wbps", "blkio.throttle.write_bps_device"),
        ("IOReadIOPSMax", &limits.io_read_iops_max, "riops", "blkio.throttle.read_iops_device"),
        ("IOWriteIOPSMax", &limits.io_write_iops_max, "wiops", "blkio.throttle.write_iops_device"),
    ] {
        for limit in limits {
            let Some(disk) = numbers(limit) else { continue };
            let form = Form {
                unified: plain("io.max", format!("{disk} {key}={}", number(limit.amount, 0, "max"))),
                // 0 takes the limit away (blkio-controller.rst).
                legacy: plain(file, format!("{disk} {}", number(limit.amount, 0, "0"))),
                caveat: None,
            };
            push(property, form);
        }
    }
}
