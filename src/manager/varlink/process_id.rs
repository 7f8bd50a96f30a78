//! `ProcessId`: a process as clients of systemd's name it, by more than a number that may be another's by now.

use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::process::Pid;
use serde_json::Value;

use crate::sys::files::read_at;
use crate::sys::process::{pidfd_id, pidfd_open};

/// Which process is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessId {
    /// Its number; 0 for the caller, where that may be meant.
    pub pid: i32,
    /// The inode of its pidfd, which no other process has (Linux 6.9).
    pub pidfd_id: Option<u64>,
    /// In which boot of the host: 32 digits.
    pub boot_id: Option<String>,
}

impl ProcessId {
    /// Reads `{"pid": ..., "pidfdId": ..., "bootId": ...}`, of which what is null counts as left out, or a bare number. More that it
    /// says is of a later version.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let pid =
            |value: &Value| value.as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid >= 0);
        let Value::Object(fields) = value else { return Some(Self { pid: pid(value)?, ..Self::default() }) };
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let process = Self {
            pid: field("pid").and_then(pid)?,
            pidfd_id: match field("pidfdId") {
                None => None,
                // Zero is none, to the kernel too.
                Some(id) => Some(id.as_u64()?).filter(|id| *id > 0),
            },
            boot_id: match field("bootId") {
                None => None,
                Some(id) => Some(boot_id(id.as_str()?)?),
            },
        };
        // The caller is known by itself: what else is said of it would be held against nothing.
        (process.pid > 0 || process == Self::default()).then_some(process)
    }

    /// The process, if it is there, and the one that is meant.
    pub(super) fn pin(&self) -> Option<OwnedFd> {
        let boot = || read_at(CWD, "/proc/sys/kernel/random/boot_id", 64).ok();
        if let Some(id) = &self.boot_id
            && boot().and_then(|text| boot_id(&String::from_utf8_lossy(&text))).as_ref() != Some(id)
        {
            return None;
        }
        let pidfd = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid).ok())?;
        // Kernels before 6.9 have none.
        let is_other = self.pidfd_id.zip(pidfd_id(&pidfd)).is_some_and(|(wanted, its)| wanted != its);
        (!is_other).then_some(pidfd)
    }
}

/// As 32 small digits.
fn boot_id(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_names_a_process() {
        let of = |pid| ProcessId { pid, ..ProcessId::default() };
        let id = "00112233445566778899aabbccddeeff";
        let table = [
            (json!(7), Some(of(7))),
            (json!(0), Some(of(0))),
            (json!({"pid": 7}), Some(of(7))),
            (json!({"pid": 7, "pidfdId": null, "bootId": null, "later": true}), Some(of(7))),
            (json!({"pid": 7, "pidfdId": 9}), Some(ProcessId { pidfd_id: Some(9), ..of(7) })),
            (json!({"pid": 7, "pidfdId": 0}), Some(of(7))),
            (
                json!({"pid": 7, "bootId": "00112233-4455-6677-8899-AABBCCDDEEFF"}),
                Some(ProcessId { boot_id: Some(id.to_owned()), ..of(7) }),
            ),
            (json!({"pid": 0}), Some(of(0))),
            (json!({"pid": 0, "pidfdId": 9}), None),
            (json!({"pid": 0, "bootId": id}), None),
            (json!({"pid": 7, "bootId": "x"}), None),
            (json!({"pid": 7, "bootId": 7}), None),
            (json!({"pid": 7, "pidfdId": "x"}), None),
            (json!({"pid": 7, "pidfdId": -1}), None),
            (json!({"pid": -7}), None),
            (json!({"pid": 5_000_000_000_u64}), None),
            (json!({}), None),
            (json!("7"), None),
        ];
        for (value, expected) in table {
            assert_eq!(ProcessId::parse(&value), expected, "{value}");
        }
    }

    #[test]
    fn whether_it_is_that_one() {
        let pid = rustix::process::getpid();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let id = pidfd_id(pidfd_open(pid).unwrap());
        let ours = ProcessId { pid: pid.as_raw_nonzero().get(), pidfd_id: id, boot_id: boot_id(&boot) };
        assert!(ours.boot_id.is_some() && ours.pin().is_some());
        assert!(ProcessId { boot_id: Some("0".repeat(32)), ..ours.clone() }.pin().is_none());
        assert!(ProcessId { pid: i32::MAX, ..ours.clone() }.pin().is_none());
        // Where the kernel has no such ids, any will do.
        let other = ProcessId { pidfd_id: Some(id.unwrap_or(7) + 1), ..ours };
        assert_eq!(other.pin().is_none(), id.is_some());
    }
}
