//! Why links could not be made.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::sys::SysError;

/// Why a machine's network could not be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LinkError {
    #[error("this host has no interface {name:?}")]
    NoInterface { name: String },
    #[error("this host has no bridge {name:?}")]
    NoBridge { name: String },
    #[error("interface {name:?} is no bridge")]
    NotABridge { name: String },
    #[error("an interface {name:?} is on this host already, and is none of ours")]
    Taken { name: String },
    #[error("{path:?} is no network namespace")]
    NoNamespace {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("this kernel has no {kind} interfaces")]
    NoSuchKind {
        kind: &'static str,
        #[source]
        source: SysError,
    },
    #[error("this kernel cannot delay packets: it has no netem")]
    NoDelay {
        #[source]
        source: SysError,
    },
    #[error("cannot lend interface {name:?} to the machine")]
    Lend {
        name: String,
        #[source]
        source: SysError,
    },
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
}

impl LinkError {
    pub(super) fn system(action: &'static str) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System { action, source }
    }

    /// The next step.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoInterface { .. } => Some("ip link shows those that are there"),
            Self::NoBridge { .. } => Some(
                "ip link add NAME type bridge makes one; --network-zone=NAME needs none that is there before",
            ),
            Self::NotABridge { .. } => {
                Some("--network-macvlan= puts a machine on the network of any interface")
            }
            Self::Taken { .. } => Some(
                "ip -d link shows it; another --machine=NAME or --network-zone=NAME gives it another name",
            ),
            Self::NoNamespace { .. } => {
                Some("ip netns add NAME makes /run/netns/NAME; /proc/PID/ns/net is that of a process")
            }
            Self::NoSuchKind { kind: "ipvlan", .. } => {
                Some("--network-macvlan= is much the same, and may be there")
            }
            Self::NoSuchKind { .. } => Some("is the kernel's module for it installed, and may it be loaded?"),
            Self::NoDelay { .. } => Some(
                "modprobe sch_netem: where that is not there, the kernel was made without it; --net-loss= needs none",
            ),
            Self::Lend { source, .. } if source.errno() == Errno::INVAL => {
                Some("some interfaces cannot leave their network namespace: ip -d link says netns-immutable")
            }
            Self::Lend { .. } | Self::System { .. } => None,
        }
    }
}
