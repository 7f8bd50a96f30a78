//! `spinney gc`: removes what killed supervisors left behind.

use super::EXIT_FAILURE;
use super::output::Output;
use super::require_root;
use crate::supervisor;

/// Collects, tells what was removed, gives the exit status.
pub fn gc() -> u8 {
    let output = Output::new(false);
    if !require_root("gc", "sudo spinney gc", output) {
        return EXIT_FAILURE;
    }
    match supervisor::gc::collect() {
        Ok(collected) => {
            for removed in &collected.removed {
                output.status(&format!("removed {removed}"));
            }
            0
        }
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            error.exit_status()
        }
    }
}
