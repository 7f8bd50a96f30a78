//! Why the rules of a machine could not be made, changed or removed.

use rustix::io::Errno;

use super::super::nft::NftError;
use super::lacks::Lacks;
use crate::sys::SysError;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Below /run/spinney/network.
    #[error("cannot keep the rules of networks in /run/spinney/network")]
    Store(#[from] SysError),
    /// In the kernel.
    #[error("cannot set the rules of networks")]
    Nft(#[from] NftError),
    /// No rules can be made, and ports need some.
    #[error("this kernel has no nf_tables: ports of the host cannot lead to the machine")]
    NoPorts(#[source] NftError),
    /// No rules are known of it.
    #[error("machine '{0}' has no network that rules are about")]
    Unknown(String),
}

impl RulesError {
    /// Somebody else is about to change the rules: another try in a moment is better.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Store(error) => error.errno() == Errno::WOULDBLOCK,
            Self::Nft(error) => matches!(error, NftError::Changed),
            Self::NoPorts(_) | Self::Unknown(_) => false,
        }
    }

    /// What the kernel lacks, if that is why.
    pub(super) fn lacks(&self) -> Option<Lacks> {
        match self {
            Self::Nft(error) => Lacks::of(error),
            Self::NoPorts(_) | Self::Store(_) | Self::Unknown(_) => None,
        }
    }

    /// The call that failed.
    pub fn into_source(self) -> SysError {
        match self {
            Self::Store(error)
            | Self::Nft(NftError::Socket(error))
            | Self::NoPorts(NftError::Socket(error)) => error,
            Self::Nft(error) | Self::NoPorts(error) => {
                let errno = error.errno().unwrap_or(Errno::IO);
                SysError::new("nfnetlink", error.to_string(), errno)
            }
            Self::Unknown(name) => SysError::new("nfnetlink", name, Errno::NOENT),
        }
    }

    /// What may help.
    pub fn hint(&self) -> Option<String> {
        let errno = match self {
            Self::Unknown(_) => {
                return Some("machines in a zone, and with --network-veth, have one".to_owned());
            }
            Self::NoPorts(_) => {
                return Some(
                    "modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet; or start it without ports"
                        .to_owned(),
                );
            }
            Self::Store(_) => return None,
            Self::Nft(error) => error.errno()?,
        };
        let hint = match errno {
            Errno::PERM | Errno::ACCESS => "this needs root, and CAP_NET_ADMIN on the host's network",
            Errno::PROTONOSUPPORT => "this kernel has no nfnetlink: modprobe nfnetlink nf_tables",
            Errno::OPNOTSUPP | Errno::NOENT | Errno::INVAL => {
                "the kernel needs nf_tables with NAT, bridges and fib (Linux 5.7): modprobe nf_tables nft_chain_nat \
                 nft_masq nft_fib_inet nf_tables_bridge"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
