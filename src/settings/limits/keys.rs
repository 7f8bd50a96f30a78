//! The one table of limits. An option `--NAME=`, a key `NAME` of a settings file and `--property=PROPERTY=` are the same row.

use super::amount::{cpu_quota, memory, memory_or_none, rate, tasks, weight};
use super::{Amount, DeviceAmount, Limits};
use crate::settings::{ValueError, did_you_mean, nearest};

/// One row: a limit, its names, and how its text becomes part of [`Limits`] and back.
#[derive(Debug)]
pub struct LimitKey {
    /// As an option, without its dashes, and as a key of settings files.
    pub name: &'static str,
    /// As a property (systemd.resource-control(5), where it is there).
    pub property: &'static str,
    /// Other names of the option: docker's.
    pub aliases: &'static [&'static str],
    /// The option's one letter.
    pub short: Option<char>,
    /// What its value is called in help.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
    /// It can be said several times, each for another device or interface.
    pub repeats: bool,
    /// It can be changed while the machine runs.
    pub live: bool,
    pub(super) set: fn(&mut Limits, &str) -> Result<(), ValueError>,
    pub(super) reset: fn(&mut Limits),
    pub(super) get: fn(&Limits) -> Vec<String>,
}

/// A limit that is one value.
macro_rules! one {
    ($field:ident, $parse:expr) => {
        LimitKey {
            set: |limits, text| {
                limits.$field = Some($parse(text)?);
                Ok(())
            },
            reset: |limits| limits.$field = None,
            get: |limits| limits.$field.iter().map(|value| value.to_string()).collect(),
            ..NOTHING
        }
    };
}

/// A list with an entry for each device or interface: a later one replaces an earlier one for the same.
macro_rules! list {
    ($field:ident, $parse:expr, $same:expr) => {
        LimitKey {
            set: |limits, text| {
                let value = $parse(text)?;
                match limits.$field.iter_mut().find(|other| $same(other, &value)) {
                    Some(other) => *other = value,
                    None => limits.$field.push(value),
                }
                Ok(())
            },
            reset: |limits| limits.$field.clear(),
            get: |limits| limits.$field.iter().map(|value| value.to_string()).collect(),
            repeats: true,
            ..NOTHING
        }
    };
}

/// What the rows below begin with.
const NOTHING: LimitKey = LimitKey {
    name: "",
    property: "",
    aliases: &[],
    short: None,
    value: "",
    help: "",
    repeats: false,
    live: true,
    set: |_, _| Ok(()),
    reset: |_| {},
    get: |_| Vec::new(),
};

