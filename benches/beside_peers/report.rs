//! The table and the JSON.

use std::io::{self, Write, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::archives::Peak;
use super::crowd::Crowd;
use super::memory::Usage;
use super::timing::Times;

/// The most that a supervisor of ours may use of memory, in KiB, with all others running.
const PSS_TARGET: u64 = 1024;

/// The most that the host may work for a machine of a crowd, until it is ready.
const HOST_WORK: Duration = Duration::from_millis(10);

/// The most of the tree's pages that a machine of a crowd may have for itself.
const OWN_SHARE: f64 = 0.03;

/// How long the list of five hundred machines may take.
const LIST: Duration = Duration::from_millis(20);

/// How long a command in a machine that runs may take.
const EXEC: Duration = Duration::from_millis(5);

/// The most memory that unpacking may take, in KiB, whatever the archive.
const PEAK: u64 = 128 << 10;

/// What was measured, printed as it comes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
    /// Load average of the last minute before (proc_loadavg(5)).
    load: Option<f64>,
    missed: bool,
}

impl Report {
    /// Whether a target was missed.
    pub(crate) fn missed(&self) -> bool {
        self.missed
    }

    /// Keeps a row that was printed, and whether it met its target.
    pub(crate) fn keep(&mut self, row: Value, met: Option<bool>) {
        self.missed |= met == Some(false);
        self.rows.push(row);
    }

