//! `spinney list-transfers`

use std::path::Path;

use super::fail;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Output, words};
use crate::supervisor::printable;
use crate::transfer::running::{DIRECTORY, Record, Transfer, list};

const EXAMPLES: &str = "\
Examples:
  spinney list-transfers           what is being pulled, imported and exported
  spinney list-transfers --json    the same, for a program";

/// List the images that are being pulled, imported or exported
///
/// The number in front is what cancel-transfer takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListTransfersArguments {
    /// Print JSON
    #[arg(short = 'j', long)]
    json: bool,

    /// Print neither headings nor how many there are
    #[arg(long)]
    no_legend: bool,

    /// Cut no columns to the width of the terminal
    #[arg(short = 'l', long)]
    full: bool,
}

/// Runs the verb, gives the exit status.
pub fn list_transfers(arguments: &ListTransfersArguments) -> u8 {
    let output = Output::new(false);
    let transfers: Vec<Transfer> = match list(Path::new(DIRECTORY)) {
        Ok(transfers) => transfers.into_iter().map(printable_transfer).collect(),
        Err(error) => return fail(&error, None, output),
    };
    if arguments.json {
        return output.json(&transfers).map_or(EXIT_FAILURE, |()| 0);
    }
    let mut table = Table::new(&[">ID", ">PROGRESS", "TYPE", "LOCAL", "REMOTE", "SINCE"]);
    let now = words::now();
    for Transfer { id, record } in &transfers {
        table.add(row(*id, record, now));
    }
    if !table.is_empty() {
        output.table(&table, !arguments.no_legend, arguments.full);
    }
    if !arguments.no_legend {
        output.text(&match table.len() {
            0 => "No transfers.\n".to_owned(),
            1 => "\n1 transfer listed.\n".to_owned(),
            count => format!("\n{count} transfers listed.\n"),
        });
    }
    0
}

fn row(id: u32, record: &Record, now: u64) -> Vec<Cell> {
    vec![
        id.to_string().into(),
        progress(record.moved, record.total).into(),
        record.kind.clone().into(),
        record.local.clone().into(),
        record.remote.clone().into(),
        words::ago(record.since, now).into(),
    ]
}

/// How far it is: a percentage where the end is known, else what has moved.
fn progress(moved: u64, total: Option<u64>) -> String {
    match total {
        // What grew meanwhile is not more than all of it.
        Some(total) if total > 0 => format!("{}%", moved.saturating_mul(100) / total.max(moved)),
        _ if moved == 0 => "-".to_owned(),
        _ => words::size(moved),
    }
}

/// The same with texts that are fit to be printed.
fn printable_transfer(transfer: Transfer) -> Transfer {
    let line = |text: &str| printable::line(text.as_bytes());
    let Transfer { id, record } = transfer;
    let (kind, remote, local) = (line(&record.kind), line(&record.remote), line(&record.local));
    Transfer { id, record: Record { kind, remote, local, ..record } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far() {
        for (moved, total, expected) in [
            (0, None, "-"),
            (0, Some(0), "-"),
            (0, Some(10), "0%"),
            (5, Some(10), "50%"),
            (10, Some(10), "100%"),
            (20, Some(10), "100%"),
            (2048, None, "2K"),
        ] {
            assert_eq!(progress(moved, total), expected, "{moved} {total:?}");
        }
    }
}
