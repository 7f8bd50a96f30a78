//! The manager on a bus of the test's own, with clients that no one here wrote: machinectl and busctl.
//!
//! A tier of its own: `cargo test --test root -- --bus [SUBSTRING...]`.
//!
//! | file | what it is about |
//! |---|---|
//! | [`fixture`] | a bus, the manager on it, clients |
//! | [`daemon`] | the manager's life: begun by the bus, idle, killed |

mod daemon;
mod fixture;

use crate::harness::Test;

/// What the names of this tier's tests begin with.
pub const TIER: &str = "bus::";

pub fn tests() -> Vec<Test> {
    [daemon::tests()].into_iter().flatten().collect()
}
