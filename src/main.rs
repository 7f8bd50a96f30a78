//! Picks the personality, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    spinney::cli::main()
}
