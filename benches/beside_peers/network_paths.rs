//! What goes through the links of machines, and how fast it is there and back, in turns: each contender has a host of its own, and all of
//! them stand side by side for the whole row.

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::contenders::Ground;
use super::network_contenders::{Kind, Path};
use super::network_host::Running;
use super::network_trips::{processors, round_trip};
use super::timing::is_missing_program;

/// Who is measured, and whom each of ours is held against; the first of these decides.
const KINDS: [(Kind, &[Kind]); 8] = [
    (Kind::Pair, &[]),
    (Kind::PairAgain, &[Kind::Pair]),
    (Kind::PairOneRule, &[Kind::Pair]),
    (Kind::Bridge, &[Kind::Pair]),
    (Kind::Nspawn, &[Kind::Pair]),
    (Kind::Lxc, &[Kind::Bridge, Kind::Pair]),
    (Kind::Ours, &[Kind::Pair, Kind::PairOneRule]),
    (Kind::OursInZone, &[Kind::Bridge, Kind::Pair]),
];

/// How much worse ours may be.
pub(crate) const TOLERANCE: f64 = 0.03;

/// What was measured of all.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
    pub(crate) contenders: Vec<Contender>,
}

/// What was measured of one.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) against: &'static [Kind],
    /// One a round, in order.
    pub(crate) values: Vec<f64>,
}

/// What one measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Throughput { outwards: bool },
    RoundTrip { udp: bool, one_processor: bool },
}

const MEASURES: [(Measure, &str); 6] = [
    (
        Measure::Throughput { outwards: false },
        "TCP throughput from the host into the machine (iperf3, runs of 1 s)",
    ),
    (
        Measure::Throughput { outwards: true },
        "TCP throughput from the machine to the host (iperf3, runs of 1 s)",
    ),
    (
        Measure::RoundTrip { udp: false, one_processor: false },
        "TCP round trip of a byte, ends on two processors",
    ),
    (
        Measure::RoundTrip { udp: true, one_processor: false },
        "UDP round trip of a byte, ends on two processors",
    ),
    (
        Measure::RoundTrip { udp: false, one_processor: true },
        "TCP round trip of a byte, ends on one processor",
    ),
    (
        Measure::RoundTrip { udp: true, one_processor: true },
        "UDP round trip of a byte, ends on one processor",
    ),
];

/// Measures all.
pub(crate) fn measure(ground: &Ground, rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for (kind, against) in KINDS {
        match kind.start(ground) {
            Ok(path) => paths.push((kind, against, path)),
            Err(error) if is_missing_program(&*error) => {}
            Err(error) => return Err(error),
        }
    }
    let iperf3 = match Command::new("iperf3").arg("--version").stdout(Stdio::null()).status() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    let mut rows = Vec::new();
    for (measure, title) in MEASURES {
        let throughput = matches!(measure, Measure::Throughput { .. });
        if throughput && !iperf3 {
            continue;
        }
        let mut contenders: Vec<_> = paths
            .iter()
            .map(|(kind, against, _)| Contender { kind: *kind, against, values: Vec::new() })
            .collect();
        // The first round is to warm up.
        for round in 0..=rounds {
            for (contender, (.., path)) in contenders.iter_mut().zip(&paths) {
                let value =
                    measure.once(path).map_err(|error| format!("{}: {error}", contender.kind.name()))?;
                if round > 0 {
                    contender.values.push(value);
                }
            }
        }
        let unit = if throughput { "Gbit/s" } else { "us" };
        rows.push(Row { title, unit, more_is_better: throughput, contenders });
    }
    Ok(rows)
}

impl Measure {
    fn once(self, path: &Path<'_>) -> Result<f64, Box<dyn Error>> {
        match self {
            Self::Throughput { outwards } => throughput(path, outwards),
            Self::RoundTrip { udp, one_processor } => {
                Ok(round_trip(path, udp, one_processor)?.as_secs_f64() * 1e6)
            }
        }
    }
}

/// An iperf3 that serves one run in the machine's network, from the host's files, and listens. One that is to serve more sometimes ends
/// between two runs, since its port is in use: by the connections of the first.
fn serve(path: &Path<'_>) -> Result<Running, Box<dyn Error>> {
    let mut command = Command::new("iperf3");
    command.args(["--server", "--one-off", "--forceflush"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = Running(path.guest.within(|| command.spawn())??);
    let said = server.0.stdout.take().ok_or("iperf3 without an output")?;
    for line in BufReader::new(said).lines() {
        if line?.starts_with("Server listening") {
            return Ok(server);
        }
    }
    Err(format!("iperf3 does not listen at {}", path.address).into())
}

/// In Gbit/s. Each end has a processor: where the scheduler puts them differs by more than contenders do.
fn throughput(path: &Path<'_>, outwards: bool) -> Result<f64, Box<dyn Error>> {
    let (here, there) = processors()?;
    let affinity = format!("{here},{there}");
    let options = ["--time", "1", "--affinity", &affinity];
    let _server = serve(path)?;
    let report = match outwards {
        false => iperf(path, &options)?,
        true => iperf(path, &[options.as_slice(), &["--reverse"]].concat())?,
    };
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().ok_or("iperf3 says no rate")?;
    Ok(rate / 1e9)
}

fn iperf(path: &Path<'_>, options: &[&str]) -> Result<Value, Box<dyn Error>> {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--client", &path.address.to_string()]).args(options).stdin(Stdio::null());
    let output = path.host.within(|| command.output())??;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    match report["error"].as_str() {
        Some(error) => Err(error.into()),
        None => Ok(report),
    }
}
