//! Why a transfer failed: one line, a hint.

use super::{fetch, verify};
use crate::image;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Image(#[from] image::Error),
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
            Self::Fetch(error) => error.hint(),
            Self::Verify(error) => error.hint(),
        }
    }
}