/// All limits, in the order of `--help`.
pub const KEYS: &[LimitKey] = &[
    LimitKey {
        name: "memory-max",
        property: "MemoryMax",
        aliases: &["memory"],
        short: Some('m'),
        value: "BYTES",
        help: "Memory that the machine may use; at the limit its processes are killed",
        ..one!(memory_max, memory)
    },
    LimitKey {
        name: "memory-high",
        property: "MemoryHigh",
        aliases: &["memory-reservation"],
        value: "BYTES",
        help: "Memory above which it is slowed down and reclaimed from",
        ..one!(memory_high, memory)
    },
    LimitKey {
        name: "memory-low",
        property: "MemoryLow",
        value: "BYTES",
        help: "Memory that is taken from it only when nobody else has any to spare",
        ..one!(memory_low, memory_or_none)
    },
    LimitKey {
        name: "memory-min",
        property: "MemoryMin",
        value: "BYTES",
        help: "Memory that is never taken from it",
        ..one!(memory_min, memory_or_none)
    },
    LimitKey {
        name: "memory-swap-max",
        property: "MemorySwapMax",
        value: "BYTES",
        help: "Swap that it may use besides",
        ..one!(memory_swap_max, memory_or_none)
    },
    LimitKey {
        name: "cpu-quota",
        property: "CPUQuota",
        value: "PERCENT",
        help: "Time on CPUs in percent of one: 50%, 200%",
        ..one!(cpu_quota, cpu_quota)
    },
    LimitKey {
        name: "cpu-weight",
        property: "CPUWeight",
        value: "1..10000",
        help: "Its share of CPUs that others want too (usually 100)",
        ..one!(cpu_weight, weight)
    },
    LimitKey {
        name: "allowed-cpus",
        property: "AllowedCPUs",
        aliases: &["cpuset-cpus"],
        value: "CPUS",
        help: "CPUs that it runs on: 0-3,7",
        ..one!(allowed_cpus, str::parse)
    },
    LimitKey {
        name: "allowed-memory-nodes",
        property: "AllowedMemoryNodes",
        aliases: &["cpuset-mems"],
        value: "NODES",
        help: "NUMA nodes that its memory comes from",
        ..one!(allowed_memory_nodes, str::parse)
    },
    LimitKey {
        name: "tasks-max",
        property: "TasksMax",
        aliases: &["pids-limit"],
        value: "COUNT",
        help: "Processes and threads that it may have",
        ..one!(tasks_max, tasks)
    },
    LimitKey {
        name: "io-weight",
        property: "IOWeight",
        value: "1..10000",
        help: "Its share of disks that others want too (usually 100)",
        ..one!(io_weight, weight)
    },
    LimitKey {
        name: "io-device-weight",
        property: "IODeviceWeight",
        value: "DEVICE:WEIGHT",
        help: "The same for one disk",
        ..list!(io_device_weight, |text| device(text, |text| weight(text).map(Amount::Absolute)), same_device)
    },
    LimitKey {
        name: "io-read-bandwidth-max",
        property: "IOReadBandwidthMax",
        aliases: &["device-read-bps"],
        value: "DEVICE:BYTES",
        help: "Bytes that it may read from a disk in a second",
        ..list!(io_read_bandwidth_max, |text| device(text, rate), same_device)
    },
    LimitKey {
        name: "io-write-bandwidth-max",
        property: "IOWriteBandwidthMax",
        aliases: &["device-write-bps"],
        value: "DEVICE:BYTES",
        help: "Bytes that it may write to a disk in a second",
        ..list!(io_write_bandwidth_max, |text| device(text, rate), same_device)
    },
    LimitKey {
        name: "io-read-iops-max",
        property: "IOReadIOPSMax",
        aliases: &["device-read-iops"],
        value: "DEVICE:COUNT",
        help: "Times that it may read from a disk in a second",
        ..list!(io_read_iops_max, |text| device(text, rate), same_device)
    },
    LimitKey {
        name: "io-write-iops-max",
        property: "IOWriteIOPSMax",
        aliases: &["device-write-iops"],
        value: "DEVICE:COUNT",
        help: "Times that it may write to a disk in a second",
        ..list!(io_write_iops_max, |text| device(text, rate), same_device)
    },
    LimitKey {
        name: "device",
        property: "Device",
        value: "PATH[:GUESTPATH][:rwm]",
        help: "Give it a device of the host: the node, the permission, root as its owner",
        live: false,
        ..list!(devices, str::parse, same_target)
    },
    LimitKey {
        name: "device-allow",
        property: "DeviceAllow",
        value: "DEVICE [rwm]",
        help: "Let it use only these devices (a node, char-DRIVER, block-DRIVER or 'c MAJOR:MINOR') and the usual ones",
        live: false,
        ..list!(device_allow, str::parse, same_devices)
    },
    LimitKey {
        name: "network-class",
        property: "NetClass",
        value: "MAJOR:MINOR",
        help: "Tag its packets for tc (cgroup v1 only)",
        ..one!(network_class, str::parse)
    },
    LimitKey {
        name: "network-priority",
        property: "NetPriority",
        value: "INTERFACE:PRIORITY",
        help: "Priority of its packets on an interface of the host (cgroup v1 only)",
        ..list!(network_priority, str::parse, same_interface)
    },
];

fn same_device(one: &DeviceAmount, other: &DeviceAmount) -> bool {
    one.device == other.device
}

fn same_target(one: &super::DeviceGrant, other: &super::DeviceGrant) -> bool {
    one.target == other.target
}

fn same_devices(one: &super::DeviceAllow, other: &super::DeviceAllow) -> bool {
    one.devices == other.devices
}

fn same_interface(one: &super::NetworkPriority, other: &super::NetworkPriority) -> bool {
    one.interface == other.interface
}

impl std::fmt::Display for DeviceAmount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.device.display(), self.amount)
    }
}

