//! What happens to a machine, for programs: typed here, JSON on the control socket and in `spinney events --json`.
//!
//! ```json
//! {"time":1766400000000000,"event":"unit-active","data":{"unit":"multi-user.target"}}
//! ```

use serde::{Deserialize, Serialize};

/// An event, and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Microseconds since 1970.
    pub time: u64,
    /// What.
    #[serde(flatten)]
    pub event: MachineEvent,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum MachineEvent {
    /// PID 1 runs, for the first time or again.
    Started {
        /// Its pid on the host.
        leader: i32,
        /// Which boot this is, from 1 on.
        boot: u32,
        /// The operating system, in words.
        os: String,
        /// The init, in words; empty for a command.
        init: String,
    },
    /// The guest is up.
    Ready {
        /// It did not say so: nothing is known of its init.
        assumed: bool,
    },
    /// What the guest says that it is doing (STATUS=); empty when it takes that back.
    Status {
        /// Printable.
        text: String,
    },
    /// A unit of the guest, a target as a rule, is up (X_SYSTEMD_UNIT_ACTIVE=).
    UnitActive {
        /// Its name.
        unit: String,
    },
    /// A unit of the guest is down again (X_SYSTEMD_UNIT_INACTIVE=).
    UnitInactive {
        /// Its name.
        unit: String,
    },
    /// The guest's init reloads its configuration (RELOADING=1).
    Reloading,
    /// The guest's init says what went wrong (ERRNO=, BUSERROR=).
    Failed {
        /// errno(3).
        errno: Option<i32>,
        /// The name of a D-Bus error.
        bus_error: Option<String>,
    },
    /// The guest's init wants to be taken for hung (WATCHDOG=trigger).
    Watchdog,
    /// The guest has a host name (X_SYSTEMD_HOSTNAME=).
    Hostname {
        /// It.
        hostname: String,
    },
    /// It goes down: it was told to, or says so (STOPPING=1, X_SYSTEMD_SHUTDOWN=).
    Stopping {
        /// Which way, as far as is known.
        how: StopKind,
        /// We told it to, and it did not begin by itself.
        asked: bool,
    },
    /// It is down and comes back.
    Rebooting {
        /// The argument of its reboot (X_SYSTEMD_REBOOT_PARAMETER=).
        parameter: Option<String>,
    },
    /// Its processes are stopped (cgroup.freeze).
    Paused,
    /// Its processes run again.
    Resumed,
    /// A port of the host leads to it now.
    Published {
        /// As `--port=` has it, whole.
        port: String,
    },
    /// A port leads to it no more.
    Unpublished {
        /// The same.
        port: String,
    },
    /// Something of the host's is offered in it now.
    Offered {
        /// As `--offer=` has it, whole.
        offer: String,
    },
    /// It is not offered any more.
    TakenBack {
        /// The same.
        offer: String,
    },
    /// The kernel killed processes of it, since its memory was at its limit.
    OutOfMemory {
        /// How many so far.
        killed: u64,
    },
    /// It is gone, and what it had of the host is given back.
    Ended {
        /// What its supervisor exits with.
        exit_status: u8,
        /// Why.
        reason: EndReason,
        /// The error in words, where there is one.
        error: Option<String>,
    },
}

/// A way to go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// It stops; how is not known.
    Unknown,
    /// Power off.
    PowerOff,
    /// Halt.
    Halt,
    /// Reboot: it comes back.
    Reboot,
    /// Reboot of user space alone; PID 1 stays.
    SoftReboot,
    /// Exit of PID 1.
    Exit,
    /// It is killed.
    Kill,
}

/// Why a machine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Its PID 1 powered off, or exited after it was told to.
    PoweredOff,
    /// Its PID 1 exited, or the command that it ran.
    Exited,
    /// We killed it: somebody asked for that, or it did not stop in time.
    Killed,
    /// Its PID 1 died by a signal of somebody else, the kernel among them.
    Signalled,
    /// Its PID 1 ended before the guest was up.
    DiedEarly,
    /// It was not up in time.
    NotReady,
    /// Spinney failed.
    Failed,
}

