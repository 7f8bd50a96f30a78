//! `spinney net leases`, `spinney net forget`

use std::net::IpAddr;

use serde::Serialize;

use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output, words};
use crate::cli::verbs::{fail, named};
use crate::cli::{EXIT_FAILURE, refusal::Message, require_root};
use crate::machine::{MachineHandle, Record};
use crate::network::lease::{self, LeaseError, Leases};
use crate::network::records::Records;
use crate::network::subnet::Subnet;
use crate::settings::MachineName;
use crate::settings::network::ZoneName;

const LEASES: &str = "\
Examples:
  spinney net leases               which addresses are kept for which machines
  spinney net leases --json | jq -r '.[] | select(.zone == \"lab\") | .ipv4'";

/// Show which addresses are kept for which machines
///
/// Needs no root. A machine has the same addresses whenever it is started, until they are forgotten, or others need them.
#[derive(Debug, clap::Args)]
#[command(after_help = LEASES)]
pub(super) struct LeasesArguments {
    /// JSON
    #[arg(long)]
    json: bool,

    /// No heading and no sum
    #[arg(long)]
    no_legend: bool,
}

/// Keep no addresses for machines any more
///
/// A machine that is started afterwards may have others. One that runs keeps its own, and is refused.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  spinney net forget web db\n  spinney net forget --all    of all machines that do not run"
)]
pub(super) struct ForgetArguments {
    /// The machines
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,

    /// All machines that do not run
    #[arg(long, conflicts_with = "names")]
    all: bool,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// The addresses of a machine in one place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    machine: String,
    /// `None` for a machine that is alone with the host.
    zone: Option<ZoneName>,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    /// It runs.
    running: bool,
    /// When it was last started, to a day (RFC 3339).
    used: String,
    #[serde(skip)]
    used_microseconds: u64,
}

/// Runs the verb, gives the exit status.
pub(super) fn leases(arguments: &LeasesArguments) -> u8 {
    let output = Output::new(false);
    let records = match Leases::look(&lease::directory()).records() {
        Ok(records) => records,
        Err(error) => return refused(&error, output),
    };
    let running = match MachineHandle::all() {
        Ok(machines) => machines.iter().map(|machine| machine.name().to_string()).collect::<Vec<_>>(),
        Err(error) => return fail(&error, output),
    };
    let entries = entries(&records, &running);
    if arguments.json {
        return if output.json(&entries).is_ok() { 0 } else { EXIT_FAILURE };
    }
    if !entries.is_empty() {
        output.table(&table(&entries, words::now()), !arguments.no_legend, false);
    }
    if !arguments.no_legend {
        output.text(&match entries.len() {
            0 => "No leases.\n".to_owned(),
            1 => "\n1 lease listed.\n".to_owned(),
            count => format!("\n{count} leases listed.\n"),
        });
    }
    0
}

fn table(entries: &[Entry], now: u64) -> Table {
    let mut table = Table::new(&["MACHINE", "ZONE", "IPV4", "IPV6", "STATE", "USED"]);
    for entry in entries {
        let address =
            |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let (state, colour) = if entry.running { ("running", Colour::Green) } else { ("free", Colour::Grey) };
        table.add(vec![
            entry.machine.as_str().into(),
            entry.zone.as_ref().map(ZoneName::as_str).unwrap_or_default().into(),
            address(entry.ipv4).into(),
            address(entry.ipv6).into(),
            Cell::new(state, Some(colour)),
            words::ago(entry.used_microseconds, now).into(),
        ]);
    }
    table
}

fn entries(records: &Records, running: &[String]) -> Vec<Entry> {
    let entry = |machine: &str, zone: Option<&ZoneName>, addresses: [Option<IpAddr>; 2], used: u64| {
        let microseconds = used.saturating_mul(1_000_000);
        Entry {
            machine: machine.to_owned(),
            zone: zone.cloned(),
            ipv4: addresses[0],
            ipv6: addresses[1],
            running: running.iter().any(|name| name == machine),
            used: words::rfc3339(microseconds),
            used_microseconds: microseconds,
        }
    };
    let at = |network: Option<Subnet>, number: u32| network.and_then(|network| network.at(number.into()));
    let zones = records.zones.iter().flat_map(|(zone, record)| {
        record.leases.iter().map(move |(machine, lease)| {
            let ipv6 = lease.ipv6.map(IpAddr::V6).or_else(|| at(record.ipv6, lease.number));
            entry(machine, Some(zone), [at(record.ipv4, lease.number), ipv6], lease.used)
        })
    });
    // The host has the first address of a pair.
    let pairs = records
        .pairs
        .iter()
        .map(|(machine, pair)| entry(machine, None, [at(pair.ipv4, 2), at(pair.ipv6, 2)], pair.used));
    let mut entries: Vec<Entry> = zones.chain(pairs).collect();
    entries.sort_by(|one, other| (&one.machine, &one.zone).cmp(&(&other.machine, &other.zone)));
    entries
}