/// A device and its limit: with a space as systemd, with a colon as docker writes it.
fn device(text: &str, parse: fn(&str) -> Result<Amount, ValueError>) -> Result<DeviceAmount, ValueError> {
    const HINT: &str = "the node of a disk or a file on it, and a number: /dev/sda:5M";
    let (device, amount) = text
        .rsplit_once([' ', ':'])
        .filter(|(device, _)| device.starts_with('/'))
        .ok_or_else(|| ValueError::new(text, "is not a device and a number", HINT))?;
    Ok(DeviceAmount { device: device.trim_end().into(), amount: parse(amount)? })
}

/// The row of an option or a key of a settings file.
///
/// # Errors
/// For a name that is none, with the nearest that is.
pub fn by_name(name: &str) -> Result<&'static LimitKey, ValueError> {
    find(name, |key| key.name)
}

/// The row of a property.
///
/// # Errors
/// For a name that is none, with the nearest that is.
pub fn by_property(name: &str) -> Result<&'static LimitKey, ValueError> {
    find(name, |key| key.property)
}

fn find(name: &str, of: fn(&LimitKey) -> &'static str) -> Result<&'static LimitKey, ValueError> {
    KEYS.iter().find(|key| of(key) == name).ok_or_else(|| {
        // A slip of case is a slip too.
        let same = KEYS.iter().map(of).find(|known| known.eq_ignore_ascii_case(name));
        let nearest = same.or_else(|| nearest(name, KEYS.iter().map(of)));
        let hint = format!("one of: {}", KEYS.iter().map(of).collect::<Vec<_>>().join(", "));
        ValueError::new(name, format!("is not a limit{}", did_you_mean(nearest)), hint)
    })
}

/// Sets a limit as `--property=NAME=VALUE` says it.
///
/// # Errors
/// Without a `=`, for a property that is no limit, or for a bad value.
pub fn set_property(limits: &mut Limits, text: &str) -> Result<(), ValueError> {
    let (key, value) = property(text)?;
    limits.set(key, value)
}

/// The row and the value of `--property=NAME=VALUE`.
///
/// # Errors
/// Without a `=`, or for a property that is no limit.
pub fn property(text: &str) -> Result<(&'static LimitKey, &str), ValueError> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        ValueError::new(text, "has no '='", "NAME=VALUE, for example MemoryMax=1G or TasksMax=500")
    })?;
    Ok((by_property(name)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_each() {
        let mut names: Vec<&str> =
            KEYS.iter().flat_map(|key| key.aliases.iter().copied().chain([key.name])).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn properties() {
        for (text, expected) in [
            ("MemoryMax=1G", Ok("memory-max 1073741824")),
            ("CPUQuota=20%", Ok("cpu-quota 20%")),
            ("IOReadBandwidthMax=/dev/sda 5M", Ok("io-read-bandwidth-max /dev/sda 5000000")),
            ("IOWriteIOPSMax=/dev/disk/by-path/a:b 5", Ok("io-write-iops-max /dev/disk/by-path/a:b 5")),
            ("IODeviceWeight=/dev/sda 20", Ok("io-device-weight /dev/sda 20")),
            ("TasksMax=", Ok("")),
            ("MemoryMax", Err("\"MemoryMax\" has no '='")),
            ("MemoryMaxx=1", Err("\"MemoryMaxx\" is not a limit; did you mean \"MemoryMax\"?")),
            ("memorymax=1", Err("\"memorymax\" is not a limit; did you mean \"MemoryMax\"?")),
            ("Restart=always", Err("\"Restart\" is not a limit")),
            ("CPUWeight=0", Err("\"0\" is not a weight")),
            ("IOReadBandwidthMax=5M", Err("\"5M\" is not a device and a number")),
            ("IOReadBandwidthMax=/dev/sda", Err("\"/dev/sda\" is not a device and a number")),
        ] {
            let mut limits = Limits::default();
            let done = set_property(&mut limits, text).map_err(|error| error.to_string());
            let shown: Vec<String> =
                limits.texts().map(|(key, texts)| format!("{} {}", key.name, texts.join(","))).collect();
            assert_eq!(
                done.map(|()| shown.join(";")).as_deref(),
                expected.map_err(str::to_owned).as_deref(),
                "{text}"
            );
        }
    }
}
