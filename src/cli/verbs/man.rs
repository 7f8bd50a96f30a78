//! `spinney man`: the man pages, for whoever packages the program.

use std::path::PathBuf;

use crate::cli::EXIT_FAILURE;
use crate::cli::arguments::definitions;
use crate::cli::manual::pages;
use crate::cli::output::Output;
use crate::sys::files::{make_directories, replace_at};

/// Write the man pages of all commands into a directory
#[derive(Debug, clap::Args)]
pub struct ManArguments {
    /// Made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs the verb, gives the exit status.
pub fn man(arguments: &ManArguments) -> u8 {
    let written = make_directories(&arguments.directory, 0o755).and_then(|directory| {
        pages(&definitions())
            .iter()
            .try_for_each(|page| replace_at(&directory, &page.file, page.text.as_bytes(), 0o644))
    });
    match written {
        Ok(()) => 0,
        Err(error) => {
            Output::new(false).error(&error, Some("spinney man DIR writes them into a directory of yours"));
            EXIT_FAILURE
        }
    }
}
