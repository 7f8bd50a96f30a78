//! Why a journal file, or something in it, cannot be read.

use std::io;

/// Why a journal file, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The call failed.
    #[error("cannot read the journal file")]
    Read(#[from] io::Error),
    /// Another kind of file, or one that was not begun.
    #[error("not a journal file")]
    Signature,
    /// It has features that came after this program.
    #[error("a journal file of a newer format (incompatible flags {0:#x})")]
    Newer(u32),
    /// It is damaged there, or somebody means us harm.
    #[error("a damaged {what} at offset {offset}")]
    Damaged {
        /// What should be there.
        what: &'static str,
        /// Where.
        offset: u64,
    },
}

impl Fault {
    /// `what` at `offset` is damaged.
    pub(super) fn damaged(what: &'static str, offset: u64) -> Self {
        Self::Damaged { what, offset }
    }
}
