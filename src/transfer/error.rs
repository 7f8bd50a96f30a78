//! Why a transfer failed: one line, a hint.

use super::{decompress, fetch, qcow2, verify};
use crate::{archive, image};

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Decompress(#[from] decompress::Error),
    #[error("cannot unpack {name}")]
    Unpack {
        name: String,
        #[source]
        source: archive::Error,
    },
    #[error("cannot read {name}")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write what {name} holds")]
    Write {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot read {name}: {fault}")]
    Qcow2 { name: String, fault: qcow2::Fault },
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    #[error(transparent)]
    Verify(#[from] verify::Error),
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cancelled => None,
            Self::Image(error) => error.hint(),
            Self::Decompress(error) => error.hint(),
            Self::Unpack { source, .. } => source.hint().map(str::to_owned),
            Self::Read { .. } | Self::Write { .. } => None,
            Self::Qcow2 { fault, .. } => Some(fault.hint().to_owned()),
            Self::Fetch(error) => error.hint(),
            Self::Verify(error) => error.hint(),
        }
    }
}
