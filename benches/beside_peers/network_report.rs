//! How the rows about the network are printed.

use std::io::{self, Write, stdout};
use std::time::Duration;

use serde_json::json;

use super::network_contenders::Kind;
use super::network_paths::{Contender, Row, TOLERANCE};
use super::network_ping::FirstPings;
use super::network_zone::Zone;
use super::report::{Report, mark, median};

/// From the link's being up until a ping is answered.
const SINCE_LINK: Duration = Duration::from_millis(50);

/// What the host may work for a machine of a zone, until it is ready: what it may for one of a crowd, and the 2 ms that a run with a link
/// of its own may take longer than one without.
const HOST_WORK: Duration = Duration::from_millis(12);

impl Report {
    /// Adds and prints the times to first pings.
    pub(crate) fn add_first_pings(&mut self, pings: FirstPings) -> io::Result<()> {
        for row in pings.rows {
            self.add(row)?;
        }
        let title = "from our link's being up to the host's first ping";
        writeln!(stdout().lock(), "\n{title}\n  {:<30}{:>12}{:>12}{:>8}", "", "median", "most", "runs")?;
        for (name, times) in ["spinney -n", "spinney in a zone"].into_iter().zip(&pings.since_link) {
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            let most = times.last().copied().unwrap_or_default();
            let met = most <= SINCE_LINK;
            writeln!(
                stdout().lock(),
                "  {name:<30}{:>9.2} ms{:>9.2} ms{:>8}  <= {} ms  {}",
                milliseconds(middle),
                milliseconds(most),
                times.len(),
                SINCE_LINK.as_millis(),
                mark(Some(met))
            )?;
            let row = json!({
                "row": "network", "title": title, "contender": name, "median_s": middle.as_secs_f64(),
                "most_s": most.as_secs_f64(), "runs": times.len(), "target_s": SINCE_LINK.as_secs_f64(), "met": met,
            });
            self.keep(row, Some(met));
        }
        Ok(())
    }

    /// Adds and prints what went through links. Contenders are compared round by round, so that what the host was busy with meanwhile
    /// falls on both.
    pub(crate) fn add_paths(&mut self, row: &Row) -> io::Result<()> {
        let mut out = stdout().lock();
        writeln!(out, "\n{}", row.title)?;
        writeln!(
            out,
            "  {:<28}{:>10} {:<6}{:>9}{:>6}{:>11}{:>11}{:>11}",
            "", "median", "", "spread", "runs", "/ pair", "/ stateful", "/ bridge"
        )?;
        for contender in &row.contenders {
            let sorted = sorted(&contender.values);
            let middle = median(&sorted);
            // Half of all values are no farther apart.
            let quarter = |part: usize| sorted.get(sorted.len() * part / 4).copied().unwrap_or(f64::NAN);
            let spread = (quarter(3) - quarter(1)) / middle;
            write!(
                out,
                "  {:<28}{middle:>10.2} {:<6}{:>7.1} %{:>6}",
                contender.kind.name(),
                row.unit,
                spread * 100.0,
                sorted.len()
            )?;
            for column in [Kind::Pair, Kind::PairOneRule, Kind::Bridge] {
                let ratio =
                    contender.against.contains(&column).then(|| ratio(row, contender, column)).flatten();
                match ratio {
                    Some(ratio) => write!(out, "{ratio:>11.4}")?,
                    None => write!(out, "{:>11}", "")?,
                }
            }
            let ours = matches!(contender.kind, Kind::Ours | Kind::OursInZone);
            let held = contender.against.first().filter(|_| ours);
            let held = held.and_then(|other| Some((*other, ratio(row, contender, *other)?)));
            let met = held.map(|(_, ratio)| {
                if row.more_is_better { ratio >= 1.0 - TOLERANCE } else { ratio <= 1.0 + TOLERANCE }
            });
            if let Some((other, _)) = held {
                let (sign, limit) =
                    if row.more_is_better { (">=", 1.0 - TOLERANCE) } else { ("<=", 1.0 + TOLERANCE) };
                let of = if other == Kind::Bridge { "bridge" } else { "pair" };
                write!(out, "  {sign} {limit} of the {of}  {}", mark(met))?;
            }
            writeln!(out)?;
            self.keep(
                json!({
                    "row": "network", "title": row.title, "contender": contender.kind.name(), "unit": row.unit,
                    "median": middle, "spread": spread, "values": contender.values,
                    "to_pair": ratio(row, contender, Kind::Pair), "to_bridge": ratio(row, contender, Kind::Bridge),
                    "to_stateful": ratio(row, contender, Kind::PairOneRule), "met": met,
                }),
                met,
            );
        }
        Ok(())
    }

    /// Adds and prints what a zone of many took.
    pub(crate) fn add_zone(&mut self, zone: &Zone) -> io::Result<()> {
        let mut out = stdout().lock();
        let title = format!("{} machines in one zone", zone.machines);
        let work = zone.command_line + zone.supervisor;
        let (quick, all) = (work <= HOST_WORK, zone.answered == zone.pairs);
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        writeln!(out, "\n{title}")?;
        let rows = [
            ("all ready after", seconds(zone.ready), String::new()),
            ("siblings have answered after", seconds(zone.reached), String::new()),
            ("  pairs that did", zone.answered.to_string(), format!("= {}  {}", zone.pairs, mark(Some(all)))),
            ("all off after", seconds(zone.gone), String::new()),
            (
                "host work of each",
                format!("{:.1} ms", milliseconds(work)),
                format!("<= {} ms  {}", HOST_WORK.as_millis(), mark(Some(quick))),
            ),
            ("  of it the supervisor's", format!("{:.1} ms", milliseconds(zone.supervisor)), String::new()),
            ("kernel memory of each", format!("{} KiB", zone.kernel), String::new()),
            ("addresses the bridge knows", zone.forwarding.to_string(), String::new()),
        ];
        for (name, value, target) in rows {
            writeln!(out, "  {}", format!("{name:<30}{value:>12}  {target}").trim_end())?;
        }
        let met = quick && all;
        self.keep(
            json!({
                "row": "network", "title": title, "machines": zone.machines, "ready_s": zone.ready.as_secs_f64(),
                "reached_s": zone.reached.as_secs_f64(), "answered": zone.answered, "pairs": zone.pairs,
                "gone_s": zone.gone.as_secs_f64(), "command_line_s": zone.command_line.as_secs_f64(),
                "supervisor_s": zone.supervisor.as_secs_f64(), "kernel_kib": zone.kernel,
                "bridge_addresses": zone.forwarding, "met": met,
            }),
            Some(met),
        );
        Ok(())
    }
}

/// The median of a contender's values, each divided by `other`'s of the same round.
fn ratio(row: &Row, contender: &Contender, other: Kind) -> Option<f64> {
    let other = row.contenders.iter().find(|contender| contender.kind == other)?;
    let ratios: Vec<f64> =
        contender.values.iter().zip(&other.values).map(|(ours, theirs)| ours / theirs).collect();
    (!ratios.is_empty() && contender.kind != other.kind).then(|| median(&sorted(&ratios)))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
