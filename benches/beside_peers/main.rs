//! Measures Spinney beside its peers; `benches/run` prepares the ground and calls it.
//!
//! Ratios are what counts, since machines vary: contenders of a row take turns, so that a busy minute of the host falls on
//! all of them alike, and medians are compared.
#![allow(clippy::disallowed_methods, reason = "paths of the benchmark are nobody else's")]

mod archives;
mod contenders;
mod crowd;
mod entered;
mod memory;
mod network;
mod network_contenders;
mod network_host;
mod network_paths;
mod network_ping;
mod network_report;
mod network_trips;
mod network_zone;
mod report;
mod timing;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use archives::Archives;
use contenders::Ground;
use report::Report;

/// Rounds of the quick rows; slower ones do a part of it.
const ROUNDS: usize = 40;

/// Measures Spinney beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Our executable.
    #[arg(long)]
    spinney: PathBuf,
    /// Directory that holds `tree`; scratch goes there too.
    #[arg(long)]
    work: PathBuf,
    /// What names of machines begin with.
    #[arg(long)]
    prefix: String,
    /// The tree that archives are made of.
    #[arg(long)]
    archived: PathBuf,
    /// The tree that a hundred machines of one zone boot: one that boots quickly.
    #[arg(long)]
    small: Option<PathBuf>,
    /// A cgroup made for this, in each hierarchy that systemd-nspawn uses.
    #[arg(long)]
    cgroup: Vec<PathBuf>,
    /// Where the result goes as JSON: the last one, since `benches/run` has a default.
    #[arg(long, overrides_with = "json")]
    json: PathBuf,
    /// Fail if a target is missed.
    #[arg(long)]
    check: bool,
    /// Rows to measure: command, ephemeral, boot, exec, memory, crowd, list, unpack, export, network.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of the quick rows.
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let ground = Ground::new(arguments.spinney, arguments.work, arguments.prefix, arguments.cgroup)?;
    let wanted = |row: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == row);

    let mut report = Report::default();
    report.note_load(&std::fs::read_to_string("/proc/loadavg")?)?;
    for row in contenders::rows(&ground) {
        if wanted(row.key) {
            report.add(timing::measure(&row, arguments.rounds, &ground)?)?;
        }
    }
    if wanted("exec") {
        report.add_exec(entered::measure(&ground, arguments.rounds)?)?;
    }
    if wanted("memory") {
        report.add_memory(memory::measure(&ground)?)?;
    }
    if wanted("crowd") {
        report.add_crowd(&crowd::measure(&ground)?)?;
    }
    if wanted("list") {
        report.add_list(&crowd::measure_list(&ground)?)?;
    }
    if wanted("unpack") || wanted("export") {
        let archives = Archives::new(&ground, &arguments.archived)?;
        for row in archives.rows().into_iter().filter(|row| wanted(row.key)) {
            report.add(timing::measure(&row, arguments.rounds, &ground)?)?;
        }
        if wanted("unpack") {
            report.add_peaks(&archives.peaks()?)?;
        }
    }
    // Last: it leaves this process in surroundings of its own.
    if wanted("network") {
        network::measure(&ground, arguments.small.as_deref(), arguments.rounds, &mut report)?;
    }
    std::fs::write(&arguments.json, report.json()?)?;
    Ok(if arguments.check && report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
