//! Why a transfer failed: one line, a hint.

use super::{bootstrap, catalogue, decompress, fetch, lockfile, obtain, qcow2, simplestreams, verify};
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
    #[error("cannot make image {name:?}")]
    Copy {
        name: String,
        #[source]
        source: archive::Error,
    },
    #[error("{name} would not be unpacked as it is: {}", .lines.join("; "))]
    Incomplete { name: String, lines: Vec<String> },
    #[error("cannot open image {name:?}")]
    Open {
        name: String,
        #[source]
        source: Box<image::opened::OpenError>,
    },
    #[error("cannot pack {name:?}")]
    Pack {
        name: String,
        #[source]
        source: archive::Error,
    },
    #[error("cannot write {name}")]
    WriteTo {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} {what}")]
    Format { name: String, what: String, hint: &'static str },
    #[error("cannot write image {name:?}")]
    Write {
        name: String,
        #[source]
        source: crate::sys::SysError,
    },
    #[error("cannot read {name}")]
    Read {
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
    #[error(transparent)]
    Oci(#[from] super::oci::Error),
    #[error(transparent)]
    Catalogue(#[from] catalogue::Error),
    #[error(transparent)]
    Simplestreams(#[from] simplestreams::Error),
    #[error(transparent)]
    Bootstrap(bootstrap::Error),
    #[error(transparent)]
    LockFile(#[from] lockfile::Error),
    #[error(transparent)]
    Obtain(#[from] obtain::Error),
    #[error("{why}")]
    Unusable { why: String },
}

impl From<bootstrap::Error> for Error {
    fn from(error: bootstrap::Error) -> Self {
        match error {
            bootstrap::Error::Cancelled => Self::Cancelled,
            error => Self::Bootstrap(error),
        }
    }
}

impl Error {
    /// A fault of reading `name`: what [`super::Incoming`] and others put into an [`std::io::Error`], or that itself.
    pub fn of_reading(name: &str, error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Read { name: name.to_owned(), source },
        }
    }

    /// The same of writing to `name`.
    pub fn of_writing(name: &str, error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::WriteTo { name: name.to_owned(), source },
        }
    }

    /// Whether the bytes are at fault, and not what was to be done with them.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Decompress(_) | Self::Format { .. } | Self::Qcow2 { .. } => true,
            Self::Unpack { source, .. } => matches!(source, archive::Error::Stream(_)),
            _ => false,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cancelled => None,
            Self::Image(error) => error.hint(),
            Self::Decompress(error) => error.hint(),
            Self::Qcow2 { fault, .. } => Some(fault.hint().to_owned()),
            Self::Unpack { source, .. } | Self::Copy { source, .. } | Self::Pack { source, .. } => {
                source.hint().map(str::to_owned)
            }
            Self::Format { hint, .. } => Some((*hint).to_owned()),
            Self::Write { source, .. } if is_full(source) => Some("make room there".to_owned()),
            Self::Incomplete { .. } => {
                Some("half an image is none: what was made of it is removed".to_owned())
            }
            Self::Open { source, .. } => source.hint(),
            Self::WriteTo { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("make room there".to_owned())
            }
            Self::WriteTo { .. } | Self::Read { .. } | Self::Write { .. } => None,
            Self::Fetch(error) => error.hint(),
            Self::Verify(error) => error.hint(),
            Self::Oci(error) => error.hint(),
            Self::Catalogue(error) => error.hint(),
            Self::Bootstrap(error) => error.hint(),
            Self::LockFile(error) => error.hint(),
            Self::Obtain(error) => error.hint(),
            Self::Simplestreams(_) | Self::Unusable { .. } => None,
        }
    }
}

fn is_full(error: &crate::sys::SysError) -> bool {
    use rustix::io::Errno;
    matches!(error.errno(), Errno::NOSPC | Errno::DQUOT)
}
