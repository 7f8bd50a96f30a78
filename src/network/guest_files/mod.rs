//! What the managers of networks in a guest are told: that its interfaces have what they need.
//!
//! The addresses are there before the init runs. A manager that knows nothing of them would take them away (systemd-networkd),
//! put connections of its own beside them (NetworkManager), or hold the boot until a DHCP server answers. So each finds files in
//! its own language below the guest's /run, where they are gone with the machine. What the tree's administrator has
//! configured for an interface comes first: then there is no file of ours for it, and who asks there for addresses by DHCP is
//! given the same ones ([`crate::network::dhcp`]).
//!
//! | manager | what it does without files of ours | what it is told |
//! |---|---|---|
//! | systemd-networkd | drops the addresses, waits for DHCP for two minutes | `networkd` |
//! | NetworkManager | takes an interface that is set up as somebody else's, and writes a resolv.conf without name servers | `network_manager` |
//! | systemd-resolved | has no name servers unless one of the above tells it | `resolved` |
//! | ifupdown, ifupdown-ng, netifrc, netifd, wicked | leave alone what is not in their configuration | nothing |
//! | dhcpcd, connman, udhcpc | ask by DHCP, and get the same addresses | nothing |

mod network_manager;
mod networkd;
mod resolved;

use std::path::PathBuf;

use super::plan::{Addresses, LinkPlan, NetworkPlan};
use crate::guest::network::NetworkFacts;

/// A file of the guest's /run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Where.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub contents: String,
}

/// The files for a booted machine with this network, whose tree is such.
pub fn files(plan: &NetworkPlan, tree: &NetworkFacts) -> Vec<GuestFile> {
    let ours = |link: &LinkPlan| link.addresses.filter(|given| given.v4.is_some() || given.v6.is_some());
    let mut files = Vec::new();
    for (link, addresses) in plan.links.iter().filter_map(|link| Some((link, ours(link)?))) {
        let interface = Interface { link, addresses, plan };
        let mac = link.mac.map(|mac| mac.to_string());
        let free = |manager: &Option<crate::guest::network::Configured>| {
            manager.as_ref().is_some_and(|configured| !configured.has(link.guest.as_str(), mac.as_deref()))
        };
        if free(&tree.networkd) {
            files.push(networkd::file(&interface));
        }
        if free(&tree.network_manager) {
            files.extend(network_manager::files(&interface));
        }
    }
    if tree.resolved {
        files.extend(resolved::file(plan));
    }
    files
}

/// What all writers need of one interface.
#[derive(Debug, Clone, Copy)]
struct Interface<'a> {
    link: &'a LinkPlan,
    addresses: Addresses,
    plan: &'a NetworkPlan,
}

/// What begins every file.
const HEAD: &str =
    "# Written by Spinney at each start: the machine's addresses are set before its init runs.\n";

#[cfg(test)]
mod tests;