impl MachineEvent {
    /// The event's name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Ready { .. } => "ready",
            Self::Status { .. } => "status",
            Self::UnitActive { .. } => "unit-active",
            Self::UnitInactive { .. } => "unit-inactive",
            Self::Reloading => "reloading",
            Self::Failed { .. } => "failed",
            Self::Watchdog => "watchdog",
            Self::Hostname { .. } => "hostname",
            Self::Stopping { .. } => "stopping",
            Self::Rebooting { .. } => "rebooting",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Published { .. } => "published",
            Self::Unpublished { .. } => "unpublished",
            Self::Offered { .. } => "offered",
            Self::TakenBack { .. } => "taken-back",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::Ended { .. } => "ended",
        }
    }

    /// Whether a guest can make as many of it as it likes.
    pub(super) fn is_word_of_guest(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::UnitActive { .. }
                | Self::UnitInactive { .. }
                | Self::Reloading
                | Self::Failed { .. }
                | Self::Watchdog
                | Self::Hostname { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json() {
        let text = |text: &str| text.to_owned();
        let rows = [
            (
                MachineEvent::Started { leader: 7, boot: 1, os: text("Debian"), init: text("systemd 257") },
                r#""event":"started","data":{"leader":7,"boot":1,"os":"Debian","init":"systemd 257"}"#,
            ),
            (MachineEvent::Ready { assumed: false }, r#""event":"ready","data":{"assumed":false}"#),
            (MachineEvent::Status { text: text("Up.") }, r#""event":"status","data":{"text":"Up."}"#),
            (
                MachineEvent::UnitActive { unit: text("basic.target") },
                r#""event":"unit-active","data":{"unit":"basic.target"}"#,
            ),
            (
                MachineEvent::UnitInactive { unit: text("basic.target") },
                r#""event":"unit-inactive","data":{"unit":"basic.target"}"#,
            ),
            (MachineEvent::Reloading, r#""event":"reloading""#),
            (
                MachineEvent::Failed { errno: Some(2), bus_error: None },
                r#""event":"failed","data":{"errno":2,"bus-error":null}"#,
            ),
            (MachineEvent::Watchdog, r#""event":"watchdog""#),
            (
                MachineEvent::Hostname { hostname: text("web") },
                r#""event":"hostname","data":{"hostname":"web"}"#,
            ),
            (
                MachineEvent::Stopping { how: StopKind::PowerOff, asked: true },
                r#""event":"stopping","data":{"how":"power-off","asked":true}"#,
            ),
            (MachineEvent::Rebooting { parameter: None }, r#""event":"rebooting","data":{"parameter":null}"#),
            (MachineEvent::Paused, r#""event":"paused""#),
            (MachineEvent::Resumed, r#""event":"resumed""#),
            (
                MachineEvent::Published { port: text("tcp:80:80") },
                r#""event":"published","data":{"port":"tcp:80:80"}"#,
            ),
            (
                MachineEvent::Unpublished { port: text("tcp:80:80") },
                r#""event":"unpublished","data":{"port":"tcp:80:80"}"#,
            ),
            (
                MachineEvent::Offered { offer: text("udp:53:53") },
                r#""event":"offered","data":{"offer":"udp:53:53"}"#,
            ),
            (
                MachineEvent::TakenBack { offer: text("udp:53:53") },
                r#""event":"taken-back","data":{"offer":"udp:53:53"}"#,
            ),
            (MachineEvent::OutOfMemory { killed: 1 }, r#""event":"out-of-memory","data":{"killed":1}"#),
            (
                MachineEvent::Ended { exit_status: 0, reason: EndReason::PoweredOff, error: None },
                r#""event":"ended","data":{"exit-status":0,"reason":"powered-off","error":null}"#,
            ),
        ];
        for (event, json) in rows {
            let happening = Happening { time: 5, event };
            let text = format!(r#"{{"time":5,{json}}}"#);
            assert_eq!(serde_json::to_string(&happening).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Happening>(&text).expect("an event"), happening);
            assert!(json.starts_with(&format!(r#""event":"{}""#, happening.event.name())), "{json}");
        }
    }
}
