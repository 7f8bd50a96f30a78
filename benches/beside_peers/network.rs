//! The rows about the network: the first ping, throughput, round trips, and a hundred machines in one zone.

use std::error::Error;
use std::path::Path;

use super::contenders::Ground;
use super::report::Report;
use super::{network_host, network_paths, network_ping, network_zone};

/// One of so many of the quick rows' rounds, of a first ping and of what lasts a second.
const PING_SHARE: usize = 2;
const PATH_SHARE: usize = 4;

/// Measures all of them. `small` is the tree that the hundred boot, who are left out where there is none. From here on this
/// process has a /run of its own.
pub(crate) fn measure(
    ground: &Ground,
    small: Option<&Path>,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    network_host::enter_own_run()?;
    report.add_first_pings(network_ping::measure(ground, (rounds / PING_SHARE).max(3))?)?;
    for row in network_paths::measure(ground, (rounds / PATH_SHARE).max(3))? {
        report.add_paths(&row)?;
    }
    if let Some(small) = small {
        report.add_zone(&network_zone::measure(ground, small)?)?;
    }
    Ok(())
}
