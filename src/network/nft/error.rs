//! Why nf_tables did not do what was asked.

use rustix::io::Errno;

use crate::sys::SysError;

/// A refusal of the kernel, with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such socket, or it broke.
    #[error("cannot talk to nf_tables")]
    Socket(#[source] SysError),
    /// One part of a batch was refused, and so the whole.
    #[error("nf_tables refused to {asked}")]
    Refused {
        /// The part: "add set inet spinney inside".
        asked: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// Somebody else changed the rule set meanwhile.
    #[error("the rule set changed meanwhile")]
    Changed,
    /// It does not fit into messages.
    #[error("{0} is too long for nf_tables")]
    TooLong(String),
    /// The kernel's answer makes no sense to us.
    #[error("nf_tables answered what cannot be read")]
    Answer,
}

impl NftError {
    /// The kernel's reason, if it gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Socket(error) => Some(error.errno()),
            Self::Refused { errno, .. } => Some(*errno),
            Self::Changed | Self::TooLong(_) | Self::Answer => None,
        }
    }
}
