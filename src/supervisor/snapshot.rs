//! What a supervisor knows of its machine at one moment: the state file's content, and what the guest has said.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::machine_event::StopKind;
use super::state::State;

/// More units than this are not kept: systemd has a few dozen targets, and a guest is hostile.
const MAX_UNITS: usize = 256;

/// All that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// As in the state file.
    pub state: State,
    /// What the guest has said since its boot.
    #[serde(flatten)]
    pub said: Said,
}

/// What a guest has said since its boot (sd_notify(3), and systemd(1), "X_SYSTEMD_*").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Units, targets as a rule, that are up.
    pub active_units: BTreeSet<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its machine ID, 32 digits.
    pub machine_id: Option<String>,
    /// Version of the signals that its PID 1 knows.
    pub signals_level: Option<u32>,
    /// Its main process, a pid of its own namespace.
    pub main_pid: Option<u32>,
    /// What its PID 1 will exit with.
    pub exit_status: Option<u8>,
    /// How it is going down.
    pub shutdown: Option<StopKind>,
    /// The argument of its reboot.
    pub reboot_parameter: Option<String>,
    /// errno(3) of its failure.
    pub errno: Option<i32>,
    /// The D-Bus error of its failure.
    pub bus_error: Option<String>,
    /// Microseconds after which its watchdog would bite.
    pub watchdog_interval: Option<u64>,
    /// When it last said that it is alive, microseconds since 1970.
    pub watchdog_at: Option<u64>,
}

impl Said {
    /// Notes that `unit` is up; says whether that is news.
    pub(super) fn unit_is_active(&mut self, unit: &str) -> bool {
        let fits = self.active_units.len() < MAX_UNITS;
        fits && !self.active_units.contains(unit) && self.active_units.insert(unit.to_owned())
    }

    /// Notes that `unit` is down; says whether that is news.
    pub(super) fn unit_is_inactive(&mut self, unit: &str) -> bool {
        self.active_units.remove(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let mut said = Said::default();
        assert!(said.unit_is_active("a.target") && !said.unit_is_active("a.target"));
        assert!(said.unit_is_inactive("a.target") && !said.unit_is_inactive("a.target"));
        for number in 0..MAX_UNITS * 2 {
            said.unit_is_active(&format!("u{number}.service"));
        }
        assert_eq!(said.active_units.len(), MAX_UNITS);
    }
}
