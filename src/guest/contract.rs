//! The contract of an init: how it says that it is up, and how it is told to power off and to reboot.
//!
//! Pure data, one value an init (each in its file under `init/`); [`super::stop`] carries a [`StopMethod`] out,
//! [`super::evidence`] looks for readiness.

use std::time::Duration;

use super::evidence::Evidence;

/// SIGRTMIN of the C libraries that inits are linked with: glibc keeps 32 and 33 for itself (nptl(7)). Signals to an
/// init are part of its interface by number; our own library's SIGRTMIN does not matter.
pub const SIGRTMIN: i32 = 34;

/// What we know of one init's behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// How it says that it is up.
    pub ready: ReadySignal,
    /// Orderly ways to power it off, in the order to try them.
    pub power_off: Vec<StopMethod>,
    /// Orderly ways to reboot it, in the order to try them.
    pub reboot: Vec<StopMethod>,
    /// What it means when PID 1 exits by itself instead of calling reboot(2).
    pub exit: ExitMeaning,
}

/// How an init says that it is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadySignal {
    /// `READY=1` on `NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// It does not say, but leaves traces.
    Evidence(Evidence),
    /// Nothing is known: it counts as up when it has started, which the user should be told.
    AtStart,
}

/// One way to ask an init to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMethod {
    /// A signal to PID 1.
    Signal(i32),
    /// A `struct init_request` that changes the runlevel, in sysvinit's FIFO (initctl(5)).
    Initctl {
        /// `0` or `6`, as a character.
        runlevel: u8,
    },
    /// A word in openrc-init's FIFO.
    OpenrcFifo {
        /// `poweroff` or `reboot`.
        word: &'static str,
    },
    /// The mode bits of runit's /etc/runit/stopit and /etc/runit/reboot, then SIGCONT (runit(8)).
    RunitFiles {
        /// Reboot instead of powering off.
        reboot: bool,
    },
    /// SIGKILL to PID 1: the kernel ends the machine. Always the last step.
    Kill,
}

/// A [`StopMethod`] and how long to wait for PID 1's end before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopStep {
    /// What to do.
    pub method: StopMethod,
    /// How long it may take; of no use to the last, which the kernel does not refuse.
    pub wait: Duration,
}

/// What it means when PID 1 exits by itself. (When it calls reboot(2) in its PID namespace, the kernel kills it with SIGINT
/// for power-off and halt, SIGHUP for reboot: pid_namespaces(7).)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitMeaning {
    /// The end of the machine.
    End,
    /// A reboot if we asked for one or if the last runlevel in /var/log/wtmp is 6, else the end: see
    /// [`super::stop::exit_was_reboot`]. So behaves an init that will not call reboot(2) in a container.
    Runlevel,
}

impl Contract {
    /// The steps of a power-off that is over after about `timeout`.
    pub fn power_off_steps(&self, timeout: Duration) -> Vec<StopStep> {
        steps(&self.power_off, timeout)
    }

    /// The steps of a reboot that is over after about `timeout`.
    pub fn reboot_steps(&self, timeout: Duration) -> Vec<StopStep> {
        steps(&self.reboot, timeout)
    }
}

/// Each escalation has an eighth of the time, the init's own orderly way has the rest.
fn steps(methods: &[StopMethod], timeout: Duration) -> Vec<StopStep> {
    const SHARE: u32 = 8;
    let escalations = u32::try_from(methods.len().saturating_sub(1)).unwrap_or(0).min(SHARE / 2);
    let escalation = timeout / SHARE;
    let orderly = timeout.saturating_sub(escalation * escalations);
    let waits = std::iter::once(orderly).chain(std::iter::repeat(escalation));
    let mut steps: Vec<_> =
        methods.iter().zip(waits).map(|(method, wait)| StopStep { method: *method, wait }).collect();
    steps.push(StopStep { method: StopMethod::Kill, wait: Duration::ZERO });
    steps
}

#[cfg(test)]
mod tests {
    use super::StopMethod::{Initctl, Kill, Signal};
    use super::*;

    #[test]
    fn steps_share_the_time_and_end_with_kill() {
        type Row<'a> = (&'a [StopMethod], u64, &'a [(StopMethod, u64)]);
        let table: [Row<'_>; 4] = [
            (&[], 80, &[(Kill, 0)]),
            (&[Signal(38)], 80, &[(Signal(38), 80), (Kill, 0)]),
            (&[Signal(38), Signal(48)], 80, &[(Signal(38), 70), (Signal(48), 10), (Kill, 0)]),
            (
                &[Initctl { runlevel: b'0' }, Signal(30), Signal(15)],
                80,
                &[(Initctl { runlevel: b'0' }, 60), (Signal(30), 10), (Signal(15), 10), (Kill, 0)],
            ),
        ];
        for (methods, timeout, expected) in table {
            let found: Vec<_> = steps(methods, Duration::from_secs(timeout))
                .into_iter()
                .map(|step| (step.method, step.wait.as_secs()))
                .collect();
            assert_eq!(found, expected, "{methods:?}");
        }
    }
}
