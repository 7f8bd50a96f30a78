//! Why bytes are not believed.

use crate::transfer::Digest;

/// Why bytes are not believed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{name} is not what it should be: its sha256 is {found}, not {expected}")]
    Digest { name: String, expected: Digest, found: Digest },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Digest { .. } => {
                "try again; if it stays so, somebody changed the file, or the checksum is another's"
            }
        };
        Some(hint.to_owned())
    }
}
