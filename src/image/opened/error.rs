//! Why an image cannot be opened: one line, a hint.

use std::path::PathBuf;

use crate::guest::TreeError;
use crate::image::disk;
use crate::image::mstack::StackError;
use crate::sys::SysError;

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error("layered image {}: {source}", .path.display())]
    Stack { path: PathBuf, source: StackError },
    #[error("layered image {}: {entry:?} leads nowhere", .path.display())]
    Dangling { path: PathBuf, entry: String },
    #[error("no version in {} is for this machine", .path.display())]
    NoVersion { path: PathBuf },
    #[error("{} is no disk image: only those are verified by a root hash", .path.display())]
    NothingToVerify { path: PathBuf },
    #[error("{} has become another image meanwhile", .path.display())]
    Changed { path: PathBuf },
    #[error("cannot {action} {}", .path.display())]
    System {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: SysError,
    },
}

impl OpenError {
    /// A failed call, and what it was for.
    pub(super) fn system(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(SysError) -> Self {
        let path = path.into();
        move |source| Self::System { action, path, source }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Tree(error) => return error.hint(),
            Self::Disk(error) => return error.hint(),
            Self::Stack { source, .. } => source.hint(),
            Self::Dangling { .. } => "the layer that it names was removed, or the image was moved without it",
            Self::NoVersion { .. } => "its entries are called NAME_VERSION (systemd.v(7))",
            Self::Changed { .. } => "try again",
            Self::NothingToVerify { .. } => {
                "--root-hash=, --verity-data= and --root-hash-sig= are for --image="
            }
            Self::System { source, .. } if source.errno() == rustix::io::Errno::PERM => {
                "layers and disks are mounted to be looked at, which only root may do"
            }
            Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
