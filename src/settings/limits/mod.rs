//! How much of the host a machine may have: systemd.resource-control(5), by the names and with the values it has there.
//!
//! | file | what it owns |
//! |---|---|
//! | [`keys`] | the one table of limits: options, settings files, `--property=` and the control socket read it |
//! | [`amount`] | sizes, counts and shares as they are written |
//! | [`device`] | devices that a machine gets, or may use |
//! | [`network`] | tags of the traffic of a machine |

pub mod amount;
pub mod device;
pub mod keys;
pub mod network;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CpuSet, ValueError};
use amount::Amount;
use device::{DeviceAllow, DeviceGrant};
use keys::{KEYS, LimitKey};
use network::{NetworkClass, NetworkPriority};

/// A limit of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAmount {
    /// The device's node, or a file on the disk that is meant.
    pub device: PathBuf,
    /// How much.
    pub amount: Amount,
}

/// The limits of one machine. What is `None`, or empty, was not said and stays as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in systemd.resource-control(5)")]
pub struct Limits {
    pub memory_max: Option<Amount>,
    pub memory_high: Option<Amount>,
    pub memory_low: Option<Amount>,
    pub memory_min: Option<Amount>,
    pub memory_swap_max: Option<Amount>,
    /// Of one CPU.
    pub cpu_quota: Option<Amount>,
    pub cpu_weight: Option<u64>,
    pub allowed_cpus: Option<CpuSet>,
    pub allowed_memory_nodes: Option<CpuSet>,
    pub tasks_max: Option<Amount>,
    pub io_weight: Option<u64>,
    pub io_device_weight: Vec<DeviceAmount>,
    pub io_read_bandwidth_max: Vec<DeviceAmount>,
    pub io_write_bandwidth_max: Vec<DeviceAmount>,
    pub io_read_iops_max: Vec<DeviceAmount>,
    pub io_write_iops_max: Vec<DeviceAmount>,
    /// Nodes in the machine's /dev.
    pub devices: Vec<DeviceGrant>,
    /// Devices that it may use, wherever it has a node of them from.
    pub device_allow: Vec<DeviceAllow>,
    pub network_class: Option<NetworkClass>,
    pub network_priority: Vec<NetworkPriority>,
}

impl Limits {
    /// Nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets what `key` limits; for a key that [repeats](LimitKey::repeats) one more value. An empty value takes back what
    /// was said before (systemd.syntax(7)).
    ///
    /// # Errors
    /// When `value` is not what the key takes.
    pub fn set(&mut self, key: &LimitKey, value: &str) -> Result<(), ValueError> {
        if value.is_empty() {
            (key.reset)(self);
            return Ok(());
        }
        (key.set)(self, value)
    }

    /// Sets what `changes` says and leaves the rest.
    pub fn change(&mut self, changes: &Self) {
        for key in KEYS {
            for text in (key.get)(changes) {
                // What came out of the table goes into it.
                let _ = (key.set)(self, &text);
            }
        }
    }

    /// What is said of each key, in the table's order, as [`Limits::set`] takes it.
    pub fn texts(&self) -> impl Iterator<Item = (&'static LimitKey, Vec<String>)> + '_ {
        KEYS.iter().map(|key| (key, (key.get)(self))).filter(|(_, texts)| !texts.is_empty())
    }

    /// All block devices that a limit names.
    pub fn block_devices(&self) -> impl Iterator<Item = &PathBuf> {
        [
            &self.io_device_weight,
            &self.io_read_bandwidth_max,
            &self.io_write_bandwidth_max,
            &self.io_read_iops_max,
            &self.io_write_iops_max,
        ]
        .into_iter()
        .flatten()
        .map(|limit| &limit.device)
    }
}

/// Names and values as in the table: `{"memory-max": ["536870912"]}`.
impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.texts().map(|(key, texts)| (key.name, texts)))
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut limits = Self::default();
        for (name, texts) in BTreeMap::<String, Vec<String>>::deserialize(deserializer)? {
            let key = keys::by_name(&name).map_err(D::Error::custom)?;
            for text in texts {
                limits.set(key, &text).map_err(D::Error::custom)?;
            }
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, &str)]) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in rows {
            limits.set(keys::by_name(name).unwrap(), value).unwrap();
        }
        limits
    }

    #[test]
    fn as_json_and_back() {
        let limits = of(&[
            ("memory-max", "512M"),
            ("cpu-quota", "150%"),
            ("allowed-cpus", "0-2,7"),
            ("io-read-bandwidth-max", "/dev/vda 5M"),
            ("io-read-bandwidth-max", "/dev/vdb infinity"),
            ("device", "/dev/fuse:/dev/f:rw"),
            ("device-allow", "char-pts rw"),
            ("network-class", "10:1"),
            ("network-priority", "eth0:3"),
        ]);
        let json = serde_json::to_string(&limits).unwrap();
        assert_eq!(
            json,
            "{\"memory-max\":[\"536870912\"],\"cpu-quota\":[\"150%\"],\"allowed-cpus\":[\"0-2,7\"],\
             \"io-read-bandwidth-max\":[\"/dev/vda 5000000\",\"/dev/vdb infinity\"],\
             \"device\":[\"/dev/fuse:/dev/f:rw\"],\"device-allow\":[\"char-pts rw\"],\
             \"network-class\":[\"0x100001\"],\"network-priority\":[\"eth0:3\"]}"
        );
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        let error = serde_json::from_str::<Limits>("{\"memory-maks\":[\"1\"]}").unwrap_err();
        assert!(error.to_string().starts_with("\"memory-maks\" is not a limit"), "{error}");
    }

    #[test]
    fn changes() {
        let mut limits = of(&[
            ("memory-max", "1G"),
            ("tasks-max", "10"),
            ("io-read-iops-max", "/dev/vda 1"),
            ("io-read-iops-max", "/dev/vdb 2"),
        ]);
        limits.change(&of(&[("memory-max", "infinity"), ("io-read-iops-max", "/dev/vda 5")]));
        let expected = [
            ("memory-max", "infinity"),
            ("tasks-max", "10"),
            ("io-read-iops-max", "/dev/vda 5"),
            ("io-read-iops-max", "/dev/vdb 2"),
        ];
        assert_eq!(limits, of(&expected));
        limits.set(keys::by_name("io-read-iops-max").unwrap(), "").unwrap();
        limits.set(keys::by_name("memory-max").unwrap(), "").unwrap();
        assert_eq!(limits, of(&[("tasks-max", "10")]));
        assert!(!limits.is_empty() && Limits::default().is_empty());
    }
}
