//! What stops packing or unpacking as a whole.

use std::time::Duration;

use crate::sys::SysError;

/// Why a stream or a tree was not done to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The other side neither gave nor took anything.
    #[error("nothing moved for {0:?}")]
    Stalled(Duration),
    /// The stream is no tar, or breaks off.
    #[error(transparent)]
    Stream(#[from] BadStream),
    /// Whoever gives the stream has failed.
    #[error("cannot read the archive")]
    Input(#[source] std::io::Error),
    /// Whoever takes the stream has failed.
    #[error("cannot write the archive")]
    Output(#[source] std::io::Error),
    /// The other side went away: it knows why.
    #[error("the other side of the stream is gone")]
    Gone,
    /// Something has the name already, and may not be replaced.
    #[error("{path} exists")]
    Exists {
        /// Its path, safe to print.
        path: String,
    },
    /// Something of another kind has the name.
    #[error("{path} is {is}, and what is copied there is {wanted}")]
    OtherKind {
        /// Its path, safe to print.
        path: String,
        /// What is there.
        is: &'static str,
        /// What would be.
        wanted: &'static str,
    },
    /// A call failed.
    #[error("cannot {action} {path}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// To what, safe to print.
        path: String,
        /// Why not.
        #[source]
        source: SysError,
    },
}

/// What is wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStream {
    /// The first block is no header.
    #[error("this is no tar stream")]
    NotTar,
    /// It ended before the end marker.
    #[error("the tar stream ends in the middle")]
    Truncated,
    /// A later block is no header.
    #[error("the tar stream is damaged: {0}")]
    Damaged(&'static str),
    /// A header asks for more memory or depth than any honest one.
    #[error("the tar stream is refused: {0}")]
    Excessive(&'static str),
}

impl Error {
    /// A failed call on `path`.
    pub fn system(action: &'static str, path: &[u8]) -> impl FnOnce(SysError) -> Self {
        let path = super::notes::shown(path);
        move |source| Self::System { action, path, source }
    }

    /// The next step.
    pub fn hint(&self) -> Option<&'static str> {
        use rustix::io::Errno;
        match self {
            Self::Exists { .. } => Some("--force replaces files that exist"),
            Self::OtherKind { .. } => Some("remove it first, or name another destination"),
            Self::Stream(BadStream::NotTar) => {
                Some("a stream is tar, not compressed: zstd -dc FILE | spinney copy-to NAME - DIRECTORY")
            }
            Self::System { source, .. } => match source.errno() {
                Errno::NOSPC | Errno::DQUOT => Some("make room there; what was copied before is whole"),
                Errno::ROFS => Some("that file system is read-only"),
                _ => None,
            },
            Self::Stalled(_) => {
                Some("a file system there may hang, FUSE for one; --timeout=infinity waits for ever")
            }
            _ => None,
        }
    }
}
