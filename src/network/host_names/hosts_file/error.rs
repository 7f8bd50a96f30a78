//! Why machines are not in the host's hosts file.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::sys::SysError;

/// Why machines are not in the host's file.
#[derive(Debug, thiserror::Error)]
pub enum HostsFileError {
    /// It is on a file system that is not to be written, as where the system is made from a store, or it is a mount of its own, as in a
    /// container.
    #[error("{} cannot be replaced", path.display())]
    Fixed {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: SysError,
    },
    /// It cannot be read or written for another reason.
    #[error("cannot change {}", path.display())]
    Change {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: SysError,
    },
    /// Others have been at it for too long.
    #[error("{} is being changed by others", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It is no hosts file.
    #[error("{} has more than 16 MiB", path.display())]
    Large {
        /// The file.
        path: PathBuf,
    },
}

impl HostsFileError {
    /// What the kernel said, where it was the kernel.
    pub fn into_source(self) -> SysError {
        match self {
            Self::Fixed { source, .. } | Self::Change { source, .. } => source,
            Self::Busy { path } => SysError::new("fcntl", format!("{path:?}, F_OFD_SETLK"), Errno::AGAIN),
            Self::Large { path } => SysError::new("read", format!("{path:?}"), Errno::FBIG),
        }
    }
}
