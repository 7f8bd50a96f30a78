//! Why a machine gets no addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::network::subnet::Subnet;
use crate::settings::network::ZoneName;
use crate::sys::SysError;

/// Why a machine gets no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The pool is used up, or the host's routes are everywhere in it.
    #[error("no network is left for {what}: the host's routes and other zones have all of the pool")]
    NoNetwork {
        /// A zone or a machine.
        what: String,
    },
    /// A network is full of machines that run.
    #[error("no address is left in {network}: all are those of machines that run")]
    NoAddress {
        /// The network.
        network: Subnet,
    },
    /// `--ip=` is not of the zone.
    #[error("--ip={address} is not in the zone {zone}, whose network is {network}")]
    Elsewhere {
        /// What was asked for.
        address: IpAddr,
        /// The zone.
        zone: ZoneName,
        /// Its network.
        network: Subnet,
    },
    /// `--ip=` is the host's own in the zone, or the network's, or leaves nothing for the host.
    #[error("--ip={address} is no machine's to have: {why}")]
    Reserved {
        /// What was asked for.
        address: IpAddr,
        /// Whose it is.
        why: &'static str,
    },
    /// `--ip=` is that of another machine.
    #[error("--ip={address} is the address of {machine}, which runs")]
    InUse {
        /// What was asked for.
        address: IpAddr,
        /// Who has it.
        machine: String,
    },
    /// `--ip=` is where the host has another route, or others have their network.
    #[error("the network of --ip={address} overlaps {network}, which the host knows elsewhere")]
    Routed {
        /// What was asked for.
        address: IpAddr,
        /// What is there.
        network: Subnet,
    },
    /// The records cannot be used.
    #[error("cannot use the leases in {}", directory.display())]
    Records {
        /// Their directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: SysError,
    },
}

impl LeaseError {
    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::NoNetwork { .. } => {
                "name other networks in /etc/spinney/network.toml ([pool] ipv4 = [...])".to_owned()
            }
            Self::NoAddress { .. } => "set a larger network for it in /etc/spinney/network.toml".to_owned(),
            Self::Elsewhere { zone, .. } => {
                format!("take one of that network, or set it: [zone.{zone}] in /etc/spinney/network.toml")
            }
            Self::Reserved { .. } => "take another one of the network".to_owned(),
            Self::InUse { machine, .. } => format!("spinney stop {machine}, or take another one"),
            Self::Routed { .. } => "take one of a network that the host does not know".to_owned(),
            Self::Records { .. } => "spinney keeps them there; is the file system writable?".to_owned(),
        }
    }
}
