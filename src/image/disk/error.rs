//! Why a disk image cannot be used: one line, a hint.

use std::path::PathBuf;

use super::content::FileSystem;
use crate::sys::SysError;

/// Why a disk image cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cannot open disk image {}", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("{} is neither a file nor a block device", .path.display())]
    NoDisk { path: PathBuf },
    #[error("cannot use disk image {}: {refusal}", .path.display())]
    Refused { path: PathBuf, refusal: Refusal },
    #[error("cannot attach {} to a loop device", .path.display())]
    Loop {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("the kernel has no file system {}, which {} is", .kind.name(), .path.display())]
    KernelLacks { path: PathBuf, kind: FileSystem },
    #[error("cannot mount the {} file system of {}", .kind.name(), .path.display())]
    Mount {
        path: PathBuf,
        kind: FileSystem,
        #[source]
        source: SysError,
    },
}

/// Why what is on a disk is not mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("it holds neither a partition table nor a file system that is known")]
    Nothing,
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Open { .. } | Self::NoDisk { .. } | Self::Mount { .. } => return None,
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Loop { .. } => {
                "loop devices come with Linux's loop module, and are not to be had in most containers"
            }
            Self::KernelLacks { .. } => "load its module, or take a kernel that has it",
        };
        Some(hint.to_owned())
    }
}

impl Refusal {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Nothing => "spinney import makes images of archives and of qcow2 images",
        }
    }
}
