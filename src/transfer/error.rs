//! Why a transfer failed: one line, a hint.

use super::{decompress, fetch, verify};
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
            Self::Read { .. } => None,
            Self::Fetch(error) => error.hint(),
            Self::Verify(error) => error.hint(),
        }
    }
}
