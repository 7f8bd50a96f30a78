//! What is told of a machine's network to whoever asks: `/run/spinney/machines/NAME/network`, written by its supervisor.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::settings::network::{Offer, PortMapping};

use super::plan::NetworkPlan;

/// The network of one machine, as it is now. A machine that has `lo` alone and nothing to tell has no such file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkState {
    /// Which network namespace is the host's: the inode number that /proc/PID/ns/net leads to. Links, rules and addresses of the
    /// machine are there and nowhere else.
    pub namespace: u64,
    /// What was made.
    pub plan: NetworkPlan,
    /// The port of its name server, of UDP and TCP, at each of the plan's addresses for it.
    #[serde(default)]
    pub dns_port: Option<u16>,
    /// Ports that lead to it now.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// What is offered inside now.
    #[serde(default)]
    pub offers: Vec<Offer>,
}

impl NetworkState {
    /// Its name in the machine's directory.
    pub const FILE: &str = "network";

    /// All addresses that we gave it.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.plan.links.iter().filter_map(|link| link.addresses).flat_map(|addresses| {
            let v4 = addresses.v4.map(|family| IpAddr::V4(family.address));
            let v6 = addresses.v6.map(|family| IpAddr::V6(family.address));
            v4.into_iter().chain(v6)
        })
    }
}
