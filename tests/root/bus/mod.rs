//! The manager on a bus of the test's own, with clients that no one here wrote: machinectl and busctl.
//!
//! A tier of its own: `cargo test --test root -- --bus [SUBSTRING...]`.
//!
//! | file | what it is about |
//! |---|---|
//! | [`fixture`] | a bus, the manager on it, clients |
//! | [`polkit`] | a polkit of the test's own |
//! | [`client`] | a client in the test itself |
//! | [`announced`] | machines that come, change and go |
//! | [`registered`] | machines of other programs |
//! | [`sessions`] | logins and shells |
//! | [`access`] | what others than root may do |
//! | [`machines`] | machines of ours as systemd's clients see and enter them |
//! | [`daemon`] | the manager's life: begun by the bus, idle, killed |
//! | [`enlisted`] | machines in the registers of systemd and machined, both played |

mod access;
mod announced;
mod client;
mod daemon;
mod enlisted;
mod fixture;
mod machines;
mod polkit;
mod registered;
mod sessions;

use crate::harness::Test;

/// What the names of this tier's tests begin with.
pub const TIER: &str = "bus::";

pub fn tests() -> Vec<Test> {
    [
        daemon::tests(),
        machines::tests(),
        access::tests(),
        announced::tests(),
        registered::tests(),
        enlisted::tests(),
        sessions::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
