//! What machines use at one moment, and what follows of two: shares of CPUs, and rates.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::verbs::list::state_word;
use crate::machine::usage::Usage;
use crate::machine::{Error, MachineHandle};
use crate::settings::MachineName;

/// One machine at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its state, in a word.
    pub state: &'static str,
    /// Which supervisor it has: a machine of the same name later has another, whose counters begin anew.
    pub supervisor: (i32, u64),
    /// Which boot: network interfaces begin anew with each.
    pub boots: u32,
    /// How many of its processes died for want of memory.
    pub oom_kills: u64,
    /// What it uses.
    pub usage: Usage,
}

/// All machines at one moment.
#[derive(Debug, Clone)]
pub struct Samples {
    /// When.
    pub at: Instant,
    /// By name.
    pub machines: Vec<Sample>,
}

impl Samples {
    /// Looks at the machines `names`, or at all. One that does not run is left out.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn take(names: &[MachineName]) -> Result<Self, Error> {
        let handles = if names.is_empty() {
            MachineHandle::all()?
        } else {
            names.iter().filter_map(|name| MachineHandle::find(name).ok()).collect()
        };
        let at = Instant::now();
        let machines = handles.iter().map(|machine| {
            let state = machine.state();
            Sample {
                name: machine.name().to_string(),
                state: state_word(state),
                supervisor: (state.supervisor, state.supervisor_started),
                boots: state.boots,
                oom_kills: state.oom_kills,
                usage: Usage::of(state),
            }
        });
        Ok(Self { at, machines: machines.collect() })
    }
}

/// One machine between two moments. What is not counted, or was not yet at the first one, is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its state, in a word.
    pub state: &'static str,
    /// Percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Bytes a second that it read from disks.
    pub read_rate: Option<u64>,
    /// Bytes a second that it wrote to them.
    pub write_rate: Option<u64>,
    /// Bytes a second that came in by its network.
    pub receive_rate: Option<u64>,
    /// Bytes a second that went out.
    pub send_rate: Option<u64>,
    /// How many of its processes died for want of memory.
    pub oom_kills: u64,
    /// The counters at the second moment.
    #[serde(flatten)]
    pub usage: Usage,
}

/// What happened between two moments, a row for each machine of the second.
pub fn rows(before: Option<&Samples>, now: &Samples) -> Vec<Row> {
    let elapsed = before.map_or(Duration::ZERO, |before| now.at.duration_since(before.at));
    now.machines
        .iter()
        .map(|machine| {
            let earlier = before.and_then(|before| {
                let machines = &before.machines;
                machines
                    .iter()
                    .find(|earlier| earlier.name == machine.name && earlier.supervisor == machine.supervisor)
            });
            row(earlier, machine, elapsed)
        })
        .collect()
}

fn row(before: Option<&Sample>, now: &Sample, elapsed: Duration) -> Row {
    let micros = elapsed.as_micros();
    // A counter that went back is another one: nothing is known.
    let difference = |before: Option<u64>, now: Option<u64>| now?.checked_sub(before?).filter(|_| micros > 0);
    let rate = |before: Option<u64>, now: Option<u64>| {
        let rate = u128::from(difference(before, now)?) * 1_000_000 / micros;
        u64::try_from(rate).ok()
    };
    let earlier = before.map(|before| before.usage).unwrap_or_default();
    let same_boot = before.filter(|before| before.boots == now.boots).map(|before| before.usage);
    let network = same_boot.and_then(|usage| usage.network);
    let usage = now.usage;
    let cpu = difference(earlier.cpu.map(|cpu| cpu.microseconds), usage.cpu.map(|cpu| cpu.microseconds));
    Row {
        name: now.name.clone(),
        state: now.state,
        cpu_percent: cpu.map(|used| percent(used, elapsed)),
        read_rate: rate(earlier.io.map(|io| io.read_bytes), usage.io.map(|io| io.read_bytes)),
        write_rate: rate(earlier.io.map(|io| io.written_bytes), usage.io.map(|io| io.written_bytes)),
        receive_rate: rate(
            network.map(|all| all.received_bytes),
            usage.network.map(|all| all.received_bytes),
        ),
        send_rate: rate(network.map(|all| all.sent_bytes), usage.network.map(|all| all.sent_bytes)),
        oom_kills: now.oom_kills,
        usage,
    }
}

/// To one digit after the point.
fn percent(microseconds: u64, elapsed: Duration) -> f64 {
    let share = Duration::from_micros(microseconds).as_secs_f64() / elapsed.as_secs_f64();
    (share * 1000.0).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::machine::usage::{Cpu, Io, Memory, Network, Tasks};

    pub(in crate::cli::top) fn sample(name: &str, cpu: u64, bytes: u64) -> Sample {
        Sample {
            name: name.to_owned(),
            state: "ready",
            supervisor: (7, 100),
            boots: 1,
            oom_kills: 0,
            usage: Usage {
                memory: Some(Memory { current: bytes, peak: None, swap: None, max: Some(64 << 20) }),
                cpu: Some(Cpu { microseconds: cpu }),
                io: Some(Io { read_bytes: bytes, written_bytes: 2 * bytes }),
                tasks: Some(Tasks { current: 3, max: None }),
                network: Some(Network { received_bytes: bytes, sent_bytes: 0, ..Network::default() }),
            },
        }
    }

    pub(in crate::cli::top) fn samples(at: Instant, machines: &[Sample]) -> Samples {
        Samples { at, machines: machines.to_vec() }
    }

    #[test]
    fn rates() {
        let start = Instant::now();
        let before = samples(start, &[sample("web", 1_000_000, 1000), sample("gone", 1, 1)]);
        let mut again = sample("again", 5, 5);
        again.supervisor = (8, 200);
        let now = samples(start + Duration::from_secs(2), &[sample("web", 2_500_000, 5000), again]);
        let rows = rows(Some(&before), &now);
        let web = &rows[0];
        assert_eq!((web.cpu_percent, web.read_rate, web.write_rate), (Some(75.0), Some(2000), Some(4000)));
        assert_eq!((web.receive_rate, web.send_rate), (Some(2000), Some(0)));
        assert_eq!((rows[1].name.as_str(), rows[1].cpu_percent, rows[1].read_rate), ("again", None, None));
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn what_is_not_known() {
        let start = Instant::now();
        let now = samples(start, &[sample("web", 1, 1)]);
        assert_eq!(rows(None, &now)[0].cpu_percent, None);
        let before = samples(start, &[sample("web", 1, 1)]);
        assert_eq!(rows(Some(&before), &now)[0].cpu_percent, None, "no time has passed");
        let mut rebooted = sample("web", 9, 0);
        rebooted.boots = 2;
        let now = samples(start + Duration::from_secs(1), &[rebooted]);
        let row = &rows(Some(&before), &now)[0];
        assert_eq!((row.receive_rate, row.read_rate), (None, None));
        assert_eq!(row.cpu_percent, Some(0.0));
    }
}