/// Runs the verb, gives the exit status.
pub(super) fn forget(arguments: &ForgetArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("net forget", "sudo spinney net forget NAME", output) {
        return EXIT_FAILURE;
    }
    if arguments.all {
        return all(output);
    }
    let mut status = 0;
    for name in &arguments.names {
        let done = one(name, output);
        status = if status == 0 { done } else { status };
    }
    status
}

fn is_in_use(name: &MachineName) -> bool {
    matches!(Record::of(name), Some(Record::Running(_) | Record::Starting(_) | Record::Unreadable(..)))
}

fn all(output: Output) -> u8 {
    let directory = lease::directory();
    let kept = |name: &str| name.parse().is_ok_and(|name| is_in_use(&name));
    let forgotten = match directory.exists() {
        true => Leases::open(&directory).and_then(|leases| leases.forget_all(kept)),
        false => Ok(0),
    };
    match forgotten {
        Ok(count) => {
            let machines = if count == 1 { "machine" } else { "machines" };
            output.status(&format!("the addresses of {count} {machines} are forgotten"));
            0
        }
        Err(error) => refused(&error, output),
    }
}

fn one(name: &str, output: Output) -> u8 {
    let name = match named(name) {
        Ok(name) => name,
        Err(error) => return fail(&error, output),
    };
    if is_in_use(&name) {
        let error = Message::new(format!("the addresses of {name} are in use: it runs"));
        output.error(&error, Some(&format!("spinney stop {name}")));
        return EXIT_FAILURE;
    }
    let directory = lease::directory();
    // Nothing is made where nothing was ever leased.
    let forgotten = match directory.exists() {
        true => Leases::open(&directory).and_then(|leases| leases.forget(name.as_str())),
        false => Ok(Vec::new()),
    };
    match forgotten {
        Ok(places) if places.is_empty() => {
            let error = Message::new(format!("no address is kept for {name}"));
            output.error(&error, Some("spinney net leases lists for whom there is one"));
            EXIT_FAILURE
        }
        Ok(places) => {
            let place = |zone: &Option<ZoneName>| match zone {
                Some(zone) => format!("the zone {zone}"),
                None => "its own network".to_owned(),
            };
            let places: Vec<String> = places.iter().map(place).collect();
            output.status(&format!("the addresses of {name} in {} are forgotten", places.join(", ")));
            0
        }
        Err(error) => refused(&error, output),
    }
}

fn refused(error: &LeaseError, output: Output) -> u8 {
    output.error(error, Some(&error.hint()));
    EXIT_FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed() {
        let zone = serde_json::json!({
            "ipv4": "10.9.0.0/22", "ipv6": "fd09::/64", "used": 5,
            "leases": { "web": { "number": 7, "used": 5 }, "db": { "number": 8, "ipv6": "fd09::abcd", "used": 6 } }
        });
        let pair = serde_json::json!({ "ipv4": "10.9.255.240/28", "ipv6": null, "used": 7 });
        let records = Records {
            zones: [("lab".parse().unwrap(), serde_json::from_value(zone).unwrap())].into(),
            pairs: [("web".to_owned(), serde_json::from_value(pair).unwrap())].into(),
        };
        let look = crate::cli::output::table::Look { heading: true, colour: false, width: None };
        let text = table(&entries(&records, &["db".to_owned()]), 8_000_000).render(look);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().take(5).collect()).collect();
        assert_eq!(
            lines,
            [
                ["MACHINE", "ZONE", "IPV4", "IPV6", "STATE"],
                ["db", "lab", "10.9.0.8", "fd09::abcd", "running"],
                ["web", "-", "10.9.255.242", "-", "free"],
                ["web", "lab", "10.9.0.7", "fd09::7", "free"],
            ]
        );
    }
}
