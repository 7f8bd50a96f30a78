//! `spinney cancel-transfer`

use std::path::Path;

use super::fail;
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::supervisor::printable;
use crate::transfer::running::{DIRECTORY, Error, cancel};

const EXAMPLES: &str = "\
Examples:
  spinney cancel-transfer 3    as Ctrl-C would, where it runs";

/// Cancel a pull, an import or an export
///
/// The command ends as by Ctrl-C: what it made is removed. Where it does not come to that, a second time ends it at once, and
/// the next command on images removes what it left.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CancelTransferArguments {
    /// Which, by the numbers of list-transfers
    #[arg(value_name = "ID", required = true, value_parser = number)]
    ids: Vec<u32>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

fn number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "is no number of list-transfers")
}

/// Runs the verb, gives the exit status.
pub fn cancel_transfer(arguments: &CancelTransferArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("cancel-transfer", "sudo spinney cancel-transfer ...", output) {
        return EXIT_FAILURE;
    }
    let mut status = 0;
    for id in &arguments.ids {
        match cancel(Path::new(DIRECTORY), *id) {
            Ok(transfer) => {
                let remote = printable::line(transfer.record.remote.as_bytes());
                output.status(&format!("cancelled transfer {id}, {} of {remote}", transfer.record.kind));
            }
            Err(error) => {
                let hint = matches!(error, Error::NoTransfer { .. })
                    .then(|| "spinney list-transfers shows those that run".to_owned());
                status = fail(&error, hint, output);
            }
        }
    }
    status
}