    /// Everything as JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&json!({ "missed": self.missed, "load": self.load, "rows": self.rows }))
            .map(|text| text + "\n")
    }

    /// Keeps the load of the host, and warns where it spoils the ratios: a contender that works waits for a processor, one
    /// that sleeps does not.
    pub(crate) fn note_load(&mut self, loadavg: &str) -> io::Result<()> {
        self.load = loadavg.split(' ').next().and_then(|field| field.parse().ok());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        match self.load {
            Some(load) if load * 2.0 > processors as f64 => writeln!(
                stdout().lock(),
                "\nThis host is busy (load {load}, {processors} processors): on a quiet one the ratios are better."
            ),
            _ => Ok(()),
        }
    }

    /// Adds and prints a timed row.
    pub(crate) fn add(&mut self, times: Times) -> io::Result<()> {
        let Times { key, title, contenders } = times;
        let mut out = stdout().lock();
        writeln!(out, "\n{title}")?;
        writeln!(
            out,
            "  {:<30}{:>12}{:>12}{:>8}{:>12}{:>10}",
            "", "median", "best", "runs", "ours/this", "target"
        )?;
        let ours = contenders.first().map_or(f64::NAN, |ours| median(&ours.seconds));
        for (place, contender) in contenders.iter().enumerate() {
            let seconds = median(&contender.seconds);
            let best = contender.seconds.first().copied().unwrap_or(f64::NAN);
            let ratio = ours / seconds;
            let met = contender.target.map(|target| ratio <= target);
            self.missed |= met == Some(false);
            write!(
                out,
                "  {:<30}{:>9.2} ms{:>9.2} ms{:>8}",
                contender.name,
                seconds * 1e3,
                best * 1e3,
                contender.seconds.len()
            )?;
            if place > 0 {
                write!(out, "{ratio:>12.4}")?;
            }
            if let Some(target) = contender.target {
                write!(out, "{:>10}  {}", format!("<= {target}"), mark(met))?;
            }
            writeln!(out)?;
            self.rows.push(json!({
                "row": key, "title": title, "contender": contender.name, "median_s": seconds, "best_s": best,
                "runs": contender.seconds.len(), "ours_to_this": (place > 0).then_some(ratio),
                "target": contender.target, "met": met,
            }));
        }
        Ok(())
    }

    /// Adds and prints what a command in a machine that runs takes, and holds ours to its time.
    pub(crate) fn add_exec(&mut self, times: Times) -> io::Result<()> {
        let ours = times.contenders.first().map_or(f64::NAN, |ours| median(&ours.seconds));
        self.add(times)?;
        let met = ours <= EXEC.as_secs_f64();
        self.missed |= !met;
        self.rows.push(json!({
            "row": "exec", "title": "spinney exec", "median_s": ours, "target_s": EXEC.as_secs_f64(), "met": met,
        }));
        writeln!(
            stdout().lock(),
            "  {:<30}{:>9.2} ms  <= {} ms  {}",
            "spinney exec",
            ours * 1e3,
            EXEC.as_millis(),
            mark(Some(met))
        )
    }

    /// Adds and prints what supervisors use; the first are ours.
    pub(crate) fn add_memory(&mut self, usages: Vec<Usage>) -> io::Result<()> {
        let mut out = stdout().lock();
        let title = "supervisors of booted, idle machines";
        writeln!(out, "\n{title}")?;
        let columns = ["running", "PSS median", "PSS most", "RSS median", "CPU ticks"];
        write!(out, "  {:<20}", "")?;
        for column in columns {
            write!(out, "{column:>12}")?;
        }
        writeln!(out, "  target")?;
        for (place, usage) in usages.iter().enumerate() {
            let most = usage.pss.last().copied().unwrap_or(0);
            let middle = |values: &[u64]| values.get(values.len() / 2).copied().unwrap_or(0);
            let (pss, rss) = (middle(&usage.pss), middle(&usage.rss));
            let met = (place == 0).then_some(most <= PSS_TARGET && usage.ticks == 0);
            self.missed |= met == Some(false);
            let size = |kib: u64| format!("{kib} KiB");
            write!(
                out,
                "  {:<20}{:>12}{:>12}{:>12}{:>12}{:>12}",
                usage.name,
                usage.running,
                size(pss),
                size(most),
                size(rss),
                format!("{} / {} s", usage.ticks, usage.watched.as_secs()),
            )?;
            if met.is_some() {
                write!(out, "  <= {PSS_TARGET} KiB, 0 ticks  {}", mark(met))?;
            }
            writeln!(out)?;
            self.rows.push(json!({
                "row": "memory", "title": title, "contender": usage.name, "running": usage.running,
                "pss_kib": usage.pss, "rss_kib": usage.rss, "cpu_ticks": usage.ticks,
                "watched_s": usage.watched.as_secs(), "met": met,
            }));
        }
        Ok(())
    }

    /// Adds and prints what a crowd took.
    pub(crate) fn add_crowd(&mut self, crowd: &Crowd) -> io::Result<()> {
        let mut out = stdout().lock();
        let title = format!("{} ephemeral machines at once from one tree", crowd.machines);
        let most = crowd.pss.last().copied().unwrap_or(0);
        let work = crowd.command_line + crowd.supervisor;
        let met = work <= HOST_WORK && most <= PSS_TARGET && crowd.own_share <= OWN_SHARE;
        self.missed |= !met;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        writeln!(out, "\n{title}")?;
        let rows = [
            ("all ready after", format!("{:.1} s", crowd.ready.as_secs_f64()), String::new()),
            ("all off after", format!("{:.1} s", crowd.gone.as_secs_f64()), String::new()),
            (
                "host work of each",
                format!("{:.1} ms", milliseconds(work)),
                format!("<= {} ms  {}", HOST_WORK.as_millis(), mark(Some(work <= HOST_WORK))),
            ),
            ("  of it the supervisor's", format!("{:.1} ms", milliseconds(crowd.supervisor)), String::new()),
            (
                "PSS of a supervisor, most",
                format!("{most} KiB"),
                format!("<= {PSS_TARGET} KiB  {}", mark(Some(most <= PSS_TARGET))),
            ),
            ("memory of each, guest and all", format!("{} KiB", crowd.memory), String::new()),
            (
                "own share of the tree's pages",
                format!("{:.1} %", crowd.own_share * 100.0),
                format!("<= {} %  {}", OWN_SHARE * 100.0, mark(Some(crowd.own_share <= OWN_SHARE))),
            ),
            ("state of each in /run", format!("{} KiB", crowd.state), String::new()),
            ("layer of each on disk", format!("{} KiB", crowd.layer), String::new()),
        ];
        for (name, value, target) in rows {
            writeln!(out, "  {}", format!("{name:<30}{value:>12}  {target}").trim_end())?;
        }
        self.rows.push(json!({
            "row": "crowd", "title": title, "machines": crowd.machines, "ready_s": crowd.ready.as_secs_f64(),
            "gone_s": crowd.gone.as_secs_f64(), "command_line_s": crowd.command_line.as_secs_f64(),
            "supervisor_s": crowd.supervisor.as_secs_f64(), "pss_kib": crowd.pss, "memory_kib": crowd.memory,
            "own_share": crowd.own_share, "state_kib": crowd.state, "layer_kib": crowd.layer, "met": met,
        }));
        Ok(())
    }

    /// Adds and prints how long a list of many took; sorted.
    pub(crate) fn add_list(&mut self, times: &[Duration]) -> io::Result<()> {
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        let best = times.first().copied().unwrap_or_default();
        let met = middle <= LIST;
        self.missed |= !met;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let title = "list of 500 machines";
        writeln!(
            stdout().lock(),
            "\n{title}\n  {:<30}{:>9.2} ms{:>9.2} ms{:>8}  <= {} ms  {}",
            "spinney (median, best, runs)",
            milliseconds(middle),
            milliseconds(best),
            times.len(),
            LIST.as_millis(),
            mark(Some(met))
        )?;
        self.rows.push(json!({
            "row": "list", "title": title, "median_s": middle.as_secs_f64(), "best_s": best.as_secs_f64(),
            "runs": times.len(), "met": met,
        }));
        Ok(())
    }

    /// Adds and prints the most memory that unpacking took.
    pub(crate) fn add_peaks(&mut self, peaks: &[Peak]) -> io::Result<()> {
        let mut out = stdout().lock();
        let title = "memory to unpack an archive, at most";
        writeln!(out, "\n{title}")?;
        for Peak { name, kib } in peaks {
            let met = *kib < PEAK;
            self.missed |= !met;
            let size = format!("{kib} KiB");
            writeln!(out, "  {name:<30}{size:>12}  < {PEAK} KiB  {}", mark(Some(met)))?;
            self.rows.push(json!({
                "row": "unpack", "title": title, "archive": name, "peak_kib": kib, "target_kib": PEAK, "met": met,
            }));
        }
        Ok(())
    }
}

pub(crate) fn mark(met: Option<bool>) -> &'static str {
    if met == Some(false) { "MISSED" } else { "met" }
}

/// The middle one of sorted values.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
